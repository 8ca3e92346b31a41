"""What an archive answers. The mock sky and the real SkyMapper service meet this same interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from astropy.table import Table

from datasets.errors import DataError


class ArchiveError(DataError):
    """The archive could not answer; the message says what was asked and what came back."""


class NotServedError(ArchiveError):
    """The archive has no such thing and said so: asking again would not help."""


class ServiceError(ArchiveError):
    """One request failed as often as it was tried; the archive answers others."""


class ArchiveDownError(DataError):
    """Nothing can be had from the archive now: whoever asks should stop, and go on later.

    Not an `ArchiveError`, so that no star is rejected for it.
    """


class Target(NamedTuple):
    """A star to be photographed."""

    object_id: int
    ra_deg: float
    dec_deg: float


@dataclass(frozen=True)
class Detection:
    """One detection of one star on one CCD frame: a row of dr4.photometry joined with dr4.images.

    Field names are the archive's where it has them.
    """

    object_id: int
    image_id: int  # 14 digits, UT of the exposure: yyyymmddhhmmss
    ccd: int  # 1..32
    filter: str  # one of u v g r i z
    exp_time: float  # s
    zpapprox: float  # AB mag of 1 ADU over the whole exposure
    fwhm: float  # seeing, arcsec
    date: float  # MJD of the start of the exposure
    image_type: str  # "fs" short, "ms" main
    flags: int
    use_in_clipped: int
    mag_psf: float  # AB mag
    e_mag_psf: float  # mag
    background: float | None = None  # sky level in ADU per pixel, where the table has one
    x_img: float | None = None  # pixel of the star on the CCD, 1-based, where the table has it
    y_img: float | None = None


@dataclass(frozen=True)
class Cutout:
    """A detection's cutout as served: two FITS files, unread.

    `image` is 16-bit integers with a TPV WCS; `mask` is 8-bit, non-zero where a pixel must not be used, on the same
    pixels, or None where the archive has no mask.
    """

    image: bytes
    mask: bytes | None


class Archive(Protocol):
    """Catalogue rows, detections and cutouts of one survey."""

    name: str

    def table(self, name: str, object_ids: Sequence[int] | None = None) -> Table:
        """Rows of the archive's table `name` in the archive's own columns, units attached, NULLs masked.

        Names: `dr4.master`, `dr4.photometry`, `dr4.images`, `gaia` (gaia_source columns), `galah`
        (allspec: a row per spectrum). `object_ids` restricts the SkyMapper tables to those objects and the others to
        the stars matched with them.
        """

    def prefetch(self, targets: Sequence[Target], size_px: int) -> None:
        """Learn which stars come next, so that what they need can be requested together.

        What fails here is raised by `detections` and `cutout`.

        Raises:
            ArchiveDownError: if nothing can be had at all.
        """

    def detections(self, object_id: int) -> list[Detection]:
        """All detections of one object, in order of image_id and ccd; the caller chooses among them."""

    def cutout(self, detection: Detection, ra_deg: float, dec_deg: float, size_px: int) -> Cutout:
        """The frame around a position, at least `size_px` on a side unless the CCD ends before.

        Args:
            detection: one of the archive's.
            ra_deg: right ascension of the middle.
            dec_deg: its declination.
            size_px: least side.

        Returns:
            Image and mask as they are served.

        Raises:
            NotServedError: if the archive does not have it.
            ServiceError: if the archive fails to serve it.
            ArchiveDownError: if nothing can be had at all.
        """
