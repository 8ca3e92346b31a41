"""Figures of what a network looks at: attribution maps, the effect of leaving a band out, responses to magnitudes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from acf_jax.labels import LABELS
from acf_jax.metrics.measurements import Measurement, distinct, select
from acf_jax.plots.predictions import BLUE, SYMBOLS, VERMILION, Drawn

SHOWN_PX = 24  # side of what is shown of a stamp: the star, and enough sky to see that it does not matter
ORANGE, GREEN = "#e69f00", "#009e73"  # of Okabe and Ito, as the blue and the vermilion
GROUP_STYLES = (("black", "o"), (VERMILION, "^"), (BLUE, "s"), (GREEN, "D"), (ORANGE, "v"))
FONT_PT = 8


def draw_star(
    figure: Figure, stamp: np.ndarray, attributions: np.ndarray, bands: str, targets: Sequence[str]
) -> dict[str, list[AxesImage]]:
    """A star's stamp and, below it, what each pixel adds to each answer.

    Args:
        figure: empty, some 7 in wide.
        stamp: (y, x, band) in uJy / pix.
        attributions: (n_targets, y, x, band) in the targets' units.
        bands: a column each.
        targets: a row each, below the stamp's.

    Returns:
        the images by row, `stamp` and each target's name, in the order of the bands.
    """
    rows = figure.subplots(1 + len(targets), len(bands), squeeze=False)
    flux = _central(stamp)
    sky = 1.4826 * np.median(np.abs(flux - np.median(flux))) or 1.0
    norm = SymLogNorm(linthresh=3 * sky, vmin=min(flux.min(), 0), vmax=max(flux.max(), 4 * sky))
    images = {"stamp": _map_row(rows[0], flux, norm, "cividis")}
    _bar(figure, rows[0], images["stamp"][0], "flux\n(uJy / pix)")
    for row, target, values in zip(rows[1:], targets, attributions, strict=True):
        shown, unit = _central(values), LABELS[target]
        reach = float(np.abs(shown).max()) or 1.0
        # A hundredth of the largest pixel is where colour begins: linear colours would show the core alone.
        images[target] = _map_row(row, shown, SymLogNorm(linthresh=reach / 100, vmin=-reach, vmax=reach), "PuOr")
        for axes, total in zip(row, values.sum(axis=(0, 1)), strict=True):
            decimals = 0 if unit == "K" else 2
            _note(axes, f"{total:+z.{decimals}f}")
        bar = _bar(figure, row, images[target][0], f"{SYMBOLS.get(target, target)}\n({unit} / pix)")
        bar.set_ticks([-reach, 0, reach], labels=[f"{value:+.2g}" if value else "0" for value in (-reach, 0, reach)])
    _name_bands(rows[0], bands)
    return images


def draw_mean_maps(
    figure: Figure, mean_maps: np.ndarray, bands: str, targets: Sequence[str]
) -> dict[str, list[AxesImage]]:
    """Where the network looks: the mean share of the absolute attribution by pixel and band, a row per target.

    Args:
        figure: empty, some 7 in wide.
        mean_maps: (n_targets, y, x, band), sums of 1 over pixels and bands.
        bands: a column each.
        targets: a row each.

    Returns:
        the images by target, in the order of the bands.
    """
    rows = figure.subplots(len(targets), len(bands), squeeze=False)
    top = mean_maps.max() or 1.0
    images = {}
    for row, target, values in zip(rows, targets, mean_maps, strict=True):
        images[target] = _map_row(row, _central(values), LogNorm(top / 1e3, top, clip=True), "cividis")
        for axes, share in zip(row, values.sum(axis=(0, 1)), strict=True):
            _note(axes, f"{100 * share:.0f} %")
        row[0].set_ylabel(SYMBOLS.get(target, target), fontsize=FONT_PT)
    _name_bands(rows[0], bands)
    _bar(figure, rows.ravel(), images[targets[0]][0], "share of the attribution per pixel")
    return images


def draw_left_out(figure: Figure, ratios: Sequence[Measurement], targets: Sequence[str]) -> dict[str, Drawn]:
    """How many times larger the residuals scatter without each input, a panel per target, with 95 % intervals.

    Args:
        figure: empty, some 3.5 in wide.
        ratios: of one method, by group of stars, target and inputs, as in "without v".
        targets: a panel each.

    Returns:
        by target: `axes`, `unity` (the line at 1) and the error bars by group.
    """
    inputs, groups = distinct(ratios, "inputs"), distinct(ratios, "group")
    panels = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    artists: dict[str, Drawn] = {}
    for axes, target in zip(panels, targets, strict=True):
        drawn: Drawn = {"axes": axes, "unity": axes.axhline(1, ls="--", lw=1, color="0.5")}
        for k, (group, (colour, marker)) in enumerate(zip(groups, GROUP_STYLES, strict=False)):
            shown = [m.estimate for m in select(ratios, group=group, target=target)]
            value, lower, upper = np.array([(e.value, e.lower, e.upper) for e in shown]).T
            x = np.arange(len(inputs)) + 0.15 * (k - (len(groups) - 1) / 2)
            drawn[group] = axes.errorbar(
                x, value, yerr=np.maximum([value - lower, upper - value], 0), fmt=marker, color=colour, ms=3.5, lw=1,
                label=group,
            )  # fmt: skip
        axes.set_ylabel(f"{SYMBOLS.get(target, target)}\nscatter without / with", fontsize=FONT_PT)
        axes.tick_params(labelsize=8)
        artists[target] = drawn
    panels[-1].set_xticks(range(len(inputs)), [name.removeprefix("without ") for name in inputs])
    panels[-1].set_xlabel("left out", fontsize=FONT_PT)
    panels[0].legend(fontsize=7)
    return artists


def draw_responses(
    figure: Figure, responses: Mapping[str, np.ndarray], bands: str, targets: Sequence[str]
) -> dict[str, Drawn]:
    """What 0.01 mag in one band do to the answer: a network beside a regression on magnitudes, a panel per target.

    Args:
        figure: empty, some 3.5 in wide.
        responses: by method, (n_targets, n_bands), d(answer) / d(magnitude), per mag.
        bands: names of the bands.
        targets: a panel each.

    Returns:
        by target: `axes` and the bars by method.
    """
    panels = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    artists: dict[str, Drawn] = {}
    for i, (axes, target) in enumerate(zip(panels, targets, strict=True)):
        artists[target] = {"axes": axes}
        for k, ((name, response), colour) in enumerate(zip(responses.items(), (BLUE, ORANGE), strict=True)):
            x = np.arange(len(bands)) + 0.4 * k - 0.2
            artists[target][name] = axes.bar(x, 0.01 * response[i], 0.4, color=colour, label=name)
        axes.axhline(0, color="black", lw=0.8)
        axes.set_ylabel(f"{SYMBOLS.get(target, target)}, {LABELS[target]}\nper +0.01 mag", fontsize=FONT_PT)
        axes.tick_params(labelsize=8)
    panels[-1].set_xticks(range(len(bands)), list(bands))
    panels[-1].set_xlabel("band made 0.01 mag fainter", fontsize=FONT_PT)
    panels[0].legend(fontsize=7)
    return artists


def _central(maps: np.ndarray) -> np.ndarray:
    """The middle of maps (y, x, band)."""
    ny, nx = maps.shape[:2]
    height, width = min(SHOWN_PX, ny), min(SHOWN_PX, nx)
    top, left = (ny - height) // 2, (nx - width) // 2
    return maps[top : top + height, left : left + width]


def _map_row(row: Sequence[Axes], maps: np.ndarray, norm, colours: str) -> list[AxesImage]:
    images = []
    for axes, image in zip(row, np.moveaxis(maps, -1, 0), strict=True):
        images.append(axes.imshow(image, origin="lower", norm=norm, cmap=colours, interpolation="nearest"))
        axes.set(xticks=[], yticks=[])
    return images


def _name_bands(row: Sequence[Axes], bands: str) -> None:
    for axes, band in zip(row, bands, strict=True):
        axes.set_title(band, fontsize=FONT_PT)


def _note(axes: Axes, words: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axes.text(0.05, 0.95, words, transform=axes.transAxes, va="top", fontsize=7, bbox=box)


def _bar(figure: Figure, row: Iterable[Axes], image: AxesImage, label: str) -> Colorbar:
    bar = figure.colorbar(image, ax=list(row), pad=0.01, aspect=12, fraction=0.03)
    bar.set_label(label, fontsize=FONT_PT)
    bar.ax.tick_params(labelsize=7)
    return bar
