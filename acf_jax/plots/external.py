"""The paper's Figs. 11 and 12, predictions against another survey's labels, on a given figure; the caller saves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acf_jax.plots.predictions import (
    VERMILION,
    Drawn,
    ParameterSample,
    density_scatter,
    limits_about,
    moments_in_words,
)

FIGURE_INCHES = (7.1, 2.8)
"""The width of a page of two columns."""

FONT_PT = 8
MARGIN = 0.06  # of the labels' range
OUTLINE = patheffects.withStroke(linewidth=2.6, foreground="white")  # the line crosses points of nearly its colour


def draw_comparison(figure: Figure, samples: Sequence[ParameterSample], survey: str) -> list[Drawn]:
    """A panel per parameter: predictions against the survey's labels, the density's colour bar above.

    Args:
        figure: empty, of about `FIGURE_INCHES`, with constrained layout.
        samples: what each panel shows; `label` is the survey's.
        survey: its name, for the axes.

    Returns:
        each panel's artists, as of `plot_comparison`.
    """
    panels = figure.subplots(1, len(samples), squeeze=False)[0]
    return [plot_comparison(axes, sample, survey) for axes, sample in zip(panels, samples, strict=True)]


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
