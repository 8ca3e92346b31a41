"""A local table, in whatever form: CSV, ECSV, FITS, VOTable or Parquet -> the needed columns as an astropy table.

The same rules hold for every form: units attached where the file states them, missing values (NULL, NaN, empty) masked,
identifiers int64 and never passed through a float, native byte order. Nothing in a file is executed or fetched.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from datasets.tables.cells import exact_integers
from datasets.tables.forms import Chosen, TableError, listed, reader_of

_ID_NAME = re.compile(r"(^|_)id\d*$", re.IGNORECASE)


def read_table(path: str | Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> Table:
    """Read `columns` (all of them if None) and those of `optional` that the file has.

    The suffix tells the form: .csv, .ecsv; .fits, .fit, .fits.gz; .vot, .votable, .xml; .parquet, .pq. Of a FITS
    file or VOTable with several tables the first is read. Names are compared as they are written. A column of numbers
    whose name ends in `id` (`source_id`, `gaia_dr3_id1`) comes as int64.

    Args:
        path: of the file.
        columns: those that must be there; None for all there are.
        optional: those that are read where they are there.

    Returns:
        The columns, in this order.

    Raises:
        TableError: if the file is missing, damaged or of an unknown form, lacks a column, or holds identifiers that a
            float has already rounded.
    """
    path = Path(path)
    table = read_columns(path, lambda there: _chosen(path, there, columns, optional))
    return Table([_tidied(table[name], path) for name in table.colnames], copy=False)


def read_columns(path: Path, chosen: Chosen, cells_as_text: bool = False) -> Table:
    """The columns `chosen` of those there, as the file's form gives them; see `datasets.tables.forms.reader_of`.

    Args:
        path: of the file.
        chosen: which columns to read, given those there.
        cells_as_text: give the cells of a CSV file as they are written.

    Returns:
        The columns.

    Raises:
        TableError: if the file is missing, damaged or of an unknown form.
    """
    reader = reader_of(path, cells_as_text)
    if not path.is_file():
        raise TableError(f"there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that astropy does not know, and the like: kept as they are written
            return reader(path, chosen)
    except (TableError, MemoryError):
        raise
    except Exception as error:  # the libraries raise nearly every kind on a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TableError(f"{path} cannot be read as {path.suffix.lstrip('.')}: {reason}") from error


def _chosen(path: Path, there: Iterable[str], columns: Sequence[str] | None, optional: Sequence[str]) -> list[str]:
    there = list(there)
    if columns is None:
        return there
    for name in columns:
        if name not in there:
            raise TableError(f"{path} has no column {name}; it has {listed(name, there)}")
    return list(dict.fromkeys([*columns, *(name for name in optional if name in there)]))


def _tidied(column: Column, path: Path) -> Column:
    values, missing = np.ma.getdata(column), np.ma.getmaskarray(np.ma.asarray(column))
    values = np.asarray(values)
    if values.dtype.kind == "O":
        missing = missing | np.array([value is None for value in values.flat], bool).reshape(values.shape)
        values = np.where(missing, "", values).astype(str)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "U":
        missing = missing | (np.char.strip(values) == "")
    if values.dtype.kind == "f":
        missing = missing | np.isnan(values)
    if values.dtype.kind in "iuf" and _ID_NAME.search(column.name):
        try:
            values = exact_integers(values, missing)
        except ValueError as error:
            advice = "; write the column as 64-bit integers" if values.dtype.kind == "f" else ""
            raise TableError(f"column {column.name} of {path} holds {error}{advice}") from None
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if missing.any():
        return MaskedColumn(values, name=column.name, mask=missing, unit=column.unit, description=column.description)
    return Column(values, name=column.name, unit=column.unit, description=column.description)


def with_units(table: Table, units: Mapping[str, object]) -> Table:
    """The same table with the units that its survey documents.

    A column in another unit of the same kind (radians for degrees) is converted; one with no unit, or with one that
    says nothing astropy can convert, gets the documented one.
    """
    from astropy import units as u

    for name, unit in units.items():
        column = table[name]
        if unit is None or column.unit == unit:
            continue
        try:
            factor = u.Unit(column.unit).to(unit) if column.unit is not None else 1.0
        except (u.UnitsError, ValueError, TypeError, AttributeError):
            factor = 1.0
        table[name] = column if factor == 1.0 else column * factor
        table[name].unit = unit
    return table
