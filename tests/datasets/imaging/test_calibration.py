import math

import numpy as np
import pytest
from scipy import integrate

from datasets.imaging.calibration import CalibrationError, flux_scale, measure_sky, star_profile
from datasets.skymapper import BANDS, EXTINCTION_COEFFICIENTS
from tests.datasets.synthetic_cutouts import moffat

SHAPE = (56, 56)


def sky_of(pixels, *, x=27.6, y=27.9, fwhm_px=5.2, good=None):
    profile, distance2 = star_profile(pixels.shape, x, y, fwhm_px)
    return measure_sky(pixels, np.ones(pixels.shape, bool) if good is None else good, profile, distance2, fwhm_px)


def test_a_star_of_ab_magnitude_m_has_its_flux_in_microjansky():
    """AB: m = -2.5 log10(flux / 3631 Jy)."""
    for mag in (8.0, 14.5, 23.9):
        adu = 10 ** (0.4 * (27.3 - mag))
        assert adu * flux_scale(27.3, "g", 0.0) == pytest.approx(3631e6 * 10 ** (-0.4 * mag), rel=1e-3)
    assert flux_scale(23.9, "u", 0.0) == 1


def test_extinction_brightens_each_band_by_its_coefficient():
    for band in BANDS:
        magnitudes = 2.5 * math.log10(flux_scale(26.0, band, 0.2) / flux_scale(26.0, band, 0.0))
        assert magnitudes == pytest.approx(0.2 * EXTINCTION_COEFFICIENTS[band], rel=1e-12)


@pytest.mark.parametrize("zpapprox", [math.nan, math.inf, -999.0, 0.0, 99.0])
def test_a_zeropoint_that_is_none_is_refused(zpapprox):
    with pytest.raises(CalibrationError, match=r"zeropoint .* is not between 15 and 35 mag"):
        flux_scale(zpapprox, "r", 0.1)


@pytest.mark.parametrize("ebmv_sfd", [math.nan, -0.01, -9999.0, 11.0])
def test_a_reddening_that_is_none_is_refused(ebmv_sfd):
    with pytest.raises(CalibrationError, match=r"reddening .* is not between 0 and 10 mag"):
        flux_scale(26.0, "r", ebmv_sfd)


def test_the_profile_has_unit_flux_and_the_fwhm_asked_for():
    profile, distance2 = star_profile((801, 801), 400.0, 400.0, 5.2)
    outside = integrate.quad(lambda r: 2 * math.pi * r * profile[400, 400] / (1 + r**2 / 26.0) ** 3, 400, np.inf)[0]
    assert profile.sum() + outside == pytest.approx(1, abs=1e-4)
    assert distance2[397, 404] == 25
    half, _ = star_profile((1, 1), 2.6, 0.0, 5.2)
    assert half[0, 0] / profile[400, 400] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("beta", [2.5, 3.0, 4.0])
@pytest.mark.parametrize("fwhm_px", [3.2, 5.2, 7.0])
def test_the_stars_wings_are_not_taken_for_sky(fwhm_px, beta):
    """Within 0.4 % of the star's flux over a stamp, even where the wings are steeper or shallower than assumed."""
    star = 1e6 * moffat(SHAPE, 27.6, 27.9, fwhm_px, beta)
    sky = sky_of(np.rint(80 + star), fwhm_px=fwhm_px)
    assert abs(sky - 80) * 48**2 / 1e6 < (0.001 if beta == 3 else 0.004)


def test_a_median_would_take_its_share_of_the_flux():
    """The trap that the wing fit is there for: shown, so that nobody simplifies it away."""
    star = 1e6 * moffat(SHAPE, 27.6, 27.9, 6.3)  # the u band's median seeing
    _, distance2 = star_profile(SHAPE, 27.6, 27.9, 6.3)
    assert np.median((80 + star)[distance2 > 13**2]) - 80 > 0.005 * 1e6 / 48**2
    assert abs(sky_of(80 + star, fwhm_px=6.3) - 80) < 0.0005 * 1e6 / 48**2


def test_the_sky_has_no_bias_and_the_error_of_a_linear_fit():
    rng = np.random.default_rng(5)
    star = 2e5 * moffat(SHAPE, 27.6, 27.9, 5.2)
    errors = []
    for _ in range(200):
        errors.append(sky_of(np.rint(80 + star + rng.normal(0, 12, SHAPE))) - 80)
    # 12 / sqrt(2700 pixels) for a constant alone; the wings' amplitude, fitted with it, adds some.
    assert 12 / math.sqrt(2700) < np.std(errors) < 1.5 * 12 / math.sqrt(2700)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(200) + 0.01


def test_neighbours_cosmic_rays_and_masked_pixels_do_not_raise_the_sky():
    rng = np.random.default_rng(6)
    pixels = 80 + 1e6 * moffat(SHAPE, 27.6, 27.9, 5.2) + rng.normal(0, 12, SHAPE)
    alone = sky_of(pixels)
    crowded = pixels + 5e4 * moffat(SHAPE, 46.0, 12.0, 5.2) + 2e4 * moffat(SHAPE, 5.0, 44.0, 5.2)
    crowded[rng.integers(0, 56, 12), rng.integers(0, 56, 12)] += rng.uniform(50, 5000, 12)
    good = np.ones(SHAPE, bool)
    crowded[:, 40:42], good[:, 40:42] = np.nan, False
    assert abs(sky_of(crowded, good=good) - alone) < 1.0  # spread evenly, the neighbours' 7e4 ADU would be 22


def test_no_sky_in_sight_is_refused():
    with pytest.raises(CalibrationError, match="only 0 pixels of the cutout show the sky"):
        sky_of(np.full(SHAPE, 80.0), good=np.zeros(SHAPE, bool))
    with pytest.raises(CalibrationError, match="only 19 pixels"):
        sky_of(np.full((20, 20), 80.0), x=-9.0, y=10.0, fwhm_px=12.0, good=np.arange(400).reshape(20, 20) % 15 == 14)
