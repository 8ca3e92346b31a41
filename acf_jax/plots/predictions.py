"""The paper's figures of predictions, drawn on a given figure or given axes; the caller saves.

Colours are safe for colour-blind readers: density runs from purple (sparse, as in the paper) to orange through
`plasma`, lines are black or the vermilion and blue of Okabe and Ito.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.container import Container
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from scipy import ndimage, stats

from acf_jax.metrics.residuals import ResidualBin, residual_metrics

SYMBOLS = {"teff": r"$T_\mathrm{eff}$", "logg": r"$\log\,g$", "fe_h": "[Fe/H]"}
"""How a parameter is written on an axis; a parameter not listed is written as its name."""

Drawn = dict[str, Artist | Container]
"""What was drawn, by name."""

DENSITY_COLOURS = ListedColormap(matplotlib.colormaps["plasma"](np.linspace(0, 0.88, 256)))
VERMILION, BLUE = "#d55e00", "#0072b2"

COLUMN_IN, PAGE_IN = 3.5, 7.1
"""Widths of a printed column and of a printed page."""

MIN_STARS_PER_BIN = 10
"""Bins with fewer stars are left out of the magnitude figure: their standard deviation says nothing."""


@dataclass(frozen=True)
class ParameterSample:
    """One atmospheric parameter over a sample of n stars, all in `unit`; stars with a NaN are not drawn."""

    target: str
    unit: str
    label: np.ndarray  # (n,)
    prediction: np.ndarray  # (n,)
    std: np.ndarray | None = None  # (n,) predicted standard deviation

    def axis(self, what: str) -> str:
        """An axis label: the parameter's symbol, what of it is shown, and its unit."""
        return f"{SYMBOLS.get(self.target, self.target)} {what} ({self.unit})"


