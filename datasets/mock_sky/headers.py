"""The header cards of a mock cutout, in the archive's keywords."""

from __future__ import annotations

import numpy as np

from datasets.mock_sky.exposures import GAIN_E_PER_ADU, SATURATION_ADU
from datasets.mock_sky.fits_bytes import Value
from datasets.mock_sky.frames import (
    MASK_BAD_PIXEL,
    MASK_COSMIC_RAY,
    MASK_SATURATED,
    Area,
)
from datasets.mock_sky.wcs import FrameWCS

BZERO = 30_000
"""ADU of a stored 0: the 16 bits hold -2768 to 62767 ADU.

Unsigned counts (BZERO = 32768) would cut the noise at 0: with the 4 ADU per pixel of sky in a short v frame and 9 ADU
of read noise, the cut alone would raise the sky by half. Signed ones (BZERO = 0) would end below saturation.
"""

Cards = dict[str, tuple[Value, str]]


def image_cards(exposure: np.void, wcs: FrameWCS, row: int, area: Area) -> Cards:
    """Cards of the image of `area`, for one row of the exposures and the same row of their coordinate systems.

    Args:
        exposure: a row of `exposures.EXPOSURE_COLUMNS`.
        wcs: coordinate systems of the block's exposures.
        row: of the exposure among them.
        area: the pixels of the image.

    Returns:
        Keyword -> (value, comment).
    """
    image_id = int(exposure["image_id"])
    return {
        **wcs_cards(wcs, row, area),
        **_frame_cards(exposure),
        "EXPTIME": (float(exposure["exp_time"]), "[s]"),
        "DATE-OBS": (_iso_date(image_id), "UT, start of exposure"),
        "MJD-OBS": (float(exposure["date"]), "[d] start of exposure"),
        "AIRMASS": (round(float(exposure["airmass"]), 4), ""),
        "ROTSKYPA": (float(exposure["rotator_pos"]), "[deg] rotator position angle"),
        "IMGTYPE": (str(exposure["image_type"]), "fs short, ms main survey"),
        "GAIN": (GAIN_E_PER_ADU, "[e-/ADU]"),
        "SATURATE": (SATURATION_ADU, "[ADU]"),
        "ZPAPPROX": (round(float(exposure["zpapprox"]), 4), "[mag] AB, of 1 ADU in the whole exposure"),
        "ZPTERR": (0.01, "[mag] error of ZPAPPROX"),
        "QAFWHM": (round(float(exposure["fwhm"]), 4), "[arcsec] seeing"),
        "QAELONG": (round(float(exposure["elong"]), 4), "elongation of star images"),
        "ORIGIN": ("mock_sky", "simulated: not an observation"),
    }


def mask_cards(exposure: np.void, wcs: FrameWCS, row: int, area: Area) -> Cards:
    """Cards of the mask of the same pixels.

    Args:
        exposure: as of `image_cards`.
        wcs: as of `image_cards`.
        row: as of `image_cards`.
        area: as of `image_cards`.

    Returns:
        Keyword -> (value, comment).
    """
    return {
        **wcs_cards(wcs, row, area),
        **_frame_cards(exposure),
        "MASKBAD": (MASK_BAD_PIXEL, "bit: bad pixel or column"),
        "MASKSAT": (MASK_SATURATED, "bit: saturated"),
        "MASKCR": (MASK_COSMIC_RAY, "bit: cosmic ray"),
        "ORIGIN": ("mock_sky", "simulated: not an observation"),
    }


def wcs_cards(wcs: FrameWCS, row: int, area: Area) -> Cards:
    """The TPV coordinate system of `area`: that of its CCD with CRPIX moved.

    Args:
        wcs: coordinate systems of the block's exposures.
        row: of the exposure among them.
        area: the pixels of the image.

    Returns:
        Keyword -> (value, comment).
    """
    (ra, dec), (x, y), cd, pv = (a[row].tolist() for a in (wcs.crval, wcs.crpix, wcs.cd, wcs.pv))
    return {
        "CTYPE1": ("RA---TPV", ""),
        "CTYPE2": ("DEC--TPV", ""),
        "CUNIT1": ("deg", ""),
        "CUNIT2": ("deg", ""),
        "CRVAL1": (ra, "pointing of the telescope"),
        "CRVAL2": (dec, ""),
        "CRPIX1": (x + 1 - area.x0, "its pixel, 1-based"),
        "CRPIX2": (y + 1 - area.y0, ""),
        "CD1_1": (cd[0][0], ""),
        "CD1_2": (cd[0][1], ""),
        "CD2_1": (cd[1][0], ""),
        "CD2_2": (cd[1][1], ""),
        "PV1_1": (1.0, ""),
        "PV1_7": (pv[0], ""),
        "PV1_9": (pv[1], ""),
        "PV2_1": (1.0, ""),
        "PV2_7": (pv[2], ""),
        "PV2_9": (pv[3], ""),
        "RADESYS": ("ICRS", ""),
    }


def _frame_cards(exposure: np.void) -> Cards:
    image_id, ccd = int(exposure["image_id"]), int(exposure["ccd"])
    return {
        "IMAGE_ID": (image_id, "dr4.images"),
        "CCD": (ccd, "1 to 32"),
        "IMAGE": (f"{image_id}-{ccd:02d}", ""),
        "FILTER": (str(exposure["filter"]), ""),
    }


def _iso_date(image_id: int) -> str:
    """2014-07-08T11:30:46 for 20140708113046."""
    s = str(image_id)
    return f"{s[:4]}-{s[4:6]}-{s[6:8]}T{s[8:10]}:{s[10:12]}:{s[12:14]}"
