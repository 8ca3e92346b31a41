"""The figures of the section on uncertainty, before and after calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acf_jax.calibration.errors import LEVELS
from acf_jax.labels import LABELS
from acf_jax.metrics.uncertainty import coverage, error_against_std, inside, pit, sparsification, usable
from acf_jax.plots.uncertainty import (
    FONT_SIZE_PT,
    STYLES,
    plot_coverage_in_bins,
    plot_error_against_std,
    plot_pit,
    plot_reliability,
    plot_sparsification,
)
from acf_jax.report.context import Context, labels_of
from acf_jax.report.quantities import Quantity
from acf_jax.report.section import FigureFile
from acf_jax.report.sections.uncertainty.coverage_goal import BIN_TOLERANCE, bins_of, known_and_label_quantities
from acf_jax.report.sections.uncertainty.methods import CONFORMAL, MC, SCALED, Method
from acf_jax.report.words import NAMES

WIDTH_INCHES = 7.2
BIN_LEVEL = 0.6827
Measured = TypeVar("Measured")
MIN_STARS_DRAWN = 50  # in a bin; with fewer its error bar fills the panel


def save_all(context: Context, methods: Sequence[Method]) -> tuple[FigureFile, ...]:
    """Draw and save the figures for the validation split, about the labels."""
    sample = f"({context.name}, {context.sample()}, about the labels)"
    drawn = (
        (
            "uncertainty_pit", _draw_pit,
            "PIT histograms, as Monte Carlo dropout gives the uncertainties and after variance scaling: flat if "
            "calibrated (95 % of a calibrated one's bars end in the grey band), a U if overconfident",
        ),
        ("uncertainty_reliability", _draw_reliability, "Observed against nominal coverage of central intervals"),
        (
            "uncertainty_sparsification", _draw_sparsification,
            "RMSE of the stars left when the most uncertain are taken away, against an oracle that knows the errors",
        ),
        (
            "uncertainty_error", _draw_error_against_std,
            "Root mean square residual in ten equally filled bins of predicted standard deviation, with its error",
        ),
        (
            "uncertainty_bins", _draw_coverage_in_bins,
            f"Coverage of 68.27 % intervals in bins, with binomial errors; grey: within {100 * BIN_TOLERANCE:.0f} "
            "points of nominal",
        ),
    )  # fmt: skip
    files = []
    for name, draw, caption in drawn:
        figure = Figure(layout="constrained")
        draw(figure, context, methods)
        files.append(context.save(figure, name, f"{caption} {sample}."))
    return tuple(files)


def _draw_pit(figure: Figure, context: Context, methods: Sequence[Method]) -> None:
    """A row for the paper's uncertainty and, where there is one, for the scaled; a column for each parameter."""
    drawn = [method for method in methods if method.name in (MC, SCALED)]
    figure.set_size_inches(WIDTH_INCHES, 0.5 + 1.6 * len(drawn))
    mean, labels = context.prediction().mean, labels_of(context.stars(), context.targets)
    grid = figure.subplots(len(drawn), len(context.targets), squeeze=False)
    for method, style, row in zip(drawn, STYLES, grid, strict=False):
        for i, axes in enumerate(row):
            good = usable(mean[:, i], method.std[:, i], labels[:, i])
            values = pit(mean[good, i], method.std[good, i], labels[good, i])
            plot_pit(axes, values, style, f"{NAMES[context.targets[i]]}, {method.name}")


def _draw_reliability(figure: Figure, context: Context, methods: Sequence[Method]) -> None:
    """A panel for each parameter, a line for each method."""
    labels = labels_of(context.stars(), context.targets)
    bounds = {method.name: [method.interval(level) for level in LEVELS] for method in methods}

    def draw(axes: Axes, i: int) -> None:
        observed = {
            name: [coverage(lower[:, i], upper[:, i], labels[:, i]) for lower, upper in by_level]
            for name, by_level in bounds.items()
        }
        plot_reliability(axes, LEVELS, observed)

    _panels(figure, context, draw)


