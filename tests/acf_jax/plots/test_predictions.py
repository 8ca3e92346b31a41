"""The density estimate against scipy, the polynomial against numpy, the figures by what they show."""

import itertools
import time

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from acf_jax.metrics import residuals
from acf_jax.plots import predictions as prediction_plots


def make_sample(n=400, seed=0, target="logg", unit="dex"):
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(n) < 0.3, rng.normal(2.4, 0.3, n), rng.normal(4.3, 0.2, n))
    std = 0.05 + 0.03 * (label - 4) ** 2 + 0.01 * rng.random(n)
    return prediction_plots.ParameterSample(target, unit, label, label + 0.02 + std * rng.normal(size=n), std)


def figure():
    return Figure(figsize=(12, 5), layout="constrained")


@pytest.mark.parametrize("n", [30, 3000])
def test_density_is_scipys(n):
    sample = make_sample(n)
    points = np.stack([sample.label, sample.prediction])
    expected = stats.gaussian_kde(points)(points)
    np.testing.assert_allclose(
        prediction_plots.BinnedKDE(points)(points), expected, rtol=0.02, atol=0.01 * expected.max()
    )

    at = np.linspace(0, 6, 200)
    expected = stats.gaussian_kde(sample.label)(at)
    np.testing.assert_allclose(
        prediction_plots.BinnedKDE(sample.label)(at), expected, rtol=0.02, atol=0.01 * expected.max()
    )


def test_density_integrates_to_one():
    sample = make_sample(2000)
    at = np.linspace(-1, 8, 4001)
    assert np.trapezoid(prediction_plots.BinnedKDE(sample.label)(at), at) == pytest.approx(1, abs=1e-3)


def test_density_of_many_stars_is_fast():
    points = np.random.default_rng(0).normal(size=(2, 100_000))
    start = time.perf_counter()
    prediction_plots.BinnedKDE(points)(points)
    assert time.perf_counter() - start < 3  # scipy takes minutes


@pytest.mark.parametrize(
    "points",
    [np.array([[1.0], [2.0]]), np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]), np.stack([np.arange(9.0)] * 2)],
    ids=["one star", "equal stars", "perfect predictions"],
)
def test_density_can_be_drawn_of_points_without_spread(points):
    density = prediction_plots.BinnedKDE(points)(points)
    assert np.isfinite(density).all()
    assert (density > 0).all()


def test_polynomial_is_numpys():
    sample = make_sample()
    at = np.linspace(1.5, 5, 50)
    curve, half_width = prediction_plots.polynomial_band(sample.label, sample.std, at)
    np.testing.assert_allclose(curve, np.polyval(np.polyfit(sample.label, sample.std, 2), at), rtol=1e-8)
    assert (half_width > 0).all()


def test_band_covers_the_true_curve_under_unequal_scatter():
    rng = np.random.default_rng(5)
    x, at = rng.uniform(-2, 1, 300), np.array([-1.8, -0.5, 0.8])
    true = lambda x: 0.05 + 0.03 * x**2  # noqa: E731
    scatter = 0.001 + 0.02 * (x < -1)
    covered = []
    for _ in range(1500):
        curve, half_width = prediction_plots.polynomial_band(x, true(x) + scatter * rng.normal(size=x.size), at)
        covered.append(np.abs(curve - true(at)) <= half_width)
    # 1,500 trials know 0.95 to 0.006; the sandwich's own small-sample error adds to that.
    np.testing.assert_allclose(np.mean(covered, axis=0), 0.95, atol=0.025)


def test_too_few_stars_for_a_band():
    with pytest.raises(ValueError, match="needs 4 stars or more, got 3"):
        prediction_plots.polynomial_band(np.arange(3.0), np.arange(3.0), np.arange(3.0))


