"""A star's detections -> one stamp of six bands (paper, section 2.3).

Each detection's cutout is read, sky-subtracted, calibrated to dereddened microjansky and interpolated onto the pixel
grid of the r-band frame with the best seeing; each band's stamp is the plain mean of its detections (Eq. 1), masked
pixels left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from astropy.wcs import Wcsprm

from datasets.archives.interface import Archive, Detection, NotServedError
from datasets.errors import DataError
from datasets.imaging.alignment import Aligned, AlignmentError, Grid, Method, align, fill_masked, pixel_of, stamp_grid
from datasets.imaging.calibration import CalibrationError, flux_scale, measure_sky, star_profile
from datasets.imaging.cutouts import CutoutError, read_image, read_mask
from datasets.skymapper import BANDS, CUTOUT_SIZE_PX, PIXEL_SCALE_ARCSEC, STAMP_SIZE_PX

CORE_RADIUS_FWHM = 0.5
"""A detection is dropped when a pixel this near the star is masked or missing: the star's flux cannot be restored."""


class StampError(DataError):
    """A star without a stamp; the message is the reason, in one sentence."""


@dataclass(frozen=True)
class Stamp:
    """A star's stamp and what it was made of; bands are in the order u v g r i z."""

    flux: np.ndarray  # (48, 48, 6) float32, uJy per pixel, (y, x, band): dereddened, sky-subtracted
    mask: np.ndarray  # (48, 48, 6) uint8, 1 where no detection had a good pixel and the flux is a fill
    n_detections: np.ndarray  # (6,) int32, detections averaged
    n_dropped: np.ndarray  # (6,) int32, detections with use_in_clipped = 1 left out because they could not be used
    fwhm: np.ndarray  # (6,) float32, their mean seeing, arcsec
    n_masked_pixels: np.ndarray  # (6,) int32, pixels left out of the mean, masked or off the frame, over all of them
    reference: Detection  # whose pixel grid the stamp has
    dropped: tuple[str, ...]  # those left out, and why


@dataclass(frozen=True)
class Frame:
    """A detection's cutout, as it was served and calibrated."""

    detection: Detection
    counts: np.ndarray  # (ny, nx) float32, ADU
    flux: np.ndarray  # (ny, nx) float64, uJy per pixel, masked pixels filled
    masked: np.ndarray  # (ny, nx) bool
    wcs: Wcsprm
    fwhm: float  # arcsec


class AlignedFrame(NamedTuple):
    """A frame, and the same on the stamp's grid."""

    frame: Frame
    on_grid: Aligned


@dataclass(frozen=True)
class AlignedDetections:
    """A star's detections on the way to its stamp: each as it was served, calibrated, and aligned."""

    of_band: Mapping[str, Sequence[AlignedFrame]]  # in order of image_id and ccd, at least one in each band
    reference: Frame  # whose pixel grid all have
    dropped: _Dropped


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
    """Make a star's stamp from its detections with `use_in_clipped == 1`.

    A detection that the archive does not have or whose cutout cannot be used is dropped. One that the archive fails to
    serve is not: a stamp never depends on what happened to arrive.

    Args:
        archive: where detections and cutouts come from.
        object_id: the star's, in the archive.
        ra_deg: right ascension, float64.
        dec_deg: declination, float64.
        ebmv_sfd: raw SFD reddening, mag.
        aligner: `"fast"` or `"reproject"`, equal to 1e-6 of the peak.
        sky: measure the sky level in the `"cutout"`, or take the detection's `background` from the `"table"`.

    Returns:
        The stamp, with all six bands.

    Raises:
        StampError: if the star cannot have a stamp: no usable detection in some band, or input that makes no sense.
        ArchiveError: if the archive cannot list the star's detections.
        ServiceError: if the archive fails to serve one of its cutouts.
        ArchiveDownError: if nothing can be had from the archive now.
    """
    detections = align_detections(archive, object_id, ra_deg, dec_deg, ebmv_sfd, aligner=aligner, sky=sky)
    aligned = {band: [a.on_grid for a in detections.of_band[band]] for band in BANDS}
    fwhm = {band: [a.frame.fwhm for a in detections.of_band[band]] for band in BANDS}
    dropped = detections.dropped
    flux = np.empty((STAMP_SIZE_PX, STAMP_SIZE_PX, len(BANDS)), np.float32)
    mask = np.empty(flux.shape, np.uint8)
    for i, band in enumerate(BANDS):
        flux[..., i], mask[..., i] = stack(aligned[band])
    return Stamp(
        flux=flux,
        mask=mask,
        n_detections=np.array([len(aligned[band]) for band in BANDS], np.int32),
        n_dropped=np.array([dropped.count(band) for band in BANDS], np.int32),
        fwhm=np.array([np.mean(fwhm[band]) for band in BANDS], np.float32),
        n_masked_pixels=np.array([sum(np.count_nonzero(~a.good) for a in aligned[band]) for band in BANDS], np.int32),
        reference=detections.reference.detection,
        dropped=tuple(dropped.reasons()),
    )


