"""The bootstrap against scipy's, the textbook's standard errors, and how often its intervals hold the truth."""

import json

import numpy as np
import pytest
from scipy import stats

from acf_jax.metrics import bootstrap
from acf_jax.metrics.bootstrap import Draws
from acf_jax.metrics.residuals import MOMENTS, binned_residuals


def drawn(n=200, seed=0):
    return np.random.default_rng(seed).normal(12, 80, n)


SCIPY = {
    "offset": np.mean,
    "std": np.std,
    "mad_std": lambda x, axis: 1.4826 * stats.median_abs_deviation(x, axis=axis),
    "rmse": lambda x, axis: np.sqrt(np.mean(np.square(x), axis=axis)),
    "outlier_fraction": lambda x, axis: np.mean(
        np.abs(x - np.median(x, axis, keepdims=True))
        > 3 * 1.4826 * np.expand_dims(stats.median_abs_deviation(x, axis=axis), axis),
        axis=axis,
    ),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_intervals_are_scipys(name):
    residual = np.random.default_rng(7).standard_t(3, 150) * 80
    ours = bootstrap.bootstrap_moments(residual, Draws(6_000, seed=1))[name]
    scipys = stats.bootstrap(
        (residual,), SCIPY[name], n_resamples=6_000, method="percentile", rng=np.random.default_rng(2)
    )
    assert ours.value == pytest.approx(SCIPY[name](residual, axis=0), rel=1e-12)
    assert ours.error == pytest.approx(scipys.standard_error, rel=0.05)
    # Both quantiles scatter by some 2 % of the interval's width with as many resamples.
    ends = (scipys.confidence_interval.low, scipys.confidence_interval.high)
    np.testing.assert_allclose((ours.lower, ours.upper), ends, atol=0.08 * np.ptp(ends))


def test_errors_are_the_textbooks():
    residual = drawn(5_000)
    estimates = bootstrap.bootstrap_moments(residual, Draws(2_000))
    # A standard deviation over 2,000 resamples is known to 1.6 %.
    assert estimates["offset"].error == pytest.approx(residual.std() / np.sqrt(5_000), rel=0.08)
    assert estimates["std"].error == pytest.approx(residual.std() / np.sqrt(2 * 5_000), rel=0.1)
    assert estimates["offset"].lower == pytest.approx(residual.mean() - 1.96 * residual.std() / np.sqrt(5_000), abs=0.3)


def test_intervals_hold_the_truth_as_often_as_they_say():
    n_trials, truth = 300, {"offset": 12, "std": 80}
    inside = dict.fromkeys(truth, 0)
    for trial in range(n_trials):
        estimates = bootstrap.bootstrap_moments(drawn(400, 100 + trial), Draws(400, trial), ("offset", "std"))
        for name, value in truth.items():
            inside[name] += estimates[name].lower <= value <= estimates[name].upper
    for name, count in inside.items():
        # A percentile interval from 400 stars is short by some 0.01, and 300 trials know it to 0.013.
        assert 0.94 - 3 * 0.013 <= count / n_trials <= 0.94 + 3 * 0.013, name


def test_the_level_is_the_intervals():
    for level, half_width in ((0.95, 1.96), (0.6827, 1.0)):
        std = bootstrap.bootstrap_moments(drawn(1_000), Draws(level=level))["std"]
        assert std.upper - std.lower == pytest.approx(2 * half_width * std.error, rel=0.1)


def test_a_seed_gives_one_answer_however_much_memory_there_is(monkeypatch):
    first = bootstrap.bootstrap_moments(drawn(), Draws(seed=3))
    monkeypatch.setattr(bootstrap, "VALUES_AT_A_TIME", 1_000)
    assert bootstrap.bootstrap_moments(drawn(), Draws(seed=3)) == first
    assert bootstrap.bootstrap_moments(drawn(), Draws(seed=4)) != first


def test_moments_asked_for_alone_are_the_same():
    whole = bootstrap.bootstrap_moments(drawn())
    assert bootstrap.bootstrap_moments(drawn(), names=("std", "offset")) == {
        "std": whole["std"], "offset": whole["offset"],
    }  # fmt: skip


def test_stars_of_nan_are_left_out_and_the_rest_counted():
    residual = drawn()
    with_nan = np.insert(residual, [3, 50], [np.nan, np.inf])
    assert bootstrap.bootstrap_moments(with_nan) == bootstrap.bootstrap_moments(residual)
    assert bootstrap.bootstrap_moments(with_nan)["rmse"].n == 200


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_stars_have_no_interval(n):
    estimate = bootstrap.bootstrap_moments(drawn(n))["std"]
    assert estimate.n == n
    assert json.loads(json.dumps(estimate.to_dict(), allow_nan=False)) == {
        "value": 0.0 if n else None, "lower": None, "upper": None, "error": None, "n": n,
    }  # fmt: skip


def test_paired_ratio_by_hand():
    ratio = bootstrap.std_ratio(np.array([1.0, -1, 1, -1, np.nan]), np.array([2.0, 2, -2, -2, 7]))
    assert (ratio.value, ratio.n) == (0.5, 4)
    proportional = bootstrap.std_ratio(drawn(), 4 * drawn())
    # The same stars in both: of proportional residuals the ratio is certain.
    assert (proportional.lower, proportional.upper) == pytest.approx((0.25, 0.25))
    assert proportional.error == pytest.approx(0, abs=1e-12)


def test_paired_intervals_are_scipys():
    rng = np.random.default_rng(8)
    common = rng.normal(0, 1, 180)
    a, b = common + rng.normal(0, 0.5, 180), common + rng.normal(0, 0.6, 180)
    ours = bootstrap.std_ratio(a, b, Draws(6_000))
    scipys = stats.bootstrap(
        (a, b), lambda x, y, axis: x.std(axis=axis) / y.std(axis=axis), n_resamples=6_000, method="percentile",
        paired=True, rng=np.random.default_rng(3),
    )  # fmt: skip
    ends = (scipys.confidence_interval.low, scipys.confidence_interval.high)
    np.testing.assert_allclose((ours.lower, ours.upper), ends, atol=0.08 * np.ptp(ends))


def test_pairing_narrows_the_interval_of_methods_that_err_alike():
    rng = np.random.default_rng(9)
    common = rng.normal(0, 1, 1_000)
    a, b = common + rng.normal(0, 0.2, 1_000), common + rng.normal(0, 0.2, 1_000)
    alike = bootstrap.std_ratio(a, b)
    apart = bootstrap.std_ratio(a, rng.permutation(b))
    assert alike.error < 0.5 * apart.error


def test_a_method_without_scatter_has_no_ratio():
    ratio = bootstrap.std_ratio(drawn(), np.zeros(200))
    assert ratio.to_dict() == {"value": None, "lower": None, "upper": None, "error": None, "n": 200}


def test_bins_are_those_of_the_plain_metrics():
    rng = np.random.default_rng(10)
    x, residual = rng.uniform(0, 3, 400), rng.normal(0, 1, 400)
    x[:3], residual[3:6] = np.nan, np.nan
    edges = [0, 1, 2, 3, 4]
    bins = bootstrap.bootstrap_bins(residual, x, edges, Draws(100))
    for ours, plain in zip(bins, binned_residuals(residual, x, edges), strict=True):
        assert (ours.lower, ours.upper, ours.n) == (plain.lower, plain.upper, plain.n)
        np.testing.assert_allclose((ours.offset.value, ours.std.value), (plain.offset, plain.std), rtol=1e-12)
    assert sum(b.n for b in bins) == 394
    inside = (x >= 1) & (x < 2) & np.isfinite(residual)
    assert bins[1].median_x == np.median(x[inside])
    assert bins[1].std == bootstrap.bootstrap_moments(residual[inside], Draws(100))["std"]


def test_an_open_bin_serialises_its_edge_as_null():
    first, last = bootstrap.bootstrap_bins(np.arange(4.0), np.arange(4.0), [-np.inf, 2, np.inf], Draws(9))
    assert (first.to_dict()["lower"], first.to_dict()["upper"], first.n) == (None, 2.0, 2)
    assert (last.to_dict()["lower"], last.to_dict()["upper"], last.n) == (2.0, None, 2)
    json.dumps([first.to_dict(), last.to_dict()], allow_nan=False)


def test_refusals():
    with pytest.raises(ValueError, match="one per star; got shape"):
        bootstrap.bootstrap_moments(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"2 resamples or more .* got 1 and 0\.95"):
        Draws(1)
    with pytest.raises(ValueError, match=r"level between 0 and 1; got 1000 and 95"):
        Draws(level=95)
    with pytest.raises(ValueError, match=r"shapes \(4,\) and \(3,\)"):
        bootstrap.std_ratio(np.zeros(4), np.zeros(3))