class BinnedKDE:
    """Gaussian kernel density estimate in one or two dimensions, in milliseconds for 100,000 points.

    The estimate is that of `scipy.stats.gaussian_kde` (Scott's bandwidth times the points' covariance): in whitened
    coordinates its kernel is round, so that a histogram and a Gaussian filter give it on a grid.
    """

    _CELLS_PER_BANDWIDTH = 6
    _MAX_CELLS = 1500  # along an axis; reached only if outliers lie beyond a hundred standard deviations

    def __init__(self, points: np.ndarray):
        """From finite `points` (n_dims, n) or (n,), at least one; a direction without spread is given a little."""
        points = np.atleast_2d(np.asarray(points, np.float64))
        n_dims, n = points.shape
        self._mean = points.mean(axis=1, keepdims=True)
        scale = points.std(axis=1, ddof=1) if n > 1 else np.zeros(n_dims)
        scale[scale == 0] = 1.0
        standardised = (points - self._mean) / scale[:, None]
        variances, axes = np.linalg.eigh(standardised @ standardised.T / max(n - 1, 1))
        self._whiten = (axes / np.sqrt(np.maximum(variances, 1e-6))).T / scale
        whitened = self._whiten @ (points - self._mean)

        bandwidth = n ** (-1 / (n_dims + 4))
        margin = 5 * bandwidth
        self._start = whitened.min(axis=1) - margin
        span = whitened.max(axis=1) + margin - self._start
        self._cell = max(bandwidth / self._CELLS_PER_BANDWIDTH, span.max() / self._MAX_CELLS)
        n_cells = np.ceil(span / self._cell).astype(int)
        counts, _ = np.histogramdd(
            whitened.T, n_cells, list(zip(self._start, self._start + n_cells * self._cell, strict=True))
        )
        # A histogram is itself a convolution with a box of variance cell^2 / 12.
        sigma = np.sqrt(max((bandwidth / self._cell) ** 2 - 1 / 12, 0.0))
        smooth = ndimage.gaussian_filter(counts, sigma, mode="constant", truncate=5)
        self._density = smooth * abs(np.linalg.det(self._whiten)) / (n * self._cell**n_dims)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Density (m,) at `points` (n_dims, m) or (m,), per unit volume of their coordinates."""
        whitened = self._whiten @ (np.atleast_2d(np.asarray(points, np.float64)) - self._mean)
        cells = (whitened - self._start[:, None]) / self._cell - 0.5
        return ndimage.map_coordinates(self._density, cells, order=1)


def for_print(width_in: float, height_in: float, draw: Callable[[Figure], object]) -> Figure:
    """A figure of a printed size, drawn on by `draw`; text has 7 pt and more if `draw` sets no other sizes.

    Args:
        width_in: inches.
        height_in: inches.
        draw: draws on an empty figure.

    Returns:
        the figure.
    """
    settings = matplotlib.rc_context({
        "font.size": 7.5, "figure.titlesize": 8, "axes.titlesize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7,
        "legend.fontsize": 7, "axes.labelpad": 2, "axes.linewidth": 0.6, "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
    })  # fmt: skip
    with settings:
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure)
        # Axes make their ticks when they are first drawn, which is later; of ticks made now, the others are copies.
        for axis in figure.findobj(Axis):
            axis.get_major_ticks(1)
    return figure


def density_scatter(axes: Axes, x: np.ndarray, y: np.ndarray) -> PathCollection:
    """Points coloured by their kernel density relative to the densest; dense points lie on top.

    Args:
        axes: to draw on.
        x: (n,) finite.
        y: (n,) finite.

    Returns:
        the points.
    """
    density = BinnedKDE(np.stack([x, y]))(np.stack([x, y])) if x.size else np.zeros(0)
    order = np.argsort(density)
    return axes.scatter(
        x[order], y[order], c=density[order] / density.max(initial=1e-300), cmap=DENSITY_COLOURS, vmin=0, vmax=1,
        s=_point_size(x.size), linewidths=0, rasterized=True,
    )  # fmt: skip


def polynomial_band(
    x: np.ndarray, y: np.ndarray, at: np.ndarray, degree: int = 2, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares polynomial of y(x) and the half-width of its confidence band, both at the points `at`.

    The band is that of the curve, not of single stars. Its covariance is White's sandwich, since the scatter of
    uncertainties grows where labels are few and the textbook band takes it to be constant.

    Args:
        x: (n,) finite.
        y: (n,) finite.
        at: (m,) where to tell it.
        degree: of the polynomial.
        confidence: of the band, between 0 and 1.

    Returns:
        (m,) each.

    Raises:
        ValueError: with fewer than degree + 2 points there is no band.
    """
    if x.size < degree + 2:
        raise ValueError(f"a polynomial of degree {degree} with a band needs {degree + 2} stars or more, got {x.size}")
    centre, scale = x.mean(), x.std() or 1.0
    design = np.vander((x - centre) / scale, degree + 1)
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ y
    residual = y - design @ coefficients
    n_free = x.size - degree - 1
    covariance = (inverse * residual**2) @ inverse.T * (x.size / n_free)
    rows = np.vander((np.asarray(at) - centre) / scale, degree + 1)
    half_width = np.sqrt(np.einsum("ij,jk,ik->i", rows, covariance, rows))
    return rows @ coefficients, stats.t.ppf(0.5 + confidence / 2, n_free) * half_width


def plot_regression(figure: Figure | SubFigure, sample: ParameterSample) -> Drawn:
    """One panel of the paper's Fig. 8: predictions against labels, residuals below, their density lower right.

    Returns:
        the artists by name: axes `scatter_axes`, `residual_axes`, `kde_axes`; in them `scatter`,
        `one_to_one`, `text`, `beyond` (how many predictions lie outside), `residuals`, `zero`, `kde`.
    """
    label, prediction = _finite(sample.label, sample.prediction)
    residual = prediction - label
    grid = figure.add_gridspec(2, 2, width_ratios=(4.5, 1), height_ratios=(2.7, 1), wspace=0.02, hspace=0.03)
    scatter_axes = figure.add_subplot(grid[0, 0])
    residual_axes = figure.add_subplot(grid[1, 0], sharex=scatter_axes)
    kde_axes = figure.add_subplot(grid[1, 1], sharey=residual_axes)

    limits = limits_about(label, margin=0.08)
    scatter = density_scatter(scatter_axes, label, prediction)
    (one_to_one,) = scatter_axes.plot(limits, limits, "--", color="black", lw=1.2)
    scatter_axes.set(xlim=limits, ylim=limits, ylabel=sample.axis("predicted"))
    scatter_axes.tick_params(labelbottom=False)
    n_beyond = int(np.sum((prediction < limits[0]) | (prediction > limits[1])))
    text = scatter_axes.text(0.04, 0.96, moments_in_words(sample), transform=scatter_axes.transAxes, va="top")
    words = f"{n_beyond:,} beyond\nthe panel" if n_beyond else ""
    beyond = scatter_axes.text(0.96, 0.04, words, transform=scatter_axes.transAxes, ha="right", va="bottom")
    corner = figure.add_subplot(grid[0, 1])
    corner.set_axis_off()
    _density_bar(corner.inset_axes((0, 0, 0.2, 1)), scatter)

    residuals = density_scatter(residual_axes, label, residual)
    zero = residual_axes.axhline(0, ls="--", color=VERMILION, lw=1.4)
    height = reach(residual)
    residual_axes.set(ylim=(-height, height), xlabel=sample.axis("label"), ylabel=f"residual ({sample.unit})")

    at = np.linspace(-height, height, 301)
    density = BinnedKDE(residual)(at) if residual.size else np.zeros(at.size)
    (kde,) = kde_axes.plot(density, at, color=BLUE, lw=1.4)
    kde_axes.fill_betweenx(at, density, color=BLUE, alpha=0.25, lw=0)
    kde_axes.axhline(0, ls="--", color=VERMILION, lw=1.4)
    kde_axes.set(xlim=(0, None), xticks=[], xlabel="density")
    kde_axes.tick_params(labelleft=False)
    return {
        "scatter_axes": scatter_axes, "residual_axes": residual_axes, "kde_axes": kde_axes, "scatter": scatter,
        "one_to_one": one_to_one, "text": text, "beyond": beyond, "residuals": residuals, "zero": zero, "kde": kde,
    }  # fmt: skip


