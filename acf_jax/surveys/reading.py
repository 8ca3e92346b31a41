"""A survey's table, in whatever form -> its entries: exact ids, degrees, K and dex, missing values NaN or -1."""

from __future__ import annotations

import difflib
import io
import mmap
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from acf_jax.labels import LABELS
from acf_jax.surveys.known import ERRORS, NAMES, Survey, SurveyError, survey_named

LOWEST = -9000.0
"""A label below it is the survey's mark, -9999, of what it does not have."""

MOCK_KEYWORD = "MOCKSKY"
"""In the header of a FITS table: `datasets.mock_sky` made these labels from the truth."""

_LOG_GRAVITY = re.compile(r"dex|(\[|(dex|log(10)?)\()(cgs|cm/s(\*\*|\^)?2|cm[.*]?s(\*\*|\^)?\(?-2\)?)(\]|\))")
_ABUNDANCE = re.compile(r"dex(\(1?\))?|\[(-*|sun)\]|-+")
_EXACT_BELOW = 2**53  # from here on a float64 has lost an integer's last digit


@dataclass(frozen=True)
class Entries:
    """A survey's entries, n of them, missing values NaN, for `source_id` -1."""

    survey: Survey
    columns: Mapping[str, np.ndarray]  # `known.NAMES`, and the columns of the cuts: (n,)
    targets: tuple[str, ...]  # labels that it has
    is_mock: bool  # whether they were made from the mock sky's truth

    def __len__(self) -> int:
        return len(self.columns["source_id"])

    def without_ids(self) -> Entries:
        """The same, to be matched by position alone: ids of another Gaia release are other numbers."""
        return replace(self, columns={**self.columns, "source_id": np.full(len(self), -1)})


def read_entries(key: str, path: str | Path, columns: Mapping[str, str] | None = None) -> Entries:
    """Read a survey's table: of some gigabytes only the columns needed.

    Args:
        key: of the survey, one of `known.SURVEYS`, or `table`.
        path: .fits, .fit, .fits.gz, .parquet, .csv, .ecsv, .vot or .xml; of several tables in it the first.
        columns: our names -> the file's, where these are not the survey's own. Capitals may differ. Where a label is
            named here, its quoted errors are read only if they are, too.

    Returns:
        The entries, in the file's order.

    Raises:
        SurveyError: if there is no such survey, the file cannot be read or lacks a column, or a column is in an
            unknown unit, or holds rounded ids or words.
    """
    path = Path(path)
    survey = survey_named(key, path.name.partition(".")[0])
    asked = columns or {}
    of_others = {f"e_{label}" for label in LABELS if label in asked} - set(asked)  # errors of the usual columns
    wanted = {ours: theirs for ours, theirs in {**survey.columns, **asked}.items() if ours not in of_others}
    wanted |= {cut.column: cut.column for cut in survey.cuts if cut.column not in wanted}
    found: dict[str, str] = {}
    table = _read(path, lambda there: _chosen(path, there, wanted, key == "table", asked, found))
    read = {}
    for ours in {**survey.columns, **wanted}:
        if ours == "source_id":
            read[ours] = _ids(table[found[ours]], path) if ours in found else np.full(len(table), -1)
        else:
            read[ours] = _numbers(table[found[ours]], ours, path) if ours in found else np.full(len(table), np.nan)
    for name in (*LABELS, *ERRORS):
        lowest = 0.0 if name in ERRORS else LOWEST
        read[name] = np.where(read[name] < lowest, np.nan, read[name])
    return Entries(survey, read, tuple(label for label in LABELS if label in found), bool(table.meta.get(MOCK_KEYWORD)))


