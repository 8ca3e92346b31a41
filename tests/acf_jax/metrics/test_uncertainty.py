"""Measures of uncertainty against scoringrules, MAPIE, Uncertainty Toolbox, numerical integrals and brute force."""

import json

import numpy as np
import pytest
import scoringrules
from mapie.metrics.regression import regression_coverage_score
from scipy import integrate, stats

from acf_jax.metrics import uncertainty


@pytest.fixture(scope="module")
def toolbox():
    import matplotlib

    with matplotlib.rc_context():  # its import changes matplotlib's settings
        import uncertainty_toolbox
    return uncertainty_toolbox


def draw(n=2000, seed=0, overconfidence=1.0, bias=0.0):
    """Predictions whose residuals are `overconfidence` times what they claim."""
    rng = np.random.default_rng(seed)
    std = rng.gamma(4.0, 20.0, n)
    values = rng.normal(5500, 600, n)
    return values + overconfidence * std * rng.normal(size=n) + bias, std, values


def test_crps_and_likelihood_are_scoringrules():
    mean, std, values = draw(overconfidence=1.7)
    np.testing.assert_allclose(uncertainty.crps(mean, std, values), scoringrules.crps_normal(values, mean, std))
    np.testing.assert_allclose(
        uncertainty.negative_log_likelihood(mean, std, values), scoringrules.logs_normal(values, mean, std)
    )


def test_crps_is_its_integral():
    def integrand(x):
        return (stats.norm.cdf(x, 10, 2) - (x >= 13)) ** 2

    expected = sum(integrate.quad(integrand, *limits)[0] for limits in ((-20, 13), (13, 40)))
    assert uncertainty.crps(np.array([10.0]), np.array([2.0]), np.array([13.0]))[0] == pytest.approx(expected)


def test_summary_is_uncertainty_toolboxs(toolbox):
    mean, std, values = draw(overconfidence=1.4)
    found = uncertainty.uncertainty_metrics(mean, std, values)
    assert found.crps == pytest.approx(toolbox.crps_gaussian(mean, std, values))
    assert found.nll == pytest.approx(toolbox.nll_gaussian(mean, std, values))
    assert found.sharpness == pytest.approx(toolbox.sharpness(std))
    for name, level in uncertainty.LEVELS.items():
        expected = toolbox.get_proportion_in_interval(mean, std, values, level)
        assert getattr(found, name) == pytest.approx(expected)


def test_coverage_is_mapies():
    mean, std, values = draw(overconfidence=1.4)
    for level in uncertainty.LEVELS.values():
        lower, upper = uncertainty.gaussian_interval(mean, std, level)
        expected = regression_coverage_score(values, np.stack([lower, upper], axis=1)[..., None])
        assert uncertainty.coverage(lower, upper, values) == pytest.approx(float(expected[0]))


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 2.0])
def test_coverage_of_scaled_errors_is_the_gaussians(overconfidence):
    n = 20_000
    found = uncertainty.uncertainty_metrics(*draw(n, overconfidence=overconfidence))
    for name, level in uncertainty.LEVELS.items():
        expected = 1 - 2 * stats.norm.sf(uncertainty.gaussian_half_width(level) / overconfidence)
        error = np.sqrt(expected * (1 - expected) / n) + 1 / n
        assert getattr(found, name) == pytest.approx(expected, abs=4 * error)


def test_pit_of_calibrated_predictions_is_uniform():
    assert stats.kstest(uncertainty.pit(*draw()), "uniform").pvalue > 0.01


def test_pit_tells_overconfidence_and_bias():
    overconfident = uncertainty.pit(*draw(overconfidence=2.0))
    assert np.mean((overconfident < 0.05) | (overconfident > 0.95)) > 0.3
    assert uncertainty.pit(*draw(bias=80.0)).mean() < 0.3  # predicted too high: values lie low in their distributions


def test_stars_without_numbers_are_left_out_and_counted():
    mean, std, values = draw(100)
    kept = uncertainty.uncertainty_metrics(mean[6:], std[6:], values[6:])
    mean[0], std[1], values[2], std[3], std[4], values[5] = np.nan, np.nan, np.inf, 0, -1, np.nan
    found = uncertainty.uncertainty_metrics(mean, std, values)
    assert (found.n, found.n_left_out) == (94, 6)
    assert found.to_dict() == kept.to_dict() | {"n_left_out": 6}


