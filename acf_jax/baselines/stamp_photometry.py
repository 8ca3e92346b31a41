"""Photometry of the stamps themselves: apertures, and fits of a stellar profile, star by star and band by band.

What images have to beat is not the survey's catalogue alone, which saw other pixels and deblended them, but what
classical photometry gets out of the very pixels that the network sees. Stamps are dereddened, so the fluxes are, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from tqdm import tqdm

from acf_jax.running import bar_options

APERTURE_RADII_PX = (3.0, 6.0, 12.0)
FIT_RADIUS_PX = 6.0
"""Around the stamp's centre lie the pixels that a profile is fitted to.

Tried on 200 isolated and 200 crowded mock stars: 4 px lose precision, 9 px take in the neighbours.
"""

MOFFAT_BETA = 3.0
SKY_RADIUS_PX = 18.0  # beyond it, little light of the star
MAX_SHIFT_PX = 3.0  # the stamp's centre is within 0.7 px of the star: a fit that went further found something else
MICROJANSKY_ZEROPOINT_MAG = 23.9  # AB magnitude of 1 uJy
N_PASSES = 2  # the second with the noise that the first one found; a third changes nothing


Image = Float[np.ndarray, "y x"]


@dataclass(frozen=True)
class StampPhotometry:
    """Fluxes in uJy and their errors; NaN where a flux could not be measured. Bands are in the stamps' order."""

    aperture_flux: Float[np.ndarray, "star radius band"]  # within APERTURE_RADII_PX
    aperture_flux_error: Float[np.ndarray, "star radius band"]  # of the sky's noise alone
    psf_flux: Float[np.ndarray, "star band"]  # of the whole fitted profile
    psf_flux_error: Float[np.ndarray, "star band"]  # of the noise near the star, its photons' too
    position_px: Float[np.ndarray, "star 2"]  # x and y of the star, 0-based: median over the bands' fits

    @property
    def n_failed_fits(self) -> Int[np.ndarray, " band"]:
        """Stars without a fitted flux, per band."""
        return np.isnan(self.psf_flux).sum(axis=0)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays by name; `StampPhotometry(**arrays)` undoes it."""
        return asdict(self)


@dataclass(frozen=True)
class PsfFit:
    """One star's profile in one band; all NaN where none could be fitted."""

    flux: float = np.nan  # uJy, over the infinite plane
    flux_error: float = np.nan
    x: float = np.nan  # px, 0-based
    y: float = np.nan


def ab_magnitude(flux: ArrayLike) -> np.ndarray:
    """AB magnitudes of fluxes in uJy; NaN where a flux is not positive."""
    flux = np.asarray(flux, np.float64)
    return MICROJANSKY_ZEROPOINT_MAG - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


def sky_sigma(image: Image) -> float:
    """1.4826 MAD of an image's outer pixels, which neighbours there hardly change."""
    outer = image[_distance(image.shape) >= SKY_RADIUS_PX]
    if not outer.size:
        return np.nan
    return float(1.4826 * np.median(np.abs(outer - np.median(outer))))


