"""A catalogue as text of fixed width, as the CDS keeps them; `cds_readme` describes it byte by byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from acf_jax.catalogue.columns import Column, Rows
from acf_jax.catalogue.columns import columns as all_columns
from acf_jax.catalogue.errors import CatalogueError, told_if_not_written
from acf_jax.catalogue.files import side_file
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.files.records import ascii_text, ascii_width
from acf_jax.catalogue.files.side_file import Layout
from acf_jax.catalogue.files.text_values import texts
from acf_jax.files import whole_file
from acf_jax.labels import LABELS

read_provenance = side_file.read_provenance


def write(path: Path, contents: Contents, progress: str) -> None:
    """Write the file: numbers to the right and texts to the left of their columns, a missing value blank.

    Args:
        path: of the file.
        contents: what to write.
        progress: names a bar to show; empty: none.

    Raises:
        CatalogueError: as of `formats.write_catalogue`.
    """
    layout = _layout(contents)
    side_file.write_side_file(path, contents, layout)
    with told_if_not_written(path), whole_file(path) as file:
        for rows in contents.batches(progress):
            file.write(_lines(rows, contents.columns, layout).encode("ascii"))


def read_columns(path: Path, names: Sequence[str], batch_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Some columns of the file, in batches.

    Args:
        path: of the file.
        names: of the columns.
        batch_rows: of a batch, at most.

    Yields:
        Columns, as `formats.read_columns`.

    Raises:
        CatalogueError: likewise.
    """
    layout = side_file.read_layout(path)
    if missing := [name for name in names if name not in layout]:
        raise CatalogueError(f"{path} has no column {', '.join(missing)}.")
    dtypes = {column.name: column.dtype for column in all_columns(tuple(LABELS), has_input_row=True)}
    line_bytes = max(last for _, last in layout.values()) + 1
    with open(path, "rb") as file:
        while block := file.read(batch_rows * line_bytes):
            if len(block) % line_bytes:
                raise CatalogueError(f"{path} ends in the middle of a line: it is damaged.")
            characters = np.frombuffer(block, "S1").reshape(-1, line_bytes)
            yield {name: _column(characters, layout[name], dtypes[name]) for name in names}


def _layout(contents: Contents) -> Layout:
    """As wide as the longest value, a blank between two columns."""
    widths = contents.text_widths(ascii_width) | _number_widths(contents)
    layout, first = {}, 1
    for column in contents.columns:
        layout[column.name] = (first, first + widths[column.name] - 1)
        first += widths[column.name] + 1
    return layout


def _number_widths(contents: Contents) -> dict[str, int]:
    """The longest text of every column of numbers, at least 1: its smallest or its largest value's."""
    widths = {column.name: 1 for column in contents.columns if column.dtype != "str"}
    for rows in contents.batches():
        for column in contents.columns:
            values = rows[column.name]
            if column.name in widths and np.any(values == values):
                ends = np.array([np.nanmin(values), np.nanmax(values)])
                widths[column.name] = max(widths[column.name], *(len(text) for text in texts(ends, column)))
    return widths


def _lines(rows: Rows, columns: Sequence[Column], layout: Layout) -> str:
    padded = []
    for column in columns:
        first, last = layout[column.name]
        width = last - first + 1
        values = texts(rows[column.name], column)
        if column.dtype == "str":
            padded.append([ascii_text(value).ljust(width) for value in values])
        else:
            padded.append([value.rjust(width) for value in values])
    return "".join(" ".join(line) + "\n" for line in zip(*padded, strict=True))


def _column(characters: np.ndarray, place: tuple[int, int], dtype: str) -> np.ndarray:
    """The column at these bytes of lines (n, line_bytes)."""
    first, last = place
    cells = np.ascontiguousarray(characters[:, first - 1 : last]).view(f"S{last - first + 1}")[:, 0]
    cells = np.char.strip(cells)
    if dtype == "str":
        return cells.astype(np.str_).astype(object)
    missing = b"nan" if dtype.startswith("float") else b"-1"
    return np.where(cells == b"", missing, cells).astype(dtype)
