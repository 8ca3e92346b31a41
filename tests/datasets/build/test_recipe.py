"""What a work folder is named after: the recipe, and all of the code."""

import shutil
from pathlib import Path

import pytest

import datasets
from datasets import stamps
from datasets.build import recipe
from datasets.build.parts import OURS, Choices
from datasets.mock_sky.stars import stellar_tables
from datasets.surveys.base import Sources

PACKAGE = Path(datasets.__file__).parent


@pytest.fixture
def copied_package(tmp_path, monkeypatch):
    """A copy of the code, which can be changed."""
    assert recipe.PACKAGE == PACKAGE
    monkeypatch.setattr(recipe, "PACKAGE", Path(shutil.copytree(PACKAGE, tmp_path / "datasets")))
    return recipe.PACKAGE


def name():
    return recipe.work_folder_name(recipe.recipe("mock", 75, 0, Sources(), OURS))


@pytest.mark.parametrize("file", [Path(stamps.__file__), Path(stellar_tables.__file__).parents[1] / "data"])
def test_another_code_has_another_work_folder(file, copied_package):
    before = name()
    assert name() == before
    changed = copied_package / file.relative_to(PACKAGE)
    changed = next(iter(sorted(changed.glob("*.npz"))), changed)
    whole = changed.read_bytes()
    changed.write_bytes(whole + b" ")
    assert name() != before
    changed.write_bytes(whole)
    assert name() == before
    changed.rename(changed.with_name(f"{changed.stem}_{changed.suffix}"))
    assert name() != before


@pytest.mark.parametrize("choice", [{"sky": "table"}, {"aligner": "reproject"}, {"splits": "paper"}])
def test_parts_made_otherwise_lie_in_another_folder(choice):
    other = recipe.recipe("mock", 75, 0, Sources(), Choices(**choice))
    assert recipe.work_folder_name(other) != name()


def test_what_is_no_code_changes_nothing(copied_package):
    before = name()
    (copied_package / "notes.md").write_text("Look here.")
    assert name() == before
