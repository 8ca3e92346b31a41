"""The frames' world coordinates against wcslib, which knows nothing of how they were made."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from datasets.mock_sky.wcs import CCD_HEIGHT_PX, CCD_WIDTH_PX, N_CCDS, frame_wcs


def wcslib(frames, i):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TPV", "DEC--TPV"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = frames.crval[i], frames.crpix[i], frames.cd[i]
    terms = zip([(1, 7), (1, 9), (2, 7), (2, 9)], frames.pv[i], strict=True)
    wcs.wcs.set_pv([(1, 1, 1.0), (2, 1, 1.0)] + [(axis, term, value) for (axis, term), value in terms])
    wcs.wcs.set()
    return wcs


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(5)
    n = 60
    dec = np.degrees(np.arcsin(rng.uniform(-1, 0.3, n)))
    dec[:6] = -87.9, -88.1, -89.99, 0.0, 87.99, -89.0
    ra = rng.uniform(0, 360, n)
    ra[6:9] = 0.0, 359.99999, 1e-5
    return {
        "ra_deg": ra,
        "dec_deg": dec,
        "x_img": rng.uniform(1, CCD_WIDTH_PX, n),
        "y_img": rng.uniform(1, CCD_HEIGHT_PX, n),
        "ccd": rng.integers(1, N_CCDS, n, endpoint=True),
        "rotator_deg": rng.choice([0.0, 90.0, 180.0, 300.0, 17.3], n),
    }


@pytest.fixture(scope="module")
def frames(stars):
    return frame_wcs(**stars)


def test_the_star_falls_on_its_pixel(stars, frames):
    for i, (ra, dec) in enumerate(zip(stars["ra_deg"], stars["dec_deg"], strict=True)):
        x, y = wcslib(frames, i).all_world2pix(ra, dec, 1)
        assert x == pytest.approx(stars["x_img"][i], abs=1e-5)
        assert y == pytest.approx(stars["y_img"][i], abs=1e-5)


def test_offsets_east_and_north_fall_where_wcslib_puts_them(stars, frames):
    rng = np.random.default_rng(6)
    for i, (ra, dec) in enumerate(zip(stars["ra_deg"], stars["dec_deg"], strict=True)):
        east, north = rng.uniform(-20, 20, 2)
        star = SkyCoord(ra, dec, unit="deg")
        neighbour = star.directional_offset_by(
            np.degrees(np.arctan2(east, north)) * u.deg, np.hypot(east, north) * u.arcsec
        )
        expected = np.array(wcslib(frames, i).all_world2pix(neighbour.ra.deg, neighbour.dec.deg, 1))
        pixel = np.array([stars["x_img"][i], stars["y_img"][i]]) + frames.px_per_arcsec[i] @ [east, north]
        np.testing.assert_allclose(pixel, expected, atol=2e-3)


def test_scale_is_that_of_the_survey(frames):
    scale_arcsec = np.abs(np.linalg.det(frames.px_per_arcsec)) ** -0.5
    assert 0.4945 < scale_arcsec.min() < scale_arcsec.max() < 0.498
    assert np.median(scale_arcsec) == pytest.approx(0.497, abs=0.001)


@pytest.mark.parametrize(
    ("rotator_deg", "y_points_to"), [(0, (0, 1)), (90, (1, 0)), (180, (0, -1)), (300, (-0.866, 0.5))]
)
def test_rotator_angle_turns_the_columns_from_north_through_east(rotator_deg, y_points_to):
    frames = frame_wcs([40.0], [-30.0], [1000.0], [2000.0], [12], [rotator_deg])
    east_north_of_y = np.linalg.inv(frames.px_per_arcsec[0])[:, 1] / 0.497
    np.testing.assert_allclose(east_north_of_y, y_points_to, atol=0.02)
    assert np.linalg.det(frames.px_per_arcsec[0]) < 0  # east to the left of north: the sky seen from inside


def test_stars_on_one_ccd_of_one_exposure_share_all_but_the_pointing_of_their_own():
    frames = frame_wcs([40.0, 50.0], [-30.0, -10.0], [10.0, 2000.0], [20.0, 4000.0], [3, 3], [90.0, 90.0])
    np.testing.assert_array_equal(frames.cd[0], frames.cd[1])
    np.testing.assert_array_equal(frames.pv[0], frames.pv[1])
    np.testing.assert_array_equal(frames.crpix[0], frames.crpix[1])
