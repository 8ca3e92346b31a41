import math

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from datasets.imaging.alignment import AlignmentError, align, fill_masked, pixel_of, stamp_grid
from datasets.imaging.calibration import dilated
from datasets.imaging.cutouts import read_image
from tests.datasets.synthetic_cutouts import DEC_DEG, RA_DEG, fits_bytes, header, moffat, star_on_sky

NOTHING_MASKED = np.zeros((56, 56), bool)


def wcs_of(cards):
    return read_image(fits_bytes(np.zeros((56, 56), np.int16), cards)).wcs


def star_on(cards, fwhm_px=5.2, flux=1e6):
    """A star at (RA_DEG, DEC_DEG), its place on the frame by `astropy.wcs.WCS`."""
    x, y = WCS(cards).all_world2pix(RA_DEG, DEC_DEG, 0)
    return flux * moffat((56, 56), float(x), float(y), fwhm_px)


def grid_of(cards):
    return stamp_grid(wcs_of(cards), RA_DEG, DEC_DEG)


ANGLES_DEG = st.sampled_from([0.0, 90.0, 180.0, 300.0]) | st.floats(0, 360)
POSITIONS_DEG = st.sampled_from(
    [(201.3, -35.7), (0.0, 10.0), (359.99999, -60.0), (77.0, -90.0), (0.0, 90.0), (5.0, -89.99)]
)


def pointing(ra_deg, dec_deg, direction_deg, distance_deg):
    there = SkyCoord(ra_deg, dec_deg, unit="deg").directional_offset_by(direction_deg * u.deg, distance_deg * u.deg)
    return there.ra.deg, there.dec.deg


@st.composite
def headers_of(draw, position):
    """What the archive's camera can send: its mosaic reaches 1.7 deg from the pointing, 12,000 px from CRPIX."""
    return header(
        draw(ANGLES_DEG),
        (draw(st.floats(-1, 1)), draw(st.floats(-1, 1))),
        projection=draw(st.sampled_from(["TPV", "TAN"])),
        scale_arcsec=draw(st.floats(0.4957, 0.4976)),
        ra=position[0],
        dec=position[1],
        pointing=pointing(*position, draw(st.floats(0, 360)), draw(st.floats(0, 1.7))),
    )


