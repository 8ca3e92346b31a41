"""Errors of catalogues."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acf_jax.errors import ACFError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CatalogueError(ACFError):
    """A catalogue cannot be made, written or read; the message is one sentence for the user."""


@contextmanager
def told_if_not_written(path: Path) -> Iterator[None]:
    """Turn the system's error for a file that could not be written into one sentence.

    Raises:
        CatalogueError: if the disk is full or the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise CatalogueError(
                f"The disk is full: {path} could not be written ({error.strerror}). Make room and run the same command"
                " again; nothing that was finished before is lost."
            ) from error
        raise CatalogueError(f"{path} could not be written: {error.strerror or error}.") from error
