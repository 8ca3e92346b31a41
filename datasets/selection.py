"""The samples of the paper as ordered lists of named cuts on one-row-per-star columns.

A missing value is NaN or -1 in these columns (see :mod:`datasets.stars`), so it passes no comparison that asks for
quality. The one exception is ``self_dist1``: there a missing value means that the archive, which searches to 15 arcsec,
found no neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.archives.skymapper import BANDS

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Cut:
    """One condition of a sample: the stars for which ``keep`` is true stay."""

    name: str
    description: str
    keep: Callable[[Columns], np.ndarray]


def is_isolated(columns: Columns, radius_arcsec: float = 15.0) -> np.ndarray:
    """No other source of the archive within ``radius_arcsec`` (at most 15), as (n,) booleans."""
    distance = columns["self_dist1"]
    return np.isnan(distance) | (distance >= radius_arcsec)


def has_parallax(columns: Columns, largest_relative_error: float = 0.3) -> np.ndarray:
    """A positive parallax known to better than ``largest_relative_error``, as (n,) booleans."""
    parallax, error = columns["parallax"], columns["parallax_error"]
    return (parallax > 0) & (error > 0) & (error < largest_relative_error * parallax)


def _measured(columns: Columns, names: Sequence[str]) -> np.ndarray:
    return np.logical_and.reduce([np.isfinite(columns[name]) for name in names])


def _in_every_band(columns: Columns) -> np.ndarray:
    return np.logical_and.reduce([columns[f"{band}_ngood"] >= 1 for band in BANDS])


HIGH_QUALITY: tuple[Cut, ...] = (
    Cut("gaia", "a Gaia EDR3 source within 1 arcsec", lambda c: (c["source_id"] >= 0) & (c["gaia_dr3_dist1"] <= 1.0)),
    Cut("galah", "a GALAH DR3 spectrum", lambda c: c["sobject_id"] >= 0),
    Cut("labels", "teff, logg and fe_h measured", lambda c: _measured(c, ("teff", "logg", "fe_h"))),
    Cut("latitude", "|glat| >= 10 deg", lambda c: np.abs(c["glat"]) >= 10.0),
    Cut("flag_sp", "flag_sp = 0", lambda c: c["flag_sp"] == 0),
    Cut("flag_fe_h", "flag_fe_h = 0", lambda c: c["flag_fe_h"] == 0),
    Cut("snr", "snr_c3_iraf > 30", lambda c: c["snr_c3_iraf"] > 30.0),
    Cut("flags", "flags = 0", lambda c: c["flags"] == 0),
    Cut("class_star", "class_star >= 0.6", lambda c: c["class_star"] >= 0.6),
    Cut("bands", "{f}_ngood >= 1 in every band", _in_every_band),
    Cut("isolated", "no other source within 15 arcsec", is_isolated),
    Cut("parallax", "parallax > 0 and parallax_error / parallax < 0.3", has_parallax),
)
"""The paper's high-quality sample (section 2.1), after the matches and labels without which there is no example."""


def first_failed(columns: Columns, cuts: Sequence[Cut] = HIGH_QUALITY) -> np.ndarray:
    """The index of the first cut that removes each star, or ``len(cuts)`` for a selected star: (n,) int8."""
    failed = ~np.stack([np.asarray(cut.keep(columns), dtype=bool) for cut in cuts])
    return np.where(failed.any(axis=0), failed.argmax(axis=0), len(cuts)).astype(np.int8)


def removed_per_cut(first_failed: np.ndarray, cuts: Sequence[Cut] = HIGH_QUALITY) -> list[int]:
    """How many stars each cut removes among those that passed the cuts before it."""
    return np.bincount(first_failed, minlength=len(cuts) + 1)[: len(cuts)].tolist()
