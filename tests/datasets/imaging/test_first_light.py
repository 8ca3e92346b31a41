"""Real photons: two SkyMapper DR2 exposures of NGC 3105 in i, four months apart, with Gaia DR2's stars of the field."""

import copy
import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from datasets.imaging.alignment import align, pixel_of, stamp_grid
from datasets.imaging.calibration import flux_scale, measure_sky, star_profile
from datasets.imaging.cutouts import CutoutError, read_image
from datasets.skymapper import CUTOUT_SIZE_PX, PIXEL_SCALE_ARCSEC, STAMP_SIZE_PX
from datasets.stamps import _check_on_cutout
from tests.real_data import REAL, needs_real_data

pytestmark = [pytest.mark.real, needs_real_data]

SKYMAPPER = REAL / "skymapper"
FRAMES = {"2014": "ngc3105_i_20140408104740_29", "2015": "ngc3105_i_20150201125406_25"}
APERTURE_PX = 10.0
ISOLATED_ARCSEC, FAINTER_MAG = 6.0, 2.5  # no Gaia star within this, unless it is so much fainter


def frame_bytes(name):
    return gzip.decompress((SKYMAPPER / f"{name}.fits.gz").read_bytes())


@pytest.fixture(scope="module")
def images():
    return {year: read_image(frame_bytes(name)) for year, name in FRAMES.items()}


@pytest.fixture(scope="module")
def gaia():
    return Table.read(SKYMAPPER / "ngc3105_gaia_dr2.csv")


def on_frame(image, stars):
    """Gaia's positions as pixels (x, y) of a frame, and which lie on it, far enough from its edges for a cutout."""
    xy = np.array([pixel_of(image.wcs, star["RA"], star["DEC"]) for star in stars])
    ny, nx = image.pixels.shape
    margin = CUTOUT_SIZE_PX / 2 + 1
    inside = (xy > margin).all(axis=1) & (xy[:, 0] < nx - margin) & (xy[:, 1] < ny - margin)
    return xy, inside


def isolated(stars, brightest=12.0, faintest=16.5):
    """Stars between these G magnitudes that no other star of the table disturbs."""
    ra, dec, g = (np.asarray(stars[name], float) for name in ("RA", "DEC", "Gmag"))
    x, y = ra * np.cos(np.radians(dec)) * 3600, dec * 3600
    near = np.hypot(x[:, None] - x, y[:, None] - y) < ISOLATED_ARCSEC
    np.fill_diagonal(near, False)
    return (g > brightest) & (g < faintest) & ~(near & (g < g[:, None] + FAINTER_MAG)).any(axis=1)


