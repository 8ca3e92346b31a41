"""Files that are whole or not there, after a power failure and beside other processes too."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def whole_file(path: str | Path, mode: str = "x+b") -> Iterator[IO]:
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


def without_folders(value: Any) -> Any:
    """JSON types with absolute paths cut down to the file's name, at any depth."""
    if isinstance(value, Mapping):
        return {name: without_folders(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value