def plot_uncertainty(axes: Axes, sample: ParameterSample) -> Drawn:
    """One panel of the paper's Fig. 9: predicted standard deviation against the label.

    Returns:
        the artists by name: `density` (the kernel density), `curve` (2nd-order polynomial), `band` (95 %).
    """
    assert sample.std is not None  # a method without uncertainties has no such figure
    label, std = _finite(sample.label, sample.std)
    x_limits = limits_about(label, margin=0.02)
    y_limits = (0.0, 1.15 * float(np.percentile(std, 99.5)) if std.size and std.any() else 1.0)
    x, y = np.linspace(*x_limits, 240), np.linspace(*y_limits, 240)
    at = np.stack([grid.ravel() for grid in np.meshgrid(x, y)])
    density = BinnedKDE(np.stack([label, std]))(at) if std.size else np.zeros(at.shape[1])
    relative = density.reshape(y.size, x.size) / density.max(initial=1e-300)
    artists: Drawn = {
        "density": axes.imshow(
            relative, extent=(*x_limits, *y_limits), origin="lower", aspect="auto", cmap="cividis",
            norm=PowerNorm(0.4, vmin=0, vmax=1), interpolation="bilinear",
        )
    }  # fmt: skip
    if label.size > 3:
        within = np.linspace(label.min(), label.max(), 200)
        curve, half_width = polynomial_band(label, std, within)
        (artists["curve"],) = axes.plot(within, curve, color=VERMILION, lw=1.6, label="2nd-order polynomial")
        artists["band"] = axes.fill_between(
            within, curve - half_width, curve + half_width, color=VERMILION, alpha=0.5, lw=0, label="its 95 % band"
        )
    axes.set(xlim=x_limits, ylim=y_limits, xlabel=sample.axis("label"), ylabel=f"MC uncertainty ({sample.unit})")
    return artists


def plot_residuals_vs_magnitude(
    axes: Axes, sample: ParameterSample, g_mag: np.ndarray, bins: Sequence[ResidualBin], *, legend: bool = True
) -> Drawn:
    """Residuals against g magnitude, with offset (and its error) and standard deviation in bins.

    A network that has lost the amplitude of its stamps shows here: its log g offset runs with magnitude.

    Args:
        axes: empty.
        sample: whose residuals.
        g_mag: (n,) of its stars, AB.
        bins: of the residuals in `g_mag`.
        legend: whether the axes have one; the artists have their labels without it too.

    Returns:
        the artists by name: `scatter`, `zero`, `offsets` (error bars), `spread` (offset +- std, a band).
    """
    residual = np.asarray(sample.prediction, np.float64) - np.asarray(sample.label, np.float64)
    g_mag, residual = _finite(g_mag, residual)
    drawn = [b for b in bins if b.n >= MIN_STARS_PER_BIN]
    centre, offset, std, error = np.array(
        [((b.lower + b.upper) / 2, b.offset, b.std, b.offset_error) for b in drawn]
    ).reshape(-1, 4).T  # fmt: skip
    scatter = axes.scatter(g_mag, residual, s=_point_size(g_mag.size), color="0.72", linewidths=0, rasterized=True)
    zero = axes.axhline(0, ls="--", color=VERMILION, lw=1.4)
    spread = axes.fill_between(
        centre, offset - std, offset + std, color=BLUE, alpha=0.2, lw=0, label="offset ± standard deviation"
    )
    offsets = axes.errorbar(
        centre, offset, yerr=error, fmt="o-", color=BLUE, ms=5, lw=1.6, capsize=3, label="offset and its error"
    )
    if legend:
        axes.legend(loc="upper left", ncols=2)
    height = reach(residual)
    axes.set(ylim=(-height, height), xlabel="g (mag, AB)", ylabel=sample.axis("residual"))
    return {"scatter": scatter, "zero": zero, "offsets": offsets, "spread": spread}


