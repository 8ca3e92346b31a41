"""Leaving out a band against the theory of Gaussian variables and refitted regressions."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from acf_jax.explain import band_importance

BANDS = "uvgriz"
GREY = np.ones(6)
# d(magnitude) / d(parameter) of a sky where magnitudes are linear in brightness and three parameters.
COLOURS = np.array([[-0.9, 0.3, 0.2], [-0.7, 0.0, 0.5], [-0.4, 0, 0.1], [0, 0, 0], [0.2, 0, 0], [0.3, 0, -0.05]])


def draw(n, seed, noise_mag=0.01):
    """Parameters (n, 3) and noisy magnitudes (n, 6)."""
    rng = np.random.default_rng(seed)
    parameters = rng.normal(size=(n, 3)) * [0.3, 0.5, 0.4]
    mags = 13 + rng.normal(size=(n, 1)) * GREY + parameters @ COLOURS.T
    return parameters, mags + noise_mag * rng.normal(size=mags.shape)


def test_a_band_left_out_has_the_flux_that_the_others_lead_one_to_expect():
    _, known = draw(10_000, 0)
    _, mags = draw(2_000, 1)
    variants = band_importance.left_out(mags, known, BANDS)
    assert list(variants) == list(BANDS)
    covariance, mean = np.cov(known.T), known.mean(axis=0)
    for i, band in enumerate(BANDS):
        others = np.arange(6) != i
        # The conditional mean of a multivariate normal distribution.
        weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, i])
        expected = mean[i] + (mags[:, others] - mean[others]) @ weights
        factor = variants[band]["band_factor"]
        assert (factor[:, others] == 1).all()
        error = mags[:, i] - 2.5 * np.log10(factor[:, i]) - expected
        # A cubic has 56 coefficients to err in: sqrt(56 / 10,000) of what the others cannot tell.
        assert error.std() < 0.12 * (mags[:, i] - expected).std()


def test_a_linear_network_answers_as_if_fitted_without_the_band():
    known_parameters, known = draw(10_000, 0)
    parameters, mags = draw(5_000, 1)
    network = LinearRegression().fit(known, known_parameters)
    variants = band_importance.left_out(mags, known, BANDS)
    for i, band in enumerate(BANDS):
        others = np.arange(6) != i
        refitted = LinearRegression().fit(known[:, others], known_parameters).predict(mags[:, others])
        without = network.predict(mags - 2.5 * np.log10(variants[band]["band_factor"]))
        np.testing.assert_allclose((without - parameters).std(axis=0), (refitted - parameters).std(axis=0), rtol=0.03)


def test_pixels_better_known_than_the_catalogue_are_scaled_by_what_they_hold():
    _, known = draw(2_000, 0)
    _, mags = draw(50, 1)
    own = mags + 0.1
    factor, own_factor = (
        band_importance.left_out(mags, known, BANDS, values)["v"]["band_factor"][:, 1] for values in (None, own)
    )
    np.testing.assert_allclose(own_factor / factor, 10**0.04)


def test_the_parallax_is_left_out_too():
    rng = np.random.default_rng(2)
    (_, known), (_, mags) = draw(10_000, 0), draw(500, 1)
    by_mags = lambda m: 0.5 - 0.2 * (m[:, 2] - 13)  # noqa: E731
    log_parallax = by_mags(mags) + 0.1 * rng.normal(size=500)
    known_log_parallax = by_mags(known) + 0.1 * rng.normal(size=10_000)
    variants = band_importance.left_out(
        np.column_stack([mags, log_parallax]), np.column_stack([known, known_log_parallax]), BANDS
    )
    assert list(variants) == [*BANDS, "parallax"]
    # The scatter of 0.1 is what no magnitude tells; the fit's own error is far below it.
    assert (np.log10(variants["parallax"]["parallax"]) - by_mags(mags)).std() < 0.02


def test_stars_without_a_magnitude_do_not_spoil_the_expectation():
    _, known = draw(2_000, 0)
    _, mags = draw(50, 1)
    spoilt = np.vstack([known, np.where(np.arange(6) == 2, np.nan, known[:100])])
    for with_nan, without in zip(
        band_importance.left_out(mags, spoilt, BANDS).values(),
        band_importance.left_out(mags, known, BANDS).values(),
        strict=True,
    ):
        np.testing.assert_allclose(with_nan["band_factor"], without["band_factor"], rtol=1e-6)


def test_derivative_of_a_quadratic_is_exact():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) * [1, 100, 0.01] + [5, -40, 0]
    gradient = lambda x: np.stack([2 * x[:, 0] + 0.3 * x[:, 1], 0.3 * x[:, 0], 7 + 4 * x[:, 2]], axis=-1)  # noqa: E731
    y = x[:, 0] ** 2 + 0.3 * x[:, 0] * x[:, 1] + 7 * x[:, 2] + 2 * x[:, 2] ** 2
    fit = band_importance.PolynomialFit(x, np.stack([y, -2 * y], axis=1), 2)
    np.testing.assert_allclose(fit.derivative(x[:20])[:, 0], gradient(x[:20]), rtol=1e-5)
    np.testing.assert_allclose(fit.derivative(x[:20])[:, 1], -2 * gradient(x[:20]), rtol=1e-5)
    np.testing.assert_allclose(fit(x)[:, 0], y, rtol=1e-8)
    far = fit(1e3 * x)
    assert (far[:, 0] <= y.max()).all()
    assert (far[:, 0] >= y.min()).all()


def test_an_estimator_that_is_right_follows_injected_changes():
    parameters, mags = draw(20_000, 0, noise_mag=1e-4)
    at, at_parameters = mags[:30], parameters[:30]
    response = band_importance.label_response(mags, parameters, at, 6)
    change = band_importance.magnitude_change(parameters, mags - mags[:, [3]], at_parameters)
    np.testing.assert_allclose(change, np.broadcast_to(COLOURS, change.shape), atol=2e-3)
    injected = band_importance.injected_response(response, change)
    np.testing.assert_allclose(injected, np.broadcast_to(np.eye(3), injected.shape), atol=0.02)


def test_regression_beside_the_parallax_gives_the_bands_alone():
    parameters, mags = draw(20_000, 0)
    extra = 0.1 * np.random.default_rng(1).normal(size=20_000)
    known = np.column_stack([mags, extra])
    response = band_importance.label_response(known, parameters + extra[:, None], known[:5], 6)
    assert response.shape == (5, 3, 6)
    expected = LinearRegression().fit(known, parameters).coef_[:, :6]
    np.testing.assert_allclose(response.mean(axis=0), expected, atol=0.05 * np.abs(expected).max())


def test_too_few_stars_are_refused_in_a_sentence():
    parameters, mags = draw(40, 0)
    with pytest.raises(ValueError, match=r"40 stars have all .* of degree 2 in 6 quantities needs 56"):
        band_importance.label_response(mags, parameters, mags, 6)


def test_regressions_without_an_input_have_never_seen_it():
    known_parameters, known = draw(2_000, 0)
    parameters, mags = draw(500, 1)
    answers = band_importance.regression_without(mags, known, known_parameters, BANDS)
    assert list(answers) == ["as it is", *BANDS]
    spoilt = band_importance.regression_without(mags + 5 * (np.arange(6) == 1), known, known_parameters, BANDS)
    np.testing.assert_array_equal(spoilt["v"], answers["v"])
    assert not np.allclose(spoilt["u"], answers["u"])
    # The second parameter is in u alone, the third mostly in v; linear regressions lose as much.
    for band in BANDS:
        others = np.arange(6) != BANDS.index(band)
        linear = LinearRegression().fit(known[:, others], known_parameters).predict(mags[:, others])
        np.testing.assert_allclose(
            (answers[band] - parameters).std(axis=0), (linear - parameters).std(axis=0), rtol=0.05
        )