@given(st.data(), POSITIONS_DEG, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_both_aligners_agree_to_a_millionth_of_the_peak(data, position, seed):
    """Over projections, rotators, shifts, the whole mosaic, poles, RA 0/360, CCD edges, masked and saturated pixels."""
    cards, target = data.draw(headers_of(position)), data.draw(headers_of(position))
    grid = stamp_grid(wcs_of(target), *position)
    shape = data.draw(st.integers(40, 60)), data.draw(st.integers(40, 60))
    rng = np.random.default_rng(seed)
    image = 1e6 * moffat((60, 60), 28.1, 27.2, 5.2)[: shape[0], : shape[1]] + rng.normal(0, 30, shape)
    masked = rng.random(shape) < rng.choice([0, 0.002, 0.05])
    image[masked] = rng.choice([-1e4, 6e4], np.count_nonzero(masked))
    fast, reference = (align(image, masked, wcs_of(cards), grid, method=m) for m in ("fast", "reproject"))
    np.testing.assert_array_equal(fast.covered, reference.covered)
    np.testing.assert_array_equal(fast.good, reference.good)
    assert np.isfinite(reference.flux).all()
    # A tenth of what is promised: the cubic is better than that.
    assert np.abs(fast.flux - reference.flux).max() < 1e-7 * image.max()


@pytest.mark.parametrize("rotator_deg", [0, 90, 180, 270])
def test_both_aligners_agree_where_pixels_lie_on_the_very_edge_of_the_frame(rotator_deg):
    """Half a pixel apart to the last bit, or nearly: one aligner must not see a pixel where the other sees none."""
    cards = header(rotator_deg, projection="TAN")
    grid, image = grid_of(cards), np.ones((56, 56))
    x, y = (int(v) - 23 for v in pixel_of(wcs_of(cards), RA_DEG, DEC_DEG))
    for rounding in (-1e-9, -1e-12, 0, 1e-12, 1e-9):
        clipped = cards.copy()
        clipped["CRPIX1"] -= x + 0.5 + rounding
        clipped["CRPIX2"] -= y + 0.5 + rounding
        fast, reference = (align(image, NOTHING_MASKED, wcs_of(clipped), grid, method=m) for m in ("fast", "reproject"))
        np.testing.assert_array_equal(fast.covered, reference.covered)
        expected = np.pad(np.ones((47, 47), bool), ((1, 0), (1, 0)))
        np.testing.assert_array_equal(fast.covered, expected)
        assert np.abs(fast.flux - reference.flux).max() < 1e-7


@given(st.data(), st.sampled_from([(201.3, -35.7), (0.0, 10.0), (359.99999, -80.0)]), st.floats(2.0, 4.0))
@settings(max_examples=15, deadline=None)
def test_photometry_is_kept_to_half_a_thousandth(data, position, fwhm_arcsec):
    """A star put on each frame through its own WCS, aligned: its flux through the PSF that it has on the grid."""
    cards, target = data.draw(headers_of(position)), data.draw(headers_of(position))
    grid = stamp_grid(wcs_of(target), *position)
    target["CRPIX1"], target["CRPIX2"] = grid.wcs.crpix
    image = star_on_sky(cards, (56, 56), *position, fwhm_arcsec)
    psf = star_on_sky(target, (48, 48), *position, fwhm_arcsec)
    aligned = align(image, NOTHING_MASKED, wcs_of(cards), grid)
    weights = psf * aligned.covered
    assert np.vdot(weights, aligned.flux) == pytest.approx(np.vdot(weights, psf), rel=5e-4)
    assert aligned.flux[12:36, 12:36].sum() == pytest.approx(psf[12:36, 12:36].sum(), rel=5e-4)


def test_the_transform_is_the_wcss_own():
    """Aligning images of the pixel coordinates themselves gives the transform, to be held against `astropy.wcs.WCS`."""
    cards, target = header(37, (0.4, 0.1)), header(300, (-0.2, 0.3))
    columns = np.broadcast_to(np.arange(56.0), (56, 56))
    x, y = (align(image, NOTHING_MASKED, wcs_of(cards), grid_of(target)) for image in (columns, columns.T))
    area = align(np.ones((56, 56)), NOTHING_MASKED, wcs_of(cards), grid_of(target)).flux
    corner = [math.floor(float(v)) - 23 for v in WCS(target).all_world2pix(RA_DEG, DEC_DEG, 0)]
    columns, rows = np.meshgrid(np.arange(48) + corner[0], np.arange(48) + corner[1])
    expected = WCS(cards).all_world2pix(*WCS(target).all_pix2world(columns, rows, 0), 0)
    # Within the outermost pixels the spline bends to its boundary condition: there no comparison.
    inside = np.all([(v > 10) & (v < 45) for v in expected], axis=0)
    for aligned, pixel in zip((x, y), expected, strict=True):
        np.testing.assert_allclose((aligned.flux / area)[inside], pixel[inside], rtol=0, atol=3e-5)


@pytest.mark.parametrize("rotator_deg", [0, 90, 123])
def test_the_star_is_where_the_grid_has_it_and_keeps_its_flux(rotator_deg):
    cards = header(rotator_deg, (0.37, -0.41))
    target = header(11, (-0.3, 0.2))
    flux = align(star_on(cards), NOTHING_MASKED, wcs_of(cards), grid_of(target)).flux
    x, y = (float(v) - math.floor(float(v)) + 23 for v in WCS(target).all_world2pix(RA_DEG, DEC_DEG, 0))
    expected = 1e6 * moffat((48, 48), x, y, 5.2)
    # The frames' pixels are not quite square, so that turned by 90 degrees the star is round to 0.4 % only.
    assert np.abs(flux - expected).max() < 0.005 * expected.max()
    inner = np.s_[8:40, 8:40]
    assert flux[inner].sum() == pytest.approx(expected[inner].sum(), rel=3e-4)


def test_flux_is_kept_when_pixels_differ_in_size():
    large, small = header(scale_arcsec=0.52), header(scale_arcsec=0.48)
    image = star_on(large, fwhm_px=5.0)
    flux = align(image, NOTHING_MASKED, wcs_of(large), grid_of(small)).flux
    assert flux.sum() == pytest.approx(1e6, rel=2e-3)
    assert flux.max() == pytest.approx(image.max() * (0.48 / 0.52) ** 2, rel=0.05)


def test_a_frame_on_its_own_grid_is_only_cropped():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 10, (56, 56))
    cards = header(37, (0.3, 0.2))
    aligned = align(image, NOTHING_MASKED, wcs_of(cards), grid_of(cards))
    x, y = (math.floor(v) - 23 for v in pixel_of(wcs_of(cards), RA_DEG, DEC_DEG))
    np.testing.assert_allclose(aligned.flux, image[y : y + 48, x : x + 48], rtol=0, atol=1e-4)
    assert aligned.good.all()


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 360))
@settings(max_examples=50, deadline=None)
def test_the_star_is_within_half_a_pixel_of_the_stamps_centre(dx, dy, rotator_deg):
    grid = grid_of(header(rotator_deg, (dx, dy)))
    x, y = pixel_of(grid.wcs, RA_DEG, DEC_DEG)
    # To a millionth of a pixel: a star on a pixel's edge may fall to either side.
    assert 23 - 1e-6 <= x < 24 + 1e-6
    assert 23 - 1e-6 <= y < 24 + 1e-6