def cutout(image, x, y):
    """What the cutout service would send of a frame: pixels around a star and their WCS."""
    x0, y0 = (round(c) - CUTOUT_SIZE_PX // 2 for c in (x, y))
    wcs = copy.deepcopy(image.wcs)
    wcs.crpix = wcs.crpix - (x0, y0)
    wcs.set()
    return image.pixels[y0 : y0 + CUTOUT_SIZE_PX, x0 : x0 + CUTOUT_SIZE_PX].astype(float), wcs


def stamp(image, star, grid=None):
    """A star's stamp in uJy / pix, by the product's own steps, on its own or another frame's grid; and the grid."""
    pixels, wcs = cutout(image, *pixel_of(image.wcs, star["RA"], star["DEC"]))
    fwhm_px = image.fwhm / PIXEL_SCALE_ARCSEC
    profile = star_profile(pixels.shape, *pixel_of(wcs, star["RA"], star["DEC"]), fwhm_px)
    level = measure_sky(pixels, np.isfinite(pixels), *profile, fwhm_px)
    flux = (pixels - level) * flux_scale(image.zpapprox, "i", 0.0)
    grid = grid or stamp_grid(wcs, star["RA"], star["DEC"])
    return align(flux, np.zeros(pixels.shape, bool), wcs, grid).flux, grid


def magnitude(flux, grid, star):
    x, y = pixel_of(grid.wcs, star["RA"], star["DEC"])
    inside = np.hypot(np.arange(STAMP_SIZE_PX)[:, None] - y, np.arange(STAMP_SIZE_PX) - x) < APERTURE_PX
    return 23.9 - 2.5 * np.log10(flux[inside].sum())


def centroid_offset_px(image, x, y):
    """From where a star should be to the centre of its light, within 3 pixels, iterated."""
    cx, cy = x, y
    rows, columns = np.indices(image.pixels.shape)
    for _ in range(5):
        box = np.s_[round(cy) - 12 : round(cy) + 13, round(cx) - 12 : round(cx) + 13]
        values = image.pixels[box] - np.median(image.pixels[box])
        weight = np.where(np.hypot(rows[box] - cy, columns[box] - cx) < 4, np.clip(values, 0, None), 0)
        cx, cy = (float((weight * grid[box]).sum() / weight.sum()) for grid in (columns, rows))
    return np.hypot(cx - x, cy - y)


@pytest.mark.parametrize("year", FRAMES)
def test_positions_are_those_of_astropys_tpv(images, gaia, year):
    ours = np.array([pixel_of(images[year].wcs, star["RA"], star["DEC"]) for star in gaia])
    theirs = WCS(fits.getheader(io.BytesIO(frame_bytes(FRAMES[year]))))
    np.testing.assert_allclose(ours.T, theirs.world_to_pixel_values(gaia["RA"], gaia["DEC"]), atol=1e-6)


@pytest.mark.parametrize("year", FRAMES)
def test_stars_are_where_gaia_has_them(images, gaia, year):
    xy, inside = on_frame(images[year], gaia)
    offsets = [centroid_offset_px(images[year], *at) for at in xy[inside & isolated(gaia)]]
    assert len(offsets) > 25
    assert np.median(offsets) < 0.4  # 0.2 arcsec; measured 0.29 and 0.13


def test_a_frame_whose_wcs_was_overwritten_has_none_of_its_stars(images, gaia):
    # The true frame of these pixels, of 2014, has them all; its header puts each of them off the frame.
    assert len(gaia) == 346
    assert on_frame(images["2014"], gaia)[1].all()
    image = read_image(frame_bytes("ngc3105_i_wcs_overwritten"))
    for star in gaia:
        with pytest.raises(CutoutError, match="the star is not on the cutout"):
            _check_on_cutout(image.pixels.shape, *pixel_of(image.wcs, star["RA"], star["DEC"]), 2.0)


@pytest.fixture(scope="module")
def magnitudes(images, gaia):
    """The isolated stars that both exposures have, and their magnitudes (n, 2) on stamps of one grid."""
    used = isolated(gaia)
    for image in images.values():
        used &= on_frame(image, gaia)[1]
    rows = []
    for star in gaia[used]:
        first, grid = stamp(images["2014"], star)
        second, _ = stamp(images["2015"], star, grid)
        rows.append([magnitude(flux, grid, star) for flux in (first, second)])
    return gaia[used], np.array(rows)


def test_two_epochs_agree(magnitudes):
    _, both = magnitudes
    difference = both[:, 0] - both[:, 1]
    assert len(difference) > 25
    assert abs(np.median(difference)) < 0.02  # measured 0.001 mag
    assert 1.4826 * np.median(np.abs(difference - np.median(difference))) < 0.04  # measured 0.027


def test_the_zeropoint_is_of_the_whole_exposure(images, magnitudes):
    # Gaia's synthetic photometry of stars of this BP - RP gives i - RP = 0.327 in the median. DR2's zeropoints, light
    # outside the aperture and an E(B-V) of about 1 may shift that by some hundredths; measured 0.319 and 0.317. Were
    # ZPAPPROX that of counts per second, i would be 2.5 log10(10 s) = 2.5 mag off.
    stars, both = magnitudes
    assert [image.exp_time for image in images.values()] == [10, 10]
    for of_year in both.T:
        assert abs(np.median(of_year - np.asarray(stars["RPmag"], float)) - 0.327) < 0.1


@pytest.mark.parametrize("kept", [20_000, 100_000, 1_000_000])
def test_a_truncated_frame_ends_in_a_sentence(kept):
    with pytest.raises(CutoutError):
        read_image(frame_bytes(FRAMES["2015"])[:kept])


def test_a_header_without_its_pixels_ends_in_a_sentence():
    data = frame_bytes(FRAMES["2015"])
    end = data.index(b"END" + b" " * 77) + 80
    with pytest.raises(CutoutError):
        read_image(data[: -(-end // 2880) * 2880])