def draw_figure_8(figure: Figure, samples: Sequence[ParameterSample], title: str) -> list[Drawn]:
    """The paper's Fig. 8, a panel per parameter.

    Args:
        figure: an empty one.
        samples: a parameter each.
        title: states the sample.

    Returns:
        each panel's artists.
    """
    figure.suptitle(title)
    panels = figure.subfigures(1, len(samples), squeeze=False, wspace=0.03)[0]
    return [plot_regression(panel, sample) for panel, sample in zip(panels, samples, strict=True)]


def draw_figure_9(figure: Figure, samples: Sequence[ParameterSample], title: str) -> list[Drawn]:
    """The paper's Fig. 9, a panel per parameter.

    Args:
        figure: an empty one.
        samples: a parameter each.
        title: states the sample.

    Returns:
        each panel's artists.
    """
    figure.suptitle(title)
    panels = figure.subplots(1, len(samples), squeeze=False)[0]
    artists = [plot_uncertainty(axes, sample) for axes, sample in zip(panels, samples, strict=True)]
    _density_bar(panels[-1].inset_axes((1.03, 0, 0.045, 1)), panels[-1].images[0])
    if "curve" in artists[0]:
        panels[0].legend(loc="upper center", framealpha=0.9)
    return artists


def draw_residuals_against_g(
    figure: Figure,
    samples: Sequence[ParameterSample],
    g_mag: np.ndarray,
    bins: Sequence[Sequence[ResidualBin]],
    title: str,
) -> list[Drawn]:
    """Residuals against g magnitude, a panel per parameter.

    Args:
        figure: an empty one.
        samples: a parameter each.
        g_mag: (n,) of the samples' stars, AB.
        bins: for each parameter its residuals in bins of `g_mag`.
        title: states the sample.

    Returns:
        each panel's artists.
    """
    figure.suptitle(title)
    panels = figure.subplots(1, len(samples), squeeze=False)[0]
    artists = [
        plot_residuals_vs_magnitude(axes, sample, g_mag, sample_bins, legend=False)
        for axes, sample, sample_bins in zip(panels, samples, bins, strict=True)
    ]
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return artists


def _finite(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


def _point_size(n: int) -> float:
    return float(np.clip(1.2e4 / max(n, 1), 1.5, 12))


def reach(residual: np.ndarray) -> float:
    """Half-height of a residual panel: at most five standard deviations, so that no outlier flattens all the rest."""
    return 1.05 * min(np.abs(residual).max(initial=0), 5 * (residual.std() if residual.size else 0)) or 1.0


def limits_about(values: np.ndarray, margin: float) -> tuple[float, float]:
    """An axis' limits: those of the values, and on either side `margin` times their range."""
    if not values.size:
        return 0.0, 1.0
    extra = margin * np.ptp(values) or 1.0
    return float(values.min() - extra), float(values.max() + extra)


def _density_bar(axes: Axes, mappable: PathCollection | AxesImage) -> None:
    axes.figure.colorbar(mappable, cax=axes, ticks=[0, 1], label="relative density of stars")


def moments_in_words(sample: ParameterSample) -> str:
    """Offset and standard deviation of the residuals, a line each."""
    m = residual_metrics(sample.prediction, sample.label)
    digits = 1 if sample.unit == "K" else 3
    return f"$\\mu = {m.offset:+z.{digits}f}$ {sample.unit}\n$\\sigma = {m.std:.{digits}f}$ {sample.unit}"
