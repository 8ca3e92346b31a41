"""APOGEE DR17 (Abdurro'uf et al. 2022, ApJS 259, 35): the paper's comparison labels, from the allStar file."""

from __future__ import annotations

from pathlib import Path

from astropy import units as u
from astropy.table import Table

from datasets.tables.local import mask_below, read_table, with_units

UNITS = {
    **{"APOGEE_ID": None, "RA": u.deg, "DEC": u.deg, "SNR": None, "STARFLAG": None, "ASPCAPFLAG": None},
    **{"TEFF": u.K, "TEFF_ERR": u.K, "LOGG": u.dex, "LOGG_ERR": u.dex, "FE_H": u.dex, "FE_H_ERR": u.dex},
    **{"FE_H_FLAG": None, "GAIAEDR3_SOURCE_ID": None},
}
"""The columns read, and their units; log g is in dex of cm/s2."""

MIN_TEFF_K = 4000.0
"""Cooler stars are left out of the comparison: the network saw none (paper, section 5.3)."""


def read_apogee(path: str | Path) -> Table:
    """The columns of `UNITS` of `allStar-dr17-synspec_rev1.fits`, units attached, ids int64.

    Values that the survey marks as missing, by NaN or -9999, are masked, and so is a `GAIAEDR3_SOURCE_ID` below 1.
    The file of some gigabytes is memory-mapped, and only these columns of it are copied.

    Raises:
        datasets.tables.local.TableError: if the file cannot be read or lacks a column.
    """
    table = with_units(read_table(path, tuple(UNITS)), UNITS)
    for name in ("SNR", "TEFF", "TEFF_ERR", "LOGG", "LOGG_ERR", "FE_H", "FE_H_ERR"):
        mask_below(table, name, -9000.0)
    mask_below(table, "GAIAEDR3_SOURCE_ID", 1)
    return table