def test_the_grid_leaves_the_frames_wcs_alone():
    wcs = wcs_of(header())
    before = wcs.crpix.copy()
    stamp_grid(wcs, RA_DEG, DEC_DEG)
    np.testing.assert_array_equal(wcs.crpix, before)


def test_what_the_frame_does_not_reach_is_not_covered():
    cards = header(45)
    aligned = align(np.ones((56, 56)), NOTHING_MASKED, wcs_of(cards), grid_of(header()))
    assert not aligned.covered[0, 0]
    assert aligned.covered[24, 0]
    np.testing.assert_array_equal(aligned.flux[~aligned.covered], 0)
    np.testing.assert_array_equal(aligned.good, aligned.covered)
    # A square of 48 rotated by 45 degrees about the middle of one of 56: the corners stick out by this much.
    sticking_out = 4 * (24 * math.sqrt(2) - 28) ** 2
    assert np.count_nonzero(~aligned.covered) == pytest.approx(sticking_out, rel=0.15)


@pytest.mark.parametrize("method", ["fast", "reproject"])
def test_good_pixels_do_not_depend_on_masked_ones(method):
    """Whatever the fill: a good pixel moves by less than 0.15 of a change under the mask."""
    cards = header(37, (0.3, 0.4))
    masked = NOTHING_MASKED.copy()
    masked[20, 30] = masked[35, 12] = True
    images = [np.zeros((56, 56)), np.where(masked, 1.0, 0.0)]
    plain, changed = (align(im, masked, wcs_of(cards), grid_of(header()), method=method) for im in images)
    weight = np.abs(changed.flux - plain.flux)
    assert weight[~plain.good].max() > 0.5
    assert weight[plain.good].max() < 0.15
    assert np.count_nonzero(plain.covered & ~plain.good) == pytest.approx(2 * 9, abs=4)


