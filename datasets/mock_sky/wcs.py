"""Where the pixels of a mock frame lie on the sky: TPV, as SkyMapper's headers have it.

A pixel p of CCD c becomes intermediate coordinates (x, y) = CD (p - CRPIX) in degrees, the distortion of the optics
makes them tangent-plane coordinates (Shupe et al. 2012, the TPV convention)::

    xi  = x + PV1_7 x^3 + PV1_9 x y^2
    eta = y + PV2_7 y^3 + PV2_9 y x^2

and the gnomonic projection about CRVAL, the pointing of the telescope, puts them on the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from datasets.mock_sky.exposures import CCD_SHAPE

CCD_HEIGHT_PX, CCD_WIDTH_PX = CCD_SHAPE
N_CCDS = 32

_CCD_COLUMNS = 8  # the mosaic of the mock camera: 8 x 4 CCDs without gaps, counted along the rows
_CENTRAL_SCALE_DEG = 1.38230e-4  # 0.4976 arcsec; the distortion takes it down to 0.495 in the mosaic's corners
_CUBIC_TERMS = (-9.541e-4, -1.0e-3, -9.8e-4, -1.0495e-3)  # PV1_7, PV1_9, PV2_7, PV2_9 in 1 / deg^2
_POLE_DEC_DEG = 88.0


@dataclass(frozen=True)
class FrameWCS:
    """The world coordinate systems of n CCD frames.

    Attributes:
        crval: (n, 2) right ascension and declination of the pointing, deg.
        crpix: (n, 2) the pointing in pixels of the CCD, 1-based; outside the CCD for most of them.
        cd: (n, 2, 2) deg per pixel.
        pv: (n, 4) PV1_7, PV1_9, PV2_7, PV2_9.
        px_per_arcsec: (n, 2, 2) takes offsets (east, north) from the star to pixel offsets (x, y). It is the
            linear part of the transform at the star, good to 0.002 px within 30 arcsec of it.
    """

    crval: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray
    pv: np.ndarray
    px_per_arcsec: np.ndarray


def frame_wcs(
    ra_deg: ArrayLike, dec_deg: ArrayLike, x_img: ArrayLike, y_img: ArrayLike, ccd: ArrayLike, rotator_deg: ArrayLike
) -> FrameWCS:
    """The pointing for which a star falls on its pixel, for n stars and frames at once; all arguments (n,).

    Only the pointing depends on the star: CD, PV and the position of the CCD in the mosaic belong to the camera.
    Within two degrees of the pole, where no pointing with north up may do it, the telescope points at the star itself.

    Args:
        ra_deg: the star's right ascension.
        dec_deg: its declination.
        x_img: its column on the CCD, 1-based as FITS counts.
        y_img: its row.
        ccd: 1 to 32.
        rotator_deg: position angle of the CCD's columns, from north through east.

    Returns:
        The coordinate systems of the n frames.
    """
    ra_deg, dec_deg, x_img, y_img, rotator_deg = (
        np.asarray(a, float) for a in (ra_deg, dec_deg, x_img, y_img, rotator_deg)
    )
    ccd = np.asarray(ccd, np.int64)
    cd, pv = _camera(ccd, rotator_deg)
    star_px = np.stack([x_img, y_img], axis=-1)
    crpix = np.where((np.abs(dec_deg) < _POLE_DEC_DEG)[:, None], _mosaic_centre_px(ccd), star_px)
    xy = np.einsum("nij,nj->ni", cd, star_px - crpix)
    xieta, distortion = _distort(xy, pv)
    crval = _tangent_point(np.radians(ra_deg), np.radians(dec_deg), np.radians(xieta))
    sky_per_tangent = _local_jacobian(np.radians(ra_deg), np.radians(dec_deg), crval, np.radians(xieta))
    arcsec_per_px = 3600 * sky_per_tangent @ distortion @ cd
    return FrameWCS(np.degrees(crval), crpix, cd, pv, np.linalg.inv(arcsec_per_px))


def _mosaic_centre_px(ccd: np.ndarray) -> np.ndarray:
    """(n, 2) centre of the mosaic in the pixels of each CCD."""
    row, column = np.divmod(ccd - 1, _CCD_COLUMNS)
    rows = N_CCDS // _CCD_COLUMNS
    return np.stack([(_CCD_COLUMNS / 2 - column) * CCD_WIDTH_PX, (rows / 2 - row) * CCD_HEIGHT_PX], axis=-1) + 0.5


def _camera(ccd: np.ndarray, rotator_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2, 2) CD and (n, 4) PV: the nominal camera with every CCD turned, stretched and bent a little."""
    rng = np.random.default_rng(32)  # the one camera there is: the same for every seed of the sky
    turn_deg = rng.normal(0, 0.15, N_CCDS)[ccd - 1]
    stretch = 1 + rng.normal(0, 1e-4, (N_CCDS, 2))[ccd - 1]
    pv = np.array(_CUBIC_TERMS) * (1 + rng.normal(0, 0.02, (N_CCDS, 4))[ccd - 1])
    angle = np.radians(rotator_deg + turn_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    axes = np.stack([np.stack([-cos, sin], -1), np.stack([sin, cos], -1)], -2)  # x points west at rotator 0
    return _CENTRAL_SCALE_DEG * axes * stretch[:, None, :], pv


def _distort(xy: np.ndarray, pv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) tangent-plane coordinates in degrees and their (n, 2, 2) derivative by the intermediate ones."""
    x, y = xy.T
    p17, p19, p27, p29 = pv.T
    xieta = np.stack([x + p17 * x**3 + p19 * x * y**2, y + p27 * y**3 + p29 * y * x**2], axis=-1)
    rows = [
        [1 + 3 * p17 * x**2 + p19 * y**2, 2 * p19 * x * y],
        [2 * p29 * x * y, 1 + 3 * p27 * y**2 + p29 * x**2],
    ]
    return xieta, np.moveaxis(np.array(rows), -1, 0)


def _tangent_point(ra: np.ndarray, dec: np.ndarray, xieta: np.ndarray) -> np.ndarray:
    """(n, 2) the point about which a star at (ra, dec) projects to (xi, eta), all in radians.

    With D = 1 / sqrt(1 + xi^2 + eta^2) the projection reads cos(dec) sin(ra - ra0) = xi D and
    (sin(dec), cos(dec) cos(ra - ra0)) = D (eta, 1) turned by dec0; both are solved for ra0 and dec0.
    """
    xi, eta = xieta.T
    d = 1 / np.sqrt(1 + xi**2 + eta**2)
    towards_pole = np.sqrt(np.cos(dec) ** 2 - (xi * d) ** 2)
    ra0 = ra - np.arctan2(xi * d, towards_pole)
    dec0 = np.arctan2(np.sin(dec), towards_pole) - np.arctan2(eta, 1.0)
    return np.stack([ra0 % (2 * np.pi), dec0], axis=-1)


def _local_jacobian(ra: np.ndarray, dec: np.ndarray, crval: np.ndarray, xieta: np.ndarray) -> np.ndarray:
    """(n, 2, 2) derivative of (east, north) at the star by (xi, eta)."""
    _, east0, north0 = _basis(*crval.T)
    _, east, north = _basis(ra, dec)
    length = np.sqrt(1 + np.sum(xieta**2, axis=-1))
    # A step in (xi, eta) moves the tangent-plane point along east0 and north0; seen from the centre of the unit sphere
    # its part across the star's direction is an angle, smaller by the length of the vector to the plane.
    rows = [[np.sum(a * b, axis=-1) / length for b in (east0, north0)] for a in (east, north)]
    return np.moveaxis(np.array(rows), -1, 0)


def _basis(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, 3) unit vectors towards (ra, dec), its east and its north."""
    zero = np.zeros_like(ra)
    direction = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    east = np.stack([-np.sin(ra), np.cos(ra), zero], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return direction, east, north
