"""Which exposures cover a star, and what the survey's photometry measured on each."""

from __future__ import annotations

import numpy as np

from datasets.mock_sky.randomness import Draws
from datasets.mock_sky.stars.neighbours import MOFFAT_BETA, contaminating_flux
from datasets.skymapper import BANDS, PIXEL_SCALE_ARCSEC

GAIN_E_PER_ADU = 0.75
READ_NOISE_E = 7.0
"""A middling CCD's."""
SATURATION_ADU = 60_000.0
"""Counts at which a pixel is full; a star is saturated where its brightest pixel, sky included, exceeds this."""
CCD_SHAPE = (4096, 2048)
MAIN_EXP_TIME_S = 100.0
SHORT_EXP_TIME_S = np.array([40.0, 20.0, 5.0, 5.0, 10.0, 20.0])
SHORT_ZEROPOINT = np.array([25.4, 24.9, 25.78, 25.5, 25.6, 25.66])
ZEROPOINT_SCATTER = 0.03
CALIBRATION_ERROR = np.array([0.008, 0.007, 0.007, 0.006, 0.006, 0.006])
"""Scatter of an exposure's zpapprox about its true zeropoint, mag."""
MEDIAN_FWHM_ARCSEC = np.array([3.15, 3.00, 2.80, 2.63, 2.54, 2.49])
SKY_MAG_ARCSEC2 = np.array([21.9, 21.8, 21.6, 20.9, 19.7, 18.8])
FIRST_IS_SHORT = np.array([0.3, 0.5, 1.0, 1.0, 1.0, 1.0])
"""The chance that the exposure that a star has for certain is a short one."""
MORE_SHORT = np.array([0.15, 0.2, 0.6, 0.9, 1.1, 1.2])
MORE_MAIN = np.array([0.85, 1.1, 2.3, 3.25, 3.75, 3.85])
"""Mean numbers of further exposures, short (0 to 2) and main."""
LOST_BAND = 0.012
"""The chance that a band has no exposure of a star at all."""
SLOTS_PER_BAND, SLOTS_PER_STAR = 10, 64

FIRST_NIGHT = np.datetime64("2014-03-15T09:00:00", "s")
NIGHTS, SECONDS_PER_NIGHT = 2700, 36000
SLOT_STRIDE = 61_803_391
"""A prime, so that multiples of it run through every second of the survey before any comes twice."""

EXPOSURE_COLUMNS = np.dtype(
    [
        ("star", "i8"),
        ("object_id", "i8"),
        ("image_id", "i8"),
        ("ccd", "i4"),
        ("filter", "U1"),
        ("band", "i4"),
        ("exp_time", "f8"),
        ("image_type", "U2"),
        ("zpapprox", "f8"),
        ("zeropoint", "f8"),
        ("fwhm", "f8"),
        ("elong", "f8"),
        ("rotator_pos", "f8"),
        ("airmass", "f8"),
        ("date", "f8"),
        ("x_img", "f8"),
        ("y_img", "f8"),
        ("sky_adu", "f8"),
        ("background", "f8"),
        ("flags", "i4"),
        ("nimaflags", "i4"),
        ("img_qual", "i4"),
        ("use_in_clipped", "i4"),
        ("mag_psf", "f8"),
        ("e_mag_psf", "f8"),
        ("chi2_psf", "f8"),
    ]
)
"""One row per exposure of a star, in order of star, image_id and ccd; units as in dr4.photometry and dr4.images.

`zeropoint` is the true one, `zpapprox` what the survey believes; `sky_adu` the true sky (ADU per pixel),
`background` the measured one; `band` the index of `filter` in u v g r i z.
"""


