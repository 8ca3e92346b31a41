"""The mock sky's tables in DuckDB, asked in ADQL."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from astropy.table import Column, MaskedColumn, Table

from tests.loopback.adql import MACROS, AdqlError, to_sql

_VOTABLE_TYPES = {"i2": "short", "i4": "int", "i8": "long", "f4": "float", "f8": "double"}


class Answer(NamedTuple):
    """Rows of a query; `overflow` if there were more."""

    table: Table
    overflow: bool


class Database:
    """Tables under the service's names (`schema.table`), with TAP_SCHEMA; may be asked from any thread."""

    def __init__(self, tables: Mapping[str, Table], max_rows: int):
        self.max_rows = max_rows
        # A query sees the tables and nothing else: no files, no variables of this program.
        closed = {"enable_external_access": "false", "python_enable_replacements": "false"}
        self._connection = duckdb.connect(config={"threads": 1, **closed})
        self._lock = threading.Lock()
        self._units = {}
        for macro in MACROS:
            self._connection.execute(macro)
        for name, table in {**tables, **_tap_schema(tables)}.items():
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name.split('.')[0]}")
            _create(self._connection, f"TABLE {name}", table)
            self._units |= {column.name: column.unit for column in table.itercols() if column.unit is not None}

    def query(self, adql: str, maxrec: int | None = None, uploads: Mapping[str, Table] | None = None) -> Answer:
        """The first `maxrec` rows, `max_rows` at most; units by column name.

        Args:
            adql: the query.
            maxrec: most rows to return; None for `max_rows`.
            uploads: tables that it knows as `TAP_UPLOAD.name`.

        Returns:
            The rows.

        Raises:
            AdqlError: if the query cannot be answered.
        """
        sql = to_sql(adql)
        with self._lock:  # DuckDB refuses a connection that another thread is calling; their cursors work side by side
            cursor = self._connection.cursor()
        with cursor:
            cursor.execute("SET integer_division = true")
            for name, table in (uploads or {}).items():
                _create(cursor, f'TEMP TABLE "{name}"', table)
            try:
                rows = cursor.sql(sql).to_arrow_table()
            except duckdb.Error as error:
                raise AdqlError(re.sub(r"\s+", " ", str(error))) from None
        limit = self.max_rows if maxrec is None else min(maxrec, self.max_rows)
        return Answer(self._table(rows.slice(0, limit)), len(rows) > limit)

    def close(self) -> None:
        """Free the tables."""
        with self._lock:
            self._connection.close()

    def _table(self, rows: pa.Table) -> Table:
        columns: dict[str, Column] = {}
        for i, name in enumerate(rows.column_names):
            # What the query gives no name is called after its expression, count_star() or so: no name for a VOTable.
            name = re.sub(r"\W+", "_", name).strip("_")
            unit = self._units.get(name)
            while name in columns:  # the second image_id of a join
                name += "_2"
            columns[name] = _column(name, rows[i], unit)
        return Table(list(columns.values()), copy=False)


def _create(connection: duckdb.DuckDBPyConnection, what: str, table: Table) -> None:
    connection.register("incoming", pa.table({column.name: _arrow(column) for column in table.itercols()}))
    connection.execute(f"CREATE {what} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def _arrow(column: Column) -> pa.Array:
    values = np.ma.getdata(column)
    null = np.ma.getmaskarray(np.ma.asarray(column))
    if values.dtype.kind in "SUO":
        text = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
        return pa.array(text, pa.string(), mask=null)
    return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=null)


def _column(name: str, values: pa.ChunkedArray, unit) -> Column:
    """A column of the same integers; masked if some are NULL."""
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.int64() if values.type.scale == 0 else pa.float64())
    null = values.is_null().to_numpy()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        # A byte at least: a column of no rows has no longest string.
        text = [value.encode() if value is not None else b"" for value in values.to_pylist()]
        data = np.array(text, f"S{max([1, *map(len, text)])}")
    else:
        filler = False if pa.types.is_boolean(values.type) else 0
        data = values.fill_null(filler).to_numpy() if not pa.types.is_null(values.type) else np.zeros(len(values))
    if not null.any():
        return Column(data, name, unit=unit)
    return MaskedColumn(data, name, mask=null, unit=unit)


def _tap_schema(tables: Mapping[str, Table]) -> dict[str, Table]:
    rows = [
        (name, column.name, votable_type(column), str(column.unit or ""))
        for name, table in tables.items()
        for column in table.itercols()
    ]
    names = [(name.split(".")[0], name, "table") for name in tables]
    return {
        "tap_schema.columns": Table(rows=rows, names=("table_name", "column_name", "datatype", "unit")),
        "tap_schema.tables": Table(rows=names, names=("schema_name", "table_name", "table_type")),
        "tap_schema.schemas": Table([sorted({row[0] for row in names})], names=["schema_name"]),
    }


def votable_type(column: Column) -> str:
    """VOTable's name of a column's type."""
    return _VOTABLE_TYPES.get(column.dtype.str[1:], "char")
