import json

import jax
import numpy as np
import pytest

from acf_jax.data.scaling import PARALLAX_METHODS, STAMP_METHODS, InputScaling, stamp_statistics, whitening
from tests.acf_jax.tiny_dataset import make_stars

STARS = make_stars(200, seed=5)
SKY_SIGMA = 1.0  # of make_stars


def fit(stamp_method="linear", parallax_method="log", stars=STARS, **options):
    return InputScaling.fit(
        stars["stamp"],
        stars["parallax"],
        stars["parallax_error"],
        bands="uvgriz",
        stamp_method=stamp_method,
        parallax_method=parallax_method,
        **options,
    )


def near(stamps):
    y, x = np.mgrid[:48, :48] - 24
    return stamps[:, x**2 + y**2 <= 36]


def test_linear_divides_by_the_median_stars_rms():
    scaling = fit("linear")
    rms = np.median([np.sqrt(np.mean(star**2)) for star in near(STARS["stamp"])])
    expected = STARS["stamp"][:3].astype(np.float32) / rms
    np.testing.assert_allclose(scaling.stamps(STARS["stamp"][:3].astype(np.float32)), expected, rtol=1e-4, atol=1e-6)


def test_whitened_pixels_have_unit_covariance():
    pixels = near(STARS["stamp"])
    relative = pixels / np.sqrt(np.mean(pixels**2, axis=(1, 2), keepdims=True))
    scaled = relative.reshape(-1, 6) @ np.array(fit("whitened").matrix)
    np.testing.assert_allclose(scaled.T @ scaled / len(scaled), np.eye(6), atol=2e-4)


def test_whitening_is_the_inverse_root_and_survives_a_copied_band():
    root = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(whitening(root @ root), np.linalg.inv(root), rtol=1e-12)
    assert np.all(np.isfinite(whitening(np.ones((2, 2)))))


def test_whitening_differs_from_linear_by_a_matrix_alone():
    linear, whitened = fit("linear"), fit("whitened")
    stamps = STARS["stamp"][:2].astype(np.float32)
    expected = np.asarray(linear.stamps(stamps), np.float64) @ np.array(whitened.matrix)
    np.testing.assert_allclose(whitened.stamps(stamps), expected, atol=1e-5 * np.abs(expected).max())


def test_asinh_is_linear_below_the_softening_and_logarithmic_above():
    scaling = fit("asinh", asinh_softening_sigma=50.0)
    np.testing.assert_allclose(scaling.unit, 50 * SKY_SIGMA, rtol=0.1)
    unit, gain = np.array(scaling.unit), scaling.matrix[0][0]
    flux = np.multiply.outer([1e-3, 2e-3, 1e3, 2e3], unit).astype(np.float32)
    small, double_small, large, double_large = np.asarray(scaling.stamps(flux)) / gain
    np.testing.assert_allclose(double_small, 2 * small, rtol=1e-4)
    np.testing.assert_allclose(double_large - large, np.log(2), rtol=1e-4)


@pytest.mark.parametrize("method", STAMP_METHODS)
def test_scaled_stamps_are_of_order_one(method):
    scaled = near(np.asarray(fit(method).stamps(STARS["stamp"].astype(np.float32))))
    assert 0.3 < np.median(np.sqrt(np.mean(scaled**2, axis=(1, 2)))) < 3


def test_one_very_bright_star_changes_little():
    stamps = STARS["stamp"].copy()
    stamps[0] *= 1e4
    bright, plain = stamp_statistics(stamps), stamp_statistics(STARS["stamp"])
    np.testing.assert_allclose(bright.star_rms, plain.star_rms, rtol=0.1)
    np.testing.assert_allclose(bright.covariance, plain.covariance, atol=0.03)


@pytest.mark.parametrize("method", PARALLAX_METHODS)
def test_astrometry_is_standardised(method):
    features = np.asarray(fit(parallax_method=method).astrometry(STARS["parallax"], STARS["parallax_error"]))
    assert features.shape == (200, 2)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(0), 1, rtol=1e-5)


def test_log_parallax_is_a_logarithm_even_of_negative_parallaxes():
    scaling = fit(parallax_method="log")
    tenfold = np.asarray(scaling.astrometry(np.array([0.1, 1.0, 10.0]), np.array([0.02, 0.02, 0.02])))[:, 0]
    np.testing.assert_allclose(np.diff(tenfold), 1 / scaling.scale[0], rtol=1e-5)
    assert np.all(np.isfinite(scaling.astrometry(np.array([-3.0, 0.0]), np.array([0.1, 0.1]))))


@pytest.mark.parametrize("method", STAMP_METHODS)
def test_json_and_jit_change_nothing(method):
    scaling = fit(method)
    restored = InputScaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    assert restored == scaling
    stamps = STARS["stamp"][:2].astype(np.float32)
    np.testing.assert_allclose(jax.jit(restored.stamps)(stamps), scaling.stamps(stamps), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stamp_method": "log"}, "linear, whitened, asinh"), ({"parallax_method": "x"}, "log, raw")],
)
def test_unknown_methods_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


def test_inputs_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="parallax_error that are not finite"):
        fit(stars=STARS | {"parallax_error": np.full(200, np.nan)})


@pytest.mark.parametrize("use_parallax", [True, False])
def test_network_inputs_are_the_scaled_ones_with_zeros_for_stars_that_are_not_finite(use_parallax):
    scaling = fit("whitened")
    stamps, parallax, error = (STARS[name][:4].astype(np.float32) for name in ("stamp", "parallax", "parallax_error"))
    expected = np.array(scaling.stamps(stamps)), np.array(scaling.astrometry(parallax, error))
    stamps[1, 2, 3, 4], parallax[2] = np.inf, np.nan
    scaled, scalars, finite = scaling.network_inputs(stamps, parallax, error, use_parallax)
    good = [True, False, not use_parallax, True]
    assert finite.tolist() == good
    np.testing.assert_array_equal(scaled, np.where(np.reshape(good, (4, 1, 1, 1)), expected[0], 0))
    if use_parallax:
        np.testing.assert_array_equal(scalars, np.where(np.reshape(good, (4, 1)), expected[1], 0))
    else:
        assert scalars is None
