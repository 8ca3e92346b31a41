import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.imaging.alignment import AlignmentError, align, stamp_grid
from datasets.imaging.cutouts import CutoutError, read_image, read_mask
from tests.datasets.synthetic_cutouts import DEC_DEG, RA_DEG, fits_bytes, header

PIXELS = np.arange(-30, 26, dtype=np.int16)[:, None] + 100 * np.arange(50, dtype=np.int16)


def without(cards, *keys):
    cards = cards.copy()
    for key in keys:
        del cards[key]
    return cards


WHOLE = fits_bytes(PIXELS, header())


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


def hdus_bytes(*hdus):
    out = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(out)
    return out.getvalue()


def test_an_image_in_an_extension_is_read():
    """Behind an empty primary unit, a cube and a table of two axes, each of which is passed over."""
    table = fits.BinTableHDU.from_columns([fits.Column("a", "PJ()", array=np.array([[1, 2], [3]], object))])
    cube = np.zeros((2, 3, 4), np.int16)
    plain = read_image(fits_bytes(PIXELS, header(90)))
    for before in ((fits.PrimaryHDU(),), (fits.PrimaryHDU(cube), fits.ImageHDU(), table)):
        image = read_image(hdus_bytes(*before, fits.ImageHDU(PIXELS, header(90)), fits.ImageHDU(PIXELS + 1)))
        np.testing.assert_array_equal(image.pixels, PIXELS)
        np.testing.assert_array_equal(image.wcs.p2s([[3, 4]], 0)["world"], plain.wcs.p2s([[3, 4]], 0)["world"])


@pytest.mark.parametrize("compression_type", ["RICE_1", "GZIP_1", "HCOMPRESS_1", "PLIO_1"])
def test_a_compressed_image_is_refused(compression_type):
    hdu = fits.CompImageHDU(np.abs(PIXELS), header(), compression_type=compression_type)
    with pytest.raises(CutoutError, match="tile-compressed: uncompress it first"):
        read_image(hdus_bytes(fits.PrimaryHDU(), hdu))


def test_pixels_too_large_for_float32_are_infinite():
    data = fits_bytes(np.array([[1e300, -1e300], [0, np.nan]]), header())
    np.testing.assert_array_equal(read_image(data).pixels, [[np.inf, -np.inf], [0, np.nan]])


def test_tpv_coefficients_that_a_header_leaves_out_have_their_defaults():
    """PVi_1 is 1 and the others 0 (the TPV convention); wcslib would take PVi_1 for 0 and see a single point."""
    whole = read_image(WHOLE).wcs
    fewer = read_image(fits_bytes(PIXELS, without(header(), "PV1_1", "PV2_1"))).wcs
    np.testing.assert_array_equal(fewer.p2s([[7, 8]], 0)["world"], whole.p2s([[7, 8]], 0)["world"])
    none = read_image(fits_bytes(PIXELS, without(header(), "PV1_1", "PV2_1", "PV1_7", "PV2_9"))).wcs
    tan = header()
    tan["CTYPE1"], tan["CTYPE2"] = "RA---TAN", "DEC--TAN"
    tan = read_image(fits_bytes(PIXELS, tan)).wcs
    np.testing.assert_allclose(none.p2s([[7, 8]], 0)["world"], tan.p2s([[7, 8]], 0)["world"], rtol=0, atol=1e-12)


