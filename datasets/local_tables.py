"""A user's own table, in whatever form: CSV, ECSV, FITS, VOTable or Parquet -> the needed columns as an astropy table.

The same rules hold for every form: units attached where the file states them, missing values (NULL, NaN, empty) masked,
identifiers int64 and never passed through a float, native byte order. Nothing in a file is executed or fetched.
"""

from __future__ import annotations

import difflib
import mmap
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, MaskedColumn, Table

_POSITIONS = (
    *(("ra_deg", "dec_deg"), ("radeg", "dedeg"), ("ra", "dec"), ("raj2000", "dej2000"), ("raj2000", "decj2000")),
    *(("ra_icrs", "de_icrs"), ("ra_icrs", "dec_icrs"), ("ra_dr2", "dec_dr2"), ("_raj2000", "_dej2000")),
    *(("ra_j2000", "dec_j2000"), ("right_ascension", "declination"), ("ra_img", "decl_img")),
)
_ID_NAME = re.compile(r"(^|_)id\d*$", re.IGNORECASE)
_EXACT_IN_FLOAT = 2**53


class TableError(ValueError):
    """A user's table cannot be used; the message says which, why, and what to do."""


def read_table(path: str | Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> Table:
    """Read ``columns`` (all of them if None) and those of ``optional`` that the file has.

    The form goes by the suffix: .csv, .ecsv; .fits, .fit, .fits.gz; .vot, .votable, .xml; .parquet, .pq. Of a FITS
    file or VOTable with several tables the first is read. Names are compared as they are written. A column of numbers
    whose name ends in ``id`` (``source_id``, ``gaia_dr3_id1``) comes as int64.

    Raises:
        TableError: if the file is missing, damaged or of an unknown form, lacks a column, or holds identifiers that a
            float has already rounded.
    """
    path = Path(path)
    return _read(path, lambda there: _chosen(path, there, columns, optional))


def _read(path: Path, chosen: Callable[[Iterable[str]], list[str]]) -> Table:
    reader = _reader(path)
    if not path.is_file():
        raise TableError(f"there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that astropy does not know, and the like: kept as they are written
            table = reader(path, chosen)
            table = Table([_tidied(table[name], path) for name in table.colnames], copy=False)
    except (TableError, MemoryError):
        raise
    except Exception as error:  # the libraries raise nearly every kind on a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TableError(f"{path} cannot be read as {path.suffix.lstrip('.')}: {reason}") from error
    return table


def read_stars(path: str | Path, optional: Sequence[str] = ()) -> Table:
    """Read the columns of positions (see ``positions``) and those of ``optional`` that the file has.

    Raises:
        TableError: as ``read_table``, or if there are no positions.
    """

    def choose(there: Iterable[str]) -> list[str]:
        there = list(there)
        return _chosen(Path(path), there, _position_columns(path, there), optional)

    return _read(Path(path), choose)


def _reader(path: Path) -> Callable[[Path, Callable[[Iterable[str]], list[str]]], Table]:
    name = path.name.lower()
    for suffixes, reader in _READERS.items():
        if name.endswith(suffixes):
            return reader
    known = ", ".join(suffix for suffixes in _READERS for suffix in suffixes)
    raise TableError(f"{path} has none of the suffixes of known table forms ({known}): rename or convert it")


def _chosen(path: Path, there: Iterable[str], columns: Sequence[str] | None, optional: Sequence[str]) -> list[str]:
    there = list(there)
    if columns is None:
        return there
    for name in columns:
        if name not in there:
            raise TableError(f"{path} has no column {name}; it has {listed(name, there)}")
    return list(dict.fromkeys([*columns, *(name for name in optional if name in there)]))


def listed(name: str, there: list[str], most: int = 40) -> str:
    """The columns there, those most like ``name`` first."""
    lower = {column.lower(): column for column in there}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=5, cutoff=0.5)]
    ordered = list(dict.fromkeys([*close, *there]))
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return (", ".join(ordered[:most]) or "none") + rest


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
        values = _as_ids(values, missing, column.name, path)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if missing.any():
        return MaskedColumn(values, name=column.name, mask=missing, unit=column.unit, description=column.description)
    return Column(values, name=column.name, unit=column.unit, description=column.description)


