"""The archives' tables -> one row per star, as plain columns.

Rules:

- A Gaia source belongs to a star by ``gaia_dr3_id1`` = ``source_id``, a GALAH spectrum by ``gaia_dr3_id1`` =
  ``dr3_source_id``, a row of truth by ``object_id``.
- Of several spectra of a star the one with the highest ``snr_c3_iraf`` among the unflagged (``flag_sp`` = 0 and
  ``flag_fe_h`` = 0) is taken, or among all where every one is flagged; ties go to the lowest ``sobject_id``.
- A missing value, or the value of a missing match, is NaN in a column of floats and -1 in a column of integers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table

from datasets.archives.skymapper import BANDS
from datasets.smss_stamps.fields import FIELDS, TRUTH_FIELDS

_GAIA = ("source_id", "parallax", "parallax_error", "phot_g_mean_mag", "bp_rp", "ruwe")
_GALAH = ("sobject_id", "teff", "e_teff", "logg", "e_logg", "fe_h", "e_fe_h", "flag_sp", "flag_fe_h", "snr_c3_iraf")
_MASTER = (
    *("object_id", "raj2000", "dej2000", "glat", "flags", "class_star", "ebmv_sfd", "self_dist1", "gaia_dr3_dist1"),
    *(f"{band}_{what}" for what in ("ngood", "psf") for band in BANDS),
    *(f"e_{band}_psf" for band in BANDS),
)

_SOURCE = {"ra": "raj2000", "dec": "dej2000"}
_SOURCE_PER_BAND = {"psf_mag": "{}_psf", "e_psf_mag": "e_{}_psf"}
_FROM_STAMP = ("stamp", "mask", "n_detections", "fwhm", "n_masked_pixels")


def one_row_per_star(master: Table, gaia: Table, galah: Table, truth: Table | None = None) -> dict[str, np.ndarray]:
    """Join the tables on the rows of ``master``: columns of n stars, in the tables' own names.

    Raises:
        ValueError: if a table lacks a column; the message names both.
    """
    stars = {name: plain(master, name, "dr4.master") for name in _MASTER}
    gaia_id = plain(master, "gaia_dr3_id1", "dr4.master")
    stars |= _matched(gaia, _GAIA, match(gaia_id, plain(gaia, "source_id", "gaia")), "gaia")
    galah = galah[best_spectra(galah)]
    stars |= _matched(galah, _GALAH, match(gaia_id, plain(galah, "dr3_source_id", "galah")), "galah")
    if truth is not None:
        rows = match(stars["object_id"], plain(truth, "object_id", "truth"))
        stars |= _matched(truth, tuple(TRUTH_FIELDS), rows, "truth")
    return stars


def plain(table: Table, name: str, table_name: str) -> np.ndarray:
    """A column as a plain array in native byte order, missing values NaN (floats) or -1 (integers, as int64)."""
    if name not in table.colnames:
        raise ValueError(f"the table {table_name} has no column {name}")
    values = np.ma.asarray(table[name])
    if values.dtype.kind == "f":
        return values.filled(np.nan).astype(values.dtype.newbyteorder("="))
    return values.astype(np.int64).filled(-1)


def best_spectra(galah: Table) -> np.ndarray:
    """Rows of the spectrum to use of each star, in order of ``dr3_source_id``."""
    source_id, sobject_id, flag_sp, flag_fe_h, snr = (
        plain(galah, name, "galah") for name in ("dr3_source_id", "sobject_id", "flag_sp", "flag_fe_h", "snr_c3_iraf")
    )
    flagged = (flag_sp != 0) | (flag_fe_h != 0)
    order = np.lexsort((sobject_id, -np.nan_to_num(snr, nan=-np.inf), flagged, source_id))
    return order[np.unique(source_id[order], return_index=True)[1]]


def match(keys: np.ndarray, unique_keys: np.ndarray) -> np.ndarray:
    """For every key its row among ``unique_keys``, or -1; a missing key (-1) matches nothing."""
    if len(unique_keys) == 0:
        return np.full(len(keys), -1)
    order = np.argsort(unique_keys, kind="stable")
    rows = order[np.searchsorted(unique_keys, keys, sorter=order).clip(max=len(order) - 1)]
    return np.where((unique_keys[rows] == keys) & (keys != -1), rows, -1)


def _matched(table: Table, names: tuple[str, ...], rows: np.ndarray, table_name: str) -> dict[str, np.ndarray]:
    columns = {}
    for name in names:
        values = plain(table, name, table_name)
        missing = np.full_like(values, np.nan if values.dtype.kind == "f" else -1, shape=(1, *values.shape[1:]))
        columns[name] = np.concatenate([values, missing])[rows]
    return columns


def catalogue_fields(stars: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The fields of :data:`FIELDS` that come from tables (and of :data:`TRUTH_FIELDS` where given), stars first."""
    fields = {name: field for name, field in FIELDS.items() if name not in _FROM_STAMP}
    if "true_teff" in stars:
        fields |= TRUTH_FIELDS
    return {name: _source(stars, name).astype(field.dtype) for name, field in fields.items()}


def _source(stars: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name in _SOURCE_PER_BAND:
        return np.stack([stars[_SOURCE_PER_BAND[name].format(band)] for band in BANDS], axis=-1)
    return stars[_SOURCE.get(name, name)]
