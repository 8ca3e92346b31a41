"""FITS cutouts with one star of known magnitude, made with astropy alone, and an archive that serves them."""

from __future__ import annotations

import functools
import io
import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.wcs import WCS

from datasets.archives.interface import Cutout, Detection
from datasets.skymapper import BANDS
from datasets.stamps import make_stamp

RA_DEG, DEC_DEG = 201.3, -35.7
OBJECT_ID = 123456789
# TPV coefficients of a real SkyMapper frame; those not named are TPV's defaults.
TPV = {"PV1_1": 1.0, "PV1_7": -9.541e-4, "PV2_1": 1.0, "PV2_9": -1.0495e-3}


def header(
    rotator_deg=0.0,
    shift=(0.0, 0.0),
    size=56,
    projection="TPV",
    scale_arcsec=0.4976,
    ra=RA_DEG,
    dec=DEC_DEG,
    pointing=None,
):
    """A cutout's header: the star is at the middle of the cutout plus `shift` px.

    The telescope points at `pointing` (ra, dec), by default so that CRPIX is 1500 px away.
    """
    out = fits.Header()
    angle = math.radians(rotator_deg)
    scale = scale_arcsec / 3600
    out["CTYPE1"], out["CTYPE2"] = f"RA---{projection}", f"DEC--{projection}"
    out["CUNIT1"] = out["CUNIT2"] = "deg"
    out["CRVAL1"], out["CRVAL2"] = pointing or (ra + 0.19, dec - 0.11)
    out["CD1_1"], out["CD1_2"] = -scale * math.cos(angle), scale * math.sin(angle) * 1.003
    out["CD2_1"], out["CD2_2"] = scale * math.sin(angle), scale * math.cos(angle) * 0.999
    if projection == "TPV":
        out.update(TPV)
    out["CRPIX1"] = out["CRPIX2"] = 0.0
    x, y = WCS(out).all_world2pix(ra, dec, 1)
    out["CRPIX1"] = (size + 1) / 2 + shift[0] - float(x)
    out["CRPIX2"] = (size + 1) / 2 + shift[1] - float(y)
    return out