def draw_exposures(seed: int, block: int, stars: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """All exposures of the block's stars, as `EXPOSURE_COLUMNS`.

    Args:
        seed: of the sky.
        block: number of the block.
        stars: its stars (`sky.STAR_COLUMNS`).
        neighbours: its neighbours (`neighbours.NEIGHBOUR_COLUMNS`), in order of star.

    Returns:
        One row an exposure, in order of star.
    """
    draws = Draws(seed, "exposures", block)
    row, band, main, slot = _schedule(draws, len(stars))
    table = np.empty(len(row), EXPOSURE_COLUMNS)
    table["star"], table["object_id"] = stars["star"][row], stars["object_id"][row]
    table["band"], table["filter"] = band, np.array(list(BANDS))[band]
    table["image_type"] = np.where(main, "ms", "fs")
    table["exp_time"] = np.where(main, MAIN_EXP_TIME_S, SHORT_EXP_TIME_S[band])
    table["image_id"], table["date"] = _times(seed, stars["star"][row] * SLOTS_PER_STAR + slot)
    _draw_conditions(draws, table)
    _draw_photometry(draws, table, stars, neighbours, row)
    return table[np.lexsort((table["ccd"], table["image_id"], row))]


def _schedule(draws: Draws, n_stars: int):
    """Row of the star, band, whether a main exposure, and the slot (different for every exposure of a star)."""
    shape = (n_stars, len(BANDS))
    first_is_short = draws.happens(FIRST_IS_SHORT, shape)
    n_short = first_is_short + sum(draws.happens(MORE_SHORT / 2, shape).astype(int) for _ in range(2))
    n_main = ~first_is_short + draws.poisson(MORE_MAIN, shape, largest=SLOTS_PER_BAND - 3)
    lost = draws.happens(LOST_BAND, shape)
    n_short, n_all = np.where(lost, 0, n_short), np.where(lost, 0, n_short + n_main)
    taken = np.arange(SLOTS_PER_BAND) < n_all[..., None]
    row, band, number = np.nonzero(taken)
    return row, band, number >= n_short[row, band], band * SLOTS_PER_BAND + number


def _times(seed: int, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """image_id (yyyymmddhhmmss) and MJD of the exposures' starts: a second of the survey's nights for each slot."""
    seconds = NIGHTS * SECONDS_PER_NIGHT
    if slot.size and slot.max() >= seconds:
        raise ValueError(f"the mock survey has time for {seconds // SLOTS_PER_STAR} stars; ask for no star beyond.")
    night, second = np.divmod((slot * SLOT_STRIDE + 7919 * seed) % seconds, SECONDS_PER_NIGHT)
    start = FIRST_NIGHT + night * np.timedelta64(86400, "s") + second.astype("m8[s]")
    year, month, day = (start.astype(f"M8[{unit}]") for unit in "YMD")
    of_day = (start - day).astype(np.int64)
    image_id = year.astype(np.int64) + 1970
    image_id = image_id * 100 + (month - year).astype(np.int64) + 1
    image_id = image_id * 100 + (day - month).astype(np.int64) + 1
    for part in (of_day // 3600, of_day // 60 % 60, of_day % 60):
        image_id = image_id * 100 + part
    return image_id, (start - np.datetime64("1858-11-17T00:00:00", "s")).astype(np.int64) / 86400.0


def _draw_conditions(draws: Draws, table: np.ndarray) -> None:
    """Fills in the weather, the pointing and the calibration of each exposure."""
    n, band = len(table), table["band"]
    exposure_ratio = table["exp_time"] / SHORT_EXP_TIME_S[band]
    table["zeropoint"] = SHORT_ZEROPOINT[band] + 2.5 * np.log10(exposure_ratio) + draws.normal(0, ZEROPOINT_SCATTER, n)
    table["zpapprox"] = table["zeropoint"] + CALIBRATION_ERROR[band] * draws.normal(size=n)
    table["fwhm"] = MEDIAN_FWHM_ARCSEC[band] * np.exp(draws.normal(0.0, 0.15, n))
    table["elong"] = 1.0 + np.abs(draws.normal(0.06, 0.05, n))
    odd_angle = draws.happens(0.12, n)
    right_angle = draws.pick([0.0, 90.0, 180.0, 270.0], [0.35, 0.2, 0.35, 0.1], n)
    table["rotator_pos"] = np.where(odd_angle, draws.pick([300.0, 37.0, 135.0, 218.0], [4, 1, 1, 1], n), right_angle)
    table["airmass"] = 1.0 + np.minimum(np.abs(draws.normal(0.12, 0.15, n)), 0.9)
    table["ccd"] = 1 + (32 * draws.uniform(size=n)).astype(int)
    # Dithers put a star anywhere on a CCD, but few exposures with the star at the very edge pass the survey's own cuts.
    margin = np.where(draws.happens(0.01, n), 4.0, 32.0)
    table["x_img"] = margin + (CCD_SHAPE[1] + 1 - 2 * margin) * draws.uniform(size=n)
    table["y_img"] = margin + (CCD_SHAPE[0] + 1 - 2 * margin) * draws.uniform(size=n)
    sky_mag = SKY_MAG_ARCSEC2[band] - np.abs(draws.normal(0.0, 0.5, n))
    table["sky_adu"] = PIXEL_SCALE_ARCSEC**2 * 10 ** (0.4 * (table["zeropoint"] - sky_mag))
    table["background"] = table["sky_adu"] * (1 + draws.normal(0.0, 0.004, n)) + draws.normal(0.0, 0.2, n)
    table["img_qual"] = np.where(draws.happens(0.02, n), 0, 1)
    table["nimaflags"] = np.where(draws.happens(0.04, n), 1 + (12 * draws.uniform(size=n)).astype(int), 0)


def moffat_core_px(fwhm_arcsec: np.ndarray) -> np.ndarray:
    """The Moffat profile's radius alpha in pixels."""
    return fwhm_arcsec / PIXEL_SCALE_ARCSEC / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))


def peak_share(fwhm_arcsec: np.ndarray) -> np.ndarray:
    """The part of a star's counts in the pixel it is centred on (the profile's central value)."""
    return (MOFFAT_BETA - 1) / (np.pi * moffat_core_px(fwhm_arcsec) ** 2)


def noise_area_px(fwhm_arcsec: np.ndarray) -> np.ndarray:
    """1 / sum(P^2): the pixels whose background noise a PSF fit collects."""
    return np.pi * moffat_core_px(fwhm_arcsec) ** 2 * (2 * MOFFAT_BETA - 1) / (MOFFAT_BETA - 1) ** 2


def _draw_photometry(draws: Draws, table: np.ndarray, stars, neighbours, row) -> None:
    """Fills in mag_psf with its error, and what the survey says about the measurement."""
    n, band, fwhm = len(table), table["band"], table["fwhm"]
    own = 10 ** (-0.4 * (stars["mag"][row, band] - table["zeropoint"]))
    foreign = contaminating_flux(stars, neighbours, row, fwhm, band)
    counts = own * (1 + foreign)
    background = table["sky_adu"] * GAIN_E_PER_ADU + READ_NOISE_E**2
    photon = np.sqrt(counts * GAIN_E_PER_ADU + noise_area_px(fwhm) * background) / (counts * GAIN_E_PER_ADU)
    masked = table["nimaflags"] > 0
    error = np.where(masked, 2.0, 1.0) * 2.5 / np.log(10) * photon
    measured = table["zpapprox"] - 2.5 * np.log10(counts) + error * draws.normal(size=n)
    saturated = counts * peak_share(fwhm) + table["sky_adu"] > SATURATION_ADU
    measured += np.where(saturated, np.abs(draws.normal(0.15, 0.1, n)), 0.0)
    outlier = draws.happens(0.01, n)
    measured += np.where(outlier, draws.normal(0.0, 0.15, n), 0.0)
    table["mag_psf"] = measured
    table["e_mag_psf"] = np.hypot(error, CALIBRATION_ERROR[band])
    table["chi2_psf"] = np.exp(draws.normal(0.0, 0.25, n)) * (1 + 20 * foreign + 30 * saturated + 5 * outlier)
    table["flags"] = 1 * (foreign > 0.03) + 2 * (foreign > 0.10) + 4 * saturated
    table["flags"] |= np.where(draws.happens(0.003, n), 8, 0)
    rejected = saturated | outlier | (table["img_qual"] == 0) | (masked & draws.happens(0.3, n)) | (photon > 0.2)
    table["use_in_clipped"] = ~rejected
