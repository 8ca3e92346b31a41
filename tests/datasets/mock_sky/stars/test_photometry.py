import numpy as np
import pytest

from datasets.mock_sky.stars.photometry import apparent_magnitudes, extinctions
from datasets.mock_sky.stars.stellar_tables import PASSBANDS, bolometric_corrections
from datasets.skymapper import BANDS, EXTINCTION_COEFFICIENTS

R = np.array([EXTINCTION_COEFFICIENTS[band] for band in BANDS])


def test_extinction_of_the_middling_star_is_the_surveys():
    ebv = np.array([0.0, 0.1, 0.4])
    found = extinctions(ebv, np.full(3, 5500.0), np.full(3, 4.0), np.full(3, -0.25))
    np.testing.assert_allclose(found[:, :6], ebv[:, None] * R, rtol=1e-12)
    assert found[1, PASSBANDS.index("V")] == pytest.approx(0.274, rel=0.01)


def test_dereddening_with_the_surveys_coefficients_is_right_on_average(stars):
    found = extinctions(np.ones(len(stars)), stars["teff"], stars["logg"], stars["fe_h"])[:, :6]
    np.testing.assert_allclose(found.mean(axis=0), R, rtol=0.02)
    assert found[:, 0].std() > 0.02  # but not the same for every star


def test_magnitudes_fade_with_distance_and_dust():
    star = [np.array([value]) for value in (5772.0, 4.44, 0.0)]
    absolute = bolometric_corrections().absolute_magnitudes(np.array([4.74]), *star)
    near = apparent_magnitudes(absolute, np.array([10.0]), np.zeros(1), *star)
    np.testing.assert_allclose(near, absolute, atol=1e-12)
    far = apparent_magnitudes(absolute, np.array([1000.0]), np.zeros(1), *star)
    np.testing.assert_allclose(far - near, 10.0, atol=1e-12)
    dusty = apparent_magnitudes(absolute, np.array([1000.0]), np.array([0.2]), *star)
    np.testing.assert_allclose((dusty - far)[0, :6], 0.2 * R, rtol=0.02)


def test_magnitudes_of_the_sky_are_those_of_its_stars(stars):
    """From the catalogue's own numbers: Mbol, labels, distance and reddening give the apparent magnitudes."""
    arguments = (stars["teff"], stars["logg"], stars["fe_h"])
    absolute = bolometric_corrections().absolute_magnitudes(stars["mbol"], *arguments)
    again = apparent_magnitudes(absolute, stars["distance_pc"], stars["ebv"], *arguments)
    np.testing.assert_allclose(again[:, :6], stars["mag"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(again[:, 9], stars["v_mag"], rtol=0, atol=1e-9)


def test_colours_carry_the_labels(stars):
    """v tells metallicity, colours temperature: rank correlations in the true, dereddened magnitudes of dwarfs."""
    m = stars["mag"] - R * stars["ebv"][:, None]
    similar = (np.abs(stars["teff"] - 5500) < 150) & (stars["logg"] > 4)
    assert similar.sum() > 100
    assert np.corrcoef((m[:, 1] - m[:, 2])[similar], stars["fe_h"][similar])[0, 1] > 0.6
    dwarf = stars["logg"] > 4
    assert np.corrcoef((m[:, 2] - m[:, 4])[dwarf], np.log(stars["teff"][dwarf]))[0, 1] < -0.97