def test_steps_and_a_turn_instead_of_a_cd_matrix():
    cards = header(37, projection="TAN")  # with TPV, wcslib puts the distortion before the steps
    steps = without(cards, "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    steps["CDELT1"], steps["CDELT2"] = -1.4e-4, 1.3e-4
    for i in (1, 2):
        for j in (1, 2):
            steps[f"PC{i}_{j}"] = cards[f"CD{i}_{j}"] / steps[f"CDELT{i}"]
    for data in (fits_bytes(PIXELS, steps), fits_bytes(PIXELS, cards)):
        world = read_image(data).wcs.p2s([[7, 8]], 0)["world"]
        np.testing.assert_allclose(world, by_astropy(data)[1].all_pix2world([[7, 8]], 0), rtol=0, atol=1e-12)


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


def with_card(key, value):
    start = WHOLE.index(f"{key:8}=".encode())
    return WHOLE[:start] + f"{key:8}= {value:>20}".ljust(80).encode() + WHOLE[start + 80 :]


def turned_by_crota2():
    cards = without(header(), "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    cards["CDELT1"], cards["CDELT2"], cards["CROTA2"] = -1.4e-4, 1.4e-4, 30.0
    return cards


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no FITS file"),
        (b"<html><body>504 Gateway Time-out</body></html>", "begins with b'<html>"),
        (WHOLE[:1000], "header has no END"),
        (WHOLE[:6000], "cut off: 6000 bytes do not hold its 50 x 56 pixels"),
        (fits_bytes(None), "no two-dimensional image"),
        (fits_bytes(np.zeros((3, 4, 5), np.int16)), "no two-dimensional image"),
        (hdus_bytes(fits.PrimaryHDU(), fits.ImageHDU(PIXELS, header()))[:7000], "cut off: 7000 bytes"),
        (fits_bytes(PIXELS), "no celestial WCS"),
        (fits_bytes(PIXELS, header(projection="TAN-SIP")), "SIP"),
        (with_card("BITPIX", 17), "BITPIX = 17 is not a FITS pixel type"),
        (with_card("BITPIX", "sixteen"), "BITPIX = sixteen in the FITS header is no number"),
        (with_card("NAXIS1", "NaN"), "NAXIS1 = NaN in the FITS header is no number"),
        (with_card("NAXIS1", 0), "no pixels"),
        (with_card("NAXIS1", -50), r"no pixels \(-50 x 56\)"),
        (with_card("NAXIS1", 50.5), "NAXIS1 = 50.5 in the FITS header is no whole number"),
        (with_card("NAXIS1", 4097), "said to have 4097 x 56 pixels, more than a CCD has"),
        (with_card("NAXIS2", "9E307"), r"said to have 50 x 9e\+307 pixels"),
        (with_card("NAXIS1", ""), "no NAXIS1"),
        (with_card("NAXIS", -1), "has -1 axes"),
        (with_card("NAXIS", "1E9"), "has 1000000000 axes"),
        (with_card("NAXIS", 1), "header has no END"),
        (with_card("CRVAL2", 91), "cannot be used"),
        (with_card("CRPIX1", "\x07\x1b[2J"), r"CRPIX1 = \?\?\[2J in the FITS header is no number"),
        (with_card("CUNIT1", "'rad'"), "in rad instead of deg"),
        (fits_bytes(PIXELS, without(header(), "CD1_1", "CD1_2")), "has pixels of 0 arcsec"),
        (fits_bytes(PIXELS, header(scale_arcsec=2.0)), r"has pixels of 2 arcsec \(stretched by 2\), not the survey's"),
        (with_card("CD1_2", 1e-4), "stretched by"),
        (fits_bytes(PIXELS, turned_by_crota2()), "turned by CROTA2"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(data, message):
    with pytest.raises(CutoutError, match=message) as error:
        read_image(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"CD2_2", b"CD\xb7_2", "has pixels of 0 arcsec"),
        (b"'RA---TPV' ", b"\x80'RA---TPV'", r"no celestial WCS \(CTYPE \"\?'RA---TPV'\""),
        (b"CRVAL1  ", b"CRVAL1\0 ", "has no CRVAL1"),
        (b"PV1_7 ", b"PV1_40", "PV1_40 in the FITS header is no coefficient of a TPV projection"),
        (b"PV1_7 ", b"PV3_7 ", "PV3_7 in the FITS header is no coefficient"),
        (b"PV1_7 ", b"PV1_-1", "PV1_-1 in the FITS header is no coefficient"),
        (b"PV1_7 ", b"PV1_\xb2 ", r"PV1_\? in the FITS header is no coefficient"),
    ],
)
def test_a_damaged_header_never_reaches_wcslib(old, new, message):
    """wcslib crashes the process on some of these and never returns from others."""
    assert len(old) == len(new)
    with pytest.raises(CutoutError, match=message):
        read_image(WHOLE.replace(old, new))


NASTY_KEYS = (
    *("NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "BITPIX", "BSCALE", "BZERO", "BLANK", "XTENSION", "PCOUNT", "GCOUNT"),
    *("CTYPE1", "CTYPE2", "CUNIT1", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CDELT1", "PC1_2"),
    *("PV1_0", "PV1_1", "PV1_7", "PV1_39", "PV1_40", "PV2_1", "PV2_9", "PV3_1", "LONPOLE", "LATPOLE", "ZIMAGE"),
)
NASTY_VALUES = st.sampled_from(
    (
        *("", "-1", "0", "1", "3", "999", "1.5", "64", "4096", "1E30", "-1E300", "1E-300", "1" * 60, "NaN", "INF", "T"),
        *("'deg'", "'RA---TPV'", "'RA---ZPN'", "'IMAGE'", "'BINTABLE'", "'", "/", "0x10", "90", "-90", "180"),
    )
) | st.floats(-2, 2).map(str)
UNDAMAGED = [
    bytearray(data)
    for cards in (header(37), header(37, projection="TAN"))
    for data in (fits_bytes(PIXELS, cards), hdus_bytes(fits.PrimaryHDU(), fits.ImageHDU(PIXELS, cards)))
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(UNDAMAGED),
    st.lists(st.tuples(st.sampled_from(NASTY_KEYS), NASTY_VALUES, st.integers(3, 30)), max_size=3),
    st.lists(st.tuples(st.integers(0, 5760), st.integers(0, 255)), max_size=3),
    st.none() | st.integers(0, 12_000),
)
def test_a_damaged_file_is_read_or_refused_but_never_breaks(whole, cards, changed_bytes, length):
    """Cards of nasty values put over what was there, bytes changed, the end cut off; then asked for positions."""
    damaged = whole.copy()
    for key, value, row in cards:
        start = max(damaged.find(f"{key:8}=".encode()), 0) or 80 * row
        damaged[start : start + 80] = f"{key:8}= {value:>20}".ljust(80)[:80].encode()
    for place, byte in changed_bytes:
        damaged[place] = byte
    try:
        image = read_image(bytes(damaged[:length]))
    except CutoutError as error:
        message = str(error)
        assert message.isprintable()
        return
    assert image.pixels.ndim == 2
    try:
        grid = stamp_grid(image.wcs, RA_DEG, DEC_DEG)
        aligned = align(np.ones((56, 50)), np.zeros((56, 50), bool), image.wcs, grid)
    except AlignmentError:
        return
    assert np.isfinite(aligned.flux).all()
