"""Photographs of the mock sky: sources, sky, photons, electronics, defects -> counts and mask.

Pixels are those of the CCD, 1-based as FITS counts, (x, y) = (column, row); arrays are (y, x). Counts are ADU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from datasets.mock_sky.exposures import GAIN_E_PER_ADU, SATURATION_ADU
from datasets.mock_sky.wcs import CCD_HEIGHT_PX, CCD_WIDTH_PX

MASK_BAD_PIXEL = 1
MASK_SATURATED = 2
MASK_COSMIC_RAY = 4
"""Bits of the mask: bad pixel or column, saturated, cosmic ray."""

READ_NOISE_RANGE_E = (5.0, 10.0)  # from the best to the worst CCD
COSMIC_RAYS_PER_PX_S = 1.9e-7  # 5 per cm2 and minute on pixels of 15 micrometres
COSMIC_RAY_DETECTED_FRACTION = 0.97  # the others stay in the image without a mask bit
BAD_PIXELS_PER_CCD = 600
BAD_COLUMNS_PER_CCD = 8

CORE_SIZE_PX = 60  # what a usual request needs, stamps of 48 px with their margin
REACH_SIZE_PX = 128  # the largest area photographed around a star


class Area(NamedTuple):
    """A rectangle of CCD pixels: first column and row (1-based), width and height."""

    x0: int
    y0: int
    nx: int
    ny: int

    def slices_of(self, inner: Area) -> tuple[slice, slice]:
        """Index of `inner`, which lies inside, into an array over this area."""
        y, x = inner.y0 - self.y0, inner.x0 - self.x0
        return slice(y, y + inner.ny), slice(x, x + inner.nx)

    def contains(self, other: Area) -> bool:
        """Whether all pixels of `other` are pixels of this area."""
        return (
            self.x0 <= other.x0
            and self.y0 <= other.y0
            and other.x0 + other.nx <= self.x0 + self.nx
            and other.y0 + other.ny <= self.y0 + self.ny
        )

    def on_ccd(self) -> Area:
        """The part that lies on the CCD; nx or ny <= 0 if none does."""
        x0, y0 = max(self.x0, 1), max(self.y0, 1)
        x1, y1 = min(self.x0 + self.nx, CCD_WIDTH_PX + 1), min(self.y0 + self.ny, CCD_HEIGHT_PX + 1)
        return Area(x0, y0, x1 - x0, y1 - y0)


def area_around(x: float, y: float, size_px: int) -> Area:
    """The square of `size_px` pixels whose centre is within half a pixel of (x, y).

    Args:
        x: column on the CCD, 1-based.
        y: row.
        size_px: side of the square.

    Returns:
        The square, which may reach over the CCD's edge.
    """
    return Area(round(x - (size_px - 1) / 2), round(y - (size_px - 1) / 2), size_px, size_px)


@dataclass(frozen=True)
class Scene:
    """What the telescope sees around one star in one exposure of one CCD.

    Attributes:
        x, y: (n,) sources on the CCD, the star first.
        flux_adu: (n,) their total counts.
        fwhm_px: seeing, geometric mean of the two axes.
        elong: ratio of the two axes of a star's image, >= 1.
        sky_adu: sky per pixel.
        exp_time_s: exposure, for the cosmic rays.
        ccd: 1 to 32.
        seed: seed of the sky; bad pixels and read noise depend on (seed, ccd).
    """

    x: np.ndarray
    y: np.ndarray
    flux_adu: np.ndarray
    fwhm_px: float
    elong: float
    sky_adu: float
    exp_time_s: float
    ccd: int
    seed: int


def photograph(scene: Scene, area: Area, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One frame with its mask.

    Draws depend on the CCD's pixels, not on the request: a pixel has the same counts in every area asked for, given a
    generator in the same state.

    Args:
        scene: what there is to see.
        area: the pixels to return, within `REACH_SIZE_PX` around the star.
        rng: of this exposure.

    Returns:
        (ny, nx) int32 counts in ADU, (ny, nx) uint8 mask.

    Raises:
        ValueError: if `area` reaches farther.
    """
    core, reach = (area_around(scene.x[0], scene.y[0], n) for n in (CORE_SIZE_PX, REACH_SIZE_PX))
    if not reach.contains(area):
        raise ValueError(f"{area} reaches farther from the star than the {REACH_SIZE_PX} px that are photographed.")
    angle = rng.uniform(0, np.pi)
    rays = _cosmic_rays(scene.exp_time_s, reach, rng)
    detector = detector_of(scene.seed, scene.ccd)
    electrons = _noisy_electrons(expected_adu(scene, core, angle), detector.read_noise_e, rng)
    whole = core
    if not core.contains(area):
        wide = _noisy_electrons(expected_adu(scene, reach, angle), detector.read_noise_e, rng)
        wide[reach.slices_of(core)] = electrons
        electrons, whole = wide, reach
    electrons = electrons[whole.slices_of(area)]
    mask = np.zeros(electrons.shape, np.uint8)
    for ray in rays:
        ray.strike(electrons, mask, area)
    detector.spoil(electrons, mask, area)
    return _digitise(electrons, mask), mask


