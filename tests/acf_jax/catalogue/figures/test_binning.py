"""Maps made of batches, against maps made of all stars at once by other means."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from acf_jax.catalogue.figures.binning import Bins, CountMap, MedianMap

X, Y, VALUES = Bins(2500, 25, 300), Bins(-1, 0.04, 175), Bins(-3, 0.01, 400)


def stars(n, seed=0):
    random = np.random.default_rng(seed)
    x, y = random.normal(5500, 300, n), random.normal(4, 0.4, n)
    return x, y, random.normal(-0.5, 0.5, n).clip(-2.9, 0.9)


def test_a_bin_holds_its_lower_edge_and_not_its_upper_one():
    bins = Bins(-1, 0.5, 4)
    np.testing.assert_allclose(bins.edges, [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_array_equal(
        bins.index([-1, -0.75, -0.5, 0.75, 1, -1.01, np.nan, np.inf]), [0, 0, 1, 3, -1, -1, -1, -1]
    )


def test_counts_are_those_of_numpys_histogram_however_the_stars_arrive():
    x, y, _ = stars(20_000)
    counted = CountMap(X, Y)
    inside = [counted.add(x[part], y[part]) for part in (slice(0, 7), slice(7, 7), slice(7, 20_000))]
    expected, _, _ = np.histogram2d(x, y, [X.edges, Y.edges])
    np.testing.assert_array_equal(counted.counts, expected)
    np.testing.assert_array_equal(np.concatenate(inside), (x >= 2500) & (x < 10_000) & (y >= -1) & (y < 6))


def test_medians_are_exact_to_half_a_bin_of_values():
    x, y, values = stars(20_000)
    binned = MedianMap(X, Y, VALUES)
    for part in np.array_split(np.arange(20_000), 7):
        binned.add(x[part], y[part], values[part])
    exact = stats.binned_statistic_2d(x, y, values, "median", [X.edges, Y.edges]).statistic
    assert np.isfinite(exact).sum() > 1000  # cells with one star, with two and with many
    np.testing.assert_allclose(binned.medians(), exact, atol=0.005 + 1e-9)
    np.testing.assert_array_equal(binned.stars.counts > 0, np.isfinite(exact))


@given(hnp.arrays(float, st.integers(1, 30), elements=st.floats(-2.99, 0.99)))
def test_the_median_of_any_cell_is_exact_to_half_a_bin(values):
    binned = MedianMap(Bins(0, 1, 1), Bins(0, 1, 2), VALUES)
    binned.add(np.zeros(values.size), np.ones(values.size), values)
    medians = binned.medians()
    assert np.isnan(medians[0, 0])
    assert medians[0, 1] == pytest.approx(np.median(values), abs=0.005 + 1e-9)


def test_values_beyond_the_bins_count_as_outermost_ones_and_missing_ones_not_at_all():
    binned = MedianMap(Bins(0, 1, 1), Bins(0, 1, 1), VALUES)
    inside = binned.add(np.zeros(4), np.zeros(4), np.array([-9.0, -4.0, 7.0, np.nan]))
    np.testing.assert_array_equal(inside, [True, True, True, False])
    assert binned.stars.counts.sum() == 3
    assert binned.medians()[0, 0] == pytest.approx(-2.995)


def test_memory_does_not_grow_with_the_stars():
    """After the first batches, a hundred times as many take no more."""
    x, y, values = stars(2000)
    binned = MedianMap(X, Y, VALUES)
    tracemalloc.start()
    try:
        peaks = []
        for n_batches in (2, 200):
            tracemalloc.reset_peak()
            for _ in range(n_batches):
                binned.add(x, y, values)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
