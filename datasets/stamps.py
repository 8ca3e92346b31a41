"""A star's detections -> one stamp of six bands (paper, section 2.3).

Each detection's cutout is read, sky-subtracted, calibrated to dereddened microjansky and interpolated onto the pixel
grid of the r-band frame with the best seeing; each band's stamp is the plain mean of its detections (Eq. 1), masked
pixels left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from astropy.wcs import Wcsprm

from datasets.alignment import Aligned, AlignmentError, Method, align, fill_masked, pixel_of, stamp_grid
from datasets.archives.interface import Archive, ArchiveError, Detection
from datasets.archives.skymapper import BANDS, CUTOUT_SIZE_PX, PIXEL_SCALE_ARCSEC, STAMP_SIZE_PX
from datasets.calibration import CalibrationError, flux_scale, measure_sky, star_profile
from datasets.cutouts import CutoutError, read_image, read_mask

CORE_RADIUS_FWHM = 0.5
"""A detection is dropped when a pixel this near the star is masked or missing: the star's flux cannot be restored."""


class StampError(Exception):
    """A star without a stamp; the message is the reason, in one sentence."""


@dataclass(frozen=True)
class Stamp:
    """A star's stamp and what it was made of; bands are in the order u v g r i z."""

    flux: np.ndarray  # (48, 48, 6) float32, uJy per pixel, (y, x, band): dereddened, sky-subtracted
    mask: np.ndarray  # (48, 48, 6) uint8, 1 where no detection had a good pixel and the flux is a fill
    n_detections: np.ndarray  # (6,) int32, detections averaged
    fwhm: np.ndarray  # (6,) float32, their mean seeing, arcsec
    n_masked_pixels: np.ndarray  # (6,) int32, pixels left out of the mean, masked or off the frame, over all of them
    reference: Detection  # whose pixel grid the stamp has
    dropped: tuple[str, ...]  # detections that could not be used, and why


@dataclass(frozen=True)
class _Frame:
    """A calibrated cutout."""

    detection: Detection
    flux: np.ndarray  # (ny, nx) float64, uJy per pixel, masked pixels filled
    masked: np.ndarray  # (ny, nx) bool
    wcs: Wcsprm
    fwhm: float  # arcsec


def make_stamp(
    archive: Archive,
    object_id: int,
    ra_deg: float,
    dec_deg: float,
    ebmv_sfd: float,
    *,
    aligner: Method = "fast",
    sky: Literal["cutout", "table"] = "cutout",
) -> Stamp:
    """Make a star's stamp from its detections with ``use_in_clipped == 1``.

    Args:
        archive: where detections and cutouts come from.
        object_id: the star's, in the archive.
        ra_deg: right ascension, float64.
        dec_deg: declination, float64.
        ebmv_sfd: raw SFD reddening, mag.
        aligner: ``"fast"`` or ``"reproject"``, equal to 1e-6 of the peak.
        sky: measure the sky level in the ``"cutout"``, or take the detection's ``background`` from the ``"table"``.

    Raises:
        StampError: if the star cannot have a stamp: no usable detection in some band, or input that makes no sense.
        ArchiveError: if the archive cannot list the star's detections.
    """
    _check(ra_deg, dec_deg, ebmv_sfd, aligner, sky)
    dropped: list[str] = []
    frames: dict[str, list[_Frame]] = {}
    for detection in sorted(archive.detections(object_id), key=_frame_order):
        if detection.use_in_clipped != 1 or detection.filter not in BANDS:
            continue
        frames.setdefault(detection.filter, [])
        try:
            frames[detection.filter].append(_read_frame(archive, detection, ra_deg, dec_deg, ebmv_sfd, sky))
        except (ArchiveError, CutoutError, CalibrationError, AlignmentError) as error:
            dropped.append(f"{detection.filter} {detection.image_id}-{detection.ccd:02d}: {error}")
    _check_bands(frames, dropped)
    reference = min(frames["r"], key=lambda frame: (frame.fwhm, _frame_order(frame.detection)))
    grid = stamp_grid(reference.wcs, ra_deg, dec_deg)
    flux = np.empty((STAMP_SIZE_PX, STAMP_SIZE_PX, len(BANDS)), np.float32)
    mask = np.empty(flux.shape, np.uint8)
    n_masked_pixels = np.empty(len(BANDS), np.int32)
    for i, band in enumerate(BANDS):
        aligned = [align(f.flux, f.masked, f.wcs, grid, method=aligner) for f in frames[band]]
        flux[..., i], mask[..., i] = stack(aligned)
        n_masked_pixels[i] = sum(np.count_nonzero(~a.good) for a in aligned)
    return Stamp(
        flux=flux,
        mask=mask,
        n_detections=np.array([len(frames[band]) for band in BANDS], np.int32),
        fwhm=np.array([np.mean([f.fwhm for f in frames[band]]) for band in BANDS], np.float32),
        n_masked_pixels=n_masked_pixels,
        reference=reference.detection,
        dropped=tuple(dropped),
    )