def _draw_sparsification(figure: Figure, context: Context, methods: Sequence[Method]) -> None:
    """A panel for each parameter, a curve for each method that gives a distribution."""
    _panels(figure, context, lambda axes, i: plot_sparsification(axes, _by_method(context, methods, i, sparsification)))


def _draw_error_against_std(figure: Figure, context: Context, methods: Sequence[Method]) -> None:
    """A panel for each parameter, a line for each method that gives a distribution."""

    def draw(axes: Axes, i: int) -> None:
        plot_error_against_std(axes, _by_method(context, methods, i, error_against_std), LABELS[context.targets[i]])

    _panels(figure, context, draw)


def _draw_coverage_in_bins(figure: Figure, context: Context, methods: Sequence[Method]) -> None:
    """A row for each parameter; columns: its predicted value, its label, and whatever else stars are binned in."""
    known, in_labels = known_and_label_quantities(context, context.prediction().mean)
    others = [each for each in known if not each.key.startswith("predicted_")]
    labels = labels_of(context.stars(), context.targets)
    drawn = [method for method in methods if method.name in (MC, CONFORMAL)]
    bounds = {method.name: method.interval(BIN_LEVEL) for method in drawn}
    figure.set_size_inches(WIDTH_INCHES, 0.5 + 1.5 * len(context.targets))
    grid = figure.subplots(len(context.targets), 2 + len(others), squeeze=False, sharey="row")
    for i, row in enumerate(grid):
        covered = {name: inside(low[:, i], high[:, i], labels[:, i]) for name, (low, high) in bounds.items()}
        for axes, quantity in zip(row, (known[i], in_labels[i], *others), strict=True):
            _coverage_panel(axes, quantity, covered)
        row[0].set_ylabel(f"{NAMES[context.targets[i]]}: coverage (%)", fontsize=FONT_SIZE_PT)
    _legend(figure, grid[0][0])


def _coverage_panel(axes: Axes, quantity: Quantity, covered: Mapping[str, np.ndarray]) -> None:
    bins = {name: bins_of(is_inside, quantity) for name, is_inside in covered.items()}
    enough = [i for i, each in enumerate(next(iter(bins.values()))) if each.n >= MIN_STARS_DRAWN]
    drawn = {name: [in_bins[i] for i in enough] for name, in_bins in bins.items()}
    plot_coverage_in_bins(axes, drawn, [_centre(quantity, i) for i in enough], BIN_LEVEL, BIN_TOLERANCE)
    axes.set_xlabel(quantity.axis, fontsize=FONT_SIZE_PT)
    if quantity.log:
        axes.set_xscale("log")


def _centre(quantity: Quantity, i: int) -> float:
    """The median of a bin's stars: a bin may be open."""
    lower, upper = quantity.edges[i : i + 2]
    return float(np.median(quantity.x[(quantity.x >= lower) & (quantity.x <= upper)]))


def _by_method(
    context: Context, methods: Sequence[Method], i: int, function: Callable[[np.ndarray, np.ndarray], Measured]
) -> dict[str, Measured]:
    """{method: function(residual, std)} of the methods that give a distribution; without stars nothing."""
    residual = context.prediction().mean[:, i] - labels_of(context.stars(), context.targets)[:, i]
    found = {}
    for method in methods:
        good = usable(residual, method.std[:, i], residual)
        if method.is_density and good.any():
            found[method.name] = function(residual[good], method.std[good, i])
    return found


def _panels(figure: Figure, context: Context, draw: Callable[[Axes, int], object]) -> None:
    figure.set_size_inches(WIDTH_INCHES, 2.9)
    row = figure.subplots(1, len(context.targets), squeeze=False)[0]
    for i, axes in enumerate(row):
        draw(axes, i)
        axes.set_title(NAMES[context.targets[i]], fontsize=FONT_SIZE_PT + 1)
    _legend(figure, row[0])


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=max(len(names), 1), fontsize=FONT_SIZE_PT)