def _as_ids(values: np.ndarray, missing: np.ndarray, name: str, path: Path) -> np.ndarray:
    present = np.where(missing, 0, values)
    if values.dtype.kind == "f" and ((np.abs(present) > _EXACT_IN_FLOAT) | (present != np.trunc(present))).any():
        row = int(np.argmax((np.abs(present) > _EXACT_IN_FLOAT) | (present != np.trunc(present))))
        raise TableError(
            f"column {name} of {path} holds {present.flat[row]!s} in row {row}: a float has rounded the identifier; "
            "write the column as 64-bit integers"
        )
    if (present > np.iinfo(np.int64).max).any():
        row = int(np.argmax(present > np.iinfo(np.int64).max))
        raise TableError(f"column {name} of {path} holds {present.flat[row]!s} in row {row}: more than 64 bits")
    return present.astype(np.int64)


def _read_csv(path: Path, chosen: Callable[[Iterable[str]], list[str]]) -> Table:
    import pyarrow.csv  # 0.3 s that worker processes need not spend

    with path.open("rb") as file:
        if file.read(7) == b"# %ECSV":
            return _read_ecsv(path, chosen)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=parse) as first_rows:
        there = first_rows.schema.names
    by_name = {name.strip(): name for name in reversed(there)}
    names = chosen(name.strip() for name in there)
    options = pyarrow.csv.ConvertOptions(include_columns=[by_name[name] for name in names], strings_can_be_null=True)
    rows = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options)
    return _from_arrow(path, rows, names)


def _read_ecsv(path: Path, chosen: Callable[[Iterable[str]], list[str]]) -> Table:
    table = Table.read(path, format="ascii.ecsv")
    return table[chosen(table.colnames)]


def _read_parquet(path: Path, chosen: Callable[[Iterable[str]], list[str]]) -> Table:
    import pyarrow.parquet  # 0.3 s that worker processes need not spend

    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        # astropy writes the mask of a column into another one, and the units into the metadata.
        masks = {name: f"{name}.mask" for name in schema.names if f"{name}.mask" in schema.names}
        names = chosen(name for name in schema.names if name not in masks.values())
        masks = {name: mask for name, mask in masks.items() if name in names}
        rows = file.read(columns=[*names, *masks.values()])
    table = _from_arrow(path, rows.select(names), names, _astropy_units(schema.metadata or {}))
    for name, mask in masks.items():
        table[name] = MaskedColumn(table[name], mask=rows.column(mask).to_numpy())
    return table


def _astropy_units(metadata: dict[bytes, bytes]) -> dict[str, str]:
    from astropy.table.meta import get_header_from_yaml  # pyyaml's safe loader and no other

    lines = metadata.get(b"table_meta_yaml", b"").decode().split("\n")
    columns = get_header_from_yaml(lines)["datatype"] if lines != [""] else []
    return {column["name"]: column["unit"] for column in columns if "unit" in column}


def _from_arrow(path: Path, rows, names: list[str], units: dict[str, str] | None = None) -> Table:
    import pyarrow as pa

    table = Table()
    for name, column in zip(names, rows.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_null(column.type):
            column = column.cast(pa.float64())
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.int64() if column.type.scale == 0 else pa.float64())
        if pa.types.is_temporal(column.type):
            column = column.cast(pa.string())
        if pa.types.is_nested(column.type):
            raise TableError(f"column {name} of {path} holds {column.type}, not one value a row")
        missing = column.is_null().to_numpy()
        if column.null_count and not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)  # never by way of a float
        table[name] = MaskedColumn(column.to_numpy(), mask=missing, unit=(units or {}).get(name))
    return table


def _read_fits(path: Path, chosen: Callable[[Iterable[str]], list[str]]) -> Table:
    from astropy.io import fits

    with fits.open(path, memmap=not path.name.lower().endswith(".gz")) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise TableError(f"{path} holds no table: only images, or it ends early")
        names = chosen(tables[0].columns.names)
        # Only these columns leave the memory map; a column holds its own null value and unit. No reference is kept to
        # the others: astropy copies every column that is still referred to when the file is closed.
        there = tables[0].columns.names
        part = type(tables[0]).from_columns([tables[0].columns[there.index(name)] for name in names])
        return Table.read(part, format="fits", character_as_bytes=False)


