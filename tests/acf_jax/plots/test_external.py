"""Figs. 11 and 12 by what they show."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from acf_jax.metrics.residuals import TrendPoint
from acf_jax.plots import external as external_plots
from acf_jax.plots.predictions import VERMILION, ParameterSample


def make_sample(n=300, target="teff", unit="K"):
    rng = np.random.default_rng(0)
    label = rng.uniform(4200, 6800, n)
    return ParameterSample(target, unit, label, label + 40 + 90 * rng.normal(size=n))


def new_figure():
    return Figure(figsize=external_plots.FIGURE_INCHES, layout="constrained")


def test_a_panel_per_parameter_with_units_moments_and_its_colour_bar_above(tmp_path):
    samples = [make_sample(), make_sample(target="logg", unit="dex"), make_sample(target="fe_h", unit="dex")]
    figure = new_figure()
    panels = external_plots.draw_comparison(figure, samples, "APOGEE DR17")
    figure.savefig(tmp_path / "figure.png")  # lays it out
    for panel, sample, symbol in zip(panels, samples, [r"$T_\mathrm{eff}$", r"$\log\,g$", "[Fe/H]"], strict=True):
        axes = panel["scatter"].axes
        assert axes.get_xlabel() == f"{symbol} APOGEE DR17 ({sample.unit})"
        assert axes.get_ylabel() == f"{symbol} predicted ({sample.unit})"
        drawn = np.asarray(panel["scatter"].get_offsets())
        expected = np.stack([sample.label, sample.prediction], axis=1)
        np.testing.assert_allclose(drawn[np.argsort(drawn[:, 0])], expected[np.argsort(expected[:, 0])])
        residual = sample.prediction - sample.label
        digits = 1 if sample.unit == "K" else 3
        assert f"\\mu = {residual.mean():+.{digits}f}$ {sample.unit}" in panel["text"].get_text()
        assert f"\\sigma = {residual.std():.{digits}f}$ {sample.unit}" in panel["text"].get_text()
        assert "n = 300" in panel["text"].get_text()
        assert panel["colour_bar"].get_position().y0 > axes.get_position().y1
        assert panel["colour_bar"].get_xlabel() == "relative density of stars"


def test_the_one_to_one_line_is_dashed_and_red_from_corner_to_corner():
    panel = external_plots.plot_comparison(new_figure().subplots(), make_sample(), "LAMOST LSP3")
    line, axes = panel["one_to_one"], panel["scatter"].axes
    np.testing.assert_array_equal(*line.get_data())
    assert tuple(line.get_xdata()) == axes.get_xlim() == axes.get_ylim()
    assert (line.get_linestyle(), line.get_color()) == ("--", VERMILION)


def test_letters_can_be_read_at_the_width_of_the_page():
    panel = external_plots.plot_comparison(new_figure().subplots(), make_sample(), "LAMOST LSP3")
    axes = panel["scatter"].axes
    texts = [panel["text"], axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    assert external_plots.FIGURE_INCHES[0] <= 7.2
    assert min(text.get_fontsize() for text in texts) >= 7


def test_a_prediction_beyond_the_panel_is_counted():
    sample = make_sample()
    sample.prediction[:2] = 20_000, -3_000
    panel = external_plots.plot_comparison(new_figure().subplots(), sample, "LAMOST LSP3")
    assert "2 beyond the panel" in panel["text"].get_text()


def test_residuals_run_along_each_label_with_their_median_and_spread(tmp_path):
    samples = [make_sample(), make_sample(target="logg", unit="dex")]
    labels, answers = ({s.target: getattr(s, what) for s in samples} for what in ("label", "prediction"))
    labels["logg"] = labels["logg"] - 1000
    labels["teff"][7] = np.nan
    points = [TrendPoint(5000.0, 30.0, -20.0, 80.0, 30), TrendPoint(6000.0, 50.0, -10.0, 90.0, 30)]
    trends = {target: {"teff": points, "logg": []} for target in labels}
    figure = new_figure()
    drawn = external_plots.draw_trends(figure, labels, answers, trends, "LAMOST LSP3")
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert list(drawn) == [("teff", "teff"), ("teff", "logg"), ("logg", "teff"), ("logg", "logg")]
    for (target, along), artists in drawn.items():
        shown = np.asarray(artists["scatter"].get_offsets())
        expected = np.stack([labels[along], answers[target] - labels[target]], axis=1)
        expected = expected[np.isfinite(expected).all(axis=1)]
        assert len(expected) == (299 if "teff" in (target, along) else 300)
        np.testing.assert_allclose(shown[np.argsort(shown[:, 0])], expected[np.argsort(expected[:, 0])])
        assert artists["zero"].get_ydata()[0] == 0
        assert artists["median"].get_xydata().tolist() == ([[5000, 30], [6000, 50]] if along == "teff" else [])
    band = drawn["teff", "teff"]["spread"].get_paths()[0].get_extents()
    assert (band.x0, band.x1, band.y0, band.y1) == (5000, 6000, -20, 90)
    assert drawn["logg", "teff"]["zero"].axes.get_xlabel() == r"$T_\mathrm{eff}$ LAMOST LSP3 (K)"
    assert drawn["logg", "teff"]["zero"].axes.get_ylabel() == r"$\log\,g$ residual (dex)"


def test_stars_trained_on_are_grey_below_the_others():
    sample, marked = make_sample(), make_sample(40)
    (panel,) = external_plots.draw_comparison(new_figure(), [sample], "APOGEE DR17", [marked])
    np.testing.assert_array_equal(panel["trained_on"].get_xydata(), np.stack([marked.label, marked.prediction], axis=1))
    assert panel["trained_on"].get_zorder() < panel["scatter"].get_zorder()
    assert "n = 300" in panel["text"].get_text()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_panels_bear_few_stars_and_missing_values(n, tmp_path):
    sample = make_sample(20)
    sample.label[n:] = np.nan
    figure = new_figure()
    (panel,) = external_plots.draw_comparison(figure, [sample], "APOGEE DR17")
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert len(panel["scatter"].get_offsets()) == n
    assert f"n = {n}" in panel["text"].get_text()
