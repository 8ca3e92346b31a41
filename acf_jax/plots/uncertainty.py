"""Figures that tell whether uncertainties can be trusted, a function each, on given axes; the caller saves.

Colours are those of Okabe and Ito, safe for colour-blind readers; methods differ in line style and marker too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy.stats import binom

from acf_jax.metrics.uncertainty import CoverageBin, ErrorBin, Sparsification
from acf_jax.plots.predictions import Drawn


class Style(TypedDict):
    """Of a method's lines and points."""

    color: str
    ls: str
    marker: str


STYLES: tuple[Style, ...] = (
    {"color": "#d55e00", "ls": "-", "marker": "o"},
    {"color": "#0072b2", "ls": "--", "marker": "s"},
    {"color": "#009e73", "ls": "-.", "marker": "^"},
    {"color": "#cc79a7", "ls": ":", "marker": "D"},
)
"""Of the first, second, ... method."""

FONT_SIZE_PT = 7.5
PIT_BINS = 20


def plot_pit(axes: Axes, pit: np.ndarray, style: Style, name: str) -> Drawn:
    """PIT histogram as a density, with the band that holds 95 % of the bars of a calibrated one.

    Args:
        axes: to draw on.
        pit: (n,) from `uncertainty.pit`; NaN for a star that does not count.
        style: one of `STYLES`.
        name: of the method.

    Returns:
        the artists by name: `bars`, `band`, `uniform`.
    """
    pit = pit[np.isfinite(pit)]
    counts, edges = np.histogram(pit, PIT_BINS, (0, 1))
    per_density = max(pit.size, 1) / PIT_BINS
    bars = axes.stairs(counts / per_density, edges, fill=True, color=style["color"], alpha=0.65)
    band = axes.axhspan(*binom.ppf((0.025, 0.975), pit.size, 1 / PIT_BINS) / per_density, color="0.6", alpha=0.45, lw=0)
    uniform = axes.axhline(1, color="black", ls="--", lw=1)
    axes.set(xlim=(0, 1), ylim=(0, None), xticks=[0, 0.5, 1], xlabel="PIT", ylabel="density")
    axes.set_title(name, fontsize=FONT_SIZE_PT, pad=2)
    _small(axes)
    return {"bars": bars, "band": band, "uniform": uniform}


def plot_reliability(axes: Axes, levels: Sequence[float], observed: Mapping[str, Sequence[float]]) -> Drawn:
    """Observed against nominal coverage of central intervals: on the diagonal if calibrated, below if overconfident.

    Args:
        axes: to draw on.
        levels: (n_levels,) nominal coverages.
        observed: {method: (n_levels,)}.

    Returns:
        the artists by name: `diagonal` and each method's line.
    """
    (diagonal,) = axes.plot([0, 1], [0, 1], color="black", lw=0.8)
    artists: Drawn = {"diagonal": diagonal}
    order = np.argsort(levels)
    for (name, values), style in zip(observed.items(), STYLES, strict=False):
        x, y = np.asarray(levels)[order], np.asarray(values)[order]
        (artists[name],) = axes.plot(x, y, lw=1.2, ms=2.5, label=name, **style)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="nominal coverage", ylabel="observed coverage")
    _small(axes)
    return artists


def plot_sparsification(axes: Axes, curves: Mapping[str, Sparsification]) -> Drawn:
    """RMSE of the stars left, relative to that of all, against the fraction taken away, the most uncertain first.

    Args:
        axes: to draw on.
        curves: {method: curve}, of one sample's predictions, so that all have one oracle.

    Returns:
        the artists by name: `oracle`, `no skill` and each method's line.
    """
    artists: Drawn = {"no skill": axes.axhline(1, color="0.6", lw=0.8)}
    for (name, curve), style in zip(curves.items(), STYLES, strict=False):
        if "oracle" not in artists:
            (artists["oracle"],) = axes.plot(curve.removed, curve.by_error, color="black", lw=0.8, label="oracle")
        colour, line = style["color"], style["ls"]
        (artists[name],) = axes.plot(curve.removed, curve.by_std, lw=1.2, label=name, color=colour, ls=line)
    axes.set(xlim=(0, 1), ylim=(0, 1.15), xlabel="fraction taken away", ylabel="RMSE / RMSE of all")
    _small(axes)
    return artists


def plot_error_against_std(axes: Axes, bins: Mapping[str, Sequence[ErrorBin]], unit: str) -> Drawn:
    """Root mean square residual against predicted standard deviation, both logarithmic: on the diagonal if calibrated.

    Args:
        axes: to draw on.
        bins: {method: bins from `uncertainty.error_against_std`}.
        unit: of the parameter.

    Returns:
        the artists by name: `diagonal` and each method's error bars.
    """
    artists: Drawn = {}
    drawn = {name: [b for b in method_bins if b.std > 0 and b.rmse > 0] for name, method_bins in bins.items()}
    for (name, method_bins), style in zip(drawn.items(), STYLES, strict=False):
        x, y, error = np.array([(b.std, b.rmse, b.rmse_error) for b in method_bins]).reshape(-1, 3).T
        lower = np.minimum(error, 0.9 * y)  # a bar must end above zero
        artists[name] = axes.errorbar(x, y, yerr=(lower, error), lw=1, ms=3, capsize=1.5, label=name, **style)
    every = [value for method_bins in drawn.values() for b in method_bins for value in (b.std, b.rmse)] or [1.0]
    limits = 0.7 * min(every), 1.4 * max(every)
    (artists["diagonal"],) = axes.plot(limits, limits, color="black", lw=0.8)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    for axis in (axes.xaxis, axes.yaxis):  # the range is less than two decades: round numbers, and no powers of ten
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=f"predicted std ({unit})", ylabel=f"RMS residual ({unit})")
    _small(axes)
    return artists


def plot_coverage_in_bins(
    axes: Axes,
    bins: Mapping[str, Sequence[CoverageBin]],
    centres: Sequence[float],
    level: float,
    tolerance: float,
) -> Drawn:
    """Coverage in bins of a quantity, with the nominal one and a band of +- `tolerance` about it.

    Args:
        axes: to draw on.
        bins: {method: (n_bins,)}, the same bins for each; bars are binomial standard errors.
        centres: (n_bins,) where they are drawn, in the quantity's unit.
        level: nominal coverage.
        tolerance: half the band's width.

    Returns:
        the artists by name: `nominal`, `band` and each method's error bars.
    """
    artists: Drawn = {
        "band": axes.axhspan(100 * (level - tolerance), 100 * (level + tolerance), color="0.6", alpha=0.45, lw=0),
        "nominal": axes.axhline(100 * level, color="black", lw=0.8),
    }
    for (name, method_bins), style in zip(bins.items(), STYLES, strict=False):
        coverage = np.array([b.coverage for b in method_bins])
        error = np.sqrt(coverage * (1 - coverage) / np.maximum([b.n for b in method_bins], 1))
        artists[name] = axes.errorbar(
            centres, 100 * coverage, yerr=100 * error, lw=1, ms=3, capsize=1.5, label=name, **style
        )
    _small(axes)
    return artists


def _small(axes: Axes) -> None:
    axes.tick_params(labelsize=FONT_SIZE_PT)
    axes.xaxis.label.set_fontsize(FONT_SIZE_PT)
    axes.yaxis.label.set_fontsize(FONT_SIZE_PT)
