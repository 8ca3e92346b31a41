"""A catalogue as a VOTable 1.4 of one table, streamed as BINARY2; and the header alone, for Parquet."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acf_jax.catalogue.columns import Column
from acf_jax.catalogue.errors import CatalogueError, told_if_not_written
from acf_jax.catalogue.files.contents import Contents, parsed_provenance
from acf_jax.catalogue.files.records import NULLS, ascii_width, big_endian, from_records, record_dtype, to_records
from acf_jax.files import whole_file

if TYPE_CHECKING:
    from astropy.io.votable.tree import Field, TableElement, VOTableFile

_DATATYPES = {"int32": "int", "int64": "long", "float32": "float", "float64": "double"}
_DATA, _DATA_END = b'<DATA><BINARY2><STREAM encoding="base64">\n', b"</STREAM></BINARY2></DATA>\n"
_LINE_BYTES = 57  # in a line of base64, which is then 76 characters
_PROVENANCE = "provenance"
_DESCRIPTION = re.compile("<DESCRIPTION>(.*?)</DESCRIPTION>", re.DOTALL)  # astropy breaks it into lines
_FRAMES = {"pos.eq": "icrs", "pos.galactic": "galactic"}
_HEADER_BYTES = 2**22  # beyond any header of ours


def described(column: Column) -> str:
    """A column's description, with the unit that neither VOUnit nor the FITS standard has."""
    return column.description + (", in dex" if column.unit == "dex" else "")


def standard_unit(column: Column) -> str:
    """A column's unit as VOUnit and FITS write it; they have no dex, which is a pure number there."""
    return "" if column.unit == "dex" else column.unit


def header_without_data(contents: Contents, text_widths: Mapping[str, int]) -> str:
    """The VOTable's XML without its data, for a file that holds the data in another form.

    It declares the number that stands for a missing identifier.
    """
    return _xml(contents, text_widths, declare_null=True)


def write(path: Path, contents: Contents, progress: str) -> None:
    """Write the file; a missing value is marked in the bits that BINARY2 begins each row with.

    Args:
        path: of the file.
        contents: what to write.
        progress: names a bar to show; empty: none.

    Raises:
        CatalogueError: as of `formats.write_catalogue`.
    """
    widths = contents.text_widths(ascii_width)
    dtype = record_dtype(contents.columns, widths, with_nulls=True)
    before, after = (part.encode() for part in _xml(contents, widths, declare_null=False).split("</TABLE>"))
    with told_if_not_written(path), whole_file(path) as file:
        file.write(before + _DATA)
        rest = b""
        for rows in contents.batches(progress):
            data = rest + to_records(rows, contents.columns, dtype).tobytes()
            n_whole = len(data) // _LINE_BYTES * _LINE_BYTES
            file.write(base64.encodebytes(data[:n_whole]))
            rest = data[n_whole:]
        file.write(base64.encodebytes(rest) + _DATA_END + b"</TABLE>" + after)


