"""A cutout's FITS bytes -> pixels, WCS and the few keywords the pipeline needs.

`astropy.io.fits` and `astropy.wcs.WCS` take 3 ms for a 56-pixel cutout, most of it spent on cards nobody reads. A star
has some twenty cutouts, so here the cards that matter are picked from the raw header.

What a server or a file says is untrusted. wcslib crashes, or never ends, on some damaged headers, and so may decoders
of compressed images: wcslib is given numbers that were parsed here, and compressed images, which the cutout service
does not send, are refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from astropy.wcs import Wcsprm

from datasets.errors import DataError

_CARD = 80
_BLOCK = 2880
_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_MAX_SIDE_PX = 4096
"""Of an image: the longer side of a SkyMapper CCD."""

_PIXEL_SCALES_ARCSEC = 0.3, 0.8
"""Pixels outside these are not the survey's, whose own are 0.4957 to 0.4976 arcsec."""

_TPV_TERM = re.compile(rb"PV([12])_(\d|[12]\d|3\d)")
_Cards = dict[bytes, bytes]  # eight-character keyword -> whole card


class CutoutError(DataError):
    """A cutout that cannot be used; the message says why in one sentence."""


@dataclass(frozen=True)
class CutoutImage:
    """A cutout that has been read.

    `pixels` is (ny, nx) float32 in ADU, NaN where the file holds no value; `wcs` maps 0-based pixels (x, y) to
    (ra, dec) in degrees with `p2s(xy, 0)` and back with `s2p(radec, 0)`. Keywords that the header lacks are NaN.
    """

    pixels: np.ndarray
    wcs: Wcsprm
    exp_time: float  # s, EXPTIME
    zpapprox: float  # AB mag, ZPAPPROX
    fwhm: float  # arcsec, QAFWHM


def read_image(data: bytes) -> CutoutImage:
    """Read a cutout's image file.

    Raises:
        CutoutError: if the bytes are no FITS file, are incomplete, hold no two-dimensional image as it is (not
            compressed), or have no usable celestial WCS.
    """
    cards, pixels = _read_fits(data)
    return CutoutImage(
        pixels=pixels,
        wcs=_read_wcs(cards),
        exp_time=_number(cards, b"EXPTIME", math.nan),
        zpapprox=_number(cards, b"ZPAPPROX", math.nan),
        fwhm=_number(cards, b"QAFWHM", math.nan),
    )


