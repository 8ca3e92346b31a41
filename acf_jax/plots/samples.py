"""The paper's figures of the stars themselves, drawn on a given figure or given axes; the caller saves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acf_jax.plots.predictions import SYMBOLS, VERMILION, Drawn

N_PARALLAX_BINS = 40


def axis_label(name: str, unit: str) -> str:
    """A parameter's symbol and its unit, as in `[Fe/H] (dex)`."""
    return f"{SYMBOLS.get(name, name)} ({unit})"


def plot_splits(axes: Axes, train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]) -> Drawn:
    """Points of two splits, the smaller one's on top: training stars black, validation stars vermilion.

    Args:
        axes: to draw on.
        train: x and y of the training stars, (n,) each; a star with a NaN is not drawn.
        validation: those of the validation stars.

    Returns:
        the artists by name: `train`, `validation`.
    """
    size = float(np.clip(3e4 / max(len(train[0]), 1), 0.4, 6))
    points = {"train": (train, "black", size), "validation": (validation, VERMILION, 0.7 * size)}
    artists: Drawn = {}
    for name, ((x, y), colour, area) in points.items():
        drawn = np.isfinite(x) & np.isfinite(y)
        artists[name] = axes.scatter(
            x[drawn], y[drawn], s=area, color=colour, linewidths=0, label=name.replace("train", "training"),
            rasterized=True,
        )  # fmt: skip
    return artists


def draw_figure_1(
    figure: Figure,
    train: Mapping[str, np.ndarray],
    validation: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    title: str,
) -> dict[str, Drawn]:
    """The paper's Fig. 1: log g (left) and [Fe/H] (right) against Teff; Teff and log g run as in a Kiel diagram.

    Args:
        figure: an empty one.
        train: `teff`, `logg`, `fe_h` of the training stars, (n,) each.
        validation: those of the validation stars.
        units: of each of the three.
        title: states the samples.

    Returns:
        for `logg` and `fe_h` the artists of `plot_splits`.
    """
    figure.suptitle(title)
    panels = figure.subplots(1, 2)
    artists = {}
    for axes, name in zip(panels, ("logg", "fe_h"), strict=True):
        artists[name] = plot_splits(axes, *((split["teff"], split[name]) for split in (train, validation)))
        axes.set(xlabel=axis_label("teff", units["teff"]), ylabel=axis_label(name, units[name]))
        axes.invert_xaxis()
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=4)
    return artists


def plot_figure_6(axes: Axes, train: np.ndarray, validation: np.ndarray) -> Drawn:
    """The paper's Fig. 6: histograms of parallaxes in mas, both axes logarithmic, with common bins.

    Args:
        axes: to draw on.
        train: (n,) of the training stars; those that are not positive have no place here.
        validation: (m,) of the validation stars.

    Returns:
        the artists by name: `train` (a black line), `validation` (a dashed vermilion line).
    """
    train, validation = (values[values > 0] for values in (train, validation))
    both = np.concatenate([train, validation])
    artists: Drawn = {}
    if both.size:
        lowest, highest = both.min(), both.max()
        edges = np.geomspace(lowest, max(highest, 1.001 * lowest), N_PARALLAX_BINS + 1)
        edges[[0, -1]] = lowest, max(highest, edges[-1])  # rounding must not lose the outermost stars
        lines = {"train": (train, "black", "-"), "validation": (validation, VERMILION, "--")}
        for name, (values, colour, style) in lines.items():
            counts, _ = np.histogram(values, edges)
            artists[name] = axes.stairs(
                counts, edges, color=colour, ls=style, lw=1.2, label=name.replace("train", "training")
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(0.7, None)
        axes.legend()
    axes.set(xlabel="parallax (mas)", ylabel="stars per bin")
    return artists