def _chosen(
    path: Path,
    there: Iterable[str],
    wanted: Mapping[str, str],
    is_own: bool,
    asked: Mapping[str, str],
    found: dict[str, str],
) -> list[str]:
    """The file's columns to read; `found` is filled with our names -> these."""
    there = list(there)
    lower = {name.lower(): name for name in reversed(there)}
    for ours, theirs in wanted.items():
        if name := theirs if theirs in there else lower.get(theirs.lower()):
            found[ours] = name
    optional = {"source_id", "ra", "dec", *ERRORS, *(LABELS if is_own else ())} - set(asked)
    missing = [ours for ours in wanted if ours not in found and ours not in optional]
    if len({"ra", "dec"} & set(found)) == 1 or not {"ra", "source_id"} & set(found):
        missing += [name for name in ("ra", "dec") if name not in found]
    if not set(LABELS) & set(found):
        missing += [name for name in LABELS if name not in missing]
    if missing:
        words = list(dict.fromkeys(wanted[name] for name in missing))
        close = [lower[name] for word in words for name in difflib.get_close_matches(word.lower(), lower, 3, 0.4)]
        listed = list(dict.fromkeys([*close, *there]))
        rest = f" and {len(listed) - 40} more" if len(listed) > 40 else ""
        advice = "; say which column is which, as in ra=RAJ2000,dec=DEJ2000,teff=Teff,logg=log_g,fe_h=Fe_H"
        raise SurveyError(
            f"{path} has no column {', '.join(words)}; it has {', '.join(listed[:40]) or 'none'}{rest}"
            f"{advice if set(missing) & set(NAMES) else ''}."
        )
    return list(dict.fromkeys(found.values()))


def _read(path: Path, chosen: Callable[[Iterable[str]], list[str]]) -> Any:
    """The chosen columns as an astropy table; its `meta` has the FITS headers' word on whether it is a mock."""
    readers = [reader for suffixes, reader in _READERS.items() if path.name.lower().endswith(suffixes)]
    if not readers:
        known = ", ".join(suffix for suffixes in _READERS for suffix in suffixes)
        raise SurveyError(f"{path} has none of the suffixes of known tables ({known}): rename or convert it.")
    if not path.is_file():
        raise SurveyError(f"there is no file {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that astropy does not know: `_numbers` says which
            return readers[0](path, chosen)
    except (SurveyError, MemoryError):
        raise
    except Exception as error:  # the libraries raise nearly every kind on a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SurveyError(f"{path} cannot be read as a table: {reason}.") from error


def _read_fits(path: Path, chosen: Callable) -> Any:
    from astropy.io import fits
    from astropy.table import Table

    with fits.open(path, memmap=not path.name.lower().endswith(".gz")) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise SurveyError(f"{path} holds no table: only images, or it ends early.")
        # Only these columns leave the memory map, and no reference is kept to the others: astropy copies every column
        # that is still referred to when the file is closed.
        names = tables[0].columns.names
        few = type(tables[0]).from_columns([tables[0].columns[names.index(name)] for name in chosen(names)])
        table = Table.read(few, format="fits", character_as_bytes=False)
        table.meta[MOCK_KEYWORD] = any(bool(hdu.header.get(MOCK_KEYWORD, False)) for hdu in hdus)
        return table


def _read_votable(path: Path, chosen: Callable) -> Any:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if re.search(rb"<[\w:]*STREAM\b[^>]*\bhref", text, re.IGNORECASE):
            raise SurveyError(
                f"{path} refers to data kept elsewhere (STREAM href): save the table with its data inside."
            )
    table = _votable(path)
    return table[chosen(table.colnames)]


def _votable(file: object) -> Any:
    from astropy.io import votable

    return votable.parse(file, verify="ignore").get_first_table().to_table(use_names_over_ids=True)


def _read_text(path: Path, chosen: Callable) -> Any:
    import pyarrow.csv

    with path.open("rb") as file:
        if file.read(7) == b"# %ECSV":
            from astropy.table import Table

            table = Table.read(path, format="ascii.ecsv")
            return table[chosen(table.colnames)]
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=parse) as reader:
        names = chosen(reader.schema.names)
    options = pyarrow.csv.ConvertOptions(include_columns=names, strings_can_be_null=True)
    return _from_arrow(pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options), {})


def _read_parquet(path: Path, chosen: Callable) -> Any:
    import pyarrow.parquet
    from astropy.table.meta import get_header_from_yaml  # pyyaml's safe loader and no other

    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        names = chosen(name for name in schema.names if not name.endswith(".mask"))
        masks = [f"{name}.mask" for name in names if f"{name}.mask" in schema.names]  # astropy's way to write nulls
        rows = file.read(columns=[*names, *masks])
    metadata = schema.metadata or {}
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
    if text := metadata.get(b"IVOA.VOTable-Parquet.content"):
        header = _votable(io.BytesIO(text))
        units |= {name: header[name].unit for name in names if name in header.colnames}
    if text := metadata.get(b"table_meta_yaml"):
        of_astropy = get_header_from_yaml(text.decode().split("\n"))["datatype"]
        units |= {column["name"]: column.get("unit", "") for column in of_astropy}
    return _from_arrow(rows, units)


