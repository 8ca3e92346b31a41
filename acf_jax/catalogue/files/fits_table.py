"""A catalogue as a FITS binary table, streamed, with checksums (FITS Standard 4.0, Sec. 7.3 and 4.4.2.7)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acf_jax.catalogue.columns import Column
from acf_jax.catalogue.errors import CatalogueError, told_if_not_written
from acf_jax.catalogue.files.contents import Contents, parsed_provenance
from acf_jax.catalogue.files.fits_checksum import DataSum, header_checksum
from acf_jax.catalogue.files.records import ascii_text, ascii_width, from_records, record_dtype, to_records
from acf_jax.catalogue.files.votable import described, standard_unit
from acf_jax.files import whole_file

if TYPE_CHECKING:
    from astropy.io.fits import Header

_BLOCK = 2880
_HDU = 1
_LETTERS = {"int32": "J", "int64": "K", "float32": "E", "float64": "D"}
_PROVENANCE = "PROVJSON"


def write(path: Path, contents: Contents, progress: str) -> None:
    """Write the file; a missing identifier is TNULL, a missing float NaN, a missing text blank.

    Args:
        path: of the file.
        contents: what to write.
        progress: names a bar to show; empty: none.

    Raises:
        CatalogueError: as of `formats.write_catalogue`.
    """
    widths = contents.text_widths(ascii_width)
    dtype = record_dtype(contents.columns, widths)
    header = _header(contents, widths, dtype)
    with told_if_not_written(path), whole_file(path) as file:
        file.write(_primary())
        header_at = file.tell()
        file.write(header.tostring().encode())
        datasum = _write_data(file, contents, dtype, progress)
        file.seek(header_at)
        file.write(_with_checksums(header, datasum))


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
    header, start, dtype = _table(path)
    if missing := [name for name in names if name not in (dtype.names or ())]:
        raise CatalogueError(f"{path} has no column {', '.join(missing)}.")
    n_rows = header["NAXIS2"]
    with open(path, "rb") as file:
        file.seek(start)
        for first in range(0, n_rows, batch_rows):
            records = np.fromfile(file, dtype, min(batch_rows, n_rows - first))
            if len(records) < min(batch_rows, n_rows - first):
                raise CatalogueError(f"{path} ends in the middle of its data: it is damaged.")
            yield from_records(records, names)


def read_provenance(path: Path) -> dict:
    """See `formats.read_provenance`."""
    return parsed_provenance(_table(path)[0].get(_PROVENANCE))


def _write_data(file, contents: Contents, dtype: np.dtype, progress: str) -> int:
    """The records, filled up to whole blocks; returns their checksum."""
    datasum, n_bytes = DataSum(), 0
    for rows in contents.batches(progress):
        data = to_records(rows, contents.columns, dtype).tobytes()
        file.write(data)
        datasum.add(data)
        n_bytes += len(data)
    file.write(bytes(-n_bytes % _BLOCK))
    return datasum.value


def _primary() -> bytes:
    """The empty image that a FITS file begins with; without a date, so that equal catalogues are equal files."""
    from astropy.io.fits import PrimaryHDU

    header = PrimaryHDU().header
    _add_checksums(header)
    return _with_checksums(header, 0)


def _add_checksums(header: Header) -> None:
    header["CHECKSUM"] = (16 * "0", "of header and data")
    header["DATASUM"] = (10 * "0", "of the data")


def _with_checksums(header: Header, datasum: int) -> bytes:
    """The header's text with the checksums of it and of its data in their places."""
    header["DATASUM"] = (str(datasum), header.comments["DATASUM"])
    header["CHECKSUM"] = (header_checksum(header.tostring().encode(), datasum), header.comments["CHECKSUM"])
    return header.tostring().encode()


def _header(contents: Contents, widths: dict[str, int], dtype: np.dtype) -> Header:
    """The table's header, with placeholders for the checksums."""
    from astropy.io.fits import Header

    header = Header()
    for keyword, value, comment in (
        ("XTENSION", "BINTABLE", "binary table"),
        ("BITPIX", 8, "bytes"),
        ("NAXIS", 2, "rows of bytes"),
        ("NAXIS1", dtype.itemsize, "bytes in a row"),
        ("NAXIS2", contents.n_rows, "rows: one for each star"),
        ("PCOUNT", 0, "no heap"),
        ("GCOUNT", 1, "one group"),
        ("TFIELDS", len(contents.columns), "columns"),
        ("EXTNAME", "CATALOGUE", "stellar atmospheric parameters"),
        ("LONGSTRN", "OGIP 1.0", "long strings are continued by CONTINUE"),
        ("RADESYS", "ICRS", "frame of raj2000 and dej2000"),
    ):
        header[keyword] = (value, comment)
    for i, column in enumerate(contents.columns, start=1):
        _describe(header, i, column, widths)
    header[_PROVENANCE] = contents.provenance_json()
    for name, value in contents.information():
        header.add_history(ascii_text(f"{name}: {value}"))
    for comment in _astropy_comments(contents.columns):
        header.add_comment(comment)
    _add_checksums(header)
    return header


def _describe(header: Header, i: int, column: Column, widths: dict[str, int]) -> None:
    """The keywords of the ith column; TUCD and TCOMM are what TOPCAT and CFITSIO's tools read beside the standard's."""
    text_form = f"{widths[column.name]}A" if column.dtype == "str" else ""
    header[f"TTYPE{i}"] = (column.name, column.description.split(":")[0][:45])
    header[f"TFORM{i}"] = text_form or _LETTERS[column.dtype]
    if unit := standard_unit(column):
        header[f"TUNIT{i}"] = unit
    if column.missing and not text_form and not column.is_float:
        header[f"TNULL{i}"] = (-1, column.missing[:45])
    header[f"TUCD{i}"] = column.ucd
    header[f"TCOMM{i}"] = described(column)


def _astropy_comments(columns: Sequence[Column]) -> list[str]:
    """The comments in which astropy keeps descriptions and UCDs in FITS: from an empty table that astropy writes."""
    from astropy.io import fits
    from astropy.table import Column as TableColumn
    from astropy.table import Table

    table = Table(
        [
            TableColumn(
                np.zeros(0, "S1" if column.dtype == "str" else column.dtype),
                name=column.name,
                unit=standard_unit(column) or None,
                description=described(column),
                meta={"ucd": column.ucd},
            )
            for column in columns
        ]
    )
    file = io.BytesIO()
    table.write(file, format="fits")
    file.seek(0)
    return [str(comment) for comment in fits.getheader(file, _HDU)["COMMENT"]]


def _table(path: Path) -> tuple[Header, int, np.dtype]:
    """The table's header, the byte at which its data begin, and its records."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings(), fits.open(path) as hdus:
            warnings.simplefilter("ignore", AstropyUserWarning)  # of a file cut short; reading reports it
            hdu = hdus[_HDU]
            return hdu.header.copy(), hdu.fileinfo()["datLoc"], hdu.columns.dtype.newbyteorder(">")
    except (OSError, IndexError, AttributeError, ValueError, KeyError) as error:
        raise CatalogueError(f"{path} cannot be read as a FITS table: it is damaged or something else.") from error
