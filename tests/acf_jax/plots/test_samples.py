"""The figures of the stars themselves, by what they show."""

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from acf_jax.labels import LABELS
from acf_jax.plots import samples as sample_plots
from acf_jax.plots.predictions import VERMILION


def draw_split(n, seed):
    rng = np.random.default_rng(seed)
    labels = {"teff": rng.uniform(4000, 8000, n), "logg": rng.uniform(0, 5, n), "fe_h": rng.uniform(-3, 1, n)}
    return labels | {"parallax": 10 ** rng.normal(0, 0.4, n)}


TRAIN, VALIDATION = draw_split(700, 1), draw_split(200, 2)


def figure():
    return Figure(figsize=(7, 3.2), layout="constrained")


def sorted_points(x, y):
    points = np.stack([x, y], axis=1)
    return points[np.lexsort(points.T)]


def test_figure_1_shows_every_star_of_both_splits_in_both_planes():
    fig = figure()
    artists = sample_plots.draw_figure_1(fig, TRAIN, VALIDATION, LABELS, "mock sky")
    assert fig.get_suptitle() == "mock sky"
    assert list(artists) == ["logg", "fe_h"]
    for name, panel in artists.items():
        for split, stars in (("train", TRAIN), ("validation", VALIDATION)):
            drawn = np.asarray(panel[split].get_offsets())
            np.testing.assert_allclose(sorted_points(*drawn.T), sorted_points(stars["teff"], stars[name]))


def test_figure_1_has_black_below_vermilion_and_says_which_is_which():
    fig = figure()
    artists = sample_plots.draw_figure_1(fig, TRAIN, VALIDATION, LABELS, "t")["logg"]
    assert tuple(artists["train"].get_facecolor()[0]) == to_rgba("black")
    assert to_hex(artists["validation"].get_facecolor()[0]) == VERMILION
    drawn = fig.axes[0].collections
    assert drawn.index(artists["train"]) < drawn.index(artists["validation"])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["training", "validation"]


def test_figure_1_has_units_and_runs_as_kiel_diagrams_do():
    fig = figure()
    sample_plots.draw_figure_1(fig, TRAIN, VALIDATION, LABELS, "t")
    kiel, metallicity = fig.axes
    assert {kiel.get_xlabel(), metallicity.get_xlabel()} == {r"$T_\mathrm{eff}$ (K)"}
    assert (kiel.get_ylabel(), metallicity.get_ylabel()) == (r"$\log\,g$ (dex)", "[Fe/H] (dex)")
    assert kiel.xaxis.get_inverted()
    assert kiel.yaxis.get_inverted()
    assert metallicity.xaxis.get_inverted()
    assert not metallicity.yaxis.get_inverted()


def test_figure_1_leaves_out_stars_without_labels():
    holed = {name: np.where(np.arange(200) < 3, np.nan, values) for name, values in VALIDATION.items()}
    artists = sample_plots.draw_figure_1(figure(), TRAIN, holed, LABELS, "t")
    assert len(artists["fe_h"]["validation"].get_offsets()) == 197


def test_figure_6_counts_every_star_in_common_bins():
    axes = figure().subplots()
    artists = sample_plots.plot_figure_6(axes, TRAIN["parallax"], VALIDATION["parallax"])
    for split, stars in (("train", TRAIN), ("validation", VALIDATION)):
        counts, edges, _ = artists[split].get_data()
        assert counts.sum() == len(stars["parallax"])
        inside = (stars["parallax"] >= edges[7]) & (stars["parallax"] < edges[8])
        assert counts[7] == inside.sum()
        np.testing.assert_allclose(np.diff(np.log10(edges)), np.log10(edges[1] / edges[0]))
    np.testing.assert_array_equal(artists["train"].get_data().edges, artists["validation"].get_data().edges)


def test_figure_6_is_a_black_line_and_a_dashed_vermilion_one_on_logarithmic_axes():
    axes = figure().subplots()
    artists = sample_plots.plot_figure_6(axes, TRAIN["parallax"], VALIDATION["parallax"])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == "parallax (mas)"
    assert to_hex(artists["train"].get_edgecolor()) == "#000000"
    assert to_hex(artists["validation"].get_edgecolor()) == VERMILION
    assert artists["train"].get_linestyle() in ("-", "solid")
    assert artists["validation"].get_linestyle() in ("--", "dashed")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]


@pytest.mark.parametrize(
    "bad", [np.array([-0.1, 0.0, np.nan]), np.array([]), np.array([2.0])], ids=["no number", "none", "one"]
)
def test_figure_6_leaves_out_parallaxes_that_have_no_logarithm(bad, tmp_path):
    fig = figure()
    artists = sample_plots.plot_figure_6(fig.subplots(), bad, bad)
    fig.savefig(tmp_path / "figure.png", dpi=30)
    n_drawn = artists["train"].get_data().values.sum() if artists else 0
    assert n_drawn == np.sum(bad > 0)
