"""The other stars around a star: catalogued ones, and those too close or too faint to have an entry of their own."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import j0, kn

from datasets.mock_sky.randomness import Draws
from datasets.mock_sky.stars import population
from datasets.mock_sky.stars.photometry import apparent_magnitudes

RADIUS_ARCSEC = 22.0
"""Neighbours are drawn this far out: beyond the corner of a cutout somewhat larger than a stamp."""
FAINTEST_G, CATALOGUE_LIMIT_G = 22.0, 20.5
BRIGHTEST_G = 8.0
COUNTS_SLOPE = 0.22
"""Field stars per magnitude grow as 10**(slope * g)."""
RESOLVED_ARCSEC = 2.5
"""Closer pairs are one entry of the catalogue."""
DENSITY_AT_30_DEG = 5.4e-4
"""Catalogued field stars per square arcsecond at |b| = 30 deg."""
MOFFAT_BETA = 3.0

NEIGHBOUR_COLUMNS = np.dtype(
    [
        ("star", "i8"),
        ("object_id", "i8"),
        ("dx_arcsec", "f8"),
        ("dy_arcsec", "f8"),
        ("mag", "f8", (6,)),
        ("catalogued", "?"),
    ]
)
"""object_id is -1 for a neighbour without an entry; dx towards east, dy towards north; mag AB, reddened."""


def draw_neighbours(seed: int, block: int, stars: np.ndarray) -> np.ndarray:
    """Every star with light near the block's stars, as `NEIGHBOUR_COLUMNS`, in order of star.

    Args:
        seed: of the sky.
        block: number of the block.
        stars: its stars (`sky.STAR_COLUMNS`).

    Returns:
        One row a neighbour.
    """
    draws = Draws(seed, "neighbours", block)
    count = draws.poisson(_mean_count(stars["glat"]), len(stars), largest=60)
    star = np.repeat(np.arange(len(stars)), count)
    rank = np.arange(len(star)) - np.repeat(np.cumsum(count) - count, count)
    radius = RADIUS_ARCSEC * np.sqrt(draws.uniform(size=len(star)))
    angle = draws.uniform(0.0, 2 * np.pi, len(star))
    lowest, highest = 10 ** (COUNTS_SLOPE * np.array([BRIGHTEST_G, FAINTEST_G]))
    g = np.log10(draws.uniform(lowest, highest, len(star))) / COUNTS_SLOPE
    colours, reddened = _field_colours()
    kind = draws.index(np.arange(1.0, len(colours) + 1), len(star))
    neighbours = np.empty(len(star), NEIGHBOUR_COLUMNS)
    neighbours["star"] = stars["star"][star]
    neighbours["dx_arcsec"], neighbours["dy_arcsec"] = radius * np.sin(angle), radius * np.cos(angle)
    neighbours["mag"] = g[:, None] + colours[kind] + reddened * stars["ebv_column"][star, None]
    neighbours["catalogued"] = (g < CATALOGUE_LIMIT_G) & (radius > RESOLVED_ARCSEC)
    neighbours["object_id"] = np.where(neighbours["catalogued"], stars["object_id"][star] + 1 + rank, -1)
    return neighbours


def _mean_count(glat_deg: np.ndarray) -> np.ndarray:
    """Neighbours expected within `RADIUS_ARCSEC` at a Galactic latitude, uncatalogued ones included."""
    catalogued = DENSITY_AT_30_DEG * np.exp((30.0 - np.abs(glat_deg)) / 35.0)
    fainter_too = 10 ** (COUNTS_SLOPE * (FAINTEST_G - CATALOGUE_LIMIT_G))
    return np.pi * RADIUS_ARCSEC**2 * catalogued * fainter_too


@lru_cache(maxsize=1)
def _field_colours() -> tuple[np.ndarray, np.ndarray]:
    """Colours m - g (k, 6) of a library of unreddened dwarfs, and the reddening of m - g per E(B-V), (6,)."""
    stars = population.draw_stars(seed=0, block=0, count=2048)
    dwarf = stars["logg"] > 4.3
    stars = {name: values[dwarf] for name, values in stars.items()}
    parameters = (stars["teff"], stars["logg"], stars["fe_h"])
    plain = apparent_magnitudes(stars["absolute"], stars["distance_pc"], np.zeros(dwarf.sum()), *parameters)[:, :6]
    dusty = apparent_magnitudes(stars["absolute"], stars["distance_pc"], np.ones(dwarf.sum()), *parameters)[:, :6]
    redder = (dusty - plain).mean(axis=0)
    return plain - plain[:, 2:3], redder - redder[2]


@lru_cache(maxsize=1)
def _overlap_table() -> tuple[np.ndarray, np.ndarray]:
    """Separation in units of the FWHM, and the overlap of two Moffat profiles that far apart (1 at zero).

    From the profile's Fourier transform, (k a)^2 K_2(k a) for beta 3, squared and transformed back.
    """
    core_per_fwhm = 1 / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    separation = np.linspace(0.0, 20.0, 201)
    k = np.linspace(1e-4, 40.0, 4000)
    power = k * (k**2 * kn(2, k)) ** 2
    overlap = (power * j0(k * separation[:, None] / core_per_fwhm)).sum(axis=1)
    return separation, overlap / overlap[0]


def contamination(separation_arcsec: np.ndarray, fwhm_arcsec: np.ndarray) -> np.ndarray:
    """The part of a neighbour's light that a PSF fit to the star alone takes for the star's.

    A least-squares fit of the profile P to a neighbour's image P' gives sum(P P') / sum(P P): the overlap of two Moffat
    profiles (beta 3) at that separation.
    """
    separation, overlap = _overlap_table()
    return np.interp(separation_arcsec / fwhm_arcsec, separation, overlap, right=0.0)


def contaminating_flux(
    stars: np.ndarray, neighbours: np.ndarray, row: np.ndarray, fwhm: np.ndarray, band: np.ndarray
) -> np.ndarray:
    """Flux of neighbours in PSF fits, in units of the star's own, for observations (n,) of `stars[row]`.

    Args:
        stars: the block's stars (`star` and `mag` are used).
        neighbours: the block's neighbours, in order of star.
        row: index into `stars` of each observation.
        fwhm: seeing of each, arcsec.
        band: index of its band.

    Returns:
        (n,) neighbours' over the star's own.
    """
    first = np.searchsorted(neighbours["star"], stars["star"], side="left")
    last = np.searchsorted(neighbours["star"], stars["star"], side="right")
    count = (last - first)[row]
    observation = np.repeat(np.arange(len(row)), count)
    offset = np.arange(len(observation)) - np.repeat(np.cumsum(count) - count, count)
    which = first[row][observation] + offset
    separation = np.hypot(neighbours["dx_arcsec"][which], neighbours["dy_arcsec"][which])
    difference = neighbours["mag"][which, band[observation]] - stars["mag"][row, band][observation]
    light = contamination(separation, fwhm[observation]) * 10 ** (-0.4 * difference)
    return np.bincount(observation, light, minlength=len(row))


def nearest_catalogued(
    stars: np.ndarray, neighbours: np.ndarray, within_arcsec: float = 15.0
) -> tuple[np.ndarray, np.ndarray]:
    """object_id (-1 if none) and distance (NaN if none) of each star's nearest entry of the catalogue.

    Args:
        stars: the block's stars.
        neighbours: the block's neighbours.
        within_arcsec: how far the archive looks.

    Returns:
        (n,) int64 object_id, (n,) distance in arcsec.
    """
    object_id, distance = np.full(len(stars), -1, dtype=np.int64), np.full(len(stars), np.nan)
    separation = np.hypot(neighbours["dx_arcsec"], neighbours["dy_arcsec"])
    found = np.flatnonzero(neighbours["catalogued"] & (separation < within_arcsec))
    for index in found[np.argsort(-separation[found], kind="stable")]:  # the nearest is written last
        row = np.searchsorted(stars["star"], neighbours["star"][index])
        object_id[row], distance[row] = neighbours["object_id"][index], separation[index]
    return object_id, distance
