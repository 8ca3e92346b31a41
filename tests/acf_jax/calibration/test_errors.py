"""Calibrated errors: injected factors come back, new stars are covered as promised."""

import json

import numpy as np
import pytest
from mapie.regression import SplitConformalRegressor
from scipy import stats
from sklearn.dummy import DummyRegressor

from acf_jax.calibration.errors import LEVELS, MIN_STARS, ErrorCalibration, conformal_quantile

TARGETS = ("teff", "logg")
SCALE = np.array([100.0, 0.1])  # of the two targets: units must not matter


def draw(n, seed, *, a=1.0, b=None, c=0.0, noise_of=None):
    """Predictions whose residuals are Gaussian with the variance a mc^2 + b noise^2 + c, times noise_of(mean)."""
    rng = np.random.default_rng(seed)
    mc_std, noise_std = SCALE * rng.gamma(4, 0.25, (n, 2)), SCALE * rng.gamma(3, 0.4, (n, 2))
    mean = rng.normal(size=(n, 2)) * SCALE * 5 + SCALE * 50
    variance = a * mc_std**2 + c * SCALE**2 + (0 if b is None else b * noise_std**2)
    if noise_of is not None:
        variance = variance * noise_of((mean - SCALE * 50) / (SCALE * 5))[:, None] ** 2
    labels = mean + np.sqrt(variance) * rng.normal(size=(n, 2))
    return (mean, mc_std, None if b is None else noise_std, labels), np.sqrt(variance)


def fit(drawn):
    return ErrorCalibration.fit(*drawn, TARGETS)


def test_injected_factors_come_back():
    fitted = fit(draw(20_000, 1, a=2.0, b=0.5, c=0.8)[0])
    for parameter, scale in zip(fitted.parameters, SCALE, strict=True):
        assert parameter.mc_factor == pytest.approx(2.0, rel=0.12)
        assert parameter.noise_factor == pytest.approx(0.5, rel=0.25)
        assert parameter.variance == pytest.approx(0.8 * scale**2, rel=0.25)
        assert parameter.n_stars == 20_000


def test_a_spread_that_says_nothing_gets_no_weight():
    (mean, mc_std, _, labels), _ = draw(4000, 2, a=0.0, c=1.0)
    parameter = fit((mean, mc_std, None, labels)).parameters[1]
    assert parameter.mc_factor * np.mean(mc_std[:, 1] ** 2) < 0.1 * parameter.variance
    assert parameter.noise_factor is None


def test_std_of_new_stars_is_the_injected_one():
    (*predicted, _), expected = draw(2000, 4, a=2.0, b=0.5, c=0.3)
    found = fit(draw(5000, 3, a=2.0, b=0.5, c=0.3)[0]).std(*predicted)
    np.testing.assert_allclose(np.median(found / expected, axis=0), 1, rtol=0.03)
    assert np.std(found / expected) < 0.06


def test_noise_that_grows_with_a_predicted_parameter_is_found():
    def noise_of(x):
        return np.exp(0.5 * np.clip(x[:, 1], -1.5, 1.5))

    fitted = fit(draw(4000, 5, c=0.5, noise_of=noise_of)[0])
    (*predicted, _), expected = draw(2000, 6, c=0.5, noise_of=noise_of)
    assert all(parameter.shape is not None for parameter in fitted.parameters)
    ratio = fitted.std(*predicted) / expected
    assert np.std(ratio) < 0.1  # without the dependence: 0.5
    assert np.median(ratio) == pytest.approx(1, abs=0.03)


def test_a_few_outliers_do_not_widen_everybodys_errors():
    drawn, expected = draw(4000, 7, c=0.5)
    rows = np.random.default_rng(8).random(4000) < 0.01
    drawn[3][rows] += 50 * SCALE
    found = fit(drawn).std(*drawn[:3])
    np.testing.assert_allclose(np.median(found / expected, axis=0), 1, rtol=0.08)


@pytest.mark.parametrize("tails", ["gaussian", "heavy"])
def test_conformal_intervals_cover_new_stars_whatever_the_distribution(tails):
    rng, n, repetitions = np.random.default_rng(10), 200, 40
    covered = {0.6827: [], 0.9: [], 0.95: []}
    for _ in range(repetitions):
        mean, mc_std = rng.normal(size=(2 * n, 1)), rng.gamma(4, 0.25, (2 * n, 1))
        noise = rng.normal(size=(2 * n, 1)) if tails == "gaussian" else rng.standard_t(2, (2 * n, 1))
        labels = mean + mc_std * noise
        fitted = ErrorCalibration.fit(mean[:n], mc_std[:n], None, labels[:n], ("fe_h",))
        for level, fractions in covered.items():
            lower, upper = fitted.interval(mean[n:], mc_std[n:], None, level)
            fractions.append(np.mean((lower[:, 0] <= labels[n:, 0]) & (labels[n:, 0] <= upper[:, 0])))
    for level, fractions in covered.items():
        # Both the calibration's and the new stars' numbers are finite.
        error = np.sqrt(2 * level * (1 - level) / n / repetitions)
        assert np.mean(fractions) == pytest.approx(level, abs=4 * error + 0.005)