def read_mask(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Read a cutout's mask file: (ny, nx) bool, True where a pixel must not be used.

    Raises:
        CutoutError: as `read_image`, or if the mask does not have the image's `shape`.
    """
    _, values = _read_fits(data)
    if values.shape != shape:
        raise CutoutError(f"the mask has {_size(values.shape)} pixels but its image {_size(shape)}")
    masked: np.ndarray = values != 0
    return masked


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in reversed(shape))


def _read_fits(data: bytes) -> tuple[_Cards, np.ndarray]:
    """The first two-dimensional image: its cards by keyword, and its pixels as (ny, nx) float32."""
    if not data.startswith(b"SIMPLE"):
        raise CutoutError(f"the archive's answer is no FITS file: it begins with {bytes(data[:40])!r}")
    start = 0
    while start < len(data):
        header = _header(data, start)
        cards = _cards(header)
        start += _whole_blocks(len(header) + _CARD)
        if _value(cards, b"ZIMAGE") == b"T":
            raise CutoutError("the image in the FITS file is tile-compressed: uncompress it first")
        if _integer(cards, b"NAXIS") == 2 and _value(cards, b"XTENSION") in (b"", b"IMAGE"):
            return cards, _pixels(data, start, cards)
        start += _whole_blocks(_data_size(cards))
    raise CutoutError("the FITS file holds no two-dimensional image")


def _whole_blocks(n_bytes: int) -> int:
    return -(-n_bytes // _BLOCK) * _BLOCK


def _header(data: bytes, start: int) -> bytes:
    end = data.find(b"END" + b" " * (_CARD - 3), start)
    while end % _CARD > 0:  # a comment may hold the letters END; a miss is -1, and -1 % 80 is 79
        if end < 0:
            raise CutoutError("the FITS file is cut off: its header has no END")
        end = data.find(b"END" + b" " * (_CARD - 3), end + 1)
    return data[start:end]


def _cards(header: bytes) -> _Cards:
    # Backwards, so that of a repeated keyword the first counts, as in astropy.
    starts = range(len(header) - _CARD, -1, -_CARD)
    return {header[start : start + 8]: header[start : start + _CARD] for start in starts}


def _data_size(cards: _Cards) -> int:
    """Bytes of the data that follow a header (FITS standard, 4.4.1 and 7.1.1)."""
    n_axes = _integer(cards, b"NAXIS")
    if not 0 <= n_axes <= 999:
        raise CutoutError(f"the FITS header has {n_axes} axes")
    sides = [_integer(cards, b"NAXIS%d" % (i + 1)) for i in range(n_axes)]
    n_values = math.prod(sides) if sides else 0
    size = (
        abs(_integer(cards, b"BITPIX"))
        // 8
        * _integer(cards, b"GCOUNT", 1)
        * (_integer(cards, b"PCOUNT", 0) + n_values)
    )
    if size < 0:
        raise CutoutError("the FITS header says that its data have a negative size")
    return size


def _pixels(data: bytes, start: int, cards: _Cards) -> np.ndarray:
    bitpix = _integer(cards, b"BITPIX")
    if bitpix not in _DTYPES:
        raise CutoutError(f"BITPIX = {bitpix} is not a FITS pixel type")
    nx, ny = _integer(cards, b"NAXIS1"), _integer(cards, b"NAXIS2")
    if nx < 1 or ny < 1:
        raise CutoutError(f"the image has no pixels ({nx} x {ny})")
    if max(nx, ny) > _MAX_SIDE_PX:
        raise CutoutError(f"the image is said to have {nx:.8g} x {ny:.8g} pixels, more than a CCD has")
    dtype = np.dtype(_DTYPES[bitpix])
    if len(data) < start + nx * ny * dtype.itemsize:
        raise CutoutError(f"the FITS file is cut off: {len(data)} bytes do not hold its {nx} x {ny} pixels")
    return _scaled(np.frombuffer(data, dtype, nx * ny, start).reshape(ny, nx), cards)


def _scaled(raw: np.ndarray, cards: _Cards) -> np.ndarray:
    """Pixels in physical units: BZERO + BSCALE * raw, NaN where an integer equals BLANK (FITS standard, 4.4.2.5).

    What float32 cannot hold becomes infinite.
    """
    scale, zero = _number(cards, b"BSCALE", 1.0), _number(cards, b"BZERO", 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = raw.astype(np.float32) if (scale, zero) == (1.0, 0.0) else (raw * scale + zero).astype(np.float32)
    blank = _number(cards, b"BLANK", math.nan)
    if raw.dtype.kind in "iu" and not math.isnan(blank):
        pixels[raw == blank] = np.nan
    return pixels


def _value(cards: _Cards, key: bytes) -> bytes:
    """A keyword's value without its comment; empty if the header lacks it."""
    value = cards.get(key.ljust(8), b"")[10:].strip()
    return value[1:].split(b"'")[0].rstrip() if value.startswith(b"'") else value.split(b"/")[0].rstrip()


def _text(value: bytes) -> str:
    """For messages: what is no printable ASCII as question marks."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in value)


def _number(cards: _Cards, key: bytes, default: float | None = None) -> float:
    value = cards.get(key.ljust(8), b"")[10:].partition(b"/")[0].strip()
    if not value:
        if default is None:
            raise CutoutError(f"the FITS header has no {key.decode()}")
        return default
    try:
        number = float(value.replace(b"D", b"E"))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise CutoutError(f"{key.decode()} = {_text(value)} in the FITS header is no number")
    return number


def _integer(cards: _Cards, key: bytes, default: int | None = None) -> int:
    number = _number(cards, key, default)
    if number != int(number):
        raise CutoutError(f"{key.decode()} = {number:g} in the FITS header is no whole number")
    return int(number)


def _read_wcs(cards: _Cards) -> Wcsprm:
    wcs = Wcsprm(naxis=2)
    wcs.ctype = _projection(cards)
    wcs.crval = [_number(cards, b"CRVAL1"), _number(cards, b"CRVAL2")]
    wcs.crpix = [_number(cards, b"CRPIX1"), _number(cards, b"CRPIX2")]
    wcs.cd = _cd_matrix(cards)
    for key, name in ((b"LONPOLE", "lonpole"), (b"LATPOLE", "latpole")):
        if _value(cards, key):
            setattr(wcs, name, _number(cards, key))
    # Headers rewritten by hand keep TPV's coefficients, which mean something else, or nothing, to other projections.
    if wcs.ctype[0].endswith("TPV"):
        wcs.set_pv(_tpv_terms(cards))
    try:
        wcs.set()
    except Exception as error:
        raise CutoutError(f"the WCS in the FITS header cannot be used ({_one_line(error)})") from error
    return wcs


def _projection(cards: _Cards) -> list[str]:
    ctypes = [_text(_value(cards, key)) for key in (b"CTYPE1", b"CTYPE2")]
    if not (ctypes[0].startswith("RA---") and ctypes[1] == f"DEC--{ctypes[0][5:]}"):
        raise CutoutError(f"the FITS header has no celestial WCS (CTYPE {ctypes[0]!r}, {ctypes[1]!r})")
    if ctypes[0] not in ("RA---TPV", "RA---TAN"):
        raise CutoutError(f"the WCS has the projection {ctypes[0][5:]}: SkyMapper frames have TPV or TAN")
    for key in (b"CUNIT1", b"CUNIT2"):
        if _value(cards, key) not in (b"", b"deg"):
            raise CutoutError(f"the WCS is in {_text(_value(cards, key))} instead of deg")
    return ctypes


def _cd_matrix(cards: _Cards) -> list[list[float]]:
    """Degrees per pixel: CDi_j, or CDELTi PCi_j where the header has those (FITS standard, 8.1)."""
    if _value(cards, b"CDELT1") and not _value(cards, b"CD1_1"):
        if _number(cards, b"CROTA2", 0.0):
            raise CutoutError("the WCS is turned by CROTA2, which is not read: write it as a CD matrix")
        steps = _number(cards, b"CDELT1"), _number(cards, b"CDELT2")
        (a, b), (c, d) = (
            [step * _number(cards, b"PC%d_%d" % (i, j), float(i == j)) for j in (1, 2)]
            for i, step in enumerate(steps, start=1)
        )
    else:
        a, b, c, d = (_number(cards, key, 0.0) for key in (b"CD1_1", b"CD1_2", b"CD2_1", b"CD2_2"))
    # Pixels of one size that are nearly square: the sum of squares is twice the determinant. Damage shows here.
    scale, stretch = math.sqrt(abs(a * d - b * c)) * 3600, math.sqrt((a * a + b * b + c * c + d * d) / 2) * 3600
    if not (_PIXEL_SCALES_ARCSEC[0] < scale < _PIXEL_SCALES_ARCSEC[1] and stretch < 1.1 * scale):
        raise CutoutError(f"the WCS has pixels of {scale:.3g} arcsec (stretched by {stretch:.3g}), not the survey's")
    return [[a, b], [c, d]]


def _tpv_terms(cards: _Cards) -> list[tuple[int, int, float]]:
    """PVi_m as (i, m, value), with the convention's default PVi_1 = 1, which wcslib takes for 0."""
    terms = {(1, 1): 1.0, (2, 1): 1.0}
    for card in cards:
        if card.startswith(b"PV"):
            name = card.rstrip()
            match = _TPV_TERM.fullmatch(name)
            if not match:
                raise CutoutError(f"{_text(name)} in the FITS header is no coefficient of a TPV projection")
            terms[int(match[1]), int(match[2])] = _number(cards, name)
    return [(axis, term, value) for (axis, term), value in terms.items()]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
