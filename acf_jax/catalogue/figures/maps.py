"""A catalogue's rows, in batches -> the binned maps of Figs. 14, 15 and 16, and which stars are not in them and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from acf_jax.catalogue.columns import Rows
from acf_jax.catalogue.figures.binning import Bins, CountMap, MedianMap
from acf_jax.catalogue.figures.galactocentric import PARALLAX_SNR_LIMIT, cylindrical_kpc, parallax_distance_kpc
from acf_jax.catalogue.flags import Flag

RING_DEG = Bins(-90, 2, 90)
"""Rings of Galactic latitude that the sky is cut into, each into cells as long as the ring is high."""

CELLS_OF_RING = np.maximum(1, np.rint(180 * np.cos(np.radians(RING_DEG.edges[:-1] + 1)))).astype(int)
"""(90,) so that all cells are of nearly one area, 4 square degrees."""

TEFF_K, LOGG_DEX = Bins(2500, 25, 300), Bins(-1, 0.04, 175)
R_KPC, Z_KPC = Bins(0, 0.2, 150), Bins(-15, 0.15, 200)
"""Cells of the paper's Figs. 15 and 16 (their captions)."""

FE_H_DEX = Bins(-3, 0.01, 400)
"""Of the histograms whose medians are drawn: a median is exact to 0.005 dex."""

NONE = Flag(0)
GOOD = (Flag.NO_RESULT | Flag.TEFF_OUTSIDE | Flag.PARALLAX_UNCERTAIN | Flag.CROWDED | Flag.SATURATED
        | Flag.FEW_DETECTIONS | Flag.UNLIKE_TRAINING | Flag.LARGE_UNCERTAINTY)  # fmt: skip
"""A star without any of these flags has numbers that can be used without further checks."""


@dataclass
class Tally:
    """How many stars a map shows, and how many it leaves out for each reason; each star counts once."""

    n_used: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, used: np.ndarray, needs: Iterable[tuple[str, np.ndarray]]) -> None:
        """Count stars; one not `used` (n,) counts for the first reason whose condition (n,) it does not meet."""
        self.n_used += int(np.count_nonzero(used))
        unexplained = ~used
        for reason, met in (*needs, ("outside the figure's cells", np.zeros(used.shape, bool))):
            self.leave_out(reason, int(np.count_nonzero(unexplained & ~met)))
            unexplained = unexplained & met

    def leave_out(self, reason: str, n_stars: int) -> None:
        """Count stars that are not in the map."""
        if n_stars:
            self.left_out[reason] += n_stars


@dataclass
class SkyMap:
    """Fig. 14: stars per cell of the sky, in Galactic coordinates."""

    COLUMNS: ClassVar = ("glon", "glat")

    stars: CountMap = field(
        default_factory=lambda: CountMap(Bins(0, 1, RING_DEG.n), Bins(0, 1, int(CELLS_OF_RING.max())))
    )
    tally: Tally = field(default_factory=Tally)

    def add(self, rows: Rows) -> None:
        """Take in rows of `COLUMNS`, each (n,)."""
        turns = np.asarray(rows["glon"], np.float64) / 360 % 1 % 1  # the second time because -1e-17 % 1 is 1
        # The pole itself belongs to the last ring, although a bin does not hold its upper edge.
        ring = RING_DEG.index(np.where(rows["glat"] == 90, 89, rows["glat"]))
        used = self.stars.add(ring, turns * CELLS_OF_RING[ring])
        self.tally.add(used, [("no position", np.isfinite(turns) & np.isfinite(rows["glat"]))])

    def density_per_deg2(self, longitude_deg: np.ndarray) -> np.ndarray:
        """Stars per square degree at these longitudes (m,), in each ring: (m, 90)."""
        sines = np.sin(np.radians(RING_DEG.edges))
        cell_deg2 = np.diff(sines) * 2 * np.pi * np.degrees(1) ** 2 / CELLS_OF_RING
        cells = (np.asarray(longitude_deg)[:, None] / 360 % 1 * CELLS_OF_RING).astype(int)
        return self.stars.counts[np.arange(RING_DEG.n), cells] / cell_deg2


@dataclass
class KielMap:
    """Fig. 15: stars, and their median [Fe/H], per cell of the Teff-log g plane."""

    COLUMNS: ClassVar = ("teff", "logg", "fe_h")

    fe_h: MedianMap = field(default_factory=lambda: MedianMap(TEFF_K, LOGG_DEX, FE_H_DEX))
    tally: Tally = field(default_factory=Tally)

    def add(self, rows: Rows) -> None:
        """Take in rows of `COLUMNS`, each (n,)."""
        used = self.fe_h.add(rows["teff"], rows["logg"], rows["fe_h"])
        has_result = np.logical_and.reduce([np.isfinite(rows[name]) for name in self.COLUMNS])
        self.tally.add(used, [("no result", has_result)])


@dataclass
class GalaxyMap:
    """Fig. 16: median [Fe/H] per cell of the R-z plane, at the distances that parallaxes give."""

    COLUMNS: ClassVar = ("raj2000", "dej2000", "parallax", "parallax_error", "fe_h")

    parallax_snr_limit: float = PARALLAX_SNR_LIMIT
    fe_h: MedianMap = field(default_factory=lambda: MedianMap(R_KPC, Z_KPC, FE_H_DEX))
    tally: Tally = field(default_factory=Tally)

    def add(self, rows: Rows) -> None:
        """Take in rows of `COLUMNS`, each (n,)."""
        finite = {name: np.isfinite(rows[name]) for name in self.COLUMNS}
        distance_kpc = parallax_distance_kpc(rows["parallax"], rows["parallax_error"], self.parallax_snr_limit)
        used = self.fe_h.add(*cylindrical_kpc(rows["raj2000"], rows["dej2000"], distance_kpc), rows["fe_h"])
        needs = [
            ("no result", finite["fe_h"]),
            ("no position", finite["raj2000"] & finite["dej2000"]),
            ("no parallax", finite["parallax"] & finite["parallax_error"]),
            (f"parallax not above {self.parallax_snr_limit:g} times its error", np.isfinite(distance_kpc)),
        ]
        self.tally.add(used, needs)


Map = SkyMap | KielMap | GalaxyMap
MAPS: Mapping[str, type[Map]] = {"figure_14": SkyMap, "figure_15": KielMap, "figure_16": GalaxyMap}


def fill(maps: Iterable[Map], batches: Iterable[Rows], excluded: Flag = NONE) -> None:
    """Add to each map the rows that have none of the `excluded` flags, batch by batch; the others are counted.

    Args:
        maps: to add to.
        batches: rows of `needed_columns(maps)`.
        excluded: the sum of flags whose stars are left out.
    """
    maps = list(maps)
    for rows in batches:
        admitted = (rows["flags"] & int(excluded)) == 0
        for one_map in maps:
            one_map.tally.leave_out("flagged", int(np.count_nonzero(~admitted)))
            one_map.add({name: np.asarray(rows[name], np.float64)[admitted] for name in one_map.COLUMNS})


def needed_columns(maps: Iterable[Map]) -> list[str]:
    """The columns that `fill` needs."""
    return list(dict.fromkeys(["flags", *(name for one_map in maps for name in one_map.COLUMNS)]))


def flag_names(flags: Flag) -> list[str]:
    """Names of the bits that are set, from the lowest on."""
    return [str(flag.name) for flag in Flag if flag in flags]
