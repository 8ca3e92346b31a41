"""Files that are whole or not there, after a power failure and beside other processes too; arrays in npz files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

Arrays = dict[str, np.ndarray]
"""Columns by name, stars first."""


@contextmanager
def whole_file(path: str | Path, mode: str = "x+b") -> Iterator[IO[Any]]:
    """A file, open for writing, that takes the place of `path` when the block ends well.

    Until then it is a hidden file beside `path`, `.NAME.<32 hexadecimal digits>.part`; it is removed when the block
    fails, and stays behind only when the process is killed.

    Args:
        path: of the file; its folder is made.
        mode: as of `open`: "x+b" for bytes, "x" for text in UTF-8.

    Raises:
        OSError: if it cannot be written, or what `path` names cannot be replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")  # unique among machines too
    try:
        with open(part, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with suppress(OSError):  # what is to be told has been told
            part.unlink(missing_ok=True)


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file, whole or not at all."""
    with whole_file(path) as file:
        np.savez(file, **dict[str, Any](arrays))


def load(path: Path) -> Arrays:
    """All arrays of an npz file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def load_array(path: Path, name: str) -> np.ndarray:
    """One array of an npz file; the others, stamps among them, are not read."""
    with np.load(path) as file:
        return file[name]
