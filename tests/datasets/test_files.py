import os

import numpy as np
import pytest

from datasets.files import load, save, whole_file


class _Unwritable:
    def __array__(self, *args, **kwargs):
        raise ValueError("no array")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_whole_and_on_the_disk(tmp_path, monkeypatch):
    path, steps = tmp_path / "new/file.txt", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: steps.append(os.fstat(file).st_size) or fsync(file))
    monkeypatch.setattr(os, "replace", lambda part, to: steps.append(to) or replace(part, to))
    with whole_file(path, "x") as file:
        file.write("grüße\n")
        assert not path.exists()
    assert steps == [8, path], "all bytes are on the disk before the file has its name"
    assert path.read_bytes() == "grüße\n".encode()
    assert names(path.parent) == ["file.txt"]


def test_a_failure_leaves_what_was_there(tmp_path):
    save(tmp_path / "stars.npz", {"ra": np.arange(3)})
    with pytest.raises(ValueError, match="no array"):
        save(tmp_path / "stars.npz", {"ra": np.arange(2), "dec": _Unwritable()})
    assert names(tmp_path) == ["stars.npz"]
    np.testing.assert_array_equal(load(tmp_path / "stars.npz")["ra"], [0, 1, 2])


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with whole_file(tmp_path / "a") as one, whole_file(tmp_path / "a") as two:
        one.write(b"one")
        two.write(b"two")
        one_part, two_part = names(tmp_path)
        assert one_part.startswith(".a.")
        assert two_part.endswith(".part")
    assert (tmp_path / "a").read_bytes() == b"one", "the one that ends last"
    assert names(tmp_path) == ["a"]


def test_what_cannot_be_replaced_is_told_and_nothing_is_left(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), whole_file(tmp_path / "folder"):
        pass
    assert names(tmp_path) == ["folder"]
