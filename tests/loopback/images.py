"""SkyMapper's image addresses: SIAP lists of frames, and cutouts as FITS, mask or PNG."""

from __future__ import annotations

import io
import math
import re
from functools import lru_cache
from xml.sax.saxutils import escape

import numpy as np
from astropy.io import fits
from astropy.wcs import Wcsprm

from datasets.archives.interface import ArchiveError, Cutout, Detection
from datasets.mock_sky.archive import MockArchive
from tests.loopback.faults import crop
from tests.loopback.messages import Request, Response, address, text

LARGEST_SIZE_DEG = 0.17
PIXEL_SCALE_ARCSEC = 0.497
_REACH_ARCSEC = 60.0  # frames of stars this near are tried; the mock sky photographs 32 arcsec around each

# name, datatype, arraysize, unit, ucd: as the service's own answers have them
_FIELDS = (
    ("image_name", "char", "*", "", "VOX:Image_Title"),
    ("format", "char", "*", "", "VOX_Image_Format"),
    ("band", "char", "1", "", "VOX:BandPass_ID"),
    ("get_image", "char", "*", "", "VOX:Image_AccessReference"),
    ("preview", "char", "*", "", "meta.ref.url"),
    ("get_fits", "char", "*", "", "meta.ref.url"),
    ("get_mask", "char", "*", "", "meta.ref.url"),
    ("ra_cntr", "double", "", "deg", "POS_EQ_RA_MAIN"),
    ("dec_cntr", "double", "", "deg", "POS_EQ_DEC_MAIN"),
    ("exptime", "float", "", "s", "time.duration;obs.exposure"),
    ("mjd_obs", "double", "", "mjd", "VOX:Image_MJDateObs"),
    ("size", "int", "2", "arcsec", "phys.angsize"),
    ("naxis", "short", "2", "pix", "VOX:Image_Naxis"),
    ("scale", "float", "2", "arcsec.pix-1", "VOX:Image_Scale"),
    ("unique_image_id", "char", "*", "", "meta.id;meta.main"),
    ("image_type", "char", "*", "", "meta.note"),
    ("filesize", "int", "", "kB", "VOX:Image_Filesize"),
    ("pixflags", "char", "*", "", "VOX:Image_PixFlags"),
    ("airmass", "float", "", "", "obs.airmass"),
    ("mean_fwhm", "float", "", "arcsec", "instr.obsty.seeing;stat.mean"),
    ("mean_elong", "float", "", "", "phys.size.axisratio;stat.mean"),
    ("zpapprox", "float", "", "mag", "arith.zp;phot.mag"),
    ("crpix", "float", "2", "pix", "VOX:WCS_CoordRefPixel"),
    ("crval", "double", "2", "deg", "VOX:WCS_CoordRefValue"),
    ("cdmatrix", "double", "4", "", "VOX:WCS_CDMatrix"),
)


class BadRequestError(Exception):
    """A parameter is missing or makes no sense; the message is the service's answer, its status 400."""


