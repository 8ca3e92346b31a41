"""The figure of bins by what it shows."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from acf_jax.metrics.bootstrap import Draws, bootstrap_bins
from acf_jax.plots.precision import BinnedQuantity, draw_bins

UNITS = {"teff": "K", "logg": "dex"}


def make_bins(x, edges, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "teff": bootstrap_bins(rng.normal(10, 90, x.size), x, edges, Draws(100)),
        "logg": bootstrap_bins(rng.normal(0, 0.1, x.size), x, edges, Draws(100)),
    }


def make_columns(n=600):
    rng = np.random.default_rng(1)
    g_mag, snr, crowded = rng.uniform(11, 14, n), 10 ** rng.uniform(0, 2.5, n), rng.integers(0, 2, n)
    snr[:2] = -1, -3
    g_edges, snr_edges = [11, 12, 13, 14, 15], [-np.inf, 5, 50, np.inf]
    return [
        BinnedQuantity("g (mag)", make_bins(g_mag, g_edges), make_bins(g_mag, g_edges, seed=2)),
        BinnedQuantity("parallax S/N", make_bins(snr, snr_edges), log=True),
        BinnedQuantity("crowding", make_bins(crowded, [0, 1, 2]), bin_names=("isolated", "crowded")),
    ]


@pytest.fixture
def drawn():
    figure, columns = Figure(figsize=(7.2, 4), layout="constrained"), make_columns()
    return figure, columns, draw_bins(figure, columns, UNITS)


def test_points_bars_and_band_are_the_bins(drawn):
    _, columns, artists = drawn
    assert [len(row) for row in artists] == [3, 3]
    for row, target in zip(artists, UNITS, strict=True):
        for panel, column in zip(row, columns, strict=True):
            bins = [b for b in column.about_labels[target] if b.n]
            points, _, (bars,) = panel["offsets"].lines
            np.testing.assert_allclose(points.get_xdata(), [b.median_x for b in bins])
            np.testing.assert_allclose(points.get_ydata(), [b.offset.value for b in bins])
            ends = np.array([segment[:, 1] for segment in bars.get_segments()])
            np.testing.assert_allclose(ends, [(b.offset.lower, b.offset.upper) for b in bins])
            reach = np.concatenate([path.vertices[:, 1] for path in panel["spread"].get_paths()])
            assert reach.max() == pytest.approx(max(b.offset.value + b.std.value for b in bins))
            assert reach.min() == pytest.approx(min(b.offset.value - b.std.value for b in bins))
            assert list(panel["zero"].get_ydata()) == [0, 0]


def test_the_truth_is_drawn_apart_where_it_is_known(drawn):
    _, columns, artists = drawn
    for row, target in zip(artists, UNITS, strict=True):
        points = row[0]["true_offsets"].lines[0]
        bins = [b for b in columns[0].about_truth[target] if b.n]
        np.testing.assert_allclose(points.get_ydata(), [b.offset.value for b in bins])
        assert points.get_color() != row[0]["offsets"].lines[0].get_color()
        assert points.get_marker() != row[0]["offsets"].lines[0].get_marker()
        assert "true_offsets" not in row[1]


def test_axes_name_quantities_and_units(drawn):
    figure, _, artists = drawn
    figure.canvas.draw()
    first, last = ([panel["zero"].axes for panel in row] for row in artists)
    assert [axes.get_xlabel() for axes in last] == ["g (mag)", "parallax S/N", "crowding"]
    assert [row[0]["zero"].axes.get_ylabel() for row in artists] == [
        "$T_\\mathrm{eff}$\nresidual (K)", "$\\log\\,g$\nresidual (dex)",
    ]  # fmt: skip
    assert [tick.get_text() for tick in last[2].get_xticklabels()] == ["isolated", "crowded"]
    assert last[1].get_xscale() == "symlog"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "offset about the labels, 95 % interval", "± one standard deviation", "offset about the truth",
    ]  # fmt: skip
    assert first[0].get_ylim() == first[2].get_ylim()  # a row shares its scale


def test_letters_are_large_enough_to_read(drawn):
    figure, _, _ = drawn
    figure.canvas.draw()
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7


def test_bins_of_few_stars_are_not_drawn():
    x = np.concatenate([np.full(20, 0.5), np.full(9, 1.5), np.full(10, 2.5)])
    column = BinnedQuantity("x", make_bins(x, [0, 1, 2, 3]))
    ((panel,), _) = draw_bins(Figure(), [column], UNITS)
    assert panel["offsets"].lines[0].get_xdata().tolist() == [0.5, 2.5]
    ((empty,), _) = draw_bins(Figure(), [BinnedQuantity("x", make_bins(x[:5], [0, 1]))], UNITS)
    assert set(empty) == {"zero"}