def test_figure_8_shows_what_it_says():
    samples = [make_sample(target="teff", unit="K"), make_sample(target="logg"), make_sample(target="fe_h")]
    fig = figure()
    panels = prediction_plots.draw_figure_8(fig, samples, "ACF, mock sky, validation split, n = 400")
    assert fig.get_suptitle() == "ACF, mock sky, validation split, n = 400"
    assert len(panels) == 3
    for panel, sample, symbol in zip(panels, samples, [r"$T_\mathrm{eff}$", r"$\log\,g$", "[Fe/H]"], strict=True):
        top, below = panel["scatter_axes"], panel["residual_axes"]
        assert top.get_ylabel() == f"{symbol} predicted ({sample.unit})"
        assert below.get_xlabel() == f"{symbol} label ({sample.unit})"
        assert below.get_ylabel() == f"residual ({sample.unit})"
        np.testing.assert_array_equal(*panel["one_to_one"].get_data())
        assert tuple(panel["one_to_one"].get_xdata()) == top.get_xlim() == below.get_xlim()
        assert list(panel["zero"].get_ydata()) == [0, 0]
        drawn = np.sort(panel["scatter"].get_offsets(), axis=0)
        np.testing.assert_allclose(drawn, np.sort(np.stack([sample.label, sample.prediction], 1), axis=0))
        np.testing.assert_allclose(
            np.sort(panel["residuals"].get_offsets()[:, 1]), np.sort(sample.prediction - sample.label)
        )
        density, at = panel["kde"].get_data()
        expected = stats.gaussian_kde(sample.prediction - sample.label)(at)
        np.testing.assert_allclose(density, expected, atol=0.02 * expected.max())
        m = residuals.residual_metrics(sample.prediction, sample.label)
        digits = 1 if sample.unit == "K" else 3
        assert f"{m.offset:+.{digits}f}" in panel["text"].get_text()
        assert f"{m.std:.{digits}f}" in panel["text"].get_text()


def test_densest_stars_are_brightest_and_on_top():
    sample = make_sample()
    axes = figure().subplots()
    colours = prediction_plots.density_scatter(axes, sample.label, sample.prediction).get_array()
    assert (np.diff(colours) >= 0).all()
    assert colours[-1] == 1


def test_a_prediction_beyond_the_panel_is_counted():
    sample = make_sample()
    sample.prediction[:] = [40, -40, *sample.label[2:]]
    panel = prediction_plots.plot_regression(figure(), sample)
    assert panel["beyond"].get_text() == "2 beyond\nthe panel"
    assert panel["scatter_axes"].get_ylim()[1] < 10


def test_figure_9_shows_uncertainty_density_curve_and_band():
    samples = [make_sample(target="teff", unit="K"), make_sample(target="logg")]
    fig = figure()
    panels = prediction_plots.draw_figure_9(fig, samples, "mock sky, n = 400")
    assert fig.get_suptitle() == "mock sky, n = 400"
    for panel, sample in zip(panels, samples, strict=True):
        axes = panel["density"].axes
        assert axes.get_xlabel().endswith(f"label ({sample.unit})")
        assert axes.get_ylabel() == f"MC uncertainty ({sample.unit})"
        x, curve = panel["curve"].get_data()
        np.testing.assert_allclose(curve, np.polyval(np.polyfit(sample.label, sample.std, 2), x), rtol=1e-6)
        assert (x[0], x[-1]) == (sample.label.min(), sample.label.max())
        # The image's brightest pixel lies at the densest place of scipy's estimate.
        left, right, bottom, top = panel["density"].get_extent()
        image = np.asarray(panel["density"].get_array())
        row, column = np.unravel_index(image.argmax(), image.shape)
        kde = stats.gaussian_kde(np.stack([sample.label, sample.std]))
        peak = [left + (right - left) * column / 239, bottom + (top - bottom) * row / 239]
        assert kde(peak)[0] > 0.97 * kde(np.stack([sample.label, sample.std])).max()
    assert [text.get_text() for text in axes.figure.axes[0].get_legend().get_texts()] == [
        "2nd-order polynomial", "its 95 % band",
    ]  # fmt: skip


def test_magnitude_figure_draws_bins_that_hold_enough_stars():
    sample = make_sample(500)
    g_mag = np.random.default_rng(1).uniform(11, 14, 500)
    g_mag[0] = 16.2
    bins = residuals.binned_residuals(sample.prediction - sample.label, g_mag, residuals.magnitude_edges(g_mag))
    axes = figure().subplots()
    artists = prediction_plots.plot_residuals_vs_magnitude(axes, sample, g_mag, bins)
    x, y = artists["offsets"].lines[0].get_data()
    np.testing.assert_allclose(x, 11.25 + 0.5 * np.arange(6))
    np.testing.assert_allclose(y, [b.offset for b in bins[:6]])
    assert axes.get_xlabel() == "g (mag, AB)"
    assert axes.get_ylabel() == r"$\log\,g$ residual (dex)"
    assert len(artists["scatter"].get_offsets()) == 500


