"""Answers of archives kept on disk, so that nothing is asked twice, by any machine that shares the folder."""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from pathlib import Path

from datasets.files import whole_file

_LOG = logging.getLogger(__name__)


class Cache:
    """A folder of gzip files, each whole or not there.

    A file's name is the SHA-256 of its key, in two levels of folders with 256 entries each, so nothing that a server
    says becomes a path. Files appear by an atomic rename: threads, processes and machines may share the folder, and two
    that write one key write the same. An `OSError` (a full disk, a folder that may not be written) is the caller's.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def get(self, kind: str, key: str) -> bytes | None:
        """What was put under `key`; None if nothing was, or if its file is damaged, which is then removed."""
        path = self._path(kind, key)
        try:
            packed = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            if packed:  # gzip takes an empty file for empty data
                return gzip.decompress(packed)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            pass
        _LOG.warning("The cached file %s is damaged: it is removed, and what it held is asked for again.", path)
        path.unlink(missing_ok=True)
        return None

    def put(self, kind: str, key: str, data: bytes) -> None:
        """Keep `data`; once this returns it survives a power failure, or is absent again, but is never half there.

        Args:
            kind: an identifier, which names a folder.
            key: any text.
            data: any bytes.
        """
        with whole_file(self._path(kind, key)) as file:
            file.write(gzip.compress(data, mtime=0))

    def _path(self, kind: str, key: str) -> Path:
        if not kind.isidentifier():
            raise ValueError(f"a kind of cached answers names a folder and must be an identifier, not {kind!r}")
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / kind / digest[:2] / digest[2:4] / f"{digest}.gz"