def stack(aligned: Sequence[Aligned]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of aligned detections over their good pixels (Eq. 1), and the mask of pixels where none is good.

    There the mean is over what the detections have, filled pixels and all; where no detection reaches, the flux is 0,
    the sky's.

    Returns:
        Flux (STAMP_SIZE_PX, STAMP_SIZE_PX) float64 and mask, bool.
    """
    flux, covered, good = (np.stack(part) for part in zip(*aligned, strict=True))
    n_good = good.sum(axis=0)
    if n_good.all():
        return (flux * good).sum(axis=0) / n_good, n_good == 0
    weights = np.where(n_good > 0, good, covered)
    return (flux * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1), n_good == 0


def _frame_order(detection: Detection) -> tuple[int, int]:
    return detection.image_id, detection.ccd


def _check(ra_deg: float, dec_deg: float, ebmv_sfd: float, aligner: str, sky: str) -> None:
    if not (math.isfinite(ra_deg) and -90 <= dec_deg <= 90):
        raise StampError(f"the position ({ra_deg}, {dec_deg}) deg is not on the sky")
    if not 0 <= ebmv_sfd <= 10:
        raise StampError(f"the reddening E(B-V) = {ebmv_sfd} is not between 0 and 10 mag")
    if aligner not in ("fast", "reproject"):
        raise ValueError(f"aligner must be 'fast' or 'reproject', not {aligner!r}")
    if sky not in ("cutout", "table"):
        raise ValueError(f"sky must be 'cutout' or 'table', not {sky!r}")


def _check_bands(frames: dict[str, list[_Frame]], dropped: list[str]) -> None:
    for band in "r" + BANDS.replace("r", ""):  # r first: without it there is no grid
        if band not in frames:
            raise StampError(f"no {band}-band detection with use_in_clipped = 1")
        if not frames[band]:
            reasons = "; ".join(reason for reason in dropped if reason.startswith(band))
            raise StampError(f"no usable {band}-band detection ({reasons})")


def _read_frame(
    archive: Archive, detection: Detection, ra_deg: float, dec_deg: float, ebmv_sfd: float, sky: str
) -> _Frame:
    cutout = archive.cutout(detection, ra_deg, dec_deg, CUTOUT_SIZE_PX)
    image = read_image(cutout.image)
    masked = ~np.isfinite(image.pixels)
    if cutout.mask is not None:
        masked |= read_mask(cutout.mask, image.pixels.shape)
    scale = flux_scale(_known(detection.zpapprox, image.zpapprox), detection.filter, ebmv_sfd)
    fwhm = _known(detection.fwhm, image.fwhm)
    if not 0.5 < fwhm < 15:
        raise CalibrationError(f"the seeing {fwhm} is not between 0.5 and 15 arcsec")
    fwhm_px = fwhm / PIXEL_SCALE_ARCSEC
    x, y = pixel_of(image.wcs, ra_deg, dec_deg)
    profile, distance2 = star_profile(image.pixels.shape, x, y, fwhm_px)
    _check_core(masked, distance2, x, y, CORE_RADIUS_FWHM * fwhm_px)
    if sky == "cutout":
        level = measure_sky(image.pixels, ~masked, profile, distance2, fwhm_px)
    elif detection.background is not None and math.isfinite(detection.background):
        level = detection.background
    else:
        raise CalibrationError("the table has no sky level for it")
    flux = fill_masked((image.pixels.astype(np.float64) - level) * scale, masked, profile)
    return _Frame(detection, flux, masked, image.wcs, fwhm)


def _known(table_value: float, header_value: float) -> float:
    return table_value if math.isfinite(table_value) else header_value


def _check_core(masked: np.ndarray, distance2: np.ndarray, x: float, y: float, radius_px: float) -> None:
    ny, nx = masked.shape
    if not (radius_px <= x <= nx - 1 - radius_px and radius_px <= y <= ny - 1 - radius_px):
        raise CutoutError(f"the star is not on the cutout, or at its very edge (pixel {x:.1f}, {y:.1f} of {nx} x {ny})")
    if masked[distance2 <= radius_px**2].any():
        raise CutoutError("the star's core is masked or saturated")
