import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.cutouts import CutoutError, read_image, read_mask
from tests.datasets.synthetic_cutouts import DEC_DEG, RA_DEG, fits_bytes, header

PIXELS = np.arange(-30, 26, dtype=np.int16)[:, None] + 100 * np.arange(50, dtype=np.int16)


def by_astropy(data):
    with fits.open(io.BytesIO(data)) as hdus:
        return np.asarray(hdus[0].data), WCS(hdus[0].header)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_pixels_and_wcs_equal_astropys(dtype):
    data = fits_bytes(PIXELS.astype(dtype), header(37))
    image = read_image(data)
    pixels, wcs = by_astropy(data)
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels, pixels.astype(np.float32))
    corners = np.array([[0, 0], [55, 0], [0, 49], [20.3, 31.7]])
    np.testing.assert_allclose(image.wcs.p2s(corners, 0)["world"], wcs.all_pix2world(corners, 0), rtol=0, atol=1e-12)
    position = np.array([[RA_DEG, DEC_DEG]])
    np.testing.assert_allclose(image.wcs.s2p(position, 0)["pixcrd"], wcs.all_world2pix(position, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int8])
def test_unsigned_pixels_come_with_bzero(dtype):
    """`astropy` writes these types through BZERO, as some archives do."""
    data = fits_bytes(np.abs(PIXELS // 60).astype(dtype), header())
    np.testing.assert_array_equal(read_image(data).pixels, by_astropy(data)[0].astype(np.float32))


def test_scale_and_blank():
    hdu = fits.PrimaryHDU(PIXELS.copy(), header())
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 1000.0, 70
    out = io.BytesIO()
    # Written by hand: astropy would rescale the pixels as it writes.
    cards = hdu.header.tostring().encode()
    out.write(cards + PIXELS.astype(">i2").tobytes().ljust(2 * 2880, b"\0"))
    pixels = read_image(out.getvalue()).pixels
    np.testing.assert_array_equal(np.isnan(pixels), PIXELS == 70)
    np.testing.assert_array_equal(pixels, by_astropy(out.getvalue())[0])


def test_keywords():
    cards = header()
    cards["EXPTIME"], cards["ZPAPPROX"] = (100.0, "seconds / of exposure"), 27.947
    cards["COMMENT"] = "END" + " " * 60
    image = read_image(fits_bytes(PIXELS, cards))
    assert (image.exp_time, image.zpapprox) == (100.0, 27.947)
    assert np.isnan(image.fwhm)


def test_an_image_in_an_extension_is_read_by_astropy():
    for hdu in (fits.ImageHDU(PIXELS, header(90)), fits.CompImageHDU(PIXELS, header(90))):
        out = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(out)
        image = read_image(out.getvalue())
        np.testing.assert_array_equal(image.pixels, PIXELS)
        plain = read_image(fits_bytes(PIXELS, header(90)))
        np.testing.assert_array_equal(image.wcs.p2s([[3, 4]], 0)["world"], plain.wcs.p2s([[3, 4]], 0)["world"])


def test_stray_tpv_coefficients_do_not_bend_a_tan_projection():
    clean = header(projection="TAN")
    stray = clean.copy()
    stray["PV1_1"], stray["PV1_7"], stray["PV2_9"] = 1.0, -9.541e-4, -1.0495e-3
    world = [read_image(fits_bytes(PIXELS, cards)).wcs.p2s([[7, 8]], 0)["world"] for cards in (clean, stray)]
    np.testing.assert_array_equal(world[0], world[1])
    bent = clean.copy()
    bent["CTYPE1"], bent["CTYPE2"] = "RA---TPV", "DEC--TPV"
    bent.update({key: stray[key] for key in ("PV1_1", "PV1_7", "PV2_9")})
    tpv = read_image(fits_bytes(PIXELS, bent)).wcs.p2s([[7, 8]], 0)["world"]
    assert np.abs(tpv - world[0]).max() > 1e-6, "a TPV projection must keep its coefficients"


def test_mask():
    flags = np.zeros((5, 7), np.uint8)
    flags[2, 3] = 64
    np.testing.assert_array_equal(read_mask(fits_bytes(flags), (5, 7)), flags == 64)
    with pytest.raises(CutoutError, match="mask has 7 x 5 pixels but its image 7 x 6"):
        read_mask(fits_bytes(flags), (6, 7))


def without(cards, *keys):
    cards = cards.copy()
    for key in keys:
        del cards[key]
    return cards


WHOLE = fits_bytes(PIXELS, header())


def with_card(key, value):
    start = WHOLE.index(f"{key:8}=".encode())
    return WHOLE[:start] + f"{key:8}= {value:>20}".ljust(80).encode() + WHOLE[start + 80 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no FITS file"),
        (b"<html><body>504 Gateway Time-out</body></html>", "begins with b'<html>"),
        (WHOLE[:1000], "header has no END"),
        (WHOLE[:6000], "cut off: 6000 bytes do not hold its 50 x 56 pixels"),
        (fits_bytes(None), "no two-dimensional image"),
        (fits_bytes(np.zeros((3, 4, 5), np.int16)), "no two-dimensional image"),
        (fits_bytes(PIXELS), "no celestial WCS"),
        (fits_bytes(PIXELS, header(projection="TAN-SIP")), "SIP"),
        (with_card("BITPIX", 17), "BITPIX = 17 is not a FITS pixel type"),
        (with_card("BITPIX", "sixteen"), "BITPIX = sixteen in the FITS header is no number"),
        (with_card("NAXIS1", "NaN"), "NAXIS1 = NaN in the FITS header is no number"),
        (with_card("NAXIS1", 0), "no pixels"),
        (with_card("NAXIS1", ""), "no NAXIS1"),
        (fits_bytes(PIXELS, without(header(), "CD1_1", "CD1_2")), "cannot be used"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(data, message):
    with pytest.raises(CutoutError, match=message) as error:
        read_image(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"), [(b"CD2_2", b"CD\xb7_2"), (b"'RA---TPV' ", b"\x80'RA---TPV'"), (b"CRVAL1  ", b"CRVAL1\0 ")]
)
def test_a_header_that_is_no_text_never_reaches_wcslib(old, new):
    """wcslib crashes the process on some of these and never returns from others."""
    assert len(old) == len(new)
    with pytest.raises(CutoutError, match=r"no ASCII text|no celestial WCS"):
        read_image(WHOLE.replace(old, new))


def test_a_wcs_of_more_axes_is_refused():
    with pytest.raises(CutoutError, match="has 3 axes instead of 2"):
        read_image(WHOLE.replace(b"PV2_9 ", b"CD3_3 "))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_but_never_breaks(data):
    damaged = bytearray(fits_bytes(PIXELS[:4, :4], header()))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 2400))] = data.draw(st.integers(0, 255))
    try:
        image = read_image(bytes(damaged))
    except CutoutError:
        return
    assert image.pixels.ndim == 2
