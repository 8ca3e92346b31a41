"""The growth curve against analytic fluxes of Gaussian stars, photutils' apertures and Eq. 17."""

import jax.numpy as jnp
import numpy as np
import pytest
from photutils.aperture import CircularAperture, aperture_photometry

from acf_jax.models import growth_curve

CENTRE_PX = 23.5


def gaussian_star(flux_ujy, sigma_px, size=48):
    """Stamps (n, size, size, band) of round Gaussians that hold `flux_ujy` (n, band)."""
    offsets = np.arange(size) - (size - 1) / 2
    profile = np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / sigma_px**2) / (2 * np.pi * sigma_px**2)
    return np.asarray(flux_ujy)[:, None, None, :] * profile[..., None]


def test_the_flux_within_a_radius_is_the_gaussians():
    sigma_px = 3.0
    weights = growth_curve.apertures(48, 48)
    inside = np.einsum("ayx,yx->a", weights, gaussian_star([[1.0]], sigma_px)[0, :, :, 0])
    expected = 1 - np.exp(-0.5 * np.square(growth_curve.RADII_PX) / sigma_px**2)
    # A pixel at the edge counts by its centre's distance, so the smallest aperture is good to a few parts in 1,000.
    np.testing.assert_allclose(inside, expected, rtol=5e-3)


def test_apertures_are_those_of_photutils():
    rng = np.random.default_rng(0)
    image = rng.normal(100.0, 5.0, (48, 48))
    sums = np.einsum("ayx,yx->a", growth_curve.apertures(48, 48), image)
    for radius, total in zip(growth_curve.RADII_PX, sums, strict=True):
        table = aperture_photometry(image, CircularAperture((CENTRE_PX, CENTRE_PX), radius))
        # 5 of 100 in each pixel, of which some 2 pi r lie on the edge and are divided a little otherwise.
        assert total == pytest.approx(table["aperture_sum"][0], rel=0.02)


def test_turning_a_stamp_by_quarters_or_flipping_it_changes_nothing():
    stamp = np.random.default_rng(1).uniform(1, 100, (1, 48, 48, 6)).astype(np.float32)
    parallax = jnp.array([2.0])
    expected = growth_curve.features(jnp.asarray(stamp), parallax)
    for turned in (np.rot90(stamp, axes=(1, 2)), stamp[:, ::-1], stamp[:, :, ::-1]):
        np.testing.assert_allclose(growth_curve.features(jnp.asarray(turned), parallax), expected, atol=1e-5)


def test_luminosity_is_minus_two_fifths_of_the_absolute_magnitude():
    """Eq. 17: M0 = m0 + 5 + 5 log10(parallax in arcsec)."""
    flux_ujy, parallax_mas = np.array([[3e3, 5e4]]), np.array([0.4])
    stamps = jnp.asarray(gaussian_star(flux_ujy, 1.5), jnp.float32)  # all of it in the widest aperture
    luminosity = growth_curve.features(stamps, jnp.asarray(parallax_mas, jnp.float32))[0, -2:]
    m0 = 23.9 - 2.5 * np.log10(flux_ujy[0])
    absolute = m0 + 5 + 5 * np.log10(parallax_mas[0] / 1000)
    zeropoint = 23.9 + 5 - 15  # magnitudes of 1 uJy at 1 mas
    np.testing.assert_allclose(-2.5 * luminosity, absolute - zeropoint, atol=1e-5)


def test_colours_do_not_depend_on_brightness_and_fluxes_grow_by_it():
    stamps = gaussian_star([[100.0, 200.0, 400.0]], 2.0)
    one = growth_curve.features(jnp.asarray(stamps, jnp.float32), None)[0]
    ten = growth_curve.features(jnp.asarray(10 * stamps, jnp.float32), None)[0]
    assert len(one) == growth_curve.num_features(3, use_parallax=False) == 15
    np.testing.assert_allclose(ten[:9] - one[:9], 1, atol=1e-5)
    np.testing.assert_allclose(ten[9:], one[9:], atol=1e-5)
    np.testing.assert_allclose(one[9:], -np.log10(2), atol=1e-5)  # blue minus red, in the logarithm of flux


def test_noise_below_zero_has_a_logarithm_all_the_same():
    features = growth_curve.features(jnp.full((1, 48, 48, 6), -1.0), jnp.array([1.0]))
    assert np.isfinite(features).all()
