"""Metrics against values worked out by hand, scipy, scikit-learn and simulated Gaussians."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_squared_error, median_absolute_error

from acf_jax.metrics import residuals


def test_by_hand():
    # Residuals 1, -1, 4, 0: mean 1, deviations 0, -2, 3, -1, variance 14 / 4, mean square 18 / 4,
    # median 0.5, absolute deviations 0.5, 1.5, 3.5, 0.5, their median 1.
    m = residuals.residual_metrics(
        np.array([11.0, 19, 34, 40]), np.array([10.0, 20, 30, 40]), np.array([1.0, 0.5, 3, 0])
    )
    assert m.n == 4
    assert m.offset == pytest.approx(1.0)
    assert m.std == pytest.approx(np.sqrt(3.5))
    assert m.rmse == pytest.approx(np.sqrt(4.5))
    assert m.mad_std == pytest.approx(1.4826)
    assert m.outlier_fraction == 0  # the furthest is 3.5 from the median, three widths are 4.4478
    # |residual| / std: 1 (on the edge counts), 2, 1.33, and 0 <= 0.
    assert m.coverage_68 == pytest.approx(2 / 4)
    assert m.coverage_95 == pytest.approx(3 / 4)


def test_against_scipy_and_sklearn():
    rng = np.random.default_rng(1)
    reference = rng.normal(5500, 600, 2000)
    prediction = reference + rng.standard_t(3, 2000) * 80 + 12
    m = residuals.residual_metrics(prediction, reference)
    assert m.rmse == pytest.approx(np.sqrt(mean_squared_error(reference, prediction)), rel=1e-12)
    assert m.std == pytest.approx(stats.tstd(prediction - reference) * np.sqrt(1999 / 2000), rel=1e-12)
    residual = prediction - reference
    # scipy's "normal" scale is 1 / 0.67449, of which 1.4826 is the usual rounding.
    assert m.mad_std == pytest.approx(stats.median_abs_deviation(residual, scale="normal"), rel=1e-5)
    assert m.mad_std == pytest.approx(1.4826 * median_absolute_error(residual, np.full(2000, np.median(residual))))
    assert m.coverage_68 is None
    assert m.coverage_95 is None


@pytest.mark.parametrize("underestimated_by", [1.0, 2.0])
def test_coverage_of_simulated_gaussians(underestimated_by):
    rng = np.random.default_rng(2)
    n = 200_000
    std = rng.uniform(20, 200, n)
    reference = rng.normal(5500, 600, n)
    prediction = reference + std * rng.normal(size=n)
    m = residuals.residual_metrics(prediction, reference, std / underestimated_by)
    expected_68 = 2 * stats.norm.cdf(1 / underestimated_by) - 1
    expected_95 = 2 * stats.norm.cdf(1.96 / underestimated_by) - 1
    assert m.coverage_68 == pytest.approx(expected_68, abs=5 * np.sqrt(0.25 / n))
    assert m.coverage_95 == pytest.approx(expected_95, abs=5 * np.sqrt(0.25 / n))


def test_outliers_by_hand():
    # Median 1, distances from it 1, 0, 1, 0, 1, 3.8 and 5.1, their median 1: only the last is beyond 3 x 1.4826.
    residual = np.array([0.0, 1.0, 0.0, 1.0, 2.0, 4.8, -4.1])
    assert residuals.residual_metrics(residual, np.zeros(7)).outlier_fraction == pytest.approx(1 / 7)


def test_outliers_of_a_gaussian_and_of_one_contaminated():
    rng = np.random.default_rng(4)
    n = 200_000
    residual = rng.normal(30, 80, n)
    expected = 2 * stats.norm.sf(3 * 1.4826 * stats.norm.ppf(0.75))
    assert residuals.residual_metrics(residual, np.zeros(n)).outlier_fraction == pytest.approx(expected, rel=0.1)
    residual[: n // 50] += 5_000
    contaminated = residuals.residual_metrics(residual, np.zeros(n))
    assert contaminated.outlier_fraction == pytest.approx(0.02 + 0.98 * expected, rel=0.05)
    assert contaminated.mad_std == pytest.approx(80, rel=0.05)


def test_moments_of_many_samples_are_those_of_each():
    residual = np.random.default_rng(5).standard_t(2, (3, 4, 50))
    together = residuals.moments(residual)
    assert tuple(together) == residuals.MOMENTS
    for i, j in np.ndindex(3, 4):
        alone = residuals.residual_metrics(residual[i, j], np.zeros(50))
        for name in residuals.MOMENTS:
            assert together[name][i, j] == pytest.approx(getattr(alone, name), rel=1e-13)


def test_nominal_coverage_is_the_gaussians():
    for name, width in residuals.INTERVALS.items():
        assert residuals.NOMINAL_COVERAGE[name] == pytest.approx(2 * stats.norm.cdf(width) - 1, abs=5e-5)


def test_stars_without_a_value_are_counted_and_left_out():
    prediction = np.array([1.0, np.nan, np.inf, 4.0, 5.0])
    reference = np.array([0.0, 2.0, 3.0, np.nan, 4.0])
    m = residuals.residual_metrics(prediction, reference, np.array([1.0, 1, 1, 1, np.nan]))
    assert (m.n, m.n_without_prediction, m.n_without_reference) == (2, 2, 1)
    assert m.offset == 1.0
    assert m.coverage_68 == 0.5  # an uncertainty that is not a number covers nothing


def test_no_star_left_serialises_to_json_null():
    m = residuals.residual_metrics(np.full(3, np.nan), np.zeros(3), np.ones(3))
    text = json.dumps(m.to_dict(), allow_nan=False)
    assert json.loads(text) == {
        "n": 0, "n_without_prediction": 3, "n_without_reference": 0, "offset": None, "std": None, "mad_std": None,
        "rmse": None, "outlier_fraction": None, "coverage_68": None, "coverage_95": None,
    }  # fmt: skip


def test_float32_sums_keep_their_digits():
    reference = np.full(1_000_000, 5777.0, np.float32)
    m = residuals.residual_metrics(reference + np.float32(0.5), reference)
    assert m.offset == 0.5
    assert m.std == 0.0


@pytest.mark.parametrize("shape", [(3,), (4, 1)])
def test_lengths_must_agree(shape):
    with pytest.raises(ValueError, match="one value per star"):
        residuals.residual_metrics(np.zeros(4), np.zeros(shape))


def test_bins_recover_an_injected_trend():
    rng = np.random.default_rng(3)
    g_mag = rng.uniform(11, 14.5, 70_000)
    residual = 0.05 - 0.03 * (g_mag - 11) + rng.normal(0, 0.1, g_mag.size)
    bins = residuals.binned_residuals(residual, g_mag, residuals.magnitude_edges(g_mag))
    assert [(b.lower, b.upper) for b in bins] == [(11 + 0.5 * i, 11.5 + 0.5 * i) for i in range(7)]
    assert sum(b.n for b in bins) == g_mag.size
    for b in bins:
        assert b.offset == pytest.approx(0.05 - 0.03 * ((b.lower + b.upper) / 2 - 11), abs=5 * b.offset_error)
        assert b.offset_error == pytest.approx(0.1 / np.sqrt(10_000), rel=0.1)


def test_bins_are_half_open_and_may_be_empty():
    bins = residuals.binned_residuals(
        np.array([1.0, 3.0, 5.0, np.nan]), np.array([11.0, 11.5, np.nan, 11.2]), [11, 11.5, 12, 12.5]
    )
    assert [b.n for b in bins] == [1, 1, 0]
    assert [b.to_dict()["offset"] for b in bins] == [1.0, 3.0, None]


def test_edges_hold_a_magnitude_on_the_last_edge():
    edges = residuals.magnitude_edges(np.array([11.0, 13.5, np.nan]))
    np.testing.assert_array_equal(edges, [11, 11.5, 12, 12.5, 13, 13.5, 14])
    assert residuals.magnitude_edges(np.array([np.nan])).size == 2
