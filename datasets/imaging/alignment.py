"""Frames -> one pixel grid: bicubic interpolation through the frames' WCS (paper, section 2.3).

Two aligners do the same mathematics. `"reproject"` is the reference: astropy's `reproject_interp`. `"fast"` is some
twenty times as fast: over a stamp the mapping from grid pixels to frame pixels is a cubic to 1e-8 px, whatever the
projection, so 25 points of the WCS give all 2304.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from astropy.wcs import WCS, WcsError, Wcsprm
from scipy import ndimage

from datasets.errors import DataError
from datasets.imaging.calibration import dilated
from datasets.skymapper import STAMP_SIZE_PX

Method = Literal["fast", "reproject"]


class AlignmentError(DataError):
    """A position or frame that cannot be put on a grid; the message says why in one sentence."""


# Cubics u^i v^j in coordinates that run from -1 to 1 across the grid, and 5 x 5 nodes: one a side more than a cubic
# needs, so that they show how well it fits.
_HALF = (STAMP_SIZE_PX - 1) / 2
_NODES = np.array([(x, y) for y in np.linspace(0, 2 * _HALF, 5) for x in np.linspace(0, 2 * _HALF, 5)])
_PIXELS = np.stack(np.meshgrid(np.arange(STAMP_SIZE_PX), np.arange(STAMP_SIZE_PX)), axis=-1).reshape(-1, 2)


def _cubics(xy: np.ndarray) -> np.ndarray:
    u, v = (xy - _HALF).T / _HALF
    return np.stack([u**i * v**j for i, j in ((0, 0), (1, 0), (0, 1), *_HIGHER_POWERS)])


_HIGHER_POWERS = ((2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
_TO_NODES = _cubics(_NODES)
_FROM_NODES = np.linalg.pinv(_TO_NODES)
_TO_PIXELS = np.ascontiguousarray(_cubics(_PIXELS))

_MAX_MISFIT_PX = 1e-7
"""Of the cubic at the nodes. Frames of one camera stay below 1e-9; only a damaged WCS bends more within a stamp."""

_AREA_RATIOS = 0.8, 1.25
"""Of a grid pixel to a frame pixel. The survey's pixels are alike to 1 %."""

_EDGE_PX = 0.5 - 1e-4
"""How far beyond the centres of a frame's outermost pixels it covers.

Less than half a pixel by more than rounding errors: the aligners must not differ about a pixel on the very edge.
"""


@dataclass(frozen=True)
class Grid:
    """A stamp's pixel grid on the sky, `STAMP_SIZE_PX` square."""

    wcs: Wcsprm
    nodes_radec: np.ndarray  # (25, 2) deg, where the transform to a frame is evaluated


class Aligned(NamedTuple):
    """A frame on a grid, all (STAMP_SIZE_PX, STAMP_SIZE_PX), (y, x)."""

    flux: np.ndarray  # float64, in the frame's unit, per grid pixel; 0 where not covered
    covered: np.ndarray  # bool, inside the frame
    good: np.ndarray  # bool, covered and not drawn from masked pixels


def pixel_of(wcs: Wcsprm, ra_deg: float, dec_deg: float) -> tuple[float, float]:
    """The 0-based pixel (x, y) of a position.

    Args:
        wcs: the frame's.
        ra_deg: right ascension.
        dec_deg: declination.

    Returns:
        Column and row.

    Raises:
        AlignmentError: if the position cannot be projected onto the frame.
    """
    x, y = _to_pixels(wcs, np.array([[ra_deg, dec_deg]]))[0].tolist()
    return x, y


def _to_pixels(wcs: Wcsprm, radec: np.ndarray) -> np.ndarray:
    try:
        xy: np.ndarray = wcs.s2p(radec, 0)["pixcrd"]
    except (WcsError, ValueError) as error:
        raise AlignmentError("the position lies outside the frame's projection") from error
    if not np.isfinite(xy).all():
        raise AlignmentError("the position lies outside the frame's projection")
    return xy


