"""Cells of a user's table -> numbers, a cell that is none being missing and named, whatever the others are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from astropy.table import Column

_MISSING = frozenset(("", "nan", "null", "none", "n/a", "na", "--", "-"))
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?")
_SEXAGESIMAL = re.compile(
    r"""(?P<sign>[+-]?)\s*(?P<first>\d{1,3})\s*[:hd°\s]\s*(?P<minutes>[0-5]?\d)\s*[:m'′\s]\s*"""
    r"""(?P<seconds>[0-5]?\d(?:\.\d*)?)\s*[s"″]?""",
    re.IGNORECASE,
)


class Cells(NamedTuple):
    """A column's values, and the cells that hold something else, by row, as they are written."""

    values: np.ndarray
    bad: dict[int, str]


def floats(column: Column) -> Cells:
    """The column as float64, NaN where a cell is missing or bad."""
    values, missing = np.ma.getdata(np.ma.asarray(column)), np.ma.getmaskarray(np.ma.asarray(column))
    if values.dtype.kind in "iuf":
        return Cells(np.where(missing, np.nan, values.astype(np.float64)), {})
    return _parsed(texts(column), "float64", np.nan, _float)


def integers(column: Column) -> Cells:
    """The column as int64, -1 where a cell is missing, negative or bad; no digit is lost.

    Raises:
        ValueError: if the cells are floats too large to be exact, so that all of them are rounded; the message names
            the first.
    """
    values, missing = np.ma.getdata(np.ma.asarray(column)), np.ma.getmaskarray(np.ma.asarray(column))
    if values.dtype.kind not in "iuf":
        found = _parsed(texts(column), "int64", -1, _integer)
        return Cells(np.maximum(found.values, -1), found.bad)
    missing = missing | np.isnan(values)
    wrong = ~missing & (values != np.trunc(values) if values.dtype.kind == "f" else values > np.iinfo(np.int64).max)
    bad = {int(row): str(values[row]) for row in np.flatnonzero(wrong)}
    usable = ~missing & ~wrong & (values >= 0)
    return Cells(np.where(usable, exact_integers(values, ~usable), -1), bad)


def exact_integers(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Identifiers that came as numbers of any type, as int64, 0 where missing; no digit is lost.

    Raises:
        ValueError: if a float has rounded one, which shows in its size or in decimals, or if one has more than 64
            bits; the message names the first and its row.
    """
    present = np.where(missing, 0, values)
    if values.dtype.kind == "f":
        ambiguous = 2.0 ** (np.finfo(values.dtype).nmant + 1)  # the next integer becomes this one, too
        lost = (np.abs(present) >= ambiguous) | (present != np.trunc(present))
        why = "a float has rounded the identifier"
    else:
        lost, why = present > np.iinfo(np.int64).max, "more than 64 bits"
    if lost.any():
        row = int(np.argmax(lost))
        raise ValueError(f"{present.flat[row]!s} in row {row}: {why}")
    return present.astype(np.int64)


def sexagesimal(column: Column) -> Cells | None:
    """The column as float64 in units of its first part (hours or degrees); None if no cell is written that way."""
    cells = texts(column)
    values, bad = np.full(len(cells), np.nan), {}
    for row, text in enumerate(cells):
        if text is not None:
            match = _SEXAGESIMAL.fullmatch(text)
            if match is None:
                bad[row] = text
            else:
                size = float(match["first"]) + float(match["minutes"]) / 60 + float(match["seconds"]) / 3600
                values[row] = -size if match["sign"] == "-" else size
    return None if np.isnan(values).all() else Cells(values, bad)


def texts(column: Column) -> list[str | None]:
    """The cells as stripped texts, None where one is missing."""
    values = np.ma.asarray(column)
    missing = np.ma.getmaskarray(values)
    return [None if lost else _text(value) for value, lost in zip(np.ma.getdata(values), missing.tolist(), strict=True)]


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()
    return None if text.lower() in _MISSING else text


def _parsed(cells: list[str | None], dtype: str, missing: float, parse: Callable[[str], float]) -> Cells:
    import pyarrow as pa

    try:  # all at once, many times faster
        values = pa.array(cells, pa.string()).cast(dtype.replace("float64", "double")).to_numpy(zero_copy_only=False)
        if values.dtype == dtype:
            return Cells(values.copy(), {})
    except pa.ArrowInvalid:
        pass
    found, bad = np.full(len(cells), missing, dtype), {}
    for row, text in enumerate(cells):
        if text is not None:
            try:
                found[row] = parse(text)
            except (ValueError, OverflowError):
                bad[row] = text
    return Cells(found, bad)


def _float(text: str) -> float:
    if "_" in text:  # Python's own, and nobody's in a table
        raise ValueError(text)
    return float(text)


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text.partition(".")[0])
