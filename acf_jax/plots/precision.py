"""Offset and scatter in bins of many quantities at once, drawn on a given figure; the caller saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from acf_jax.metrics.bootstrap import MomentsBin
from acf_jax.plots.predictions import BLUE, SYMBOLS, VERMILION, Drawn

MIN_STARS = 10
"""Bins with fewer stars are neither drawn nor tabulated: their standard deviation says nothing."""

FONT_POINTS = 7
LEGEND = {
    "offsets": "offset about the labels, 95 % interval",
    "spread": "± one standard deviation",
    "true_offsets": "offset about the truth",
}


@dataclass(frozen=True)
class BinnedQuantity:
    """A column of the figure: one quantity's bins, for each target."""

    axis: str  # name and unit
    about_labels: Mapping[str, Sequence[MomentsBin]]  # by target
    about_truth: Mapping[str, Sequence[MomentsBin]] = field(default_factory=dict)
    log: bool = False
    bin_names: tuple[str, ...] | None = None  # of a quantity that has kinds instead of values


def draw_bins(figure: Figure, columns: Sequence[BinnedQuantity], units: Mapping[str, str]) -> list[list[Drawn]]:
    """A grid of panels, a column a quantity and a row a target of `units` ({target: unit}).

    Args:
        figure: empty, with constrained layout.
        columns: the quantities.
        units: of the targets, by their names.

    Returns:
        the artists of each row's panels by name: `zero`; where there are bins of enough stars `offsets` (error
        bars) and `spread` (offset +- std, a band) about the labels, and `true_offsets` about the truth.
    """
    panels = figure.subplots(len(units), len(columns), sharex="col", sharey="row", squeeze=False)
    artists = []
    for row, (target, unit) in zip(panels, units.items(), strict=True):
        artists.append([_draw_panel(axes, column, target) for axes, column in zip(row, columns, strict=True)])
        row[0].set_ylabel(f"{SYMBOLS.get(target, target)}\nresidual ({unit})", fontsize=FONT_POINTS)
        row[0].yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    for axes, column in zip(panels[-1], columns, strict=True):
        _set_x_axis(axes, column)
    for axes in panels.flat:
        axes.tick_params(labelsize=FONT_POINTS, length=2)
    figure.align_ylabels(panels[:, 0])
    drawn = {name: artist for row in artists for panel in row for name, artist in panel.items()}
    # A legend takes containers as well, as of error bars; Matplotlib's annotations don't say so.
    handles = {words: cast(Artist, drawn[name]) for name, words in LEGEND.items() if name in drawn}
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), fontsize=FONT_POINTS
        )
    return artists


def _draw_panel(axes: Axes, column: BinnedQuantity, target: str) -> Drawn:
    artists: Drawn = {"zero": axes.axhline(0, ls="--", color="black", lw=0.8)}
    labels, truth = (
        [b for b in bins.get(target, ()) if b.n >= MIN_STARS] for bins in (column.about_labels, column.about_truth)
    )
    if labels:
        x, offset, std = np.array([(b.median_x, b.offset.value, b.std.value) for b in labels]).T
        if column.bin_names is None and x.size > 1:
            artists["spread"] = axes.fill_between(x, offset - std, offset + std, color=BLUE, alpha=0.2, lw=0)
        else:  # there is nothing between kinds
            artists["spread"] = axes.vlines(x, offset - std, offset + std, color=BLUE, alpha=0.2, lw=7)
        artists["offsets"] = _error_bars(axes, labels, fmt="o", color=BLUE, ms=2.5)
    if truth:
        artists["true_offsets"] = _error_bars(axes, truth, fmt="s", color=VERMILION, mfc="none", ms=4.5)
    return artists


def _error_bars(axes: Axes, bins: Sequence[MomentsBin], **style) -> ErrorbarContainer:
    """Offsets with their bootstrap intervals, at the median of each bin's stars."""
    x, value, lower, upper = np.array([(b.median_x, b.offset.value, b.offset.lower, b.offset.upper) for b in bins]).T
    lengths = np.maximum([value - lower, upper - value], 0)
    return axes.errorbar(x, value, yerr=lengths, lw=0.8, mew=0.8, **style)


def _set_x_axis(axes: Axes, column: BinnedQuantity) -> None:
    axes.set_xlabel(column.axis, fontsize=FONT_POINTS)
    if column.bin_names is not None:
        axes.set_xticks(range(len(column.bin_names)), column.bin_names, rotation=90)
        axes.set_xlim(-0.6, len(column.bin_names) - 0.4)
    elif column.log:
        axes.set_xscale("symlog", linthresh=1)  # a parallax, and with it its S/N, may be negative
        axes.xaxis.set_major_locator(FixedLocator([-100, -10, -1, 1, 10, 100, 1_000]))
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(3, steps=(1, 1.5, 2, 3, 5, 10)))  # 1000 would crowd Teff's numbers