def expected_adu(scene: Scene, area: Area, angle: float = 0.0) -> np.ndarray:
    """(ny, nx) float32 mean counts of sources and sky, before any noise.

    The light of a star is an elliptical Moffat profile of beta = 3, normalised over the infinite plane, so that a
    stamp of 24 arcsec lacks about 1 % of it::

        f(r) = F 2 sqrt(det M) / pi (1 + q)^-3,   q = r' M r,   M = diag(1/alpha_a^2, 1/alpha_b^2) turned by the angle

    with FWHM = 2 alpha sqrt(2^(1/3) - 1). A pixel collects the mean over its square, f + laplacian(f) / 24 to third
    order: right to 2e-5 of the flux in every pixel for a FWHM of 2.4 arcsec, to 2e-4 for 1.5 arcsec.

    Args:
        scene: what there is to see.
        area: the pixels to return.
        angle: of the long axis of a star's image, radians.

    Returns:
        (ny, nx) float32, ADU.
    """
    alpha = scene.fwhm_px / (2 * np.sqrt(2 ** (1 / 3) - 1))
    a, b = 1 / (alpha**2 * scene.elong), scene.elong / alpha**2
    cos, sin = np.cos(angle), np.sin(angle)
    m_xx, m_yy = np.float32(a * cos**2 + b * sin**2), np.float32(a * sin**2 + b * cos**2)
    m_xy2 = np.float32(2 * (a - b) * sin * cos)
    trace, det = np.float32(a + b), np.float32(a * b)
    peaks = (scene.flux_adu * 2 * np.sqrt(a * b) / np.pi).astype(np.float32)
    columns = np.arange(area.x0, area.x0 + area.nx)
    rows = np.arange(area.y0, area.y0 + area.ny)[:, None]
    counts = np.full((area.ny, area.nx), scene.sky_adu, np.float32)
    for x, y, peak in zip(scene.x, scene.y, peaks, strict=True):
        dx, dy = (columns - x).astype(np.float32), (rows - y).astype(np.float32)
        dx2, dy2 = dx * dx, dy * dy
        q = m_xx * dx2 + m_yy * dy2 + dy * (m_xy2 * dx)
        w = 1 / (1 + q)
        # laplacian(f) / 24 from grad q = 2 M r and, by Cayley-Hamilton, r' M^2 r = trace q - det r^2
        w2 = w * w
        bend = (np.float32(1.75) * trace - w * (2 * trace + 2 * det * (dx2 + dy2))) * w
        counts += peak * w2 * w * (1 + bend)
    return counts


def _noisy_electrons(mean_adu: np.ndarray, read_noise_e: float, rng: np.random.Generator) -> np.ndarray:
    """Photons counted and read out: Poisson and Gaussian noise, in electrons above the bias."""
    electrons = rng.poisson(mean_adu * np.float32(GAIN_E_PER_ADU)).astype(np.float32)
    return electrons + np.float32(read_noise_e) * rng.standard_normal(mean_adu.shape, dtype=np.float32)


