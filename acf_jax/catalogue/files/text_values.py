"""Values as texts, each column with its own digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from acf_jax.catalogue.columns import Column, Rows
from acf_jax.catalogue.files.arrow_rows import is_missing


def texts(values: np.ndarray, column: Column) -> list[str]:
    """A column's values (n,) with `column.decimals` digits after the point; a missing one is an empty text."""
    if column.dtype == "str":
        return list(values)
    pattern = f"%.{column.decimals}f" if column.is_float else "%d"
    written = [pattern % value for value in values.tolist()]
    if column.missing:
        for i in np.flatnonzero(is_missing(values, column)):
            written[i] = ""
    return written


def text_rows(rows: Rows, columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    """Rows as tuples of texts."""
    return zip(*(texts(rows[column.name], column) for column in columns), strict=True)