@pytest.mark.parametrize("hole", [[(28, 36)], [(28, 33), (29, 33), (29, 34)], [(r, 40) for r in range(56)]])
def test_filled_pixels_follow_the_star(hole):
    """Within 3 % of the star's peak near the core, and 0.1 % of its flux in sum."""
    cards = header()
    image = star_on(cards)
    masked = NOTHING_MASKED.copy()
    masked[tuple(np.transpose(hole))] = True
    # The profile is not the star's own: 10 % wider, as a frame's mean seeing may be.
    x, y = pixel_of(wcs_of(cards), RA_DEG, DEC_DEG)
    filled = fill_masked(np.where(masked, 1e9, image), masked, moffat((56, 56), x, y, 5.7))
    np.testing.assert_array_equal(filled[~masked], image[~masked])
    assert np.abs(filled - image).max() < 0.03 * image.max()
    assert abs((filled - image).sum()) < 0.001 * 1e6


def test_values_under_the_mask_are_never_used():
    rng = np.random.default_rng(2)
    masked = rng.random((56, 56)) < 0.2
    masked[10:20, 30:45] = True
    image = rng.normal(0, 1, (56, 56))
    profile = moffat((56, 56), 27.5, 27.5, 5.0)
    filled = [fill_masked(np.where(masked, value, image), masked, profile) for value in (0.0, 1e4, np.nan)]
    np.testing.assert_array_equal(filled[0], filled[1])
    np.testing.assert_array_equal(filled[0], filled[2])
    assert np.isfinite(filled[0]).all()


def test_dilation_is_scipys():
    mask = np.random.default_rng(3).random((20, 31)) < 0.02
    for pixels in (1, 3):
        expected = ndimage.binary_dilation(mask, np.ones((2 * pixels + 1,) * 2))
        np.testing.assert_array_equal(dilated(mask, pixels), expected)


def test_a_star_on_the_other_side_of_the_sky_is_refused():
    wcs = wcs_of(header())
    with pytest.raises(AlignmentError, match="outside the frame's projection"):
        pixel_of(wcs, (RA_DEG + 180) % 360, -DEC_DEG)
    far = stamp_grid(wcs_of(header(ra=21.0, dec=35.7)), 21.0, 35.7)
    with pytest.raises(AlignmentError, match="outside the frame's projection"):
        align(np.zeros((56, 56)), NOTHING_MASKED, wcs, far)


def test_across_the_meridian():
    """Right ascension 0: the frame's centre and the star lie on either side of 360 degrees."""
    cards, target = header(ra=359.99), header(90, ra=359.99)
    assert cards["CRVAL1"] > 360
    cards["CRVAL1"] -= 360
    aligned = align(np.ones((56, 56)), NOTHING_MASKED, wcs_of(cards), stamp_grid(wcs_of(target), 359.99, DEC_DEG))
    assert aligned.covered.all()


@pytest.mark.parametrize(("scale_arcsec", "ratio"), [(0.7, "1.98"), (0.4, "0.646")])
def test_a_frame_of_other_pixels_is_refused(scale_arcsec, ratio):
    with pytest.raises(AlignmentError, match=f"the frame's pixels have {ratio} times the area of the grid's"):
        align(np.zeros((56, 56)), NOTHING_MASKED, wcs_of(header(scale_arcsec=scale_arcsec)), grid_of(header()))


def test_a_frame_that_bends_within_a_stamp_is_refused():
    """One digit of a TPV coefficient damaged: the cubic would no longer follow, so nothing is made of it."""
    bent = header()
    bent["PV1_7"] = -9.541e2
    x, y = WCS(header()).all_world2pix(RA_DEG, DEC_DEG, 1)
    bent["CRVAL1"], bent["CRVAL2"], bent["CRPIX1"], bent["CRPIX2"] = RA_DEG, DEC_DEG, float(x), float(y)
    with pytest.raises(AlignmentError, match="bends within a stamp"):
        align(np.zeros((56, 56)), NOTHING_MASKED, wcs_of(bent), grid_of(header()))


def test_no_grid_from_a_wcs_without_finite_positions():
    broken = header()
    broken["PV1_7"], broken["PV1_1"] = 1e300, 0.0
    with pytest.raises(AlignmentError, match=r"outside the frame's projection|cannot be used around the star"):
        stamp_grid(wcs_of(broken), RA_DEG, DEC_DEG)
