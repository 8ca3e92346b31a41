"""A file that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from acf_jax.catalogue.errors import CatalogueError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file, open for writing and reading, that is put in the place of `path` when the block ends well.

    Until then it is a hidden file beside `path`, `.NAME.xxxxxxxx.part`; it is removed when the block fails, and
    stays behind only when the process is killed.

    Raises:
        CatalogueError: if the disk is full or the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise CatalogueError(_sentence(path, error)) from error
    finally:
        with suppress(OSError):  # what is to be told has been told
            part.unlink(missing_ok=True)


def _sentence(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return (
            f"The disk is full: {path} could not be written ({error.strerror}). Make room and run the same command"
            " again; nothing that was finished before is lost."
        )
    return f"{path} could not be written: {error.strerror or error}."
