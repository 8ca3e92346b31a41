"""MIST isochrones and bolometric corrections, interpolated between their grid points.

Sources: Choi et al. 2016 (ApJ 823, 102), Dotter 2016 (ApJS 222, 8); how the files were made: `data/PROVENANCE.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "data"
MBOL_SUN = 4.74
PASSBANDS = ("u", "v", "g", "r", "i", "z", "G", "BP", "RP", "V")
"""SkyMapper u v g r i z (AB), Gaia EDR3 G BP RP and Bessell V (Vega)."""


def _position(nodes: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid interval that holds each value, and where in it (0 to 1). Values outside are moved to the edge."""
    value = np.clip(value, nodes[0], nodes[-1])
    lower = np.clip(np.searchsorted(nodes, value, side="right") - 1, 0, len(nodes) - 2)
    return lower, (value - nodes[lower]) / (nodes[lower + 1] - nodes[lower])


def trilinear(grid: np.ndarray, axes: tuple[np.ndarray, ...], points: tuple[np.ndarray, ...]) -> np.ndarray:
    """Values of `grid` (a, b, c, k) at the points (x, y, z), interpolated linearly in each coordinate.

    Args:
        grid: (a, b, c, k) values at the nodes.
        axes: the nodes (a,), (b,) and (c,), ascending.
        points: three coordinates, (n,) each; moved to the edge where they are outside.

    Returns:
        (n, k).
    """
    (i, fi), (j, fj), (k, fk) = (_position(axis, point) for axis, point in zip(axes, points, strict=True))
    result = np.zeros((len(i), grid.shape[3]))
    for di, wi in ((0, 1 - fi), (1, fi)):
        for dj, wj in ((0, 1 - fj), (1, fj)):
            for dk, wk in ((0, 1 - fk), (1, fk)):
                result += (wi * wj * wk)[:, None] * grid[i + di, j + dj, k + dk]
    return result


@dataclass(frozen=True)
class Isochrones:
    """MIST isochrones on a regular grid of [Fe/H], log age and equivalent evolutionary point (EEP).

    `grid` is (n_feh, n_age, n_eep, 5): initial mass and present mass (solar), log Teff (K), log g (cgs) and log L
    (solar); NaN below the lowest mass tabulated.
    """

    feh: np.ndarray
    log_age: np.ndarray
    eep: np.ndarray
    grid: np.ndarray

    def star(self, feh: np.ndarray, log_age: np.ndarray, eep: np.ndarray) -> dict[str, np.ndarray]:
        """The star at each point (n,): initial_mass, mass, teff, logg, mbol; linear between neighbouring grid points.

        Equal EEPs are equal stages of evolution, so that straight lines between them are good (Dotter 2016).

        Args:
            feh: [Fe/H], dex.
            log_age: log10 of the age in years.
            eep: equivalent evolutionary point.

        Returns:
            Masses (solar), K, dex and mag, (n,) each.
        """
        values = trilinear(self.grid, (self.feh, self.log_age, self.eep), (feh, log_age, eep))
        initial_mass, mass, log_teff, logg, log_l = values.T
        return {
            "initial_mass": initial_mass,
            "mass": mass,
            "teff": 10**log_teff,
            "logg": logg,
            "mbol": MBOL_SUN - 2.5 * log_l,
        }


@lru_cache(maxsize=1)
def isochrones() -> Isochrones:
    """The isochrones, read once per process. Gaps in the tabulated EEPs are filled linearly."""
    with np.load(DATA / "mist_isochrones_compact.npz") as file:
        table, columns = file["table"].astype(np.float64), list(file["columns"])
    feh, log_age = np.unique(table[:, columns.index("feh")]), np.unique(table[:, columns.index("log_age")])
    eep = np.arange(table[:, columns.index("eep")].min(), table[:, columns.index("eep")].max() + 1)
    values = table[:, [columns.index(c) for c in ("initial_mass", "star_mass", "log_Teff", "log_g", "log_L")]]
    grid = np.full((len(feh), len(log_age), len(eep), values.shape[1]), np.nan)
    key = np.searchsorted(feh, table[:, 0]) * len(log_age) + np.searchsorted(log_age, table[:, 1])
    for isochrone in np.unique(key):
        rows = np.flatnonzero(key == isochrone)
        known = table[rows, columns.index("eep")]
        for quantity in range(values.shape[1]):
            line = np.interp(eep, known, values[rows, quantity], left=np.nan)
            grid[isochrone // len(log_age), isochrone % len(log_age), :, quantity] = line
    return Isochrones(feh, log_age.round(4), eep, grid)


@dataclass(frozen=True)
class BolometricCorrections:
    """Bolometric corrections and extinction ratios A_x / A_V on a grid of Teff, log g and [Fe/H], for `PASSBANDS`."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    correction: np.ndarray
    extinction: np.ndarray

    def absolute_magnitudes(self, mbol: np.ndarray, teff: np.ndarray, logg: np.ndarray, fe_h: np.ndarray) -> np.ndarray:
        """M_x = Mbol - BC_x of each star, (n, 10) in the order of `PASSBANDS`; arguments of shape (n,).

        Args:
            mbol: bolometric magnitudes.
            teff: effective temperatures, K.
            logg: surface gravities, dex.
            fe_h: [Fe/H], dex.

        Returns:
            Mag.
        """
        return np.asarray(mbol)[:, None] - trilinear(self.correction, self.axes, (teff, logg, fe_h))

    def absolute_v(self, mbol: np.ndarray, teff: np.ndarray, logg: np.ndarray, fe_h: np.ndarray) -> np.ndarray:
        """M_V alone, (n,).

        Args:
            mbol: as of `absolute_magnitudes`.
            teff: as of `absolute_magnitudes`.
            logg: as of `absolute_magnitudes`.
            fe_h: as of `absolute_magnitudes`.

        Returns:
            Mag.
        """
        column = PASSBANDS.index("V")
        return mbol - trilinear(self.correction[..., column : column + 1], self.axes, (teff, logg, fe_h))[:, 0]

    def extinction_ratios(self, teff: np.ndarray, logg: np.ndarray, fe_h: np.ndarray) -> np.ndarray:
        """A_x / A_V (R_V = 3.1) of each star, (n, 10).

        Args:
            teff: effective temperatures (n,), K.
            logg: surface gravities, dex.
            fe_h: [Fe/H], dex.

        Returns:
            In the order of `PASSBANDS`.
        """
        return trilinear(self.extinction, self.axes, (teff, logg, fe_h))


@lru_cache(maxsize=1)
def bolometric_corrections() -> BolometricCorrections:
    """The bolometric corrections, read once per process."""
    with np.load(DATA / "mist_bc_skymapper_gaia_compact.npz") as file:
        axes = tuple(file[name].astype(np.float64) for name in ("teff", "logg", "feh"))
        n = len(PASSBANDS)
        return BolometricCorrections(
            axes, file["bc_av0"][..., :n].astype(np.float64), file["ax_over_av"][..., :n].astype(np.float64)
        )