def _from_arrow(rows: Any, units: Mapping[str, Any]) -> Any:
    """Nulls masked, and no id by way of a float."""
    import pyarrow as pa
    from astropy.table import MaskedColumn, Table

    table = Table()
    for name in rows.column_names:
        if name.endswith(".mask") and name.removesuffix(".mask") in table.colnames:
            table[name.removesuffix(".mask")].mask |= rows[name].to_numpy()
            continue
        column, missing = rows[name], rows[name].is_null().to_numpy()
        if pa.types.is_integer(column.type):
            column = column.fill_null(0)
        elif pa.types.is_null(column.type):
            column = column.cast(pa.float64())
        table[name] = MaskedColumn(column.to_numpy(), mask=missing, unit=units.get(name) or None)
    return table


_READERS: dict[tuple[str, ...], Callable[[Path, Callable], Any]] = {
    (".fits", ".fit", ".fits.gz"): _read_fits,
    (".parquet", ".pq"): _read_parquet,
    (".csv", ".ecsv"): _read_text,
    (".vot", ".votable", ".xml"): _read_votable,
}


def _cells(column: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values and which are missing; texts are stripped, and missing where they are empty."""
    values, missing = np.ma.getdata(column), np.ma.getmaskarray(np.ma.asarray(column))
    if values.ndim != 1:
        raise SurveyError(f"column {column.name} of {path} holds {values.shape[1:]} values a row, not one.")
    if values.dtype.kind not in "iufb":
        texts = np.array(["" if lost else str(value).strip() for value, lost in zip(values, missing, strict=True)])
        return texts, missing | (texts == "")
    return values, missing


def _numbers(column: Any, ours: str, path: Path) -> np.ndarray:
    """A column as float64 in our unit, NaN where missing or not finite."""
    values, missing = _cells(column, path)
    try:
        values = np.where(missing, "nan" if values.dtype.kind == "U" else np.nan, values).astype(np.float64)
    except ValueError as error:
        raise SurveyError(f"column {column.name} of {path} holds words ({error}): give its numbers alone.") from None
    return _in_our_unit(np.where(np.isfinite(values), values, np.nan), column, ours, path)


def _in_our_unit(values: np.ndarray, column: Any, ours: str, path: Path) -> np.ndarray:
    """Converted from the unit that the file states; without one they are taken to be in ours."""
    from astropy import units as u

    stated = str(column.unit or "").strip()
    if not stated or ours not in NAMES:
        return values
    unit = {"ra": "deg", "dec": "deg", "teff": "K", "e_teff": "K"}.get(ours, "dex")
    if unit == "dex":
        known = _LOG_GRAVITY if ours.endswith("logg") else _ABUNDANCE
        if known.fullmatch(stated.lower().replace(" ", "")):
            return values
    else:
        try:
            return values * u.Unit(re.sub(r"(?i)^deg(ree)?s?\.?$", "deg", stated)).to(unit)
        except (u.UnitsError, ValueError, TypeError):
            pass
    raise SurveyError(
        f"column {column.name} of {path} is in {stated!r}, which is not known to be a unit of {ours}: "
        f"convert it to {unit}, or correct the unit."
    )


def _ids(column: Any, path: Path) -> np.ndarray:
    """Gaia ids as int64, digit by digit; -1 where there is none, which is also what anything below 1 says."""
    values, missing = _cells(column, path)
    where = f"column {column.name} of {path}"
    if values.dtype.kind == "U":
        try:
            values = np.array([-1 if lost else int(text) for text, lost in zip(values, missing, strict=True)], np.int64)
        except (ValueError, OverflowError):
            raise SurveyError(f"{where} holds words, not Gaia's numbers: give source_id=COLUMN.") from None
    elif values.dtype.kind == "f":
        values = np.where(missing | ~np.isfinite(values), -1, values)
        if (np.abs(values) >= min(_EXACT_BELOW, 2 ** (np.finfo(values.dtype).nmant + 1))).any():
            raise SurveyError(f"{where} holds ids that a float has rounded: write it as 64-bit integers.")
    return np.where(missing | (values < 1), -1, values).astype(np.int64)
