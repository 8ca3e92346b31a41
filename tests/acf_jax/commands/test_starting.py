"""Commands of an installation that lacks what they need."""

import importlib.metadata
import sys

import pytest

from acf_jax.commands import starting

REQUIRES = ["jax>=0.10", 'scikit-learn>=1.5; extra == "train"', "ml_collections>=1.0; extra == 'train'"]


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("sklearn", "scikit-learn is missing: pip install 'acf-jax[train]'."),
        ("ml_collections", "ml_collections is missing: pip install 'acf-jax[train]'."),
    ],
)
def test_a_missing_extra_is_one_sentence(monkeypatch, capsys, module, sentence):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setitem(sys.modules, module, None)  # what makes Python say that it is not there
    monkeypatch.setattr(starting.importlib, "import_module", lambda name: __import__(f"{module}.something"))
    assert starting.train() == 1
    assert capsys.readouterr().err == f"acf-train: {sentence}\n"


def test_a_clone_without_its_requirements_says_how_to_get_them(monkeypatch):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", not_installed)
    words = starting.how_to_install(ModuleNotFoundError(name="optuna.samplers"))
    assert words == "the module optuna is missing: pip install -r requirements.txt."


def test_a_module_of_our_own_that_is_missing_is_a_fault(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    with pytest.raises(ModuleNotFoundError):
        starting.how_to_install(ModuleNotFoundError(name="acf_jax.nothing"))


@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_console_commands_reach_their_modules(monkeypatch, name):
    module = importlib.import_module(f"acf_jax.commands.{name}")
    monkeypatch.setattr(module, "main", lambda prog: {f"acf-{name}": 7}[prog])
    assert getattr(starting, name)() == 7
