"""The files of a catalogue: Parquet, FITS, VOTable, CSV, ECSV and fixed-width text, written whole and read in batches.

A missing value is a null where the format has one, and NaN, -1 or an empty text in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files import fits_table, fixed_width, parquet_file, text_table, votable
from acf_jax.catalogue.files.arrow_rows import arrow_schema, from_arrow, to_arrow
from acf_jax.catalogue.files.contents import Contents

__all__ = ["SUFFIXES", "arrow_schema", "from_arrow", "read_columns", "read_provenance", "to_arrow", "write_catalogue"]

_FORMATS: dict[str, ModuleType] = {
    ".parquet": parquet_file,
    ".fits": fits_table,
    ".vot": votable,
    ".xml": votable,
    ".csv": text_table,
    ".ecsv": text_table,
    ".dat": fixed_width,
}
SUFFIXES = tuple(_FORMATS)
"""Suffixes of the files that a catalogue can be written to."""


def write_catalogue(contents: Contents, path: Path, progress: bool = True) -> None:
    """Write a catalogue's rows, in order, to one file, in the format that its suffix names.

    At most 10,000 rows are in memory. Every format has provenance and flags (CSV and fixed-width text have them in
    `NAME-metadata.json` beside).

    Args:
        contents: what to write.
        path: of the file.
        progress: whether a bar is shown.

    Raises:
        CatalogueError: if the suffix is unknown, a shard cannot be read, or the disk is full. Then what was at `path`
            before is still there.
    """
    path = Path(path)
    _format(path).write(path, contents, progress=path.name if progress else "")


def read_columns(path: Path, names: Sequence[str], batch_rows: int = 100_000) -> Iterator[dict[str, np.ndarray]]:
    """Some columns of a catalogue's file, or of the folder that holds it or its shards, in batches in order.

    Args:
        path: the file or folder.
        names: of the columns.
        batch_rows: of a batch, at most; memory is bounded by it.

    Yields:
        Columns (n,) by name. Missing values are NaN, -1 or empty texts; texts are arrays of objects.

    Raises:
        CatalogueError: if there is no such file, it cannot be read, or it lacks a column.
    """
    for file in _files(Path(path)):
        yield from _format(file).read_columns(file, names, batch_rows)


def read_provenance(path: Path) -> dict:
    """The provenance in a file, or in the folder that holds it or its shards; empty if there is none.

    Raises:
        CatalogueError: if there is no such file or it cannot be read.
    """
    return _format(file := _files(Path(path))[0]).read_provenance(file)


def _format(path: Path) -> ModuleType:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise CatalogueError(
            f"{path} has no suffix of a catalogue's file: it must be one of {', '.join(SUFFIXES)}."
        ) from None


def _files(path: Path) -> list[Path]:
    """The file itself, the folder's catalogue, or the folder's shards in order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CatalogueError(f"There is no catalogue {path}: give a file or the folder of one.")
    whole = [path / f"catalogue{suffix}" for suffix in SUFFIXES]
    shards = sorted(path.glob("shards/shard-*.parquet")) or sorted(path.glob("shard-*.parquet"))
    files = [file for file in whole if file.is_file()][:1] or shards
    if not files:
        raise CatalogueError(f"The folder {path} holds neither a file catalogue.* nor shards.")
    return files
