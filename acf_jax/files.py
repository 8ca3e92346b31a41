"""Files and folders that are whole or not there, after a power failure and beside other processes; folders of runs."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def whole_file(path: str | Path, mode: str = "x+b", *, replace: bool = True) -> Iterator[IO]:
    """A file, open for writing, that takes the place of `path` when the block ends without an error.

    Until then it is a hidden file beside `path`, `.NAME.<32 hexadecimal digits>.part`; it is removed when the block
    fails, and stays behind only when the process is killed.

    Args:
        path: of the file; its folder is made.
        mode: as of `open`: "x+b" for bytes, "x" for text in UTF-8.
        replace: whether a file that is at `path` by then is replaced, or stays and this one is dropped. Only a file
            system without hard links cannot tell two processes that end at the same moment: there the later one wins.

    Yields:
        The file; one of bytes can be read, too.

    Raises:
        OSError: if it cannot be written, or what `path` names cannot be replaced.
    """
    part = _beside(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(part, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace or not _linked(part, path):
            os.replace(part, path)
    finally:
        with suppress(OSError):  # errors that matter were raised above
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A new folder, to be filled with files, that becomes `path` when the block ends without an error.

    Until then it is a hidden folder beside `path`, named as `whole_file` names its file, and likewise removed.

    Raises:
        OSError: if it cannot be written, or `path` is there and not an empty folder.
    """
    part = _beside(path)
    part.mkdir(parents=True)
    try:
        yield part
        for there in (*part.iterdir(), part):
            descriptor = os.open(there, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _beside(path: str | Path) -> Path:
    """The name of a file or folder that is not whole yet: on the same file system, and unique among machines too."""
    return Path(path).with_name(f".{Path(path).name}.{uuid.uuid4().hex}.part")


def _linked(part: Path, path: str | Path) -> bool:
    """Give a file a second name, unless that is taken; False if the file system has no links."""
    try:
        os.link(part, path)  # unlike a rename, it never replaces what another process has just written
    except FileExistsError:
        pass
    except OSError:
        return False
    return True


def without_folders(value: Any) -> Any:
    """JSON types with absolute paths cut down to the file's name, at any depth."""
    if isinstance(value, Mapping):
        return {name: without_folders(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


Folders = str | Path | Sequence[str | Path]
"""Of a network, or of the networks that are joined."""


def as_paths(folders: Folders) -> tuple[Path, ...]:
    """One folder or several as a tuple."""
    return (Path(folders),) if isinstance(folders, str | os.PathLike) else tuple(map(Path, folders))


def results_folder(checkpoint_dir: Folders, out_dir: str | Path | None) -> Path:
    """Where the results go: by default `evaluation` in the run's folder; of joined networks, beside their folders."""
    if out_dir is not None:
        return Path(out_dir)
    first, *others = as_paths(checkpoint_dir)
    return (first.parent / folder_name(checkpoint_dir) if others else first) / "evaluation"


def folder_name(folders: Folders) -> str:
    """`acf` of runs/acf; `acf_teff+acf_logg` of two."""
    return "+".join(path.resolve().name for path in as_paths(folders))
