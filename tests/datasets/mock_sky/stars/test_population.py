"""The mixture of stars against GALAH DR3's; fractions within four percentage points, rarer ones within a third."""

import numpy as np
import pytest
from scipy.integrate import quad

from datasets.mock_sky.stars.population import draw_stars, kroupa_number, selection_function


def test_kroupas_mass_function():
    def slope(mass):
        return mass**-1.3 if mass < 0.5 else 0.5 * mass**-2.3

    for low, high in ((0.1, 0.3), (0.3, 0.9), (0.8, 2.5)):
        points = [0.5] if low < 0.5 < high else None
        number = kroupa_number(np.array([low, high]))
        assert np.diff(number)[0] == pytest.approx(quad(slope, low, high, points=points)[0], rel=1e-6)


def test_dwarfs_and_giants(stars):
    giant = (stars["logg"] < 3.8) & (stars["teff"] < 5500)
    assert giant.mean() == pytest.approx(0.34, abs=0.04)
    assert (~giant).mean() == pytest.approx(0.65, abs=0.05)


def test_metal_poor_stars(stars):
    assert (stars["fe_h"] < -1).mean() == pytest.approx(0.018, abs=0.006)


def test_distances(stars):
    assert (stars["distance_pc"] < 2000).mean() == pytest.approx(0.81, abs=0.04)
    assert (stars["distance_pc"] > 4000).mean() == pytest.approx(0.058, abs=0.015)
    assert (stars["parallax_mas"] < 5).mean() > 0.9
    np.testing.assert_allclose(stars["parallax_mas"] * stars["distance_pc"], 1000, rtol=1e-12)


def test_magnitudes_are_galahs(stars):
    v = stars["v_mag"]
    assert ((v > 12) & (v < 14)).mean() > 0.7
    assert ((v > 8.95) & (v < 14.65)).all()
    np.testing.assert_array_equal(selection_function(np.array([8.9, 14.7])), 0.0)


def test_temperatures_lie_where_galah_is_good_with_a_few_outside(stars):
    outside = (stars["teff"] < 4000) | (stars["teff"] > 8000)
    assert 0.005 < outside.mean() < 0.06
    assert (stars["teff"] > 3400).all()
    assert (stars["teff"] < 9300).all()


def test_the_sky_is_the_southern_one_with_some_stars_in_the_plane(stars):
    assert stars["dec"].max() <= 2.0
    assert 0.02 < (np.abs(stars["glat"]) < 10).mean() < 0.12


def test_components_differ_in_metallicity_and_height(stars):
    height = stars["distance_pc"] * np.abs(np.sin(np.radians(stars["glat"])))
    thin, thick, halo = (stars["component"] == c for c in range(3))
    assert np.mean(stars["fe_h"][thin]) == pytest.approx(-0.05, abs=0.05)
    assert np.mean(stars["fe_h"][thick]) == pytest.approx(-0.55, abs=0.07)
    assert np.mean(stars["fe_h"][halo]) == pytest.approx(-1.5, abs=0.2)
    assert np.median(height[thin]) < np.median(height[thick]) < np.median(height[halo])


def test_every_star_is_of_its_own_kind(stars):
    for name in ("teff", "logg", "fe_h", "distance_pc", "ra", "ebv"):
        assert len(np.unique(stars[name])) == len(stars)


def test_surface_gravity_follows_from_mass_temperature_and_luminosity(stars):
    identity = np.log10(stars["mass"]) + 4 * np.log10(stars["teff"]) + 0.4 * stars["mbol"] - 12.503
    assert np.abs(identity - stars["logg"]).max() < 0.02
    assert np.std(identity - stars["logg"]) < 0.002


def test_metallicities_spread_evenly_inside_their_cells():
    fe_h = np.concatenate([draw_stars(1, block, 256)["fe_h"] for block in range(8)])
    inside = fe_h / 0.05 % 1
    assert np.histogram(inside, bins=4, range=(0, 1))[0] / len(fe_h) == pytest.approx([0.25] * 4, abs=0.04)