def test_conformal_quantile_is_mapies():
    rng = np.random.default_rng(11)
    labels, at = rng.normal(size=211), np.zeros((1, 1))
    for level in (0.6827, 0.9, 0.95):
        regressor = SplitConformalRegressor(DummyRegressor(strategy="constant", constant=0.0), level, prefit=False)
        regressor.fit(np.zeros((4, 1)), np.zeros(4)).conformalize(np.zeros((211, 1)), labels)
        _, interval = regressor.predict_interval(at)
        assert conformal_quantile(np.abs(labels), level) == pytest.approx(interval[0, 1, 0])


def test_conformal_quantile_promises_nothing_of_too_few_stars():
    scores = np.arange(1.0, 20.0)
    assert conformal_quantile(scores, 0.95) == 19
    assert conformal_quantile(scores[:18], 0.95) == np.inf
    assert conformal_quantile(scores, 0.15) == 3  # 20 x 0.15 is a little more than 3 in binary


def test_intervals_of_higher_levels_hold_those_of_lower():
    drawn, _ = draw(300, 12, c=0.2)
    fitted = fit(drawn)
    lower, upper = zip(*(fitted.interval(*drawn[:3], level) for level in sorted(LEVELS)), strict=True)
    assert np.all(np.diff(lower, axis=0) <= 0)
    assert np.all(np.diff(upper, axis=0) >= 0)


def test_intervals_of_gaussian_errors_are_gaussian():
    drawn, expected = draw(5000, 13, c=0.2)
    lower, upper = fit(drawn).interval(*drawn[:3], 0.9)
    np.testing.assert_allclose(np.median((upper - lower) / 2 / expected, axis=0), stats.norm.ppf(0.95), rtol=0.05)


def test_it_serialises_exactly():
    for drawn, _ in (draw(300, 14, b=1.0), draw(300, 15, noise_of=lambda x: np.exp(x[:, 0]))):
        fitted = fit(drawn)
        again = ErrorCalibration.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
        assert again == fitted
        np.testing.assert_array_equal(again.std(*drawn[:3]), fitted.std(*drawn[:3]))


def test_intervals_of_another_code_are_refused():
    stored = fit(draw(100, 16)[0]).to_dict()
    with pytest.raises(ValueError, match="fit it anew"):
        ErrorCalibration.from_dict(stored | {"levels": [0.5]})


def test_fitting_twice_gives_the_same():
    drawn, _ = draw(300, 17, b=0.5)
    assert fit(drawn) == fit(drawn)


def test_stars_without_numbers_are_left_out_and_counted():
    (mean, mc_std, _, labels), _ = draw(300, 18)
    spoilt = [array.copy() for array in (mean, mc_std, labels)]
    spoilt[0][0], spoilt[1][1], spoilt[2][2, 1] = np.nan, np.nan, np.nan
    fitted = ErrorCalibration.fit(spoilt[0], spoilt[1], None, spoilt[2], TARGETS)
    assert [(p.n_stars, p.n_left_out) for p in fitted.parameters] == [(298, 2), (297, 3)]
    std = fitted.std(spoilt[0], spoilt[1], None)
    assert np.isnan(std[:2]).all()
    assert np.isfinite(std[2:]).all()


def test_a_prediction_beyond_the_knots_has_finite_errors():
    fitted = fit(draw(500, 19, noise_of=lambda x: np.exp(x[:, 0]))[0])
    far = np.array([[1e6, 1e3], [-1e6, -1e3]])
    assert np.isfinite(fitted.std(far, np.tile(SCALE, (2, 1)), None)).all()


def test_too_few_stars_are_refused():
    drawn, _ = draw(MIN_STARS, 20)
    fit(drawn)
    drawn[3][0, 1] = np.nan
    with pytest.raises(ValueError, match=f"49 stars with a label and prediction of logg are too few.*{MIN_STARS}"):
        fit(drawn)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused():
    (mean, mc_std, noise_std, labels), _ = draw(100, 21, b=1.0)
    with pytest.raises(ValueError, match=r"labels \(99, 2\) and predictions \(100, 2\)"):
        ErrorCalibration.fit(mean, mc_std, noise_std, labels[1:], TARGETS)
    with pytest.raises(ValueError, match=r"must be \(n, 3\) each"):
        ErrorCalibration.fit(mean, mc_std, noise_std, labels, (*TARGETS, "fe_h"))
    fitted = ErrorCalibration.fit(mean, mc_std, noise_std, labels, TARGETS)
    with pytest.raises(ValueError, match="calibrated with noise_std"):
        fitted.std(mean, mc_std, None)
    with pytest.raises(ValueError, match="calibrated without noise_std"):
        fit((mean, mc_std, None, labels)).std(mean, mc_std, noise_std)
    with pytest.raises(ValueError, match=r"level = 0.99 must be one of 0.05, .*0.6827"):
        fitted.interval(mean, mc_std, noise_std, 0.99)