@functools.cache
def moffat(shape, x, y, fwhm_px, beta=3.0, elongation=1.0):
    """A Moffat star of unit total flux, integrated over each pixel by 4 x 4 Gauss-Legendre points."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    alpha = fwhm_px / (2 * math.sqrt(2 ** (1 / beta) - 1))
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    out = np.zeros(shape)
    for dy, wy in zip(nodes / 2, weights / 2, strict=True):
        for dx, wx in zip(nodes / 2, weights / 2, strict=True):
            r2 = ((columns + dx - x) / elongation) ** 2 + ((rows + dy - y) * elongation) ** 2
            out += wx * wy * (beta - 1) / (math.pi * alpha**2) * (1 + r2 / alpha**2) ** -beta
    out.flags.writeable = False
    return out


def star_on_sky(cards, shape, ra, dec, fwhm_arcsec, beta=3.0):
    """A Moffat star of unit total flux, round on the sky, on the pixels of a header: by `astropy.wcs.WCS` alone.

    Integrated over each pixel by 4 x 4 Gauss-Legendre points, each at its own place on the sphere.
    """
    wcs, alpha = WCS(cards), fwhm_arcsec / (2 * math.sqrt(2 ** (1 / beta) - 1))
    points, weights = np.polynomial.legendre.leggauss(4)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    out = np.zeros(shape)
    for dy, wy in zip(points / 2, weights / 2, strict=True):
        for dx, wx in zip(points / 2, weights / 2, strict=True):
            world = np.radians(wcs.all_pix2world(columns + dx, rows + dy, 0))
            r_arcsec = 3600 * np.degrees(angular_separation(*world, math.radians(ra), math.radians(dec)))
            out += wx * wy * (beta - 1) / (math.pi * alpha**2) * (1 + (r_arcsec / alpha) ** 2) ** -beta
    x, y = wcs.all_world2pix(ra, dec, 0)
    (e, w, n, s), dec_deg = wcs.all_pix2world(x + np.array([0.5, -0.5, 0, 0]), y + np.array([0, 0, 0.5, -0.5]), 0)
    (along_x, along_y), (up_x, up_y) = np.remainder([e - w + 180, n - s + 180], 360) - 180, dec_deg[::2] - dec_deg[1::2]
    return out * abs(along_x * up_y - along_y * up_x) * math.cos(math.radians(dec)) * 3600**2


def fits_bytes(pixels, cards=None):
    """One primary HDU."""
    out = io.BytesIO()
    fits.PrimaryHDU(pixels, cards).writeto(out)
    return out.getvalue()


@dataclass(frozen=True)
class Exposure:
    """What a synthetic detection looks like."""

    band: str
    mag: float
    image_id: int = 20150402130000
    zpapprox: float = 27.5
    exp_time: float = 100.0
    fwhm: float = 2.6
    rotator_deg: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    sky_adu: float = 80.0
    projection: str = "TPV"
    size: int = 56
    beta: float = 3.0
    elongation: float = 1.0
    noise_seed: int | None = None
    gain: float = 0.75
    read_noise_e: float = 7.0
    masked: tuple[tuple[int, int], ...] = ()  # (y, x)
    masked_value: float = 0.0
    scale_arcsec: float = 0.4976
    table: dict = field(default_factory=dict)  # columns of the detection to override

    def detection(self):
        values = dict(
            object_id=OBJECT_ID, image_id=self.image_id, ccd=17, filter=self.band, exp_time=self.exp_time,
            zpapprox=self.zpapprox, fwhm=self.fwhm, date=57114.5, image_type="ms" if self.exp_time == 100 else "fs",
            flags=0, use_in_clipped=1, mag_psf=self.mag, e_mag_psf=0.01, background=self.sky_adu,
        )  # fmt: skip
        return Detection(**(values | self.table))

    def expected_adu(self):
        """The noise-free frame, in ADU."""
        cards = self.header()
        x, y = WCS(cards).all_world2pix(RA_DEG, DEC_DEG, 0)
        star = moffat((self.size, self.size), float(x), float(y), self.fwhm / 0.4971, self.beta, self.elongation)
        return self.sky_adu + 10 ** (0.4 * (self.zpapprox - self.mag)) * star

    def header(self):
        cards = header(self.rotator_deg, self.shift, self.size, self.projection, self.scale_arcsec)
        cards["EXPTIME"], cards["ZPAPPROX"], cards["QAFWHM"] = self.exp_time, self.zpapprox, self.fwhm
        return cards

    def cutout(self):
        pixels = self.expected_adu()
        if self.noise_seed is not None:
            rng = np.random.default_rng(self.noise_seed)
            pixels = rng.poisson(pixels * self.gain) / self.gain
            pixels += rng.normal(0, self.read_noise_e / self.gain, pixels.shape)
        mask = np.zeros(pixels.shape, np.uint8)
        for y, x in self.masked:
            mask[y, x] = 4
            pixels[y, x] = self.masked_value
        # Whole numbers, as the archive's; rounded at random, as noise would: the nearest would blot out faint wings.
        pixels = np.floor(pixels + np.random.default_rng(self.image_id).random(pixels.shape)).astype(np.int32)
        if pixels.max() < 32767:
            pixels = pixels.astype(np.int16)
        return Cutout(fits_bytes(pixels, self.header()), fits_bytes(mask))


class SyntheticArchive:
    """Serves the cutouts of the given exposures of one star."""

    name = "synthetic"

    def __init__(self, exposures, cutouts=None):
        self._exposures = list(exposures)
        self.asked = []  # image_ids of the cutouts that were asked for
        self._cutouts = {e.image_id: e.cutout() for e in self._exposures if e.image_id not in (cutouts or {})}
        self._cutouts |= cutouts or {}

    def detections(self, object_id):
        return [e.detection() for e in self._exposures]

    def cutout(self, detection, ra_deg, dec_deg, size_px):
        self.asked.append(detection.image_id)
        cutout = self._cutouts[detection.image_id]
        if isinstance(cutout, Exception):
            raise cutout
        return cutout


def six_bands(mag=13.0, **changes):
    """One exposure in each band, image_ids in order, every `changes` applied to all."""
    return [replace(Exposure(band, mag, image_id=20150402130000 + i), **changes) for i, band in enumerate("uvgriz")]


def stamp_of(exposures, *, ebmv_sfd=0.0, cutouts=None, **options):
    """The pipeline's stamp of the star, from these exposures."""
    return make_stamp(SyntheticArchive(exposures, cutouts), OBJECT_ID, RA_DEG, DEC_DEG, ebmv_sfd, **options)


MEDIAN_SEEING_ARCSEC = dict(zip(BANDS, (3.15, 3.00, 2.80, 2.63, 2.54, 2.49), strict=True))
MAGS = dict(zip(BANDS, (13.9, 13.4, 12.4, 12.0, 11.8, 11.7), strict=True))


def flux_of(mag):
    """AB magnitude to microjansky, through 3631 Jy."""
    return 3631e6 * 10 ** (-0.4 * mag) / (3631e6 / 10 ** (0.4 * 23.9))


def a_star(rotator_deg=0.0, projection="TPV", **changes):
    """Two exposures a band at the median seeing, each at its own angle, shift, zeropoint and sky."""
    rng = np.random.default_rng(int(rotator_deg))
    out = []
    for i, (band, image_type) in enumerate(itertools.product(BANDS, ("fs", "ms"))):
        out.append(
            Exposure(
                band,
                MAGS[band],
                image_id=20150402130000 + i,
                zpapprox=(25.6 if image_type == "fs" else 28.0) + rng.normal(0, 0.05),
                exp_time=5.0 if image_type == "fs" else 100.0,
                fwhm=MEDIAN_SEEING_ARCSEC[band],
                rotator_deg=rotator_deg + rng.normal(0, 0.5),
                shift=tuple(rng.uniform(-0.9, 0.9, 2)),
                sky_adu=20.0 if image_type == "fs" else 300.0,
                projection=projection,
            )
        )
    return [replace(e, **changes) for e in out]
