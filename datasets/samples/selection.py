"""The samples of the paper, each as an ordered list of cuts: on one-row-per-star columns, and as ADQL.

The two forms select the same stars, boundary values and missing ones included:

- A missing value is NaN or -1 in the columns (see `datasets.surveys.stars`) and NULL, rarely NaN, in an archive's
  table; it passes no cut. The one exception is `self_dist1`: there a missing value means that the archive, which
  searches to 15 arcsec, found no neighbour.
- PostgreSQL, behind most services, orders NaN above every number, so `class_star >= 0.6` alone would accept it.
  Every quantity is therefore bounded from above, by `LARGEST` where nature sets no bound; nor does infinity pass.
- A column of float32 beside a constant is widened to double precision in PostgreSQL, while NumPy narrows the constant.
  For these constants it is the same: all but 0.6 and 0.3 are exact in float32, and the float32 next to 0.6 is larger,
  hence passes `>= 0.6` either way. `0.3 * parallax` is formed in double precision in both forms; the float32 next
  to 0.3 is larger, so that such an error of a parallax of 1 does not pass.

In ADQL, `m` is dr4.master, `g` Gaia's gaia_source and `s` a table of GALAH spectra. No public service is known to
hold all three: where one has the first two, a user's GALAH table is uploaded (TAP 1.1, section 2.5); otherwise
`master_where` leaves to the service what it can decide, and the other cuts are made on the columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.skymapper import BANDS

Columns = Mapping[str, np.ndarray]

LARGEST = 1e30
"""What is measured is smaller; NaN and infinity are not."""

_JOINS = {
    "g": "JOIN gaiaedr3.gaia_source AS g ON g.source_id = m.gaia_dr3_id1",
    "s": "JOIN tap_upload.galah AS s ON s.dr3_source_id = m.gaia_dr3_id1",
}


@dataclass(frozen=True)
class Cut:
    """One condition of a sample: the stars for which `keep`, and in a query `adql`, is true stay."""

    name: str
    description: str
    keep: Callable[[Columns], np.ndarray]
    adql: str

    @property
    def tables(self) -> frozenset[str]:
        """The tables that the condition reads, by their letters `m`, `g` and `s`."""
        return frozenset(re.findall(r"\b([mgs])\.", self.adql))

    @property
    def on_master(self) -> bool:
        """Whether dr4.master alone, row by row, decides."""
        return self.tables == {"m"}


def is_measured(values: np.ndarray) -> np.ndarray:
    """Neither missing nor infinite."""
    return np.abs(values) < LARGEST


def is_isolated(columns: Columns, radius_arcsec: float = 15.0) -> np.ndarray:
    """No other source of the archive within `radius_arcsec` (at most 15), as (n,) booleans."""
    distance = columns["self_dist1"]
    return np.isnan(distance) | (distance >= radius_arcsec)


def has_parallax(columns: Columns, largest_relative_error: float = 0.3) -> np.ndarray:
    """A positive parallax known to better than `largest_relative_error`, as (n,) booleans."""
    parallax, error = (np.asarray(columns[name], np.float64) for name in ("parallax", "parallax_error"))
    return is_measured(parallax) & (parallax > 0) & (error > 0) & (error < largest_relative_error * parallax)


def _in_every_band(columns: Columns) -> np.ndarray:
    return np.logical_and.reduce([columns[f"{band}_ngood"] >= 1 for band in BANDS])


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values <= high)


_NO_NEARER = (
    "NOT EXISTS (SELECT o.object_id FROM dr4.master AS o WHERE o.gaia_dr3_id1 = m.gaia_dr3_id1"
    " AND (o.gaia_dr3_dist1 < m.gaia_dr3_dist1"
    " OR (o.gaia_dr3_dist1 = m.gaia_dr3_dist1 AND o.object_id < m.object_id)))"
)

HIGH_QUALITY: tuple[Cut, ...] = (
    Cut(
        "gaia",
        "a Gaia EDR3 source within 1 arcsec",
        lambda c: (c["source_id"] >= 0) & (c["gaia_dr3_dist1"] <= 1.0),
        f"g.source_id >= 0 AND m.gaia_dr3_dist1 <= 1 AND {_NO_NEARER}",
    ),
    Cut("galah", "a GALAH DR3 spectrum", lambda c: c["sobject_id"] >= 0, "s.sobject_id >= 0"),
    Cut(
        "labels",
        "teff, logg and fe_h measured",
        lambda c: is_measured(c["teff"]) & is_measured(c["logg"]) & is_measured(c["fe_h"]),
        "ABS(s.teff) < 1.0E30 AND ABS(s.logg) < 1.0E30 AND ABS(s.fe_h) < 1.0E30",
    ),
    Cut(
        "latitude",
        "|glat| >= 10 deg",
        lambda c: _between(np.abs(c["glat"]), 10.0, 90.0),
        "ABS(m.glat) BETWEEN 10 AND 90",
    ),
    Cut("flag_sp", "flag_sp = 0", lambda c: c["flag_sp"] == 0, "s.flag_sp = 0"),
    Cut("flag_fe_h", "flag_fe_h = 0", lambda c: c["flag_fe_h"] == 0, "s.flag_fe_h = 0"),
    Cut(
        "snr",
        "snr_c3_iraf > 30",
        lambda c: is_measured(c["snr_c3_iraf"]) & (c["snr_c3_iraf"] > 30.0),
        "s.snr_c3_iraf > 30 AND s.snr_c3_iraf < 1.0E30",
    ),
    Cut("flags", "flags = 0", lambda c: c["flags"] == 0, "m.flags = 0"),
    Cut(
        "class_star",
        "class_star >= 0.6",
        lambda c: _between(c["class_star"], 0.6, 1.0),
        "m.class_star BETWEEN 0.6 AND 1",
    ),
    Cut(
        "bands",
        "{f}_ngood >= 1 in every band",
        _in_every_band,
        " AND ".join(f"m.{band}_ngood >= 1" for band in BANDS),
    ),
    Cut(
        "isolated",
        "no other source within 15 arcsec",
        is_isolated,
        "(m.self_dist1 IS NULL OR m.self_dist1 >= 15)",
    ),
    Cut(
        "parallax",
        "parallax > 0 and parallax_error / parallax < 0.3",
        has_parallax,
        "g.parallax > 0 AND g.parallax < 1.0E30 AND g.parallax_error > 0 AND g.parallax_error < 0.3 * g.parallax",
    ),
)
"""The paper's high-quality sample (section 2.2), after the matches and labels without which there is no example.

