"""Figs. 14, 15 and 16: what they show is what is in the maps, and all of it can be read at a column's width."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.text import Text

from acf_jax.catalogue.figures.drawings import draw_figure_14, draw_figure_15, draw_figure_16
from acf_jax.catalogue.figures.maps import GalaxyMap, KielMap, SkyMap, fill
from acf_jax.plots.predictions import COLUMN_IN, for_print
from tests.acf_jax.catalogue import galaxy


@pytest.fixture(scope="module")
def maps():
    maps = SkyMap(), KielMap(), GalaxyMap()
    fill(maps, [galaxy.rows_of()])
    return maps


def new_figure():
    return Figure(figsize=(3.5, 3), layout="constrained")


def test_figure_14_shows_the_density_of_every_cell_and_dashes_at_ten_degrees(maps):
    artists = draw_figure_14(new_figure(), maps[0], "mock sky")
    drawn = artists["density"].get_array()
    expected = maps[0].density_per_deg2(np.arange(-179.75, 180, 0.5)).T
    np.testing.assert_allclose(drawn.filled(0), expected)
    assert isinstance(artists["density"].norm, LogNorm)
    for name, b_deg in (("south", -10), ("north", 10)):
        np.testing.assert_allclose(np.degrees(artists[name].get_ydata()), b_deg)
        assert artists[name].get_linestyle() == "--"


def test_figure_14_has_longitude_growing_to_the_left():
    sky, figure = SkyMap(), new_figure()
    sky.add({"glon": np.array([90.0]), "glat": np.array([0.5])})
    mesh = draw_figure_14(figure, sky, "t")["density"]
    corners = mesh.get_coordinates()
    shown = ~np.ma.getmaskarray(mesh.get_array())
    x_rad = corners[:-1, :-1, 0][shown]
    np.testing.assert_allclose(np.degrees(x_rad), -90, atol=2.5)
    labels = {t.get_text(): np.degrees(t.get_position()[0]) for t in figure.axes[0].get_xticklabels()}
    assert {"60°": -60, "300°": 60, "0°": 0}.items() <= {k: round(v) for k, v in labels.items()}.items()


def test_figure_15_shows_counts_and_medians_with_both_axes_reversed(maps):
    figure = new_figure()
    artists = draw_figure_15(figure, maps[1], "mock sky")
    rows = galaxy.rows_of()
    with_result = np.isfinite(rows["teff"])
    counts, teff_edges, logg_edges = np.histogram2d(
        rows["teff"][with_result], rows["logg"][with_result], [np.arange(2500, 10_001, 25), -1 + 0.04 * np.arange(176)]
    )
    np.testing.assert_array_equal(artists["density"].get_array().filled(0), counts.T)
    np.testing.assert_allclose(artists["density"].get_coordinates()[0, :, 0], teff_edges)
    np.testing.assert_allclose(artists["density"].get_coordinates()[:, 0, 1], logg_edges)
    np.testing.assert_allclose(artists["fe_h"].get_array().filled(np.nan), maps[1].fe_h.medians().T)
    left, right = figure.axes[:2]
    assert left.xaxis.get_inverted()
    assert left.yaxis.get_inverted()
    assert right.xaxis.get_inverted()
    assert right.yaxis.get_inverted()
    assert (left.get_xlabel(), left.get_ylabel()) == (r"$T_\mathrm{eff}$ (K)", r"$\log\,g$ (dex)")
    for values, limits in ((rows["teff"], left.get_xlim()), (rows["logg"], left.get_ylim())):
        assert min(limits) < np.nanmin(values)
        assert max(limits) > np.nanmax(values)


def test_figures_15_and_16_draw_all_below_minus_two_in_one_colour(maps):
    for draw, of_figure in ((draw_figure_15, maps[1]), (draw_figure_16, maps[2])):
        mesh = draw(new_figure(), of_figure, "t")["fe_h"]
        assert mesh.norm.vmin == -2
        assert mesh.cmap(mesh.norm(-2.9)) == mesh.cmap(mesh.norm(-2.0)) == matplotlib.colormaps["cividis"](0)


def test_figure_16_shows_medians_in_r_and_z_the_sun_and_the_frames_constants(maps):
    figure = new_figure()
    artists = draw_figure_16(figure, maps[2], "mock sky")
    np.testing.assert_allclose(artists["fe_h"].get_array().filled(np.nan), maps[2].fe_h.medians().T)
    corners = artists["fe_h"].get_coordinates()
    np.testing.assert_allclose(np.diff(corners[0, :, 0]), 0.2)
    np.testing.assert_allclose(np.diff(corners[:, 0, 1]), 0.15)
    assert (artists["sun"].get_xdata()[0], artists["sun"].get_ydata()[0]) == (8.122, 0.0208)
    title = figure.get_suptitle()
    assert all(words in title for words in ("mock sky", "R = 8.122 kpc", "z = 20.8 pc", "1/parallax", "> 5"))
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("R (kpc)", "z (kpc)")


@pytest.mark.parametrize(
    ("i", "draw", "height_in"), [(0, draw_figure_14, 2.6), (1, draw_figure_15, 2.9), (2, draw_figure_16, 3.2)]
)
def test_at_a_columns_width_all_is_readable_and_nothing_overlaps_or_is_cut_off(maps, i, draw, height_in):
    figure = for_print(COLUMN_IN, height_in, lambda figure: draw(figure, maps[i], "mock sky, a sample; n = 2,960"))
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    texts = [(t, t.get_window_extent()) for t in texts if t.get_window_extent().width > 1.5]
    assert min(text.get_fontsize() for text, _ in texts) >= 7
    whole, ticks = figure.bbox, {t for axes in figure.axes for t in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    others = [(text.get_text(), box) for text, box in texts if text not in ticks]
    assert not [w for w, b in others if b.x0 < whole.x0 or b.x1 > whole.x1 or b.y0 < whole.y0 or b.y1 > whole.y1]
    assert not [(a, b) for (a, at), (b, there) in itertools.combinations(others, 2) if at.overlaps(there)]
    for axes in figure.axes:  # tick labels of one axis do not touch
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [t.get_window_extent() for t in labels if t.get_text() and t.get_visible()]
            inside = [b for b in boxes if whole.contains(b.x0, b.y0) and whole.contains(b.x1, b.y1)]
            assert not any(a.overlaps(b) for a, b in itertools.combinations(inside, 2))


@pytest.mark.parametrize("n", [0, 1])
def test_maps_of_no_star_and_of_one_can_be_drawn(n):
    maps = SkyMap(), KielMap(), GalaxyMap()
    fill(maps, [{name: values[50 : 50 + n] for name, values in galaxy.rows_of().items()}])
    for of_figure, draw in zip(maps, (draw_figure_14, draw_figure_15, draw_figure_16), strict=True):
        figure = new_figure()
        draw(figure, of_figure, "t")
        figure.draw_without_rendering()
        assert of_figure.tally.n_used == n
