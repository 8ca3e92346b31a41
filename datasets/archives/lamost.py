"""LAMOST LSP3 (Xiang et al. 2017, MNRAS 467, 1890): the labels that the paper compares with, from a user's table.

The catalogue circulates in several forms with their own column names, so the names come from whoever has the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from astropy import units as u
from astropy.table import Table

from datasets.tables.local import TableError, mask_below, read_table, with_units

UNITS = {
    **{"ra": u.deg, "dec": u.deg, "teff": u.K, "logg": u.dex, "fe_h": u.dex},
    **{"e_teff": u.K, "e_logg": u.dex, "e_fe_h": u.dex},
}
"""Our names and their units; log g is in dex of cm/s2. The errors may be left out."""

_NEEDED = ("ra", "dec", "teff", "logg", "fe_h")


def read_lamost(path: str | Path, columns: Mapping[str, str]) -> Table:
    """The labels in our names (`UNITS`), units attached, missing values (NaN, -9999) masked; rows as in the file.

    `columns` maps our names to the file's, for instance `{"ra": "RAJ2000", "dec": "DEJ2000", "teff": "Teff", "logg":
    "log_g_", "fe_h": "__Fe_H_"}`; columns under further names of the caller's are carried along.

    Raises:
        datasets.tables.local.TableError: if a needed name has no column in the mapping, or the file lacks one.
    """
    unmapped = [name for name in _NEEDED if name not in columns]
    if unmapped:
        raise TableError(f"for {path} no column is given for {', '.join(unmapped)}: name the file's column of each")
    table = read_table(path, tuple(dict.fromkeys(columns.values())))
    table = Table({ours: table[theirs] for ours, theirs in columns.items()})
    for name in table.colnames:
        if name in UNITS and name not in ("ra", "dec"):
            mask_below(table, name, -9000.0)
    return with_units(table, {name: unit for name, unit in UNITS.items() if name in columns})