def stamp_grid(wcs: Wcsprm, ra_deg: float, dec_deg: float) -> Grid:
    """The pixel grid of a frame, cropped to a stamp with the star within half a pixel of the stamp's centre.

    The centre of 48 pixels is the corner between pixels 23 and 24, so the star falls on [23, 24) in x and y.

    Args:
        wcs: the frame's.
        ra_deg: the star's right ascension.
        dec_deg: its declination.

    Returns:
        The grid.

    Raises:
        AlignmentError: if the position, or the grid around it, cannot be projected.
    """
    corner = np.floor(pixel_of(wcs, ra_deg, dec_deg)) - (STAMP_SIZE_PX // 2 - 1)
    cropped = copy.deepcopy(wcs)
    cropped.crpix = wcs.crpix - corner
    try:
        cropped.set()
        nodes_radec = cropped.p2s(_NODES, 0)["world"]
    except (WcsError, ValueError) as error:
        raise AlignmentError("the frame's WCS cannot be used around the star") from error
    if not np.isfinite(nodes_radec).all():
        raise AlignmentError("the frame's WCS cannot be used around the star")
    return Grid(cropped, nodes_radec)


def fill_masked(image: np.ndarray, masked: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """`image` with masked pixels replaced from their neighbours, so that one bad value cannot ring through a spline.

    What is interpolated is the residual against the star's profile, which is smooth where the star is steep: inwards
    from the edge of each masked region, a ring at a time, each pixel the mean of its known neighbours.

    Args:
        image: (ny, nx), sky-subtracted; values under the mask are never used.
        masked: (ny, nx) bool, not True everywhere.
        profile: (ny, nx), the star's expected shape, in any unit.

    Returns:
        (ny, nx); `image` itself where nothing is masked.
    """
    if not masked.any():
        return image
    known = ~masked
    clean = np.where(masked, 0.0, image)
    amplitude = np.vdot(clean, profile) / np.vdot(profile, profile * known)
    residual = clean - amplitude * profile
    rows, columns = np.nonzero(masked)
    while rows.size:
        around = _clipped(rows, _ROW_STEPS, image.shape[0]), _clipped(columns, _COLUMN_STEPS, image.shape[1])
        weights = known[around]
        n_known = weights.sum(axis=1)
        ring = n_known > 0
        values = (residual[around] * weights).sum(axis=1)
        residual[rows[ring], columns[ring]] = values[ring] / n_known[ring]
        known[rows[ring], columns[ring]] = True
        rows, columns = rows[~ring], columns[~ring]
    filled: np.ndarray = np.where(masked, residual + amplitude * profile, image)
    return filled


def _clipped(centres: np.ndarray, steps: np.ndarray, length: int) -> np.ndarray:
    places: np.ndarray = centres[:, None] + steps
    return places.clip(0, length - 1)


_ROW_STEPS = np.array([-1, -1, -1, 0, 0, 1, 1, 1])
_COLUMN_STEPS = np.array([-1, 0, 1, -1, 1, -1, 0, 1])


def align(image: np.ndarray, masked: np.ndarray, wcs: Wcsprm, grid: Grid, *, method: Method = "fast") -> Aligned:
    """Interpolate a frame onto a grid, keeping its flux.

    Bicubic (a cubic B-spline through the pixels) in surface brightness, times the ratio of the pixels' areas. The mask
    goes on its own: a grid pixel is bad if the nearest frame pixel is masked or touches a masked one, beyond which a
    pixel's weight in the spline is below 0.15.

    Args:
        image: (ny, nx) flux per pixel, masked pixels already filled (`fill_masked`).
        masked: (ny, nx) bool, the pixels that were filled.
        wcs: the frame's.
        grid: from `stamp_grid`.
        method: `"fast"` or `"reproject"`.

    Returns:
        Flux, where the frame covers the grid, and where it is good.

    Raises:
        AlignmentError: if the grid lies outside the frame's projection, or the two cannot be of one camera.
    """
    (x, y), area_ratio = _grid_on_frame(wcs, grid)
    ny, nx = image.shape
    covered = (x > -_EDGE_PX) & (x < nx - 1 + _EDGE_PX) & (y > -_EDGE_PX) & (y < ny - 1 + _EDGE_PX)
    np.clip(x, 0, nx - 1, out=x)
    np.clip(y, 0, ny - 1, out=y)
    if method == "fast":
        coefficients = ndimage.spline_filter(image, order=3, mode="mirror")
        flux = ndimage.map_coordinates(coefficients, (y, x), order=3, mode="constant", prefilter=False)
    else:
        flux = _reproject(image, wcs, grid)
    flux = np.where(covered, flux * area_ratio, 0.0)
    good = covered
    if masked.any():
        nearest = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
        good = covered & ~dilated(masked)[nearest]
    shape = (STAMP_SIZE_PX, STAMP_SIZE_PX)
    return Aligned(flux.reshape(shape), covered.reshape(shape), good.reshape(shape))


def _grid_on_frame(wcs: Wcsprm, grid: Grid) -> tuple[np.ndarray, float]:
    """The grid's pixels in the frame's, (2, STAMP_SIZE_PX**2), and the area of a grid pixel in frame pixels."""
    nodes = _to_pixels(wcs, grid.nodes_radec).T
    cubic = nodes @ _FROM_NODES
    (_, dx_du, dx_dv, *_), (_, dy_du, dy_dv, *_) = cubic.tolist()
    area_ratio = abs(dx_du * dy_dv - dx_dv * dy_du) / _HALF**2
    if not _AREA_RATIOS[0] < area_ratio < _AREA_RATIOS[1]:
        raise AlignmentError(f"the frame's pixels have {1 / max(area_ratio, 1e-9):.3g} times the area of the grid's")
    if np.abs(cubic @ _TO_NODES - nodes).max() > _MAX_MISFIT_PX:
        raise AlignmentError("the frame's WCS bends within a stamp as no camera's does")
    return cubic @ _TO_PIXELS, area_ratio


def _reproject(image: np.ndarray, wcs: Wcsprm, grid: Grid) -> np.ndarray:
    from reproject import reproject_interp  # a second that the fast aligner need not spend

    frame, target = WCS(naxis=2), WCS(naxis=2)
    frame.wcs, target.wcs = wcs, grid.wcs
    flux: np.ndarray = reproject_interp(
        (image, frame),
        target,
        shape_out=(STAMP_SIZE_PX, STAMP_SIZE_PX),
        order="bicubic",
        return_footprint=False,
        roundtrip_coords=False,
    ).ravel()
    return flux
