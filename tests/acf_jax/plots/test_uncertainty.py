"""The figures by what they show."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from acf_jax.metrics import uncertainty
from acf_jax.plots import uncertainty as uncertainty_plots
from acf_jax.plots.uncertainty import STYLES


@pytest.fixture
def axes():
    return Figure().subplots()


def test_pit_histogram_shows_densities_and_the_band_of_a_calibrated_one(axes):
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(40):
        artists = uncertainty_plots.plot_pit(axes, rng.random(1000), STYLES[0], "MC")
        band = artists["band"].get_bbox()
        heights = artists["bars"].get_data().values
        inside += list((heights >= band.y0 - 1e-9) & (heights <= band.y1 + 1e-9))
        assert heights.mean() == pytest.approx(1)
    assert np.mean(inside) == pytest.approx(0.955, abs=0.03)  # discrete: a little more than 95 %
    assert axes.get_title() == "MC"


def test_pit_histogram_leaves_nan_out(axes):
    artists = uncertainty_plots.plot_pit(axes, np.array([0.01, 0.99, np.nan]), STYLES[0], "MC")
    heights = artists["bars"].get_data().values
    assert heights[0] == heights[-1] == uncertainty_plots.PIT_BINS / 2


def test_reliability_sorts_the_levels(axes):
    artists = uncertainty_plots.plot_reliability(axes, [0.9, 0.5], {"MC": [0.7, 0.3], "scaled": [0.9, 0.5]})
    np.testing.assert_array_equal(artists["MC"].get_xydata(), [[0.5, 0.3], [0.9, 0.7]])
    np.testing.assert_array_equal(artists["diagonal"].get_xydata(), [[0, 0], [1, 1]])
    assert artists["MC"].get_color() != artists["scaled"].get_color()
    assert axes.get_xlabel() == "nominal coverage"


def test_sparsification_shows_every_curve_and_one_oracle(axes):
    rng = np.random.default_rng(1)
    residual = rng.normal(size=100)
    curves = {name: uncertainty.sparsification(residual, rng.random(100)) for name in ("a", "b")}
    artists = uncertainty_plots.plot_sparsification(axes, curves)
    np.testing.assert_array_equal(artists["oracle"].get_ydata(), curves["a"].by_error)
    for name, curve in curves.items():
        np.testing.assert_array_equal(artists[name].get_ydata(), curve.by_std)
    assert [text.get_label() for text in axes.get_legend_handles_labels()[0]] == ["oracle", "a", "b"]


def test_error_against_std_carries_units_and_the_diagonal(axes):
    rng = np.random.default_rng(2)
    std = 100 * rng.gamma(4, 0.25, 2000)
    bins = uncertainty.error_against_std(std * rng.normal(size=2000), std)
    artists = uncertainty_plots.plot_error_against_std(axes, {"MC": bins}, "K")
    points = artists["MC"].lines[0].get_xydata()
    np.testing.assert_allclose(points, [(b.std, b.rmse) for b in bins])
    assert axes.get_xlabel() == "predicted std (K)"
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[0] < points.min()
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert "100" in labels
    assert not any("10^" in label for label in labels)


def test_coverage_in_bins_is_in_percent_with_binomial_errors(axes):
    bins = [uncertainty.CoverageBin(0, 1, 400, 0.5), uncertainty.CoverageBin(1, 2, 100, 0.9)]
    artists = uncertainty_plots.plot_coverage_in_bins(axes, {"MC": bins}, [0.5, 1.5], 0.9, 0.03)
    np.testing.assert_allclose(artists["MC"].lines[0].get_xydata(), [[0.5, 50], [1.5, 90]])
    segments = artists["MC"].lines[2][0].get_segments()
    np.testing.assert_allclose([np.ptp(segment[:, 1]) / 2 for segment in segments], [2.5, 3.0])
    assert artists["nominal"].get_ydata()[0] == 90


def test_every_figure_can_be_drawn_of_no_star(axes):
    uncertainty_plots.plot_pit(axes, np.zeros(0), STYLES[0], "MC")
    uncertainty_plots.plot_sparsification(axes, {})
    uncertainty_plots.plot_error_against_std(axes, {"MC": []}, "K")
    uncertainty_plots.plot_coverage_in_bins(axes, {"MC": []}, [], 0.9, 0.03)


def test_the_styles_differ_in_everything():
    for what in ("color", "ls", "marker"):
        assert len({style[what] for style in STYLES}) == len(STYLES)


def test_the_band_is_binomial(axes):
    artists = uncertainty_plots.plot_pit(axes, np.random.default_rng(3).random(500), STYLES[0], "MC")
    path = artists["band"].get_extents().transformed(axes.transData.inverted())
    expected = stats.binom(500, 1 / uncertainty_plots.PIT_BINS).ppf([0.025, 0.975]) / (500 / uncertainty_plots.PIT_BINS)
    np.testing.assert_allclose([path.y0, path.y1], expected)
