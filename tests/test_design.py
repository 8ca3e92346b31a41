"""The house is as docs/design.md draws it."""

import re
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_FILES_IN_A_ROOM = 16
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("acf_jax", "datasets")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)


def drawn() -> set[Path]:
    """The files that the tables of docs/design.md name."""
    files, package = set(), ""
    for line in (ROOT / "docs/design.md").read_text().splitlines():
        if heading := re.match(r"## (acf_jax|datasets):", line):
            package, room = heading[1], ""
        elif line.startswith("## "):
            package = ""
        elif package and (row := re.match(r"\| *(?:`(.*)/`)? *\| (`.*`) \|", line)):
            room = row[1] or room
            files |= {Path(package, room, name) for name in re.findall(r"`([\w.]+\.py)`", row[2])}
    return files


def test_every_file_is_named_once_and_every_name_is_a_file():
    assert drawn() - {Path("acf_jax/__init__.py")} == set(FILES)


@pytest.mark.parametrize(("room", "n_files"), Counter(path.parent for path in FILES).items(), ids=str)
def test_no_room_is_crowded(room, n_files):
    assert n_files <= MOST_FILES_IN_A_ROOM


def test_no_folder_of_tests_is_passed_over(request):
    """Pytest's own list of folders to leave out has `build` on it."""
    folders = {part for path in (ROOT / "tests").rglob("test_*.py") for part in path.relative_to(ROOT).parent.parts}
    patterns = request.config.getini("norecursedirs")
    assert not [folder for folder in folders if any(fnmatch(folder, pattern) for pattern in patterns)]