def test_no_star_gives_none_in_json():
    found = uncertainty.uncertainty_metrics(np.full(3, np.nan), np.ones(3), np.ones(3)).to_dict()
    assert (found.pop("n"), found.pop("n_left_out")) == (0, 3)
    assert set(found.values()) == {None}
    json.dumps(found, allow_nan=False)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"mean \(3,\), std \(2,\) and values \(3,\)"):
        uncertainty.uncertainty_metrics(np.ones(3), np.ones(2), np.ones(3))


def test_sparsification_is_that_of_brute_force():
    rng = np.random.default_rng(4)
    residual, std = rng.normal(size=137), rng.random(137)
    curve = uncertainty.sparsification(residual, std)
    for k in (0, 1, 13, 50, 99):
        n_left = int(np.ceil(round(137 * (1 - k / 100), 9)))
        for found, by in ((curve.by_std, std), (curve.by_error, np.abs(residual))):
            left = residual[np.argsort(by)[:n_left]]
            assert found[k] == pytest.approx(np.sqrt(np.mean(left**2) / np.mean(residual**2)))


def test_sparsification_error_is_zero_for_the_oracle_and_worst_for_its_reverse():
    residual = np.random.default_rng(5).normal(size=1000)
    errors = [uncertainty.sparsification(residual, by).error for by in (np.abs(residual), -np.abs(residual))]
    random = uncertainty.sparsification(residual, np.random.default_rng(6).random(1000)).error
    assert errors[0] == 0
    assert 0.3 < random < errors[1]


def test_sparsification_of_an_uninformative_std_is_flat_and_its_oracle_gaussian():
    n = 200_000
    residual = np.random.default_rng(7).normal(size=n)
    curve = uncertainty.sparsification(residual, np.random.default_rng(8).random(n))
    np.testing.assert_allclose(curve.by_std[:90], 1, atol=0.02)
    # Residuals below the q-quantile c of |z|: E[z^2; |z| < c] / q = 1 - 2 c phi(c) / q.
    kept = 1 - curve.removed
    bound = stats.norm.ppf(0.5 + kept / 2)
    with np.errstate(invalid="ignore"):
        expected = np.sqrt(1 - np.where(kept < 1, 2 * bound * stats.norm.pdf(bound), 0) / kept)
    np.testing.assert_allclose(curve.by_error, expected, atol=0.01)


def test_sparsification_works_with_one_star_and_perfect_predictions_and_refuses_none():
    assert uncertainty.sparsification(np.array([2.0]), np.array([1.0])).error == 0
    assert uncertainty.sparsification(np.zeros(5), np.ones(5)).error == 0
    with pytest.raises(ValueError, match="one star at least"):
        uncertainty.sparsification(np.zeros(0), np.zeros(0))


def test_error_follows_std_where_calibrated():
    mean, std, values = draw(20_000)
    bins = uncertainty.error_against_std(mean - values, std)
    assert sum(each.n for each in bins) == 20_000
    assert np.all(np.diff([each.std for each in bins]) > 0)
    pulls = [(each.rmse - each.std) / each.rmse_error for each in bins]
    assert stats.chi2.sf(np.sum(np.square(pulls)), len(bins)) > 0.001


def test_the_bins_error_is_the_scatter_of_repetitions():
    rng = np.random.default_rng(9)
    repeated = [uncertainty.error_against_std(rng.normal(size=400), np.ones(400), 1)[0] for _ in range(400)]
    assert np.std([each.rmse for each in repeated]) == pytest.approx(
        np.mean([each.rmse_error for each in repeated]), rel=0.15
    )


def test_fewer_stars_than_bins_make_a_bin_each():
    assert [each.n for each in uncertainty.error_against_std(np.ones(3), np.arange(1.0, 4.0))] == [1, 1, 1]
    assert uncertainty.error_against_std(np.zeros(0), np.zeros(0)) == []


def test_coverage_in_bins_adds_up():
    x = np.array([0.0, 0.5, 1.0, 1.5, 2.0, np.nan, 0.2])
    covered = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, np.nan])
    bins = uncertainty.binned_coverage(covered, x, [0.0, 1.0, 2.0])
    assert [(each.n, each.coverage) for each in bins] == [(2, 0.5), (3, pytest.approx(2 / 3))]
    (everything,) = uncertainty.binned_coverage(covered, x, [-np.inf, np.inf])
    assert everything.n == 5


def test_an_unknown_bound_is_neither_inside_nor_outside():
    one = np.ones(3)
    found = uncertainty.inside(np.array([0.0, np.nan, 2.0]), np.array([1.0, 2.0, 3.0]), one)
    np.testing.assert_array_equal(found, [1, np.nan, 0])