def _read_votable(path: Path, chosen: Callable[[Iterable[str]], list[str]]) -> Table:
    from astropy.io import votable  # 0.5 s that worker processes need not spend

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if re.search(rb"<[\w:]*STREAM\b[^>]*\bhref", text, re.IGNORECASE):
            raise TableError(f"{path} refers to data kept elsewhere (STREAM href): save the table with its data inside")
    table = votable.parse(path, verify="ignore").get_first_table().to_table(use_names_over_ids=True)
    return table[chosen(table.colnames)]


_READERS = {
    (".csv",): _read_csv,
    (".ecsv",): _read_ecsv,
    (".fits", ".fit", ".fits.gz"): _read_fits,
    (".vot", ".votable", ".xml"): _read_votable,
    (".parquet", ".pq"): _read_parquet,
}


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


def mask_below(table: Table, name: str, lowest: float) -> None:
    """Mask the values below ``lowest``: a survey's own mark of what it does not have."""
    column = table[name]
    missing = np.ma.getmaskarray(np.ma.asarray(column)) | (np.ma.getdata(column) < lowest)
    if missing.any():
        table[name] = MaskedColumn(column, mask=missing)


def positions(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The ICRS positions of a table's rows, both in degrees and float64.

    The columns are the first pair there of ra_deg and dec_deg, ra and dec, raj2000 and dej2000, ra_dr2 and dec_dr2, and
    others alike, in capitals or not. A column with a unit is converted from it. Without one it is taken for degrees,
    unless every right ascension is below 24: hours cannot be told from degrees then, and nothing is guessed. A column
    named ra_deg states its unit. A row whose position is missing or off the sky is NaN in both.

    Raises:
        TableError: if there are no such columns, no row has a position on the sky, or they may be in hours; the message
            names the column and the row, counted from 0.
    """
    ra_name, dec_name = _position_columns("the table", table.colnames)
    ra_deg, dec_deg = _degrees(table[ra_name]), _degrees(table[dec_name])
    on_sky = (ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90)
    if len(table) and not on_sky.any():
        raise TableError(
            f"no row of columns {ra_name} and {dec_name} is a position within 0 to 360 and -90 to 90 deg; the first is "
            f"({ra_deg[0]:g}, {dec_deg[0]:g})"
        )
    ra_deg, dec_deg = (np.where(on_sky, values, np.nan) for values in (ra_deg, dec_deg))
    unstated = table[ra_name].unit is None and not ra_name.lower().endswith("deg")
    if unstated and on_sky.any() and np.nanmax(ra_deg) < 24:
        row = int(np.nanargmax(ra_deg))
        raise TableError(
            f"column {ra_name} has no unit and nothing above {ra_deg[row]:g} (row {row}): these may be hours; if they "
            "are degrees give the column the unit deg or the name ra_deg (and dec_deg), if hours multiply them by 15"
        )
    return ra_deg, dec_deg


def position_columns(names: Iterable[str]) -> tuple[str, str] | None:
    """The columns among ``names`` that :func:`positions` takes, or None."""
    lower = {name.lower(): name for name in reversed(list(names))}
    for ra_name, dec_name in _POSITIONS:
        if ra_name in lower and dec_name in lower:
            return lower[ra_name], lower[dec_name]
    return None


def _position_columns(what: object, names: list[str]) -> tuple[str, str]:
    found = position_columns(names)
    if found is None:
        raise TableError(f"{what} has no columns ra and dec (in degrees); it has {listed('ra', names)}")
    return found


def _degrees(column: Column) -> np.ndarray:
    from astropy import units as u

    values = np.ma.asarray(column)
    if values.dtype.kind not in "iuf":
        raise TableError(f"column {column.name} is {values.flat[0]!s} in row 0: not a number; write it in degrees")
    values = values.astype(np.float64).filled(np.nan)
    if column.unit is None or str(column.unit).lower() in ("", "degrees"):
        return values
    try:
        return (values * u.Unit(column.unit)).to_value(u.deg)
    except (u.UnitConversionError, ValueError, TypeError):
        raise TableError(f"column {column.name} has the unit {column.unit}, not that of an angle: give deg") from None
