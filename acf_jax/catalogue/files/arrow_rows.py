"""Rows in memory <-> Arrow tables, in which a missing value is a null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from acf_jax.catalogue.columns import Column, Rows


def arrow_schema(columns: Sequence[Column], metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """The columns' Arrow types; each field has its unit, UCD and description, and is nullable if it may be missing."""
    fields = [
        pa.field(
            column.name,
            pa.string() if column.dtype == "str" else pa.from_numpy_dtype(np.dtype(column.dtype)),
            nullable=bool(column.missing),
            metadata={"unit": column.unit, "ucd": column.ucd, "description": column.description},
        )
        for column in columns
    ]
    return pa.schema(fields, dict(metadata) if metadata else None)


def to_arrow(rows: Rows, columns: Sequence[Column], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table: NaN, -1 and empty texts of columns that may be missing become nulls.

    Args:
        rows: columns by name, each (n,).
        columns: which of them, in order.
        schema: of these columns, from `arrow_schema`.

    Returns:
        A table of n rows.

    Raises:
        KeyError: if a column is not among the rows.
    """
    arrays = []
    for column, field in zip(columns, schema, strict=True):
        values = rows[column.name]
        mask = is_missing(values, column) if column.missing else None
        arrays.append(pa.array(values, field.type, mask=mask))
    return pa.Table.from_arrays(arrays, schema=schema)


def from_arrow(table: pa.Table | pa.RecordBatch, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """Undo `to_arrow`: columns in their own type, texts as an array of objects."""
    rows = {column.name: in_memory(table.column(column.name)) for column in columns}
    return {
        column.name: rows[column.name] if column.dtype == "str" else rows[column.name].astype(column.dtype, copy=False)
        for column in columns
    }


def in_memory(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """An Arrow column as NumPy's, nulls as NaN, -1 or empty texts."""
    if pa.types.is_null(values.type):
        return np.full(len(values), "", object)
    if pa.types.is_floating(values.type):
        missing: float | str = np.nan
    else:
        missing = -1 if pa.types.is_integer(values.type) else ""
    if values.null_count:
        values = values.fill_null(missing)
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)


def is_missing(values: np.ndarray, column: Column) -> np.ndarray:
    """Which values stand for a missing one, (n,) bool."""
    if column.is_float:
        return np.isnan(values)
    return np.asarray(values == ("" if column.dtype == "str" else -1), bool)
