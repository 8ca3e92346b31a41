"""ADU on a frame -> dereddened microjansky: sky level, zeropoint, extinction (paper, section 2.3)."""

from __future__ import annotations

import math

import numpy as np

from datasets.errors import DataError
from datasets.skymapper import EXTINCTION_COEFFICIENTS

MICROJANSKY_ZEROPOINT = 23.9
"""AB magnitude of 1 uJy."""

SKY_RADIUS_FWHM = 2.5
"""The sky is fitted outside this many FWHM of the star, where the profile's exact shape hardly matters."""

_MAX_SKY_RADIUS_PX = 18.0
_MIN_SKY_PIXELS = 200
_NEIGHBOUR_MARGIN_PX = 3
_QUANTISATION_NOISE_ADU = 0.3  # of whole numbers: 1 / sqrt(12)


class CalibrationError(DataError):
    """A frame that cannot be calibrated; the message says why in one sentence."""


def flux_scale(zpapprox: float, band: str, ebmv_sfd: float) -> float:
    """Dereddened flux of one ADU, in microjansky: 10^(0.4 (23.9 - zpapprox + A_f)) with A_f = R_f E(B-V)_SFD.

    Args:
        zpapprox: AB magnitude of one ADU over the whole exposure, as stars of a real frame show
            (tests/datasets/imaging/test_first_light.py): were it per second, they would be 2.5 log10(EXPTIME) mag off.
        band: one of `BANDS`.
        ebmv_sfd: raw SFD reddening, mag.

    Returns:
        uJy per ADU.

    Raises:
        CalibrationError: if the zeropoint is outside 15-35 mag or the reddening outside 0-10 mag, or either is missing.
    """
    if not 15 < zpapprox < 35:
        raise CalibrationError(f"the zeropoint {zpapprox} is not between 15 and 35 mag")
    if not 0 <= ebmv_sfd <= 10:
        raise CalibrationError(f"the reddening E(B-V) = {ebmv_sfd} is not between 0 and 10 mag")
    return 10 ** (0.4 * (MICROJANSKY_ZEROPOINT - zpapprox + EXTINCTION_COEFFICIENTS[band] * ebmv_sfd))


def star_profile(shape: tuple[int, int], x: float, y: float, fwhm_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A Moffat profile (beta = 3) of unit flux at 0-based pixel (x, y), and the squared distance to it in pixels.

    I(r) = 2 / (pi alpha^2) (1 + r^2 / alpha^2)^-3, alpha = FWHM / (2 sqrt(2^(1/3) - 1)).

    Args:
        shape: (ny, nx).
        x: the star's column, 0-based.
        y: its row.
        fwhm_px: seeing in pixels.

    Returns:
        Profile per pixel and squared distance in square pixels, both (ny, nx) float64.
    """
    distance2 = (np.arange(shape[0]) - y)[:, None] ** 2 + (np.arange(shape[1]) - x) ** 2
    alpha2 = fwhm_px**2 / (4 * (2 ** (1 / 3) - 1))
    base = 1 + distance2 / alpha2
    return 2 / (math.pi * alpha2) / (base * base * base), distance2


def measure_sky(
    pixels: np.ndarray, good: np.ndarray, profile: np.ndarray, distance2: np.ndarray, fwhm_px: float
) -> float:
    """The sky level under a star, in ADU per pixel, from the cutout itself.

    A star's wings reach over the whole cutout: a clipped median of the outer pixels takes 0.5 to 1 % of a star's
    flux with it. So sky and wings are fitted together, `sky + amplitude * profile`, by least squares outside
    `SKY_RADIUS_FWHM`. Left out are pixels off by more than three sigma and, around those that are bright (neighbours,
    cosmic rays), a margin for what falls off below three sigma.

    Args:
        pixels: (ny, nx) in ADU, not yet sky-subtracted.
        good: (ny, nx) bool, the pixels that may be used.
        profile: (ny, nx), from `star_profile`.
        distance2: (ny, nx) squared distance to the star in pixels.
        fwhm_px: seeing in pixels.

    Returns:
        The level, ADU per pixel.

    Raises:
        CalibrationError: if too few pixels are left.
    """
    radius = min(SKY_RADIUS_FWHM * fwhm_px, _MAX_SKY_RADIUS_PX)
    outer = good & (distance2 > radius**2)
    _check_count(outer)
    # The brightness of the star's core predicts its wings well enough to find the pixels to leave out.
    wings = profile / profile.max()
    counts = np.where(good, pixels, 0.0).astype(np.float64)
    peak = np.vdot(counts - counts[outer].mean() * good, wings) / np.vdot(wings, wings * good)
    residual = counts - peak * wings
    middle, sigma = _median_and_sigma(residual[outer][::3])  # a third of the pixels is plenty for a threshold
    threshold = 3 * max(sigma, _QUANTISATION_NOISE_ADU)
    bright, faint = residual > middle + threshold, residual < middle - threshold
    keep = outer & ~faint & ~dilated(outer & bright, _NEIGHBOUR_MARGIN_PX)
    _check_count(keep)
    return _intercept(wings[keep], counts[keep])


def _check_count(keep: np.ndarray) -> None:
    n = np.count_nonzero(keep)
    if n < _MIN_SKY_PIXELS:
        raise CalibrationError(f"only {n} pixels of the cutout show the sky")


def _median_and_sigma(values: np.ndarray) -> tuple[float, float]:
    """Median and 1.4826 MAD, by partition: `np.median` takes twice as long."""
    middle = values.size // 2
    median = np.partition(values, middle)[middle]
    return float(median), 1.4826 * float(np.partition(np.abs(values - median), middle)[middle])


def _intercept(x: np.ndarray, y: np.ndarray) -> float:
    """The value at `x = 0` of the straight line fitted to `y` by least squares."""
    deviation = x - x.mean()
    return float(y.mean() - np.vdot(deviation, y) / np.vdot(deviation, deviation) * x.mean())


def dilated(mask: np.ndarray, pixels: int = 1) -> np.ndarray:
    """`mask` (ny, nx) bool, grown by some pixels in all eight directions."""
    grown = mask.copy()
    for lines in (grown, grown.T):
        before = lines.copy()
        for step in range(1, pixels + 1):
            lines[step:] |= before[:-step]
            lines[:-step] |= before[step:]
    return grown
