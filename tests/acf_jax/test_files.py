"""Files and folders: whole or not there."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from acf_jax.files import results_folder, whole_file, whole_folder, without_folders

KILLED = """
import os, sys
from acf_jax import files
with getattr(files, sys.argv[1])(sys.argv[2]) as part:
    if sys.argv[1] == "whole_file":
        part.write(b"half of it")
        part.flush()
    else:
        (part / "a").write_text("half of it")
    os.kill(os.getpid(), 9)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_when_its_block_has_ended(tmp_path):
    path = tmp_path / "deep/er/file"
    with whole_file(str(path)) as file:
        file.write(b"bytes")
        assert not path.exists()
    assert path.read_bytes() == b"bytes"
    with whole_file(path, "x") as file:
        file.write("Größe")
        assert path.read_bytes() == b"bytes"
    assert path.read_bytes() == "Größe".encode()
    assert names(path.parent) == ["file"]


def test_a_folder_is_there_when_its_block_has_ended(tmp_path):
    with whole_folder(tmp_path / "deep/er") as folder:
        (folder / "a").write_text("1")
        assert names(tmp_path / "deep") == [folder.name]
    assert names(tmp_path / "deep") == ["er"]
    assert (tmp_path / "deep/er/a").read_text() == "1"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    (tmp_path / "file").write_text("former")
    for block in (whole_file(tmp_path / "file", "x"), whole_folder(tmp_path / "folder")):
        with pytest.raises(error), block:
            raise error
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "former"


@pytest.mark.parametrize("replace", [True, False])
def test_of_two_writers_at_once_one_has_the_file_whole(tmp_path, replace):
    def write(i):
        with whole_file(tmp_path / "file", "x", replace=replace) as file:
            for _ in range(100):
                file.write(f"{i}\n")
                file.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    lines = (tmp_path / "file").read_text().splitlines()
    assert len(lines) == 100
    assert len(set(lines)) == 1
    assert names(tmp_path) == ["file"]


def test_the_last_to_end_wins_unless_it_is_not_to_replace(tmp_path):
    for replace, winner in ((True, "slow"), (False, "fast")):
        path = tmp_path / winner
        with whole_file(path, "x", replace=replace) as slow:
            slow.write("slow")
            with whole_file(path, "x") as fast:
                fast.write("fast")
        assert path.read_text() == winner
    assert names(tmp_path) == ["fast", "slow"]


def test_a_file_system_without_links_has_the_file_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with whole_file(tmp_path / "file", "x", replace=False) as file:
        file.write("whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert names(tmp_path) == ["file"]


def test_what_cannot_be_written_is_the_systems_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full/folder").mkdir(parents=True)
    for block, error in (
        (whole_file(tmp_path / "file/below"), FileExistsError),
        (whole_folder(tmp_path / "file/below"), NotADirectoryError),
        (whole_file(tmp_path / "full"), IsADirectoryError),
        (whole_folder(tmp_path / "full"), OSError),
        (whole_folder(tmp_path / "file"), NotADirectoryError),
    ):
        with pytest.raises(error), block:
            pass
    assert names(tmp_path) == ["file", "full"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_the_systems_error(tmp_path):
    tmp_path.chmod(0o500)
    for block in (whole_file(tmp_path / "file"), whole_folder(tmp_path / "folder")):
        with pytest.raises(PermissionError), block:
            pass


def test_files_may_be_read_by_whom_the_user_lets_read_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "file"), whole_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("what", ["whole_file", "whole_folder"])
def test_a_process_killed_in_the_middle_leaves_the_former_one_and_a_hidden_part(tmp_path, what):
    path = tmp_path / "name.txt"
    if what == "whole_file":
        path.write_text("former")
    done = subprocess.run([sys.executable, "-c", KILLED, what, str(path)])
    assert done.returncode == -signal.SIGKILL
    part, *former = names(tmp_path)
    assert re.fullmatch(r"\.name\.txt\.[0-9a-f]{32}\.part", part)
    assert former == (["name.txt"] if what == "whole_file" else [])
    assert not former or path.read_text() == "former"


def test_all_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    happened = []
    replace, fsync = os.replace, os.fsync

    def note_fsync(descriptor):
        fsync(descriptor)
        happened.append(("fsync", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    def note_replace(part, path):
        happened.append(("replace", os.stat(part).st_ino))
        replace(part, path)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with whole_file(tmp_path / "file", "x") as file:
        file.write("12345")
    inode = (tmp_path / "file").stat().st_ino
    assert happened == [("fsync", inode, 5), ("replace", inode)]

    happened.clear()
    with whole_folder(tmp_path / "folder") as folder:
        (folder / "a").write_text("1")
        (folder / "b").write_text("12")
    *synced, last = happened
    paths = [tmp_path / "folder" / "a", tmp_path / "folder" / "b", tmp_path / "folder"]
    assert {inode for _, inode, _ in synced} == {path.stat().st_ino for path in paths}
    assert last == ("replace", paths[-1].stat().st_ino)


def test_folders_of_this_machine_are_cut_off_at_any_depth():
    value = {"a": "/home/me/x.txt", "b": [{"c": ("~/y", "z/w", 3, None)}]}
    assert without_folders(value) == {"a": "x.txt", "b": [{"c": ["y", "z/w", 3, None]}]}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ("runs/acf", "runs/acf/evaluation"),
        (["runs/acf_teff/", Path("runs/acf_logg")], "runs/acf_teff+acf_logg/evaluation"),
        (".", "evaluation"),
    ],
)
def test_results_lie_in_the_runs_folder_or_beside_those_of_joined_networks(folders, expected):
    assert results_folder(folders, None) == Path(expected)
    assert results_folder(folders, "elsewhere") == Path("elsewhere")
