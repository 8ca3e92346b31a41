"""The archives' tables -> one row per star, as plain columns.

Rules:

- A Gaia source belongs to a star by `gaia_dr3_id1` = `source_id`, a GALAH spectrum by `gaia_dr3_id1` =
  `dr3_source_id`, a row of truth by `object_id`.
- Where several objects of dr4.master name one Gaia source, it belongs to the nearest (`gaia_dr3_dist1`; of equally
  near ones to the lowest `object_id`), and so do its spectra; the others have no match.
- Of several spectra of a star those with `teff`, `logg` and `fe_h` measured come first, among them those with
  `flag_sp` = 0, then those with `flag_fe_h` = 0, then the highest `snr_c3_iraf`, then the lowest `sobject_id`.
  That is the order of the cuts in `datasets.samples.selection`: a star passes if any of its spectra does.
- A missing value, or the value of a missing match, is NaN in a column of floats and -1 in a column of integers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table

from datasets.samples.selection import is_measured
from datasets.skymapper import BANDS
from datasets.smss_stamps.fields import FIELDS, INPUT_FIELDS, TRUTH_FIELDS
from datasets.tables.local import listed

_GAIA = ("source_id", "parallax", "parallax_error", "phot_g_mean_mag", "bp_rp", "ruwe")
_GALAH = ("sobject_id", "teff", "e_teff", "logg", "e_logg", "fe_h", "e_fe_h", "flag_sp", "flag_fe_h", "snr_c3_iraf")
_GALAH_INTEGERS = ("sobject_id", "dr3_source_id", "flag_sp", "flag_fe_h")
_MASTER = (
    *("object_id", "raj2000", "dej2000", "glat", "flags", "class_star", "ebmv_sfd", "self_dist1", "gaia_dr3_dist1"),
    *(f"{band}_{what}" for what in ("ngood", "psf") for band in BANDS),
    *(f"e_{band}_psf" for band in BANDS),
)
MASTER_COLUMNS = (*_MASTER, "gaia_dr3_id1")
"""The columns of dr4.master that `one_row_per_star` needs: what to ask the archive for."""

_SOURCE = {"ra": "raj2000", "dec": "dej2000"}
_SOURCE_PER_BAND = {"psf_mag": "{}_psf", "e_psf_mag": "e_{}_psf"}
_FROM_STAMP = ("stamp", "mask", "n_detections", "n_dropped", "fwhm", "n_masked_pixels")


def one_row_per_star(
    master: Table, gaia: Table, galah: Table | None = None, truth: Table | None = None
) -> dict[str, np.ndarray]:
    """Join the tables on the rows of `master`: columns of n stars, in the tables' own names.

    Without `galah` every star lacks a spectrum. `master` must hold all objects that compete for a Gaia source, or
    the nearest of those it holds will have it.

    Args:
        master: rows of dr4.master, with `MASTER_COLUMNS`.
        gaia: rows of gaia_source.
        galah: a row a spectrum.
        truth: what was put into the mock sky.

    Returns:
        Columns (n,), in the order of `master`.

    Raises:
        ValueError: if a table lacks a column, or has it in another type; the message names both.
    """
    stars = {name: plain(master, name, "dr4.master") for name in _MASTER}
    stars["object_id"] = ids(master, "object_id", "dr4.master")
    gaia_id = ids(master, "gaia_dr3_id1", "dr4.master")
    gaia_id[~is_nearest(gaia_id, stars["gaia_dr3_dist1"], stars["object_id"])] = -1
    stars |= _matched(gaia, _GAIA, match(gaia_id, ids(gaia, "source_id", "gaia")), "gaia")
    galah = _no_spectra() if galah is None else galah[best_spectra(galah)]
    stars |= _matched(galah, _GALAH, match(gaia_id, ids(galah, "dr3_source_id", "galah")), "galah")
    if truth is not None:
        rows = match(stars["object_id"], ids(truth, "object_id", "truth"))
        stars |= _matched(truth, tuple(TRUTH_FIELDS), rows, "truth")
    return stars


def plain(table: Table, name: str, table_name: str) -> np.ndarray:
    """A column as a plain array in native byte order, missing values NaN (floats) or -1 (integers, as int64).

    Args:
        table: any.
        name: of the column.
        table_name: for the message.

    Returns:
        (n,).

    Raises:
        ValueError: if the column is not there, or not of numbers.
    """
    if name not in table.colnames:
        raise ValueError(f"the table {table_name} has no column {name}; it has {listed(name, table.colnames, most=30)}")
    values = np.ma.asarray(table[name])
    if values.dtype.kind == "f":
        return values.filled(np.nan).astype(values.dtype.newbyteorder("="))
    if values.dtype.kind not in "iub":
        raise ValueError(f"column {name} of the table {table_name} holds {values.dtype}; numbers are needed")
    return np.ma.filled(values.astype(np.int64), -1)


def ids(table: Table, name: str, table_name: str) -> np.ndarray:
    """A column of identifiers as `plain` has it.

    Args:
        table: as of `plain`.
        name: as of `plain`.
        table_name: as of `plain`.

    Returns:
        (n,) int64, -1 where missing.

    Raises:
        ValueError: also for floats, which cannot tell neighbouring ids of 19 digits apart.
    """
    values = plain(table, name, table_name)
    if values.dtype.kind == "f":
        raise ValueError(f"column {name} of the table {table_name} holds {values.dtype}, which rounds ids: need int64")
    return values


def is_nearest(gaia_id: np.ndarray, distance_arcsec: np.ndarray, object_id: np.ndarray) -> np.ndarray:
    """Whether each object, as (n,) booleans, is the nearest of those that name the same Gaia source.

    An object of unknown distance comes last, and objects without a source (-1) share none.

    Args:
        gaia_id: (n,) Gaia source of each object, or -1.
        distance_arcsec: (n,) from the object to that source.
        object_id: (n,) int64.

    Returns:
        (n,) booleans.
    """
    distance = np.where(np.isnan(distance_arcsec), np.inf, distance_arcsec)
    order = np.lexsort((object_id, distance, gaia_id))
    nearest = gaia_id == -1
    nearest[order[np.unique(gaia_id[order], return_index=True)[1]]] = True
    return nearest


def best_spectra(galah: Table) -> np.ndarray:
    """Rows of the spectrum to use of each star, in order of `dr3_source_id`."""
    source_id, sobject_id = (ids(galah, name, "galah") for name in ("dr3_source_id", "sobject_id"))
    flag_sp, flag_fe_h, snr = (plain(galah, name, "galah") for name in ("flag_sp", "flag_fe_h", "snr_c3_iraf"))
    unlabelled = ~np.logical_and.reduce([is_measured(plain(galah, name, "galah")) for name in ("teff", "logg", "fe_h")])
    snr = np.where(is_measured(snr), snr, -np.inf)
    order = np.lexsort((sobject_id, -snr, flag_fe_h != 0, flag_sp != 0, unlabelled, source_id))
    return order[np.unique(source_id[order], return_index=True)[1]]


def _no_spectra() -> Table:
    names = ("dr3_source_id", *_GALAH)
    return Table(names=names, dtype=["i8" if name in _GALAH_INTEGERS else "f8" for name in names])


def match(keys: np.ndarray, unique_keys: np.ndarray) -> np.ndarray:
    """For every key its row among `unique_keys`, or -1; a missing key (-1) matches nothing."""
    if len(unique_keys) == 0:
        return np.full(len(keys), -1)
    order = np.argsort(unique_keys, kind="stable")
    rows = order[np.searchsorted(unique_keys, keys, sorter=order).clip(max=len(order) - 1)]
    return np.where((unique_keys[rows] == keys) & (keys != -1), rows, -1)


def _matched(table: Table, names: tuple[str, ...], rows: np.ndarray, table_name: str) -> dict[str, np.ndarray]:
    return {name: rows_or_missing(plain(table, name, table_name), rows) for name in names}


def rows_or_missing(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`values[rows]`, stars first, with a missing value (NaN or -1) where a row is -1."""
    missing = np.full_like(values, np.nan if values.dtype.kind == "f" else -1, shape=(1, *values.shape[1:]))
    return np.concatenate([values, missing])[rows]


def catalogue_fields(stars: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The fields of `FIELDS` that come from tables, stars first; of further fields those that the stars have."""
    fields = {name: field for name, field in FIELDS.items() if name not in _FROM_STAMP}
    if "true_teff" in stars:
        fields |= TRUTH_FIELDS
    if "input_row" in stars:
        fields |= INPUT_FIELDS
    return {name: _source(stars, name).astype(field.dtype) for name, field in fields.items()}


def _source(stars: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name in _SOURCE_PER_BAND:
        return np.stack([stars[_SOURCE_PER_BAND[name].format(band)] for band in BANDS], axis=-1)
    return stars[_SOURCE.get(name, name)]
