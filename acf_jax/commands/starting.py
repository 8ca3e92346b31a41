"""Starts a command; if its packages are not all installed, one sentence says which extra is missing."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

from acf_jax.errors import ACFError
from acf_jax.running import run

_PACKAGES = {"absl": "absl-py", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn", "xgboost": "xgboost-cpu"}
"""The packages of modules with another name."""


def train() -> int:
    """`acf-train`."""
    return start("train", "acf-train")


def evaluate() -> int:
    """`acf-evaluate`."""
    return start("evaluate", "acf-evaluate")


def predict() -> int:
    """`acf-predict`."""
    return start("predict", "acf-predict")


def start(name: str, prog: str, **given: Any) -> int:
    """Run one of the command lines in this folder.

    Args:
        name: its module's.
        prog: the command, as it was typed.
        **given: to its `main`, besides `prog`.

    Returns:
        The exit status.
    """

    def command() -> int:
        try:
            return importlib.import_module(f"acf_jax.commands.{name}").main(prog=prog, **given)
        except ModuleNotFoundError as error:
            raise ACFError(how_to_install(error)) from error

    return run(command, prog)


def how_to_install(error: ModuleNotFoundError) -> str:
    """What to type to install a module that was not found.

    Raises:
        ModuleNotFoundError: the same error, if the module belongs to no extra.
    """
    module = (error.name or "").partition(".")[0]
    package = re.sub("[-_.]+", "-", _PACKAGES.get(module, module)).lower()
    try:
        requirements = importlib.metadata.requires("acf-jax") or []
    except importlib.metadata.PackageNotFoundError:
        return f"the module {module} is missing: pip install -r requirements.txt."
    for requirement in requirements:
        of_extra = re.match(r"([\w.-]+).*extra == [\"'](\w+)", requirement)
        if of_extra and re.sub("[-_.]+", "-", of_extra[1]).lower() == package:
            return f"{of_extra[1]} is missing: pip install 'acf-jax[{of_extra[2]}]'."
    raise error
