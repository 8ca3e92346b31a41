"""GALAH+ DR3 (Buder et al. 2021, MNRAS 506, 150): the labels, from the catalogue's FITS file.

`GALAH_DR3_main_allstar_v2.fits` has a row per star, `GALAH_DR3_main_allspec_v2.fits` a row per spectrum; both are
read alike, and `datasets.surveys.stars.best_spectra` chooses among the spectra of a star.
"""

from __future__ import annotations

from pathlib import Path

from astropy import units as u
from astropy.table import Table

from datasets.tables.local import read_table, with_units

UNITS = {
    **{"sobject_id": None, "dr3_source_id": None, "star_id": None, "ra_dr2": u.deg, "dec_dr2": u.deg},
    **{"teff": u.K, "e_teff": u.K, "logg": u.dex, "e_logg": u.dex, "fe_h": u.dex, "e_fe_h": u.dex},
    **{"flag_sp": None, "flag_fe_h": None, "snr_c3_iraf": None},
}
"""The columns read, and their units; log g is in dex of cm/s2."""


def read_galah(path: str | Path) -> Table:
    """The columns of `UNITS`, units attached, missing values masked, ids int64; rows as in the file.

    `path` is one of the survey's FITS files, or the same columns in another form of
    `datasets.tables.local.read_table`.

    Raises:
        datasets.tables.local.TableError: if the file cannot be read or lacks a column.
    """
    return with_units(read_table(path, tuple(UNITS)), UNITS)
