"""Labels of another survey for the stars of a sample: its table read, cross-matched and cut (paper, section 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from datasets.archives.apogee import MIN_TEFF_K, read_apogee
from datasets.archives.lamost import UNITS as LAMOST_UNITS
from datasets.archives.lamost import read_lamost
from datasets.samples.crossmatch import Matches, closest_first, crossmatch
from datasets.tables.local import TableError, read_table

RADIUS_ARCSEC = 1.0
LAMOST_TEFF_K = (4000.0, 8000.0)
"""What the network was trained on: the paper leaves out the others without printing the limits."""

LABELS = ("teff", "logg", "fe_h")
MOCK_KEYWORD = "MOCKSKY"
"""In the header of a table's FITS extension: these labels were made from the mock sky's truth."""


class _Cut(NamedTuple):
    description: str
    keep: Callable[[Table], np.ndarray]


class _Survey(NamedTuple):
    name: str
    columns: Mapping[str, str]  # our names -> the read table's
    cuts: tuple[_Cut, ...]


_ERRORS = tuple(f"e_{label}" for label in LABELS)
_APOGEE_COLUMNS = {
    **{"ra": "RA", "dec": "DEC", "teff": "TEFF", "logg": "LOGG", "fe_h": "FE_H"},
    **{"e_teff": "TEFF_ERR", "e_logg": "LOGG_ERR", "e_fe_h": "FE_H_ERR"},
}

SURVEYS = {
    "apogee": _Survey(
        "APOGEE DR17",
        _APOGEE_COLUMNS,
        (
            _Cut("STARFLAG = 0", lambda table: _is(table["STARFLAG"], lambda flag: flag == 0)),
            _Cut("FE_H_FLAG = 0", lambda table: _is(table["FE_H_FLAG"], lambda flag: flag == 0)),
            _Cut(f"TEFF >= {MIN_TEFF_K:g} K", lambda table: _is(table["TEFF"], lambda teff: teff >= MIN_TEFF_K)),
        ),
    ),
    "lamost": _Survey(
        "LAMOST LSP3",
        {name: name for name in LAMOST_UNITS},
        (
            _Cut(
                f"Teff within {LAMOST_TEFF_K[0]:g} to {LAMOST_TEFF_K[1]:g} K",
                lambda table: _is(table["teff"], lambda k: (k >= LAMOST_TEFF_K[0]) & (k <= LAMOST_TEFF_K[1])),
            ),
        ),
    ),
}
"""The surveys that the paper compares with, by the name given on the command line."""


def matched_labels(
    survey: str,
    path: str | Path,
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    *,
    radius_arcsec: float = RADIUS_ARCSEC,
    lamost_columns: Mapping[str, str] | None = None,
) -> dict:
    """The labels that a survey has for stars at given positions.

    Every entry of the table goes to the star nearest to it, is cut as the paper cuts, and of the entries left a star
    takes the nearest (of two equally near the first): so a star whose one visit is flagged keeps its other. Positions
    are compared as they are written; a star that moves by more than the radius between the epochs is lost, as it is to
    the paper's match.

    Args:
        survey: one of `SURVEYS`.
        path: `allStar-dr17-synspec_rev1.fits`, or a table of LAMOST LSP3; in a form of `tables.local.read_table`.
        ra_deg: (n,) right ascensions of the stars.
        dec_deg: (n,) their declinations.
        radius_arcsec: how far from a star an entry may be.
        lamost_columns: our names (`lamost.UNITS`) -> the file's columns; by default the file uses our names. LSP3
            circulates under several.

    Returns:
        `survey`: its name; `row` (m,) int64: rows of the given positions, increasing, none twice; `teff`,
        `logg`, `fe_h` (m,) float64 in K and dex, and their quoted errors `e_teff`, `e_logg`, `e_fe_h`, NaN
        where the survey has none; `counts`: what was read, matched, removed by each cut and kept, in that order;
        `is_mock`: whether the labels were made from the mock sky's truth.

    Raises:
        ValueError: if there is no such survey, or the positions differ in length.
        datasets.tables.local.TableError: if the table cannot be read or lacks a column.
    """
    if survey not in SURVEYS:
        raise ValueError(f"there is no survey {survey!r}: give one of {', '.join(SURVEYS)}")
    name, columns, cuts = SURVEYS[survey]
    table = read_apogee(path) if survey == "apogee" else _read_lamost(path, lamost_columns)
    pairs = crossmatch(
        table[columns["ra"]], table[columns["dec"]], ra_deg, dec_deg, radius_arcsec, one_to_one=False
    )  # fmt: skip
    counts = {"entries in the table": len(table), f"within {radius_arcsec:g} arcsec of a star": len(pairs.left_row)}
    table = table[pairs.left_row]
    kept = np.ones(len(table), bool)
    for cut in cuts:
        passed = kept & cut.keep(table)
        counts[f"left out: not {cut.description}"] = int(kept.sum() - passed.sum())
        kept = passed
    entry, star, _ = closest_first(Matches(np.flatnonzero(kept), *(part[kept] for part in pairs[1:])))
    counts["left out: further entries of a star"] = int(kept.sum() - len(star))
    counts["stars compared"] = len(star)
    order = np.argsort(star)
    table = table[entry[order]]
    labels = {ours: _floats(table, columns[ours]) for ours in (*LABELS, *_ERRORS)}
    return {"survey": name, "row": star[order], **labels, "counts": counts, "is_mock": _is_mock(path)}


def columns_from(text: str) -> dict[str, str]:
    """A mapping of column names as it is typed, `ra=RAJ2000,dec=DEJ2000,teff=Teff,logg=log_g_,fe_h=__Fe_H_`.

    Raises:
        ValueError: if a part is not `ours=theirs`, or ours is no name of `lamost.UNITS`.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    for ours, equals, theirs in pairs:
        if ours.strip() not in LAMOST_UNITS or not equals or not theirs.strip():
            part = f"{ours}{equals}{theirs}"
            raise ValueError(f"{part!r} names no column: write NAME=COLUMN with NAME one of {', '.join(LAMOST_UNITS)}")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _read_lamost(path: str | Path, columns: Mapping[str, str] | None) -> Table:
    if columns is None:
        try:
            there = read_table(path, ("ra", "dec", *LABELS), optional=_ERRORS).colnames
        except TableError as error:
            if "has no column" not in str(error):
                raise
            raise TableError(
                f"{error}; say which column is which, as in ra=RAJ2000,dec=DEJ2000,teff=Teff,logg=log_g,fe_h=Fe_H"
            ) from error
        columns = {name: name for name in there}
    return read_lamost(path, columns)


def _is(column, condition: Callable) -> np.ndarray:
    """Where a condition holds; a missing value fails it."""
    return np.ma.filled(condition(np.ma.asarray(column)), False)


def _floats(table: Table, name: str) -> np.ndarray:
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    return np.ma.filled(np.ma.asarray(table[name], np.float64), np.nan)


def _is_mock(path: str | Path) -> bool:
    if not str(path).lower().endswith((".fits", ".fit", ".fits.gz")):
        return False
    with fits.open(path) as hdus:
        return any(bool(hdu.header.get(MOCK_KEYWORD, False)) for hdu in hdus)