def read_columns(path: Path, names: Sequence[str], batch_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Some columns of the file, in batches. A VOTable that another program wrote is read as a whole.

    Args:
        path: of the file.
        names: of the columns.
        batch_rows: of a batch, at most.

    Yields:
        Columns, as `formats.read_columns`.

    Raises:
        CatalogueError: likewise.
    """
    header = _header(path)
    table = _parsed(path, header).get_first_table()
    if missing := [name for name in names if name not in [field.name for field in table.fields]]:
        raise CatalogueError(f"{path} has no column {', '.join(missing)}.")
    if header is None:
        yield from _batches(table, names, batch_rows)
    else:
        for records in _streamed(path, len(header) + len(_DATA), _dtype(table.fields), batch_rows):
            yield from_records(records, names)


def read_provenance(path: Path) -> dict:
    """See `formats.read_provenance`."""
    infos = _parsed(path, _header(path)).infos
    return next((parsed_provenance(info.value) for info in infos if info.name == _PROVENANCE), {})


def _xml(contents: Contents, text_widths: Mapping[str, int], declare_null: bool) -> str:
    from astropy.io.votable.tree import CooSys, Info, Resource, TableElement, VOTableFile

    tree = VOTableFile(version="1.4")
    tree.infos.append(Info(name=_PROVENANCE, value=contents.provenance_json()))
    resource = Resource(type="results")
    tree.resources.append(resource)
    for frame in _FRAMES.values():
        resource.coordinate_systems.append(CooSys(ID=frame, system=frame.upper() if frame == "icrs" else frame))
    for i, (name, value) in enumerate(contents.information()):
        resource.infos.append(Info(ID=f"info.{i}", name=name, value=value))
    table = TableElement(tree, name="catalogue", nrows=contents.n_rows)
    resource.tables.append(table)
    table.description = contents.provenance.get("title")
    for column in contents.columns:
        table.fields.append(_field(tree, column, text_widths, declare_null))
    xml = io.BytesIO()
    tree.to_xml(xml)
    return _DESCRIPTION.sub(_on_one_line, xml.getvalue().decode())


def _on_one_line(description: re.Match) -> str:
    return f"<DESCRIPTION>{' '.join(description[1].split())}</DESCRIPTION>"


def _field(tree: VOTableFile, column: Column, text_widths: Mapping[str, int], declare_null: bool) -> Field:
    from astropy.io.votable.tree import Field

    is_text = column.dtype == "str"
    field = Field(
        tree,
        name=column.name,
        ID=column.name,
        datatype="char" if is_text else _DATATYPES[column.dtype],
        arraysize=str(text_widths[column.name]) if is_text else None,
        unit=standard_unit(column) or None,
        ucd=column.ucd or None,
        ref=next((frame for start, frame in _FRAMES.items() if column.ucd.startswith(start)), None),
    )
    field.description = described(column)
    if declare_null and column.missing and not is_text and not column.is_float:
        field.values.null = -1
    return field


def _header(path: Path) -> bytes | None:
    """What stands before the data in a file that `write` wrote; None for another file."""
    start = b""
    try:
        with open(path, "rb") as file:
            while _DATA not in start and len(start) < _HEADER_BYTES and (more := file.read(2**16)):
                start += more
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}.") from error
    header, data, _ = start.partition(_DATA)
    return header if data else None


def _parsed(path: Path, header: bytes | None) -> VOTableFile:
    from astropy.io.votable import parse

    source = path if header is None else io.BytesIO(header + b"</TABLE></RESOURCE></VOTABLE>")
    try:
        return parse(source, verify="ignore")
    except Exception as error:  # its parser raises many kinds
        raise CatalogueError(f"{path} cannot be read as a VOTable: it is damaged or something else.") from error


def _dtype(fields: Sequence[Field]) -> np.dtype:
    """The record that `write` wrote."""
    dtypes = {name: big_endian(dtype) for dtype, name in _DATATYPES.items()}
    dtypes_of_fields = [dtypes.get(field.datatype) or f"S{field.arraysize}" for field in fields]
    nulls = (NULLS, "u1", ((len(fields) + 7) // 8,))
    return np.dtype([nulls, *zip([field.name for field in fields], dtypes_of_fields, strict=True)])


def _streamed(path: Path, start: int, dtype: np.dtype, batch_rows: int) -> Iterator[np.ndarray]:
    """The records of a stream that begins at a byte of the file, in batches."""
    n_lines = max(batch_rows * dtype.itemsize // _LINE_BYTES, 1)
    rest, end = b"", b""
    with open(path, "rb") as file:
        file.seek(start)
        while not end and (text := file.read(n_lines * 77)):
            text, end, _ = text.partition(b"<")
            try:
                data = rest + base64.b64decode(text)
            except ValueError:
                break
            n_bytes = len(data) // dtype.itemsize * dtype.itemsize
            yield np.frombuffer(data[:n_bytes], dtype)
            rest = data[n_bytes:]
    if rest or not end:
        raise CatalogueError(f"{path} ends in the middle of its data, or they are damaged.")


def _batches(table: TableElement, names: Sequence[str], batch_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Columns of a table in memory; missing values are NaN, -1 or empty texts."""
    for start in range(0, len(table.array), batch_rows):
        part = table.array[start : start + batch_rows]
        yield {name: _filled(part[name]) for name in names}


def _filled(values: np.ma.MaskedArray) -> np.ndarray:
    if values.dtype.kind in "fc":
        return values.filled(np.nan)
    if values.dtype.kind in "iu":
        return values.filled(-1)
    return np.ma.filled(values.astype(object), "")