def three_samples(n=400):
    return [make_sample(n, target=t, unit=u) for t, u in (("teff", "K"), ("logg", "dex"), ("fe_h", "dex"))]


def draw_against_g(fig, samples):
    g_mag = np.random.default_rng(1).uniform(11, 14, len(samples[0].label))
    edges = residuals.magnitude_edges(g_mag)
    bins = [residuals.binned_residuals(s.prediction - s.label, g_mag, edges) for s in samples]
    return g_mag, bins, prediction_plots.draw_residuals_against_g(fig, samples, g_mag, bins, "mock sky, n = 400")


def test_residuals_against_g_have_a_panel_each_and_one_legend():
    fig, samples = figure(), three_samples()
    g_mag, bins, panels = draw_against_g(fig, samples)
    assert fig.get_suptitle() == "mock sky, n = 400"
    for panel, sample, sample_bins in zip(panels, samples, bins, strict=True):
        drawn = np.sort(np.asarray(panel["scatter"].get_offsets()), axis=0)
        np.testing.assert_allclose(drawn, np.sort(np.stack([g_mag, sample.prediction - sample.label], 1), axis=0))
        np.testing.assert_allclose(panel["offsets"].lines[0].get_ydata(), [b.offset for b in sample_bins])
        assert panel["scatter"].axes.get_ylabel() == sample.axis("residual")
        assert panel["scatter"].axes.get_legend() is None
    words = {text.get_text() for text in fig.legends[0].get_texts()}
    assert words == {"offset ± standard deviation", "offset and its error"}


def written(fig):
    """Every text of a figure as it is saved, with its place in pixels."""
    fig.draw_without_rendering()
    texts = [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]
    # Ticks outside an axis's limits, and labels that an axis shares with another, are there but not drawn.
    texts = [t for t in texts if t.get_window_extent().width > 1.5]
    return [(t, t.get_window_extent()) for t in texts]


@pytest.mark.parametrize(
    ("height_in", "draw"),
    [
        (
            3.1,
            lambda fig: prediction_plots.draw_figure_8(
                fig, three_samples(), "ACF, mock sky, validation split, 400 stars"
            ),
        ),
        (
            2.5,
            lambda fig: prediction_plots.draw_figure_9(
                fig, three_samples(), "ACF, mock sky, validation split, 400 stars"
            ),
        ),
        (2.7, lambda fig: draw_against_g(fig, three_samples())),
    ],
    ids=["figure 8", "figure 9", "against g"],
)
def test_printed_figures_are_readable_and_nothing_is_cut_off(height_in, draw):
    fig = prediction_plots.for_print(prediction_plots.PAGE_IN, height_in, draw)
    assert tuple(fig.get_size_inches()) == (7.1, height_in)
    texts = written(fig)
    assert min(text.get_fontsize() for text, _ in texts) >= 7
    assert max(text.get_fontsize() for text, _ in texts) <= 8
    whole = fig.bbox
    ticks = {
        t for axes in fig.findobj(prediction_plots.Axes) for t in (*axes.get_xticklabels(), *axes.get_yticklabels())
    }
    others = [(text.get_text(), box) for text, box in texts if text not in ticks]
    cut_off = [
        words
        for words, box in others
        if box.x0 < whole.x0 or box.x1 > whole.x1 or box.y0 < whole.y0 or box.y1 > whole.y1
    ]
    assert not cut_off
    assert not [(a, b) for (a, at), (b, there) in itertools.combinations(others, 2) if at.overlaps(there)]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_figures_bear_few_stars_and_no_number(n, tmp_path):
    whole = make_sample(400)
    values = [np.where(np.arange(400) < n, v, np.nan) for v in (whole.label, whole.prediction, whole.std)]
    sample = prediction_plots.ParameterSample("fe_h", "dex", *values)
    g_mag = np.full(400, 12.0)
    bins = residuals.binned_residuals(sample.prediction - sample.label, g_mag, [11, 13])
    figures = [figure() for _ in range(3)]
    prediction_plots.draw_figure_8(figures[0], [sample], "t")
    prediction_plots.draw_figure_9(figures[1], [sample], "t")
    prediction_plots.plot_residuals_vs_magnitude(figures[2].subplots(), sample, g_mag, bins)
    for i, fig in enumerate(figures):
        fig.savefig(tmp_path / f"{i}.png", dpi=30)
    drawn = [a for a in figures[0].findobj(PathCollection) if len(a.get_offsets())]
    assert all(len(a.get_offsets()) == n for a in drawn)
