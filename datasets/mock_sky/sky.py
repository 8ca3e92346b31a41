"""The mock sky: blocks of stars with their neighbours and exposures, each drawn whole from its own random streams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from datasets.mock_sky.exposures import draw_exposures
from datasets.mock_sky.randomness import Draws
from datasets.mock_sky.stars import population
from datasets.mock_sky.stars.neighbours import draw_neighbours
from datasets.mock_sky.stars.photometry import apparent_magnitudes

BLOCK_SIZE = 256
OBJECT_ID_BASE, OBJECT_ID_STEP = 10_000_000_000, 64
Star = TypeVar("Star", int, np.ndarray)
_ZONE_SHIFT = 35  # of a source_id, whose lower bits hold the star number

STAR_COLUMNS = np.dtype(
    [
        ("star", "i8"),
        ("object_id", "i8"),
        ("source_id", "i8"),
        ("component", "i4"),
        ("ra", "f8"),
        ("dec", "f8"),
        ("glon", "f8"),
        ("glat", "f8"),
        ("distance_pc", "f8"),
        ("parallax_mas", "f8"),
        ("pmra", "f8"),
        ("pmdec", "f8"),
        ("age_gyr", "f8"),
        ("mass", "f8"),
        ("mbol", "f8"),
        ("teff", "f8"),
        ("logg", "f8"),
        ("fe_h", "f8"),
        ("ebv", "f8"),
        ("ebv_column", "f8"),
        ("mag", "f8", (6,)),
        ("phot_g_mean_mag", "f8"),
        ("phot_bp_mean_mag", "f8"),
        ("phot_rp_mean_mag", "f8"),
        ("v_mag", "f8"),
    ]
)
"""One row per star, all true values: angles in deg, proper motions in mas/yr, ages in Gyr, masses solar.

`mag` is u v g r i z (AB, apparent, reddened); `component` indexes `galaxy.COMPONENTS`; `ebv` is the star's own
E(B-V) and `ebv_column` that of the whole line of sight, both on the scale of the raw SFD map.
"""


@dataclass(frozen=True)
class SkyBlock:
    """`BLOCK_SIZE` consecutive stars, and everything true about them.

    `stars` (`STAR_COLUMNS`), `neighbours` (`neighbours.NEIGHBOUR_COLUMNS`) and `exposures`
    (`exposures.EXPOSURE_COLUMNS`) are structured arrays, read-only; the latter two are sorted by `star`.
    """

    seed: int
    index: int
    stars: np.ndarray
    neighbours: np.ndarray
    exposures: np.ndarray


class MockSky:
    """An endless sky of stars numbered from 0; the same star for the same seed, whatever else is asked."""

    def __init__(self, seed: int = 0):
        """A sky.

        Raises:
            ValueError: if `seed` is negative.
        """
        if seed < 0:
            raise ValueError(f"the mock sky's seed is {seed}; give a number that is not negative.")
        self.seed = seed

    def block(self, index: int) -> SkyBlock:
        """Block number `index`: stars `index * BLOCK_SIZE` onwards. The last few blocks are kept.

        Raises:
            ValueError: if `index` is negative, or so large that the survey's nights are used up.
        """
        if index < 0:
            raise ValueError(f"block {index} of the mock sky does not exist; blocks are numbered from 0.")
        return _draw_block(self.seed, index)


@lru_cache(maxsize=4)
def _draw_block(seed: int, index: int) -> SkyBlock:
    stars = _draw_stars(seed, index)
    neighbours = draw_neighbours(seed, index, stars)
    exposures = draw_exposures(seed, index, stars, neighbours)
    for table in (stars, neighbours, exposures):
        table.flags.writeable = False
    return SkyBlock(seed, index, stars, neighbours, exposures)


def object_id_of_star(star: Star) -> Star:
    """The object_id of a star number (or an array of them)."""
    return OBJECT_ID_BASE + OBJECT_ID_STEP * star


def star_of_object_id(object_id: int) -> int:
    """The star number of an object_id.

    Raises:
        ValueError: if no star of the mock sky has this object_id.
    """
    star, rest = divmod(int(object_id) - OBJECT_ID_BASE, OBJECT_ID_STEP)
    if star < 0 or rest:
        raise ValueError(f"object_id {object_id} is not a star of the mock sky; take one from its dr4.master table.")
    return star


def _draw_stars(seed: int, block: int) -> np.ndarray:
    drawn = population.draw_stars(seed, block, BLOCK_SIZE)
    stars = np.empty(BLOCK_SIZE, STAR_COLUMNS)
    for name in set(drawn) & set(STAR_COLUMNS.names or ()):
        stars[name] = drawn[name]
    stars["star"] = block * BLOCK_SIZE + np.arange(BLOCK_SIZE)
    stars["object_id"] = object_id_of_star(stars["star"])
    stars["source_id"] = _source_ids(stars)
    stars["parallax_mas"] = 1e3 / stars["distance_pc"]
    parameters = (stars["teff"], stars["logg"], stars["fe_h"])
    magnitudes = apparent_magnitudes(drawn["absolute"], stars["distance_pc"], stars["ebv"], *parameters)
    stars["mag"] = magnitudes[:, :6]
    for column, name in enumerate(("phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag", "v_mag"), start=6):
        stars[name] = magnitudes[:, column]
    # Tangential velocities of 30, 55 and 150 km/s per axis for the three components; 4.74 km/s is one au per year.
    speed = np.array([30.0, 55.0, 150.0])[stars["component"]] / 4.74 * stars["parallax_mas"]
    draws = Draws(seed, "motions", block)
    stars["pmra"], stars["pmdec"] = speed * draws.normal(size=(2, BLOCK_SIZE))
    return stars


def _source_ids(stars: np.ndarray) -> np.ndarray:
    """Numbers as large as Gaia's, whose high bits follow the position (in zones of the sky, not HEALPix)."""
    zone = (np.sin(np.radians(stars["dec"])) + 1) // 2e-4 * 10_000 + stars["ra"] // 0.036
    return (zone.astype(np.int64) << _ZONE_SHIFT) + 128 * stars["star"] + 2


def stars_of_source_ids(source_ids: np.ndarray) -> np.ndarray:
    """The star numbers that source_ids hold, -1 where one is not made as they are; their zones are not looked at."""
    star, rest = np.divmod(source_ids % (1 << _ZONE_SHIFT) - 2, 128)
    return np.where((rest == 0) & (source_ids >= 0), star, -1)