def align_detections(
    archive: Archive,
    object_id: int,
    ra_deg: float,
    dec_deg: float,
    ebmv_sfd: float,
    *,
    aligner: Method = "fast",
    sky: Literal["cutout", "table"] = "cutout",
) -> AlignedDetections:
    """What `make_stamp` averages, with the steps that led there; arguments and errors are the same.

    Args:
        archive: as of `make_stamp`.
        object_id: as of `make_stamp`.
        ra_deg: as of `make_stamp`.
        dec_deg: as of `make_stamp`.
        ebmv_sfd: as of `make_stamp`.
        aligner: as of `make_stamp`.
        sky: as of `make_stamp`.

    Returns:
        The detections of every band, and those left out.

    Raises:
        StampError, ArchiveError, ServiceError, ArchiveDownError: as `make_stamp`.
    """
    _check(ra_deg, dec_deg, ebmv_sfd, aligner, sky)
    used = [d for d in archive.detections(object_id) if d.use_in_clipped == 1 and d.filter in BANDS]
    _check_listed(used)
    dropped = _Dropped()
    frames: dict[str, list[Frame]] = {band: [] for band in BANDS}
    for detection in sorted(used, key=_frame_order):
        with dropped.if_unusable(detection):
            frames[detection.filter].append(_read_frame(archive, detection, ra_deg, dec_deg, ebmv_sfd, sky))
    _check_usable(frames, dropped)
    reference = min(frames["r"], key=lambda frame: (frame.fwhm, _frame_order(frame.detection)))
    grid = _grid(reference, ra_deg, dec_deg)
    aligned: dict[str, list[AlignedFrame]] = {band: [] for band in BANDS}
    for band in BANDS:
        for frame in frames[band]:
            with dropped.if_unusable(frame.detection):
                on_grid = align(frame.flux, frame.masked, frame.wcs, grid, method=aligner)
                aligned[band].append(AlignedFrame(frame, on_grid))
    _check_usable(aligned, dropped)
    return AlignedDetections(aligned, reference, dropped)


class _Dropped:
    """Detections that could not be used, and why."""

    def __init__(self) -> None:
        self._found: list[tuple[Detection, str]] = []

    @contextmanager
    def if_unusable(self, detection: Detection) -> Iterator[None]:
        """Drop the detection if what is done with it here shows that it cannot be used."""
        try:
            yield
        except (NotServedError, CutoutError, CalibrationError, AlignmentError) as error:
            self._found.append((detection, str(error)))

    def count(self, band: str) -> int:
        return sum(detection.filter == band for detection, _ in self._found)

    def reasons(self, bands: str = BANDS) -> list[str]:
        return [f"{d.filter} {d.image_id}-{d.ccd:02d}: {reason}" for d, reason in self._found if d.filter in bands]


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


_R_FIRST = "r" + BANDS.replace("r", "")  # without it there is no grid


def _check_listed(used: Sequence[Detection]) -> None:
    bands = {detection.filter for detection in used}
    for band in _R_FIRST:
        if band not in bands:
            raise StampError(f"no {band}-band detection with use_in_clipped = 1")


def _check_usable(made: Mapping[str, Sequence[object]], dropped: _Dropped) -> None:
    for band in _R_FIRST:
        if not made[band]:
            raise StampError(f"no usable {band}-band detection ({'; '.join(dropped.reasons(band))})")


def _grid(reference: Frame, ra_deg: float, dec_deg: float) -> Grid:
    try:
        return stamp_grid(reference.wcs, ra_deg, dec_deg)
    except AlignmentError as error:
        raise StampError(f"no grid from the r-band frame of the best seeing: {error}") from error


def _read_frame(
    archive: Archive, detection: Detection, ra_deg: float, dec_deg: float, ebmv_sfd: float, sky: str
) -> Frame:
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
    core_radius_px = CORE_RADIUS_FWHM * fwhm_px
    _check_on_cutout(image.pixels.shape, x, y, core_radius_px)
    profile, distance2 = star_profile(image.pixels.shape, x, y, fwhm_px)
    if masked[distance2 <= core_radius_px**2].any():
        raise CutoutError("the star's core is masked or saturated")
    if sky == "cutout":
        level = measure_sky(image.pixels, ~masked, profile, distance2, fwhm_px)
    elif detection.background is not None and math.isfinite(detection.background):
        level = detection.background
    else:
        raise CalibrationError("the table has no sky level for it")
    flux = fill_masked((image.pixels.astype(np.float64) - level) * scale, masked, profile)
    return Frame(detection, image.pixels, flux, masked, image.wcs, fwhm)


def _known(table_value: float, header_value: float) -> float:
    return table_value if math.isfinite(table_value) else header_value


def _check_on_cutout(shape: tuple[int, int], x: float, y: float, radius_px: float) -> None:
    ny, nx = shape
    if not (radius_px <= x <= nx - 1 - radius_px and radius_px <= y <= ny - 1 - radius_px):
        raise CutoutError(f"the star is not on the cutout, or at its very edge (pixel {x:.1f}, {y:.1f} of {nx} x {ny})")