The paper prints `self_dist1 = 15`: DR4 searches to 15 arcsec, and what is meant is that it found none within.
"""

_CUTS = {cut.name: cut for cut in HIGH_QUALITY}
_RELAXED = ("latitude", "flags", "isolated")

LOW_QUALITY: tuple[Cut, ...] = (
    *(cut for cut in HIGH_QUALITY if cut.name not in _RELAXED),
    Cut(
        "not_high_quality",
        "|glat| < 10 deg, flags set, or another source within 15 arcsec",
        lambda c: ~np.logical_and.reduce([_CUTS[name].keep(c) for name in _RELAXED]),
        "(m.glat IS NULL OR ABS(m.glat) NOT BETWEEN 10 AND 90 OR m.flags IS NULL OR m.flags <> 0 OR m.self_dist1 < 15)",
    ),
)
"""The paper's low-quality sample (section 5.4): without the cuts on latitude, flags and neighbours, and without the
stars that pass those too, which are the high-quality sample."""

CATALOGUE: tuple[Cut, ...] = tuple(
    _CUTS[name] for name in ("latitude", "flags", "class_star", "bands", "isolated", "gaia", "parallax")
)
"""The candidates for the paper's catalogue (section 6): 10,239,010 after the cuts on dr4.master, 9,178,508 after all.

GALAH has no say in it, so its stars have no labels.
"""


def first_failed(columns: Columns, cuts: Sequence[Cut] = HIGH_QUALITY) -> np.ndarray:
    """The index of the first cut that removes each star, or `len(cuts)` for a selected star: (n,) int8."""
    if not cuts:
        return np.zeros(len(columns["object_id"]), np.int8)
    failed = ~np.stack([np.asarray(cut.keep(columns), dtype=bool) for cut in cuts])
    return np.where(failed.any(axis=0), failed.argmax(axis=0), len(cuts)).astype(np.int8)


def removed_per_cut(first_failed: np.ndarray, cuts: Sequence[Cut] = HIGH_QUALITY) -> list[int]:
    """How many stars each cut removes among those that passed the cuts before it."""
    return np.bincount(first_failed, minlength=len(cuts) + 1)[: len(cuts)].tolist()


def adql(cuts: Sequence[Cut], columns: str = "m.object_id") -> str:
    """The whole query of a sample, every cut under a comment with its name.

    A star comes once, even if several of its spectra pass, unless `columns` asks for some of `s`.
    """
    used = frozenset[str]().union(*(cut.tables for cut in cuts))
    distinct = "DISTINCT " if "s" in used else ""
    lines = [f"SELECT {distinct}{columns}", "FROM dr4.master AS m"]
    lines += [join for table, join in _JOINS.items() if table in used]
    # A comment may not end the query: not every ADQL parser takes it there.
    for word, cut in zip(["WHERE", *["AND"] * len(cuts)], cuts, strict=False):
        lines += [f"-- {cut.name}: {cut.description}", f"{word} {cut.adql}"]
    return "\n".join(lines)


def master_cuts(cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """Those cuts that dr4.master alone decides."""
    return tuple(cut for cut in cuts if cut.on_master)


def master_where(cuts: Sequence[Cut]) -> str:
    """The condition of `master_cuts`, in bare column names on one line, to follow `FROM dr4.master WHERE`."""
    return " AND ".join(re.sub(r"\bm\.", "", cut.adql) for cut in master_cuts(cuts))
