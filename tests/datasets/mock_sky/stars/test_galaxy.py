import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.integrate import quad

from datasets.mock_sky.stars import galaxy


def test_galactic_coordinates_agree_with_astropy():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    ours = SkyCoord(*galaxy.galactic(ra, dec), unit="deg", frame="galactic")
    theirs = SkyCoord(ra, dec, unit="deg", frame="icrs").galactic
    # astropy goes through FK5, whose axes are turned against the ICRS by some 0.02 arcsec.
    assert ours.separation(theirs).to_value(u.arcsec).max() < 0.05


def test_cells_cover_the_footprint_evenly():
    rng = np.random.default_rng(0)
    cells = np.repeat(np.arange(galaxy.N_RA * galaxy.N_DEC), 20)
    place = galaxy.place_in_cell(cells, rng.uniform(size=(2, len(cells))))
    assert place["dec"].max() <= galaxy.HIGHEST_DEC_DEG
    assert place["dec"].min() < -88
    top = np.sin(np.radians(galaxy.HIGHEST_DEC_DEG))
    share_south_of_30 = (0.5) / (1 + top)
    assert (place["dec"] < -30).mean() == pytest.approx(share_south_of_30, abs=0.01)


@pytest.mark.parametrize(("glon", "glat", "distance_kpc"), [(0.0, 90.0, 5.0), (120.0, -35.0, 0.3), (250.0, 15.0, 2.0)])
def test_extinction_is_the_integral_over_the_dust(glon, glat, distance_kpc):
    b, longitude = np.radians(glat), np.radians(glon)

    def dust(s):
        # To first order in s / R, which the closed form stops at.
        inward = s * np.cos(b) * np.cos(longitude)
        return galaxy.AV_PER_KPC * np.exp(
            -s * abs(np.sin(b)) / galaxy.DUST_HEIGHT_KPC + inward / galaxy.DUST_LENGTH_KPC
        )

    expected = quad(dust, 0, distance_kpc)[0]
    found = galaxy.extinction_v(np.array(glon), np.array(glat), np.array(distance_kpc))
    assert found == pytest.approx(expected, rel=1e-6)


def test_half_the_column_towards_the_pole_lies_below_the_half_height():
    half = galaxy.DUST_HEIGHT_KPC * np.log(2)
    near = galaxy.extinction_v(0.0, 90.0, np.array([half, 50.0]))
    assert near[0] / near[1] == pytest.approx(0.5, rel=1e-6)


def test_distances_give_back_the_apparent_modulus():
    rng = np.random.default_rng(0)
    place = galaxy.place_in_cell(rng.integers(galaxy.N_RA * galaxy.N_DEC, size=300), rng.uniform(size=(2, 300)))
    modulus, patchiness = rng.uniform(4, 14, 300), rng.uniform(0.6, 1.6, 300)
    dust = galaxy.dust_towards(place, modulus, patchiness)
    av = galaxy.AV_PER_EBV_SFD * dust["ebv"]
    np.testing.assert_allclose(5 * np.log10(dust["distance_pc"] / 10) + av, modulus, rtol=0, atol=1e-6)
    assert (dust["ebv"] <= dust["ebv_column"] * (1 + 1e-9)).all()


def test_components_thin_out_with_height_as_they_should():
    thin, thick, halo = galaxy.COMPONENTS
    assert thin.density(8.2, 0.0) == pytest.approx(1.0)
    assert thin.density(8.2, -0.30) == pytest.approx(np.exp(-1))
    assert thick.density(8.2, 0.9) / thick.density(8.2, 0.0) == pytest.approx(np.exp(-1))
    assert halo.density(0.0, 60.0) / halo.density(0.0, 30.0) == pytest.approx(2**-2.8, rel=1e-3)
    assert halo.density(60.0, 0.0) == pytest.approx(halo.density(0.0, 36.0), rel=1e-9)
