"""The forms that a user's table may have: CSV, ECSV, FITS, VOTable and Parquet -> columns as each form gives them.

Besides the columns a reader keeps, in the table's `meta`, what the file states of its coordinates: `RADESYS` and
`EQUINOX` of a FITS header, `coosys` of a VOTable (`datasets.tables.frames`). Nothing in a file is executed or
fetched.
"""

from __future__ import annotations

import difflib
import io
import mmap
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from astropy.table import MaskedColumn, Table

from datasets.errors import DataError

Chosen = Callable[[Iterable[str]], list[str]]
"""The columns to read, given the names of those there."""

VOTABLE_IN_PARQUET = b"IVOA.VOTable-Parquet.content"


class TableError(DataError, ValueError):
    """A user's table cannot be used; the message says which, why, and what to do."""


def listed(name: str, there: list[str], most: int = 40) -> str:
    """The columns there, those most like `name` first.

    Args:
        name: what was looked for.
        there: the columns there are.
        most: how many of them are named.

    Returns:
        The names, comma-separated.
    """
    lower = {column.lower(): column for column in there}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=5, cutoff=0.5)]
    ordered = list(dict.fromkeys([*close, *there]))
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return (", ".join(ordered[:most]) or "none") + rest


def reader_of(path: Path, cells_as_text: bool = False) -> Callable[[Path, Chosen], Table]:
    """The reader for a file's suffix; with `cells_as_text` the one of CSV gives every cell as it is written.

    Raises:
        TableError: if the suffix is not known.
    """
    name = path.name.lower()
    for suffixes, reader in _READERS.items():
        if name.endswith(suffixes):
            return read_csv_as_text if cells_as_text and reader is read_csv else reader
    known = ", ".join(suffix for suffixes in _READERS for suffix in suffixes)
    raise TableError(f"{path} has none of the suffixes of known table forms ({known}): rename or convert it")


def read_csv(path: Path, chosen: Chosen) -> Table:
    """A CSV file, its columns' types guessed from all of their cells."""
    import pyarrow.csv  # 0.3 s that worker processes need not spend

    if _is_ecsv(path):
        return read_ecsv(path, chosen)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    names, in_file = _csv_columns(path, parse, chosen)
    options = pyarrow.csv.ConvertOptions(include_columns=in_file, strings_can_be_null=True)
    return _from_arrow(path, pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options), names)


def read_csv_as_text(path: Path, chosen: Chosen) -> Table:
    """A CSV file, its cells as texts, so that one that is no number says nothing about the others of its column.

    A row that has more or fewer cells than the header has names comes with nothing in it; `meta["unread_rows"]` has
    its number and the reason.
    """
    import pyarrow as pa
    import pyarrow.csv

    if _is_ecsv(path):
        return read_ecsv(path, chosen)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    names, in_file = _csv_columns(path, parse, chosen)
    options = pyarrow.csv.ConvertOptions(
        include_columns=in_file, strings_can_be_null=True, column_types=dict.fromkeys(in_file, pa.binary())
    )
    unread: dict[int, str] = {}
    try:
        rows = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options)
    except pa.ArrowInvalid:
        rows, unread = _csv_around_bad_rows(path, options)
    table = _from_arrow(path, rows, names)
    table.meta["unread_rows"] = unread
    return table


def _csv_around_bad_rows(path: Path, options) -> tuple[object, dict[int, str]]:
    """The rows of a CSV file, those of another length than the header's empty, and what is wrong with each of these."""
    import pyarrow as pa
    import pyarrow.csv

    unread: dict[int, str] = {}

    def skip(row) -> str:
        unread[row.number - 2] = f"the row has other cells than the header has names ({row.actual_columns} of them)"
        return "skip"

    rows = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(use_threads=False),  # else rows have no numbers
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=options,
    )
    if not rows.num_rows:
        raise TableError(f"no row of {path} has as many cells as its header has names: is it separated by commas?")
    place = np.full(rows.num_rows + len(unread), -1)
    is_read = np.ones(len(place), bool)
    is_read[list(unread)] = False
    place[is_read] = np.arange(rows.num_rows)
    return rows.take(pa.array(place, mask=~is_read)), unread


