"""The paper's Figs. 11 and 12, predictions against another survey's labels; the caller saves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acf_jax.labels import LABELS
from acf_jax.metrics.residuals import TrendPoint
from acf_jax.plots.predictions import (
    BLUE,
    SYMBOLS,
    VERMILION,
    Drawn,
    ParameterSample,
    density_scatter,
    limits_about,
    moments_in_words,
    reach,
)

FIGURE_INCHES = (7.1, 2.8)
"""The width of a page of two columns, for three panels."""

TREND_INCHES = 1.6  # the height of a row of trends
TITLE_INCHES = 0.45
Columns = Mapping[str, np.ndarray]
"""Values by target, (m,) each."""

FONT_PT = 8
MARGIN = 0.06  # of the labels' range
OUTLINE = patheffects.withStroke(linewidth=2.6, foreground="white")  # the line crosses points of nearly its colour


def draw(
    labels: Columns,
    answers: Columns,
    trends: Mapping[str, Mapping[str, Sequence[TrendPoint]]],
    survey: str,
    *,
    trained_on: tuple[Columns, Columns] | None = None,
    title: str = "",
) -> tuple[Figure, Figure]:
    """Parameters against a survey's labels, and the residuals along these.

    Args:
        labels: the survey's.
        answers: ours.
        trends: points by target and label: for each target a panel, and a row of panels.
        survey: its name, for the axes.
        trained_on: labels and answers of the stars that the network was trained on, to be marked; none by default.
        title: above both; none by default.

    Returns:
        the two figures.
    """
    samples, marked = (
        [ParameterSample(t, LABELS[t], of[0][t], of[1][t]) for t in trends] if of else []
        for of in ((labels, answers), trained_on)
    )
    width = max(FIGURE_INCHES[0] * len(samples) / 3, FIGURE_INCHES[1])
    comparison, along = (
        Figure(figsize=(width, height + (TITLE_INCHES if title else 0)), layout="constrained")
        for height in (FIGURE_INCHES[1], TREND_INCHES * len(samples))
    )
    draw_comparison(comparison, samples, survey, marked)
    draw_trends(along, labels, answers, trends, survey)
    for figure in (comparison, along) if title else ():
        figure.suptitle(textwrap.fill(title, round(18 * width)), fontsize=FONT_PT)
    return comparison, along


def draw_comparison(
    figure: Figure, samples: Sequence[ParameterSample], survey: str, trained_on: Sequence[ParameterSample] = ()
) -> list[Drawn]:
    """A panel per parameter: predictions against the survey's labels, the density's colour bar above.

    Args:
        figure: empty, of about `FIGURE_INCHES`, with constrained layout.
        samples: what each panel shows; `label` is the survey's.
        survey: its name, for the axes.
        trained_on: the same parameters of the stars that the network was trained on, to be marked; none by default.

    Returns:
        each panel's artists, as of `plot_comparison`, and where stars are marked `trained_on`.
    """
    panels = figure.subplots(1, len(samples), squeeze=False)[0]
    drawn = [plot_comparison(axes, sample, survey) for axes, sample in zip(panels, samples, strict=True)]
    for axes, artists, marked in zip(panels, drawn, trained_on, strict=False):
        (artists["trained_on"],) = axes.plot(
            marked.label, marked.prediction, ".", color="0.6", ms=1.5, zorder=0, rasterized=True, label="trained on"
        )
    if trained_on:
        panels[-1].legend(loc="lower right", fontsize=FONT_PT - 1, markerscale=5, handletextpad=0)
    return drawn


def draw_trends(
    figure: Figure,
    labels: Columns,
    answers: Columns,
    trends: Mapping[str, Mapping[str, Sequence[TrendPoint]]],
    survey: str,
) -> dict[tuple[str, str], Drawn]:
    """Residuals along each of the survey's labels with their running median: a row per residual, a column per label.

    Args:
        figure: empty, of `TREND_INCHES` a row, with constrained layout.
        labels: the survey's.
        answers: ours.
        trends: points by target and label.
        survey: its name, for the axes.

    Returns:
        artists by target and label: `scatter`, `zero`, `median`, `spread` (a band of 68 % of the stars).
    """
    panels = figure.subplots(len(trends), len(trends), squeeze=False, sharex="col", sharey="row")
    drawn = {}
    for row, (target, of_target) in zip(panels, trends.items(), strict=True):
        residual = np.asarray(answers[target], np.float64) - labels[target]
        height = reach(residual[np.isfinite(residual)])
        row[0].set(ylim=(-height, height))
        row[0].set_ylabel(f"{SYMBOLS[target]} residual ({LABELS[target]})", fontsize=FONT_PT)
        for axes, (along, points) in zip(row, of_target.items(), strict=True):
            good = np.isfinite(residual) & np.isfinite(labels[along])
            x, median, lower, upper = np.array([(p.x, p.median, p.lower, p.upper) for p in points]).reshape(-1, 4).T
            drawn[target, along] = {
                "scatter": density_scatter(axes, np.asarray(labels[along], np.float64)[good], residual[good]),
                "zero": axes.axhline(0, ls="--", color=VERMILION, lw=1.2),
                "spread": axes.fill_between(x, lower, upper, color=BLUE, alpha=0.25, lw=0),
                "median": axes.plot(x, median, "o-", color=BLUE, ms=2.5, lw=1.4, path_effects=[OUTLINE])[0],
            }
            axes.tick_params(labelsize=FONT_PT - 1)
            axes.locator_params(nbins=5)
    for axes, along in zip(panels[-1], trends, strict=True):
        axes.set_xlabel(f"{SYMBOLS[along]} {survey} ({LABELS[along]})", fontsize=FONT_PT)
    return drawn


def plot_comparison(axes: Axes, sample: ParameterSample, survey: str) -> Drawn:
    """One panel of Figs. 11 and 12.

    Args:
        axes: empty.
        sample: what it shows; `label` is the survey's.
        survey: its name, for the axes.

    Returns:
        the artists by name: `scatter`, `one_to_one` (dashed, vermilion), `text` (offset, standard deviation,
        stars) and `colour_bar` (its axes).
    """
    good = np.isfinite(sample.label) & np.isfinite(sample.prediction)
    label, prediction = (np.asarray(v, np.float64)[good] for v in (sample.label, sample.prediction))
    limits = limits_about(label, MARGIN)
    scatter = density_scatter(axes, label, prediction)
    (one_to_one,) = axes.plot(limits, limits, "--", color=VERMILION, lw=1.2, path_effects=[OUTLINE])
    axes.set(xlim=limits, ylim=limits, box_aspect=1)
    axes.set_xlabel(sample.axis(survey), fontsize=FONT_PT)
    axes.set_ylabel(sample.axis("predicted"), fontsize=FONT_PT)
    axes.tick_params(labelsize=FONT_PT)
    axes.locator_params(nbins=5)
    n_beyond = int(np.sum((prediction < limits[0]) | (prediction > limits[1])))
    words = f"{moments_in_words(sample)}\nn = {label.size:,}" + (f"\n{n_beyond} beyond the panel" if n_beyond else "")
    text = axes.text(0.05, 0.95, words, transform=axes.transAxes, va="top", fontsize=FONT_PT)
    bar = axes.figure.colorbar(scatter, ax=axes, location="top", ticks=[0, 0.5, 1], aspect=25, pad=0.02)
    bar.set_label("relative density of stars", fontsize=FONT_PT)
    bar.ax.tick_params(labelsize=FONT_PT)
    return {"scatter": scatter, "one_to_one": one_to_one, "text": text, "colour_bar": bar.ax}