def _digitise(electrons: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whole ADU, cut at saturation, which is marked in the mask."""
    adu = np.rint(electrons * np.float32(1 / GAIN_E_PER_ADU))
    mask[adu >= SATURATION_ADU] |= MASK_SATURATED
    return np.minimum(adu, SATURATION_ADU).astype(np.int32)


@dataclass(frozen=True)
class CosmicRay:
    """A straight track: pixels and electrons; `detected` if the mask knows of it."""

    x: np.ndarray
    y: np.ndarray
    electrons: np.ndarray
    detected: bool

    def strike(self, electrons: np.ndarray, mask: np.ndarray, area: Area) -> None:
        """Add the charge to the frame over `area`, and the mask bit if detected.

        Args:
            electrons: (ny, nx) charge, changed in place.
            mask: (ny, nx) uint8, changed in place.
            area: the pixels of both.
        """
        column, row = self.x - area.x0, self.y - area.y0
        inside = (column >= 0) & (column < area.nx) & (row >= 0) & (row < area.ny)
        column, row = column[inside], row[inside]
        electrons[row, column] += self.electrons[inside]
        if self.detected:
            mask[row, column] |= MASK_COSMIC_RAY


def _cosmic_rays(exp_time_s: float, area: Area, rng: np.random.Generator) -> list[CosmicRay]:
    n = rng.poisson(COSMIC_RAYS_PER_PX_S * exp_time_s * area.nx * area.ny)
    return [_cosmic_ray(area, rng) for _ in range(n)]


def _cosmic_ray(area: Area, rng: np.random.Generator) -> CosmicRay:
    """A track of some pixels' length, a muon's 80 electrons per micrometre over pixels of 15 micrometres."""
    x, y = rng.uniform(0, area.nx), rng.uniform(0, area.ny)
    length_px, angle = 1 + rng.exponential(4.0), rng.uniform(0, 2 * np.pi)
    step = np.arange(0, length_px, 0.25)
    pixels = np.floor(np.stack([area.x0 + x + step * np.cos(angle), area.y0 + y + step * np.sin(angle)]))
    (x, y), visits = np.unique(pixels.astype(np.int64), axis=1, return_counts=True)
    charge = 80 * 15 * 0.25 * visits * rng.gamma(4.0, 0.25, len(visits))
    return CosmicRay(x, y, charge.astype(np.float32), bool(rng.random() < COSMIC_RAY_DETECTED_FRACTION))


@dataclass(frozen=True)
class Detector:
    """One CCD with its read noise, bad pixels and bad columns; every defect is in the mask."""

    read_noise_e: float
    pixel_x: np.ndarray
    pixel_y: np.ndarray
    pixel_hot: np.ndarray
    column_x: np.ndarray
    column_y0: np.ndarray  # the column is blocked from this row upwards

    def spoil(self, electrons: np.ndarray, mask: np.ndarray, area: Area) -> None:
        """Replace what the bad pixels and columns in `area` say: hot pixels full, others without charge.

        Args:
            electrons: (ny, nx) charge, changed in place.
            mask: (ny, nx) uint8, changed in place.
            area: the pixels of both.
        """
        for i in np.flatnonzero((self.column_x >= area.x0) & (self.column_x < area.x0 + area.nx)):
            column, row = self.column_x[i] - area.x0, max(self.column_y0[i] - area.y0, 0)
            electrons[row:, column] = 0
            mask[row:, column] |= MASK_BAD_PIXEL
        column, row = self.pixel_x - area.x0, self.pixel_y - area.y0
        for i in np.flatnonzero((column >= 0) & (column < area.nx) & (row >= 0) & (row < area.ny)):
            electrons[row[i], column[i]] = SATURATION_ADU * GAIN_E_PER_ADU if self.pixel_hot[i] else 0
            mask[row[i], column[i]] |= MASK_BAD_PIXEL


@lru_cache(maxsize=256)
def detector_of(seed: int, ccd: int) -> Detector:
    """The CCD's own draws, the same in all its exposures."""
    rng = np.random.default_rng((seed, ccd))
    return Detector(
        read_noise_e=rng.uniform(*READ_NOISE_RANGE_E),
        pixel_x=rng.integers(1, CCD_WIDTH_PX, BAD_PIXELS_PER_CCD, endpoint=True),
        pixel_y=rng.integers(1, CCD_HEIGHT_PX, BAD_PIXELS_PER_CCD, endpoint=True),
        pixel_hot=rng.random(BAD_PIXELS_PER_CCD) < 0.5,
        column_x=rng.integers(1, CCD_WIDTH_PX, BAD_COLUMNS_PER_CCD, endpoint=True),
        column_y0=rng.integers(1, CCD_HEIGHT_PX, BAD_COLUMNS_PER_CCD, endpoint=True),
    )
