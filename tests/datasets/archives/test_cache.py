import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets.archives.cache import Cache

ROOT = Path(__file__).parents[3]
DATA = bytes(range(256)) * 40


def files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_what_was_put_is_there_under_its_kind_and_key_alone(tmp_path):
    cache = Cache(tmp_path / "cache")
    assert cache.get("image", "a") is None
    cache.put("image", "a", DATA)
    cache.put("mask", "a", b"")
    assert Cache(tmp_path / "cache").get("image", "a") == DATA
    assert cache.get("mask", "a") == b""
    assert cache.get("image", "b") is None
    cache.put("image", "a", b"other")
    assert cache.get("image", "a") == b"other"


def test_two_writers_of_one_key_write_the_same_file(tmp_path, monkeypatch):
    for name, now_s in (("one", 1e9), ("two", 2e9)):
        monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)  # gzip would write it down
        Cache(tmp_path / name).put("image", "a", DATA)
    [one], [two] = files(tmp_path / "one"), files(tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()
    assert one.relative_to(tmp_path / "one") == two.relative_to(tmp_path / "two")


@pytest.mark.parametrize("key", ["../../../escaped", "/etc/passwd", "a\0b", "", "x" * 10_000, "grüße\n"])
def test_no_key_leaves_the_folder(key, tmp_path):
    cache = Cache(tmp_path / "in/cache")
    cache.put("image", key, DATA)
    [path] = files(tmp_path)
    assert path.relative_to(tmp_path / "in/cache").parts[0] == "image"
    assert path.name.removesuffix(".gz").isalnum()
    assert cache.get("image", key) == DATA


def test_a_kind_that_is_no_plain_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be an identifier"):
        Cache(tmp_path).put("../image", "a", DATA)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
        lambda whole: whole[:-8] + bytes(4) + whole[-4:],  # the CRC
        lambda whole: b"\0" * len(whole),  # blocks that never reached the disk
        lambda whole: b"<html>No such file</html>",
    ],
)
def test_a_damaged_file_is_removed_and_counts_as_absent(damage, tmp_path, caplog):
    cache = Cache(tmp_path)
    cache.put("image", "a", DATA)
    [path] = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get("image", "a") is None
    assert not path.exists()
    assert str(path) in caplog.text
    cache.put("image", "a", DATA)
    assert cache.get("image", "a") == DATA


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    cache = Cache(tmp_path)
    data = os.urandom(20_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            cache.put("image", "a", data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == []
    assert cache.get("image", "a") is None
    cache.put("image", "a", data)
    assert cache.get("image", "a") == data


def test_a_folder_that_cannot_be_one_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Cache(tmp_path / "file").put("image", "a", DATA)


def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    cache = Cache(tmp_path)
    cache.put("image", "a", DATA)
    [path] = files(tmp_path)
    path.parent.chmod(0o500)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nobody: root may write everywhere
    try:
        with pytest.raises(PermissionError):
            cache.put("image", "a", b"other")
    finally:
        os.seteuid(user)
        path.parent.chmod(0o700)
    assert files(tmp_path) == [path]
    assert cache.get("image", "a") == DATA


WRITER = """
import sys
from datasets.archives.cache import Cache
cache = Cache(sys.argv[1])
print("writing", flush=True)
while True:
    for number in range(20):
        cache.put("image", str(number), str(number).encode() * 200_000)
"""


def test_processes_share_a_folder_and_may_be_killed(tmp_path, caplog):
    cache, seen = Cache(tmp_path), set()
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for writer in writers:
            assert writer.stdout.readline() == b"writing\n"
        for look in range(600):
            number = look % 20
            data = cache.get("image", str(number))
            assert data in (None, str(number).encode() * 200_000)
            seen |= {number} if data else set()
            if look == 200:
                os.kill(writers[0].pid, signal.SIGKILL)
        writers[1].kill()
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    assert seen
    assert not caplog.records, "no reader ever saw half a file"
    for number in range(20):
        cache.put("image", str(number), b"whole")
        assert cache.get("image", str(number)) == b"whole"
