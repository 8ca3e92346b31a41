"""Galactocentric places, against astropy's frame."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Galactocentric, SkyCoord, galactocentric_frame_defaults

from acf_jax.catalogue.figures.galactocentric import FRAME, cylindrical_kpc, parallax_distance_kpc


def test_r_and_z_are_astropys_of_the_frame_that_is_named():
    random = np.random.default_rng(3)
    ra_deg, dec_deg = random.uniform(0, 360, 500), np.degrees(np.arcsin(random.uniform(-1, 1, 500)))
    distance_kpc = 10 ** random.uniform(-3, 1.5, 500)
    with galactocentric_frame_defaults.set("v4.0"):
        places = SkyCoord(ra_deg * u.deg, dec_deg * u.deg, distance_kpc * u.kpc).transform_to(Galactocentric())
    radius_kpc, height_kpc = cylindrical_kpc(ra_deg, dec_deg, distance_kpc)
    np.testing.assert_allclose(radius_kpc, np.hypot(places.x, places.y).to_value(u.kpc), atol=1e-9)
    np.testing.assert_allclose(height_kpc, places.z.to_value(u.kpc), atol=1e-9)
    assert FRAME.name.endswith("v4.0")


def test_the_sun_and_the_galactic_centre_are_where_the_frame_says():
    radius_kpc, height_kpc = cylindrical_kpc(np.array([10.0]), np.array([-30.0]), np.array([0.0]))
    assert height_kpc[0] == pytest.approx(0.0208)
    assert np.hypot(radius_kpc, height_kpc)[0] == pytest.approx(8.122)
    centre = cylindrical_kpc(np.array([FRAME.galcen_ra_deg]), np.array([FRAME.galcen_dec_deg]), np.array([8.122]))
    np.testing.assert_allclose(np.concatenate(centre), 0, atol=1e-9)


def test_only_parallaxes_of_five_errors_give_distances():
    parallax_mas = np.array([2.0, 0.5, 0.4999, 0.5001, -3.0, np.nan, 1.0, 1.0, 0.0])
    error_mas = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, np.nan, 0.0, 0.1])
    distance_kpc = parallax_distance_kpc(parallax_mas, error_mas)
    np.testing.assert_allclose(distance_kpc, [0.5, *2 * [np.nan], 1 / 0.5001, *5 * [np.nan]])


def test_a_missing_number_gives_a_missing_place():
    values = [np.array([1.0, np.nan, 1, 1]), np.array([1.0, 1, np.nan, 1]), np.array([1.0, 1, 1, np.nan])]
    for axis in cylindrical_kpc(*values):
        np.testing.assert_array_equal(np.isnan(axis), [False, True, True, True])
