"""What the commands share: the cache of compiled programs, and help that names the command that was typed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import acf_jax


def keep_compiled_programs() -> None:
    """Compiling takes half a minute: the next command, or the same one going on, reads what this one compiled."""
    from acf_jax.devices import compilation_cache  # imports JAX, and --help must not wait for it

    compilation_cache.enable(cache_folder())


def cache_folder() -> Path:
    """The cache of compiled programs: in the clone or, when installed, in the user's folder for caches."""
    clone = Path(acf_jax.__file__).parents[1]
    if (clone / "pyproject.toml").is_file():
        return clone / ".jax_cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "acf-jax" / "compiled_programs"


def help_text(text: str, prog: str) -> str:
    """A command's help, with `acf-train` for `python train.py` where that is what was typed.

    >>> help_text("python train.py --config FILE", "acf-evaluate")
    'acf-train --config FILE'
    """
    return re.sub(r"python (train|evaluate|predict)\.py", r"acf-\1", text) if prog.startswith("acf-") else text