def fit_psf(image: Image, fwhm_px: float | np.floating) -> PsfFit:
    """Flux and place of the star in the middle of a sky-subtracted image, in the image's unit.

    A Moffat profile of beta = 3 and the seeing's width, as photutils has it, by least squares over the pixels within
    `FIT_RADIUS_PX` of the centre. Pixels are weighted by their noise, the sky's and a part in proportion to the
    profile (photons, and whatever else of the star the profile misses), which the residuals of an unweighted fit tell.

    The width is not fitted, because surveys know it from all stars of a frame: on isolated mock stars a free one raises
    the scatter by half.
    """
    from photutils.psf import MoffatPSF  # here, because photutils takes a second to import
    from scipy.optimize import leastsq

    near = _distance(image.shape) <= FIT_RADIUS_PX
    (y, x), pixels = np.nonzero(near), image[near].astype(np.float64)
    sky, guess = sky_sigma(image), float(pixels.sum())
    if not (np.isfinite(pixels).all() and np.isfinite(sky) and np.isfinite(fwhm_px) and fwhm_px > 0 and guess != 0):
        return PsfFit()
    floor = 1e-6 * np.abs(pixels).max()  # a sky without noise would have infinite weight
    alpha = fwhm_px / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    profile = MoffatPSF().evaluate
    noise = 1.0

    def residual(p: np.ndarray) -> np.ndarray:
        return (profile(x, y, p[0] * guess, p[1], p[2], alpha, MOFFAT_BETA) - pixels) / noise

    parameters = np.array([1.0, (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2])
    for _ in range(N_PASSES):
        parameters, covariance, info, _, status = leastsq(residual, parameters, full_output=True)
        misfit = info["fvec"] * noise
        model = np.clip(misfit + pixels, 0, None)
        gain = max(np.dot(misfit**2 - sky**2, model) / np.dot(model, model), 0.0) if model.any() else 0.0
        previous_noise, noise = noise, np.sqrt(sky**2 + gain * model + floor**2)
    shift = np.hypot(parameters[1] - (image.shape[1] - 1) / 2, parameters[2] - (image.shape[0] - 1) / 2)
    if status not in (1, 2, 3, 4) or covariance is None or not shift <= MAX_SHIFT_PX:
        return PsfFit()
    reduced_chi2 = np.sum((misfit / previous_noise) ** 2) / (len(pixels) - len(parameters))
    error = abs(guess) * np.sqrt(covariance[0, 0] * reduced_chi2)
    return PsfFit(float(parameters[0] * guess), float(error), float(parameters[1]), float(parameters[2]))


def aperture_weights(
    shape: tuple[int, int], x: float | np.floating, y: float | np.floating
) -> Float[np.ndarray, "radius y x"]:
    """The share of each pixel inside circles of `APERTURE_RADII_PX` about (x, y).

    Args:
        shape: (ny, nx) of the image.
        x: of the centre, px.
        y: of the centre, px.

    Returns:
        between 0 and 1.
    """
    from photutils.aperture import CircularAperture

    masks = [CircularAperture((x, y), radius).to_mask(method="exact") for radius in APERTURE_RADII_PX]
    return np.stack([mask.to_image(shape) for mask in masks])


def measure_stamps(stamps: np.ndarray, fwhm_px: np.ndarray) -> StampPhotometry:
    """Photometry of stamps, in this process.

    Args:
        stamps: (n, y, x, n_bands) in uJy per pixel, sky-subtracted, the star in the middle.
        fwhm_px: (n, n_bands) seeing in pixels; NaN makes a flux of the profile NaN.

    Raises:
        ValueError: if the shapes disagree.
    """
    stamps, fwhm_px = np.asarray(stamps), np.asarray(fwhm_px)
    if stamps.ndim != 4 or fwhm_px.shape != (len(stamps), stamps.shape[-1]):
        raise ValueError(f"stamps {stamps.shape} and seeing {fwhm_px.shape} are not (n, y, x, band) and (n, band).")
    rows = [_measure(stamp, fwhm) for stamp, fwhm in zip(stamps, fwhm_px, strict=True)]
    if not rows:
        n_radii, n_bands = len(APERTURE_RADII_PX), stamps.shape[-1]
        shapes = ((0, n_radii, n_bands),) * 2 + ((0, n_bands),) * 2 + ((0, 2),)
        return StampPhotometry(*(np.zeros(shape) for shape in shapes))
    return StampPhotometry(*(np.stack(column) for column in zip(*rows, strict=True)))


def measure(
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    n_stars: int,
    *,
    n_processes: int | None = None,
    progress: bool = False,
) -> StampPhotometry:
    """Photometry of many stamps, over processes; no more of them are read than are being worked on.

    Args:
        batches: arguments of `measure_stamps`, one pair at least.
        n_stars: in all of them, for the bar.
        n_processes: as many as there are cores by default; 1 stays in this process.
        progress: whether to show a bar.

    Returns:
        the measurements of all stars, in their order.
    """
    import joblib

    n_processes = n_processes or joblib.cpu_count()
    pool = joblib.Parallel(n_processes, return_as="generator", pre_dispatch="2 * n_jobs", batch_size=1)
    parts = []
    with tqdm(total=n_stars, desc="photometry of the stamps", unit="star", **bar_options(progress)) as bar:
        for part in pool(joblib.delayed(measure_stamps)(*batch) for batch in batches):
            parts.append(part)
            bar.update(len(part.psf_flux))
    return _joined([part.to_arrays() for part in parts])


def _joined(parts: list[Mapping[str, np.ndarray]]) -> StampPhotometry:
    names = [field.name for field in fields(StampPhotometry)]
    return StampPhotometry(**{name: np.concatenate([part[name] for part in parts]) for name in names})


def _measure(stamp: np.ndarray, fwhm_px: np.ndarray) -> tuple[np.ndarray, ...]:
    """The fields of `StampPhotometry` for one star."""
    stamp = stamp.astype(np.float64)
    images = np.moveaxis(stamp, -1, 0)
    fits = [fit_psf(image, fwhm) for image, fwhm in zip(images, fwhm_px, strict=True)]
    places = np.array([(fit.x, fit.y) for fit in fits if np.isfinite(fit.x)])
    centre = (np.array(stamp.shape[1::-1]) - 1) / 2
    position = np.median(places, axis=0) if len(places) else centre
    weights = aperture_weights(stamp.shape[:2], *position)
    fluxes = np.einsum("ayx,yxb->ab", weights, stamp)
    sky = np.array([sky_sigma(image) for image in images])
    errors = np.sqrt((weights**2).sum(axis=(1, 2)))[:, None] * sky
    psf = np.array([(fit.flux, fit.flux_error) for fit in fits])
    return fluxes, errors, psf[:, 0], psf[:, 1], position if len(places) else np.full(2, np.nan)


def _distance(shape: tuple[int, int]) -> np.ndarray:
    """Of each pixel from an image's centre, in px."""
    y, x = (np.arange(length) - (length - 1) / 2 for length in shape)
    return np.hypot(y[:, None], x)