def _is_ecsv(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(7) == b"# %ECSV"


def _csv_columns(path: Path, parse, chosen: Chosen) -> tuple[list[str], list[str]]:
    """The chosen columns' names, and the same as the file spells them, spaces included."""
    import csv

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        there = next(csv.reader(file), [])
    if not there:
        raise TableError(f"{path} is empty: the first line of a CSV file names its columns")
    by_name = {name.strip(): name for name in reversed(there)}
    names = chosen(name.strip() for name in there)
    return names, [by_name[name] for name in names]


def read_ecsv(path: Path, chosen: Chosen) -> Table:
    """An ECSV file, which states its units and more."""
    table = Table.read(path, format="ascii.ecsv")
    return table[chosen(table.colnames)]


def read_parquet(path: Path, chosen: Chosen) -> Table:
    """A Parquet file; units and coordinate systems as astropy or a VOTable header in its metadata state them."""
    import pyarrow.parquet  # 0.3 s that worker processes need not spend

    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        # astropy writes the mask of a column into another one, and the units into the metadata.
        masks = {name: f"{name}.mask" for name in schema.names if f"{name}.mask" in schema.names}
        names = chosen(name for name in schema.names if name not in masks.values())
        masks = {name: mask for name, mask in masks.items() if name in names}
        rows = file.read(columns=[*names, *masks.values()])
    metadata = schema.metadata or {}
    header = _votable_header(metadata)
    units = {name: header[name].unit for name in names if name in header.colnames} | _astropy_units(metadata)
    table = _from_arrow(path, rows.select(names), names, units)
    for name, mask in masks.items():
        table[name] = MaskedColumn(table[name], mask=rows.column(mask).to_numpy())
    table.meta.update(header.meta)
    return table


def _astropy_units(metadata: dict[bytes, bytes]) -> dict[str, str]:
    from astropy.table.meta import get_header_from_yaml  # pyyaml's safe loader and no other

    lines = metadata.get(b"table_meta_yaml", b"").decode().split("\n")
    columns = get_header_from_yaml(lines)["datatype"] if lines != [""] else []
    return {column["name"]: column["unit"] for column in columns if "unit" in column}


def _votable_header(metadata: dict[bytes, bytes]) -> Table:
    """The table without rows that the VOParquet convention keeps in a Parquet file's metadata."""
    text = metadata.get(VOTABLE_IN_PARQUET)
    if text is None:
        return Table()
    from astropy.io import votable

    return _from_votable(votable.parse(io.BytesIO(text), verify="ignore"))


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
        if column.null_count and (pa.types.is_primitive(column.type)):
            column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)  # never by way of a float
        table[name] = MaskedColumn(column.to_numpy(), mask=missing, unit=(units or {}).get(name))
    return table


def read_fits(path: Path, chosen: Chosen) -> Table:
    """The first table of a FITS file."""
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
        table = Table.read(part, format="fits", character_as_bytes=False)
        header = tables[0].header if {"RADESYS", "EQUINOX"} & set(tables[0].header) else hdus[0].header
        table.meta.update({name: header[name] for name in ("RADESYS", "EQUINOX") if name in header})
        return table


def read_votable(path: Path, chosen: Chosen) -> Table:
    """The first table of a VOTable."""
    from astropy.io import votable  # 0.5 s that worker processes need not spend

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if re.search(rb"<[\w:]*STREAM\b[^>]*\bhref", text, re.IGNORECASE):
            raise TableError(f"{path} refers to data kept elsewhere (STREAM href): save the table with its data inside")
    table = _from_votable(votable.parse(path, verify="ignore"))
    return table[chosen(table.colnames)]


def _from_votable(file) -> Table:
    """The first table, with its coordinate systems and which columns refer to them."""
    first = file.get_first_table()
    table = first.to_table(use_names_over_ids=True)
    systems = {system.ID: (system.system, system.equinox, system.epoch) for system in file.iter_coosys()}
    table.meta["coosys"] = systems
    table.meta["refs"] = {field.name: field.ref for field in first.fields if field.ref in systems}
    return table


_READERS = {
    (".csv",): read_csv,
    (".ecsv",): read_ecsv,
    (".fits", ".fit", ".fits.gz"): read_fits,
    (".vot", ".votable", ".xml"): read_votable,
    (".parquet", ".pq"): read_parquet,
}
