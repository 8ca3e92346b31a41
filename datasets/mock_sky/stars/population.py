"""Which stars are in the sky: thin disc, thick disc and halo seen through a GALAH-like magnitude selection.

A star is drawn from the density of (component, [Fe/H], age, EEP, distance, direction), tabulated in fine cells, and
then placed at random inside its cell, so that no two stars are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from datasets.mock_sky.randomness import Draws
from datasets.mock_sky.stars import galaxy
from datasets.mock_sky.stars.stellar_tables import MBOL_SUN, PASSBANDS, bolometric_corrections, isochrones

FEH_STEP = 0.05
FEH_CENTRES = np.arange(-2.975, 0.5, FEH_STEP)
MODULUS_STEP = 0.1
MODULI = np.arange(0.0, 17.0, MODULUS_STEP) + MODULUS_STEP / 2
"""Apparent distance moduli V - M_V, reddening included."""


def selection_function(v_mag: np.ndarray) -> np.ndarray:
    """The chance that GALAH observed a star of this V: mostly 12 to 14, and its brighter programmes."""
    edges = np.array([9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 14.6])
    return np.array([0.0, 0.3, 0.5, 0.75, 1.0, 0.5, 0.07, 0.0])[np.searchsorted(edges, v_mag, side="right")]


def kroupa_number(mass: np.ndarray) -> np.ndarray:
    """Number of stars born below a mass (solar), up to a constant (Kroupa 2001: slopes 1.3, then 2.3 above 0.5)."""
    low = np.minimum(mass, 0.5)
    return (low**-0.3) / -0.3 + 0.5 * (np.maximum(mass, 0.5) ** -1.3 - 0.5**-1.3) / -1.3


@dataclass(frozen=True)
class _Model:
    """Cumulative tables that the draws look up."""

    cells: np.ndarray  # of (component, feh, age, eep) cells with a weight: their flat indices
    cells_cumulative: np.ndarray
    shape: tuple[int, int, int, int]
    modulus_density: np.ndarray  # (component, modulus): stars per modulus, summed over the footprint
    direction_cumulative: np.ndarray  # (component, modulus, direction), each row ending in 1


@lru_cache(maxsize=1)
def _model() -> _Model:
    footprint = galaxy.footprint_density(MODULI, MODULUS_STEP)  # (component, modulus, direction)
    modulus_density = footprint.sum(axis=2)
    direction_cumulative = np.cumsum(footprint, axis=2)
    direction_cumulative /= np.maximum(direction_cumulative[..., -1:], np.finfo(float).tiny)

    births, absolute_v, log_age_centres = _isochrone_cells()
    magnitude_grid = np.arange(-6.0, 14.0, 0.1)
    selected = selection_function(magnitude_grid[:, None] + MODULI[None, :])
    volume = modulus_density @ selected.T  # (component, magnitude)
    weights = np.stack(
        [
            births
            * component.feh_density(FEH_CENTRES)[:, None, None]
            * component.age_density(log_age_centres)[None, :, None]
            * np.interp(absolute_v, magnitude_grid, volume[number], right=0.0)
            for number, component in enumerate(galaxy.COMPONENTS)
        ]
    )
    cells = np.flatnonzero(weights)
    return _Model(cells, np.cumsum(weights.ravel()[cells]), weights.shape, modulus_density, direction_cumulative)


def _isochrone_cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Births in each ([Fe/H], age, EEP) cell and the absolute V magnitude at its centre; log age of the centres.

    Cells that touch a gap of the tables, or leave the grid of the bolometric corrections, hold no births.
    """
    tables, corrections = isochrones(), bolometric_corrections()
    lower = np.searchsorted(tables.feh, FEH_CENTRES) - 1
    part = ((FEH_CENTRES - tables.feh[lower]) / np.diff(tables.feh)[lower])[:, None, None, None]
    grid = tables.grid[lower] * (1 - part) + tables.grid[lower + 1] * part
    grid = (grid[:, :-1] + grid[:, 1:]) / 2
    births = np.maximum(np.diff(kroupa_number(grid[..., 0]), axis=2), 0.0)
    centre = (grid[:, :, :-1] + grid[:, :, 1:]) / 2
    teff = 10 ** centre[..., 2]
    inside = np.isfinite(births) & (teff > corrections.axes[0][0]) & (teff < corrections.axes[0][-1])
    inside &= centre[..., 3] > corrections.axes[1][0]
    absolute_v = np.full(inside.shape, 99.0)
    feh = np.broadcast_to(FEH_CENTRES[:, None, None], inside.shape)[inside]
    mbol = MBOL_SUN - 2.5 * centre[..., 4][inside]
    absolute_v[inside] = corrections.absolute_v(mbol, teff[inside], centre[..., 3][inside], feh)
    return np.where(inside, births, 0.0), absolute_v, (tables.log_age[:-1] + tables.log_age[1:]) / 2


def draw_stars(seed: int, block: int, count: int) -> dict[str, np.ndarray]:
    """The intrinsic properties, place and dust of the `count` stars of a block; see `sky.STAR_COLUMNS`.

    Args:
        seed: of the sky.
        block: number of the block.
        count: of its stars.

    Returns:
        Columns (count,), `absolute` (count, 10).
    """
    draws = Draws(seed, "population", block)
    model, tables = _model(), isochrones()
    component, feh_cell, age_cell, eep_cell = np.unravel_index(
        model.cells[draws.index(model.cells_cumulative, count)], model.shape
    )
    fe_h = FEH_CENTRES[feh_cell] + FEH_STEP * draws.uniform(-0.5, 0.5, count)
    log_age = tables.log_age[age_cell] + draws.uniform(size=count) * np.diff(tables.log_age)[age_cell]
    star = tables.star(fe_h, log_age, tables.eep[eep_cell] + draws.uniform(size=count))
    corrections = bolometric_corrections()
    absolute = corrections.absolute_magnitudes(star["mbol"], star["teff"], star["logg"], fe_h)

    modulus = _draw_moduli(draws, component, absolute[:, PASSBANDS.index("V")], model)
    row = model.direction_cumulative[component, (modulus / MODULUS_STEP).astype(int)]
    direction = (row < draws.uniform(size=count)[:, None]).sum(axis=1)
    place = galaxy.place_in_cell(direction, draws.uniform(size=(2, count)))
    dust = galaxy.dust_towards(place, modulus, patchiness=np.exp(draws.normal(0.0, 0.25, count)))
    return {
        "component": component,
        "fe_h": fe_h,
        "age_gyr": 10 ** (log_age - 9),
        "absolute": absolute,
        **{k: star[k] for k in ("mass", "teff", "logg", "mbol")},
        **place,
        **dust,
    }


def _draw_moduli(draws: Draws, component: np.ndarray, absolute_v: np.ndarray, model: _Model) -> np.ndarray:
    """Apparent distance moduli, from the stars per modulus times the chance to be observed at that magnitude."""
    # The selection's edges are sharp, and a bin that straddles one would spill over it: draw in finer bins.
    finer = 5
    step = MODULUS_STEP / finer
    fine = np.arange(len(MODULI) * finer) * step + step / 2
    density = np.repeat(model.modulus_density, finer, axis=1)[component]
    cumulative = np.cumsum(density * selection_function(absolute_v[:, None] + fine[None, :]), axis=1)
    level = draws.uniform(size=len(component)) * cumulative[:, -1]
    index = np.minimum((cumulative <= level[:, None]).sum(axis=1), len(fine) - 1)
    return fine[index] + step * draws.uniform(-0.5, 0.5, len(component))
