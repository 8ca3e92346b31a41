"""Rows as fixed-width binary records, big-endian: what FITS tables and VOTables hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from acf_jax.catalogue.columns import Column, Rows
from acf_jax.catalogue.files.arrow_rows import is_missing

NULLS = "nulls"
"""The field of a VOTable's record that says which values are missing, a bit each."""


def ascii_text(text: str) -> str:
    r"""Printable ASCII, which is all that FITS and fixed-width files hold: other characters as in Python, `\xe9`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character.isascii() and character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def ascii_width(text: str) -> int:
    """Characters of `ascii_text`."""
    return len(ascii_text(text))


def record_dtype(columns: Sequence[Column], text_widths: Mapping[str, int], with_nulls: bool = False) -> np.dtype:
    """The record of one row.

    Args:
        columns: its fields, in order.
        text_widths: characters of every column of texts.
        with_nulls: whether it begins with a bit for each column, as VOTable's BINARY2 does.

    Returns:
        Numbers big-endian, texts as bytes.
    """
    fields = [
        (column.name, f"S{text_widths[column.name]}" if column.dtype == "str" else big_endian(column.dtype))
        for column in columns
    ]
    nulls = [(NULLS, "u1", ((len(columns) + 7) // 8,))] if with_nulls else []
    return np.dtype(nulls + fields)


def big_endian(dtype: str) -> np.dtype:
    """A number's type in the byte order of the archives' formats."""
    return np.dtype(dtype).newbyteorder(">")


def to_records(rows: Rows, columns: Sequence[Column], dtype: np.dtype) -> np.ndarray:
    """Rows as records.

    Args:
        rows: columns by name, each (n,).
        columns: which of them.
        dtype: of a record of these columns, from `record_dtype`.

    Returns:
        (n,) records.
    """
    records = np.zeros(len(rows[columns[0].name]), dtype)
    for column in columns:
        values = rows[column.name]
        records[column.name] = [ascii_text(text) for text in values] if column.dtype == "str" else values
    if NULLS in (dtype.names or ()):
        missing = [is_missing(rows[column.name], column) & bool(column.missing) for column in columns]
        records[NULLS] = np.packbits(np.stack(missing, axis=1), axis=1)
    return records


def from_records(records: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of records in the machine's own byte order, texts as an array of objects."""
    rows = {}
    for name in names:
        values = records[name]
        if values.dtype.kind == "S":
            rows[name] = np.array([text.decode("ascii").rstrip() for text in values.tolist()], object)
        else:
            rows[name] = values.astype(values.dtype.newbyteorder("="))
    return rows
