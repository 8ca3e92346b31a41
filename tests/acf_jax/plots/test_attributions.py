"""The figures by what they show."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from acf_jax.metrics.bootstrap import Estimate
from acf_jax.metrics.measurements import Measurement
from acf_jax.plots import attributions as attribution_plots

BANDS, TARGETS = "uvgriz", ("teff", "logg", "fe_h")
RNG = np.random.default_rng(0)


def figure(width=7.2, height=5):
    return Figure(figsize=(width, height), layout="constrained")


def test_a_star_and_what_its_pixels_add(tmp_path):
    stamp, attributions = RNG.normal(size=(48, 48, 6)), RNG.normal(size=(3, 48, 48, 6))
    fig = figure()
    images = attribution_plots.draw_star(fig, stamp, attributions, BANDS, TARGETS)
    assert list(images) == ["stamp", *TARGETS]
    inner = slice(12, 36)
    for band in range(6):
        np.testing.assert_array_equal(images["stamp"][band].get_array(), stamp[inner, inner, band])
        for i, target in enumerate(TARGETS):
            image = images[target][band]
            np.testing.assert_array_equal(image.get_array(), attributions[i, inner, inner, band])
            assert image.norm.vmin == -image.norm.vmax == -np.abs(attributions[i, inner, inner]).max()
            total = attributions[i, ..., band].sum()
            assert image.axes.texts[0].get_text() == f"{total:+.{0 if target == 'teff' else 2}f}"
    assert [image.axes.get_title() for image in images["stamp"]] == list(BANDS)
    labels = [axes.get_ylabel() for axes in fig.axes if axes.get_ylabel()]
    assert labels == ["flux\n(uJy / pix)", "$T_\\mathrm{eff}$\n(K / pix)", "$\\log\\,g$\n(dex / pix)", "[Fe/H]\n(dex / pix)"]  # fmt: skip  # noqa: E501
    fig.savefig(tmp_path / "star.png", dpi=30)


def test_mean_maps_show_pixels_and_shares_of_bands(tmp_path):
    maps = RNG.uniform(size=(3, 48, 48, 6)) ** 4
    maps /= maps.sum(axis=(1, 2, 3), keepdims=True)
    fig = figure()
    images = attribution_plots.draw_mean_maps(fig, maps, BANDS, TARGETS)
    for i, target in enumerate(TARGETS):
        for band in range(6):
            np.testing.assert_array_equal(images[target][band].get_array(), maps[i, 12:36, 12:36, band])
            assert images[target][band].axes.texts[0].get_text() == f"{100 * maps[i, ..., band].sum():.0f} %"
            assert images[target][band].norm.vmax == maps.max()
    assert images["logg"][0].axes.get_ylabel() == r"$\log\,g$"
    fig.savefig(tmp_path / "maps.png", dpi=30)


def test_left_out_inputs_are_drawn_with_their_intervals(tmp_path):
    inputs = [*BANDS, "parallax"]
    ratios = [
        Measurement(
            "ACF", target, "truth", "std_ratio", group=group, inputs=f"without {name}",
            estimate=Estimate(1 + 0.1 * k + 0.01 * i, 1 + 0.1 * k, 1.08 + 0.1 * k, 0.02, 100),
        )
        for k, group in enumerate(["all", "hot"])
        for target in TARGETS
        for i, name in enumerate(inputs)
    ]  # fmt: skip
    fig = figure(3.5, 5)
    panels = attribution_plots.draw_left_out(fig, ratios, TARGETS)
    for target in TARGETS:
        assert list(panels[target]["unity"].get_ydata()) == [1, 1]
        for k, group in enumerate(["all", "hot"]):
            points, _, (bars,) = panels[target][group]
            np.testing.assert_allclose(points.get_ydata(), 1 + 0.1 * k + 0.01 * np.arange(7))
            np.testing.assert_allclose([s[:, 1] for s in bars.get_segments()], [[1 + 0.1 * k, 1.08 + 0.1 * k]] * 7)
    bottom = panels["fe_h"]["axes"]
    assert [tick.get_text() for tick in bottom.get_xticklabels()] == inputs
    assert [text.get_text() for text in panels["teff"]["axes"].get_legend().get_texts()] == ["all", "hot"]
    fig.savefig(tmp_path / "left_out.png", dpi=30)


def test_responses_are_drawn_side_by_side(tmp_path):
    network, photometry = RNG.normal(size=(2, 3, 6))
    fig = figure(3.5, 5)
    panels = attribution_plots.draw_responses(
        fig, {"ACF": network, "regression on magnitudes": photometry}, BANDS, TARGETS
    )
    for i, target in enumerate(TARGETS):
        for bars, expected in (("ACF", network), ("regression on magnitudes", photometry)):
            np.testing.assert_allclose([bar.get_height() for bar in panels[target][bars]], 0.01 * expected[i])
    assert panels["teff"]["axes"].get_ylabel() == "$T_\\mathrm{eff}$, K\nper +0.01 mag"
    assert [t.get_text() for t in panels["teff"]["axes"].get_legend().get_texts()] == [
        "ACF",
        "regression on magnitudes",
    ]
    fig.savefig(tmp_path / "responses.png", dpi=30)


@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_maps_of_nothing_are_drawn(value, tmp_path):
    fig = figure()
    attribution_plots.draw_star(fig, np.full((8, 8, 2), value), np.full((1, 8, 8, 2), value), "gr", ["teff"])
    fig.savefig(tmp_path / "nothing.png", dpi=30)


def test_letters_are_readable_at_column_width():
    fig = figure(3.5, 5)
    attribution_plots.draw_responses(fig, dict.fromkeys(("ACF", "regression"), np.ones((3, 6))), BANDS, TARGETS)
    for axes in fig.axes:
        words = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
        assert min(word.get_fontsize() for word in words) >= 7