class ImageService:
    """`/query` and `/get_image` below `path`."""

    def __init__(self, archive: MockArchive, path: str):
        self.path = path
        self._archive = archive
        photometry, master = archive.table("dr4.photometry"), archive.table("dr4.master")
        frames = zip(photometry["image_id"].tolist(), photometry["ccd"].tolist(), strict=True)
        self._star_of_frame = dict(
            zip((_frame_name(*f) for f in frames), photometry["object_id"].tolist(), strict=True)
        )
        self._object_id = np.asarray(master["object_id"])
        self._unit_vector = _unit_vector(np.asarray(master["raj2000"]), np.asarray(master["dej2000"]))
        # An image and its mask are one photograph, asked for in two requests.
        self._cutout = lru_cache(maxsize=256)(self._uncached_cutout)
        self._detections = lru_cache(maxsize=1024)(archive.detections)

    def answer(self, request: Request, base_url: str) -> Response:
        """The answer to a request; `base_url` is the server's own address."""
        part = request.path[len(self.path) :].strip("/")
        try:
            if part == "get_image":
                return self._get_image(request.params)
            if part == "query":
                return self._query(request.params, base_url + self.path)
        except BadRequestError as error:
            return text(str(error), 400)
        return text(f"{request.path} is not served", 404)

    def close(self) -> None:
        """Nothing to free."""

    def _get_image(self, params: dict[str, str]) -> Response:
        name, kind = _needed(params, "IMAGE"), params.get("FORMAT", "fits").lower().removeprefix("image/")
        if kind not in ("fits", "mask", "png"):
            raise BadRequestError(f"FORMAT={kind} is none of fits, mask, png")
        (ra, dec), shape = _position(params), _size_px(params)
        try:
            cutout = self._cutout(name, ra, dec, shape)
        except ArchiveError as error:
            return text(f"Image {name} is not available: {error}", 404)
        if kind == "png":
            return Response(_png(cutout.image), "image/png")
        file = f"{name}_{kind}.fits"
        disposition = {"Content-Disposition": f'attachment; filename="{file}"'}
        return Response(cutout.mask if kind == "mask" else cutout.image, "image/fits", headers=disposition)

    def _uncached_cutout(self, name: str, ra_deg: float, dec_deg: float, shape: tuple[int, int]) -> Cutout:
        """The frame's pixels around a position, `shape` (nx, ny) or less at the CCD's edge."""
        detection = self._detection(name)
        cutout = self._archive.cutout(detection, ra_deg, dec_deg, max(shape))
        if shape[0] == shape[1]:
            return cutout
        header = fits.Header.fromstring(cutout.image)
        nx, ny = (min(asked, header[f"NAXIS{axis}"]) for axis, asked in enumerate(shape, start=1))
        x0, y0 = (header["NAXIS1"] - nx) // 2, (header["NAXIS2"] - ny) // 2
        return Cutout(*(crop(file, x0, y0, nx, ny) for file in (cutout.image, cutout.mask)))

    def _detection(self, name: str) -> Detection:
        if name not in self._star_of_frame:
            raise ArchiveError("there is no such frame")
        detections = self._detections(self._star_of_frame[name])
        return next(d for d in detections if _frame_name(d.image_id, d.ccd) == name)

    def _query(self, params: dict[str, str], url: str) -> Response:
        if params.get("RESPONSEFORMAT", "VOTABLE").upper() != "VOTABLE":
            raise BadRequestError("RESPONSEFORMAT must be VOTABLE")
        (ra, dec), shape = _position(params), _size_px(params)
        bands = [band for band in params.get("BAND", "").split(",") if band]
        formats = {"all": ("fits", "png"), "image/fits": ("fits",), "image/png": ("png",)}
        kinds = formats.get(params.get("FORMAT", "all").lower())
        overlap = params.get("INTERSECT", "OVERLAPS").upper()
        if kinds is None or overlap not in ("COVERS", "CENTER", "OVERLAPS"):
            raise BadRequestError("FORMAT or INTERSECT has a value that is not served")
        near = self._unit_vector @ _unit_vector(ra, dec) > math.cos(math.radians(_REACH_ARCSEC / 3600))
        found = [d for star in self._object_id[near].tolist() for d in self._detections(star)]
        rows = []
        for detection in found:
            if not bands or detection.filter in bands:
                rows += self._rows(detection, ra, dec, shape, kinds, overlap, params, url)
        return Response(_siap_xml(rows, params), "application/x-votable+xml")

    def _rows(self, detection, ra, dec, shape, kinds, overlap, params, url) -> list[tuple]:
        name = _frame_name(detection.image_id, detection.ccd)
        try:
            image = self._cutout(name, ra, dec, shape).image
        except ArchiveError:
            return []
        header = fits.Header.fromstring(image)
        naxis = header["NAXIS1"], header["NAXIS2"]
        centre, on_frame = _centre(header, ra, dec)
        if (overlap == "COVERS" and naxis != shape) or (overlap == "CENTER" and not on_frame):
            return []
        cd = [header[key] for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
        scale = [3600 * math.hypot(cd[0], cd[2]), 3600 * math.hypot(cd[1], cd[3])]
        size = [round(n * s - 1) for n, s in zip(naxis, scale, strict=True)]
        link = {"image": name, "size": params["SIZE"], "pos": params["POS"]}
        fits_url, png_url, mask_url = (address(f"{url}/get_image", **link, format=f) for f in ("fits", "png", "mask"))
        title = f"SkyMapper_{detection.filter}_{name}_{ra:.3f}{dec:+.3f}_{size[0]}x{size[1]}"
        common = (f"{centre[0]:.5f}", f"{centre[1]:.5f}", f"{detection.exp_time:.1f}", f"{detection.date:.5f}",
                  "{} {}".format(*size), "{} {}".format(*naxis), "{:.4f} {:.4f}".format(*scale), name,
                  "main" if detection.image_type == "ms" else "short", str(math.ceil(len(image) / 1000)))  # fmt: skip
        last = (f"{header['AIRMASS']:.2f}", f"{detection.fwhm:.2f}", f"{header['QAELONG']:.2f}",
                f"{detection.zpapprox:.3f}", f"{header['CRPIX1']:.3f} {header['CRPIX2']:.3f}",
                f"{header['CRVAL1']:.5f} {header['CRVAL2']:.5f}", " ".join(f"{x:.6g}" for x in cd))  # fmt: skip
        return [
            (title, f"image/{kind}", detection.filter, fits_url if kind == "fits" else png_url, png_url, fits_url,
             mask_url, *common, "C" if kind == "fits" else "V", *last)
            for kind in kinds
        ]  # fmt: skip


def _frame_name(image_id: int, ccd: int) -> str:
    return f"{image_id}-{ccd:02d}"


def _unit_vector(ra_deg, dec_deg) -> np.ndarray:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _needed(params: dict[str, str], name: str) -> str:
    if not params.get(name):
        raise BadRequestError(f"parameter {name} is missing")
    return params[name]


def _numbers(params: dict[str, str], name: str) -> list[float]:
    values = re.split("[, ]", _needed(params, name))
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = [math.nan]
    if len(numbers) > 2 or not all(map(math.isfinite, numbers)):
        raise BadRequestError(f"{name}={params[name]} cannot be read")
    return numbers


def _position(params: dict[str, str]) -> tuple[float, float]:
    numbers = _numbers(params, "POS")
    if len(numbers) != 2 or not (0 <= numbers[0] <= 360 and -90 <= numbers[1] <= 90):
        raise BadRequestError(f"POS={params['POS']} is no position in degrees")
    return numbers[0], numbers[1]


def _size_px(params: dict[str, str]) -> tuple[int, int]:
    sizes = _numbers(params, "SIZE")
    if not all(0 < size <= LARGEST_SIZE_DEG for size in sizes):
        raise BadRequestError(f"SIZE={params['SIZE']} is not between 0 and {LARGEST_SIZE_DEG} deg")
    pixels = [math.floor(3600 * size / PIXEL_SCALE_ARCSEC) + 2 for size in sizes]
    return pixels[0], pixels[-1]


def _centre(header: fits.Header, ra_deg: float, dec_deg: float) -> tuple[np.ndarray, bool]:
    """Position of the image's middle, and whether a position lies on the image."""
    wcs = Wcsprm(header.tostring(endcard=False, padding=False).encode())
    wcs.set()
    size = np.array([header["NAXIS1"], header["NAXIS2"]])
    pixel = wcs.s2p([[ra_deg, dec_deg]], 1)["pixcrd"][0]
    inside = bool(np.all((pixel >= 0.5) & (pixel < size + 0.5)))
    return wcs.p2s([(size + 1) / 2], 1)["world"][0], inside


def _siap_xml(rows: list[tuple], params: dict[str, str]) -> bytes:
    fields = "\n".join(map(_field_xml, _FIELDS))
    cells = "\n".join("<TR>" + "".join(f"<TD>{escape(cell)}</TD>" for cell in row) + "</TR>" for row in rows)
    echo = "".join(
        f'<PARAM ID="INPUT_{name}" name="INPUT:{name}" datatype="char" arraysize="*" value="{escape(params[name])}"/>'
        for name in ("POS", "SIZE")
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<VOTABLE version="1.2" xmlns="http://www.ivoa.net/xml/VOTable/v1.2">\n'
        f'<RESOURCE type="results">\n{echo}\n<INFO ID="QUERY_STATUS" name="QUERY_STATUS" value="OK"/>\n'
        f'<TABLE nrows="{len(rows)}">\n{fields}\n<DATA><TABLEDATA>\n{cells}\n</TABLEDATA></DATA></TABLE>\n'
        "</RESOURCE></VOTABLE>\n"
    ).encode()


def _field_xml(field: tuple) -> str:
    name, *values = field
    attributes = zip(("datatype", "arraysize", "unit", "ucd"), values, strict=True)
    given = "".join(f' {key}="{value}"' for key, value in attributes if value)
    return f'<FIELD ID="{name}" name="{name}"{given}/>'


def _png(image: bytes) -> bytes:
    """The frame between its 1st and 99.5th percentile in 8 bits, north wherever it is."""
    from PIL import Image  # for this request alone

    counts = fits.getdata(io.BytesIO(image)).astype(float)
    low, high = np.percentile(counts, [1, 99.5])
    grey = np.clip(255 * (counts - low) / max(high - low, 1), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(grey[::-1]).save(out, "png")
    return out.getvalue()
