"""The paper's figures of a catalogue, drawn on a given figure; the caller saves."""

from __future__ import annotations

import matplotlib.patheffects
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from acf_jax.catalogue.figures.binning import Bins
from acf_jax.catalogue.figures.galactocentric import FRAME
from acf_jax.catalogue.figures.maps import RING_DEG, GalaxyMap, KielMap, SkyMap
from acf_jax.catalogue.flags import LATITUDE_DEG
from acf_jax.plots.predictions import DENSITY_COLOURS, VERMILION
from acf_jax.plots.samples import axis_label

FE_H_COLOURS = Normalize(-2, 0.5)
"""Metallicities of the darkest and the brightest colour; lower ones are drawn in the darkest (Figs. 15 and 16)."""

_FE_H_LABEL = "median [Fe/H] (dex)"


def draw_figure_14(figure: Figure, sky: SkyMap, title: str) -> dict[str, Artist]:
    """The paper's Fig. 14: stars per square degree in Galactic coordinates (Mollweide), longitude growing leftwards.

    Args:
        figure: an empty one.
        sky: the map to draw.
        title: above it; names the sample.

    Returns:
        The artists by name: `density`, and `south` and `north`, the dashed lines at |b| = 10 deg.
    """
    figure.suptitle(title)
    axes = figure.add_subplot(projection="mollweide")
    edges_deg = np.linspace(-180, 180, 721)
    density = sky.density_per_deg2(edges_deg[:-1] + 0.25)
    x, y = -np.radians(edges_deg), np.radians(RING_DEG.edges)
    mesh = _mesh(axes, x, y, density, DENSITY_COLOURS, _log_colours(density))
    lines = {
        name: axes.axhline(np.radians(b_deg), ls="--", color="0.45", lw=0.9)
        for name, b_deg in (("south", -LATITUDE_DEG), ("north", LATITUDE_DEG))
    }
    _bar(figure, axes, mesh, "stars per square degree", location="bottom", shrink=0.7, aspect=30)
    _label_sky(axes)
    return {"density": mesh, **lines}


def draw_figure_15(figure: Figure, kiel: KielMap, title: str) -> dict[str, Artist]:
    """The paper's Fig. 15: log number density (left) and median [Fe/H] (right) in the Teff-log g plane.

    Args:
        figure: an empty one.
        kiel: the map to draw.
        title: above it; names the sample.

    Returns:
        The artists by name: `density`, `fe_h`.
    """
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    teff, logg = kiel.fe_h.x, kiel.fe_h.y
    counts = kiel.fe_h.stars.counts
    density = _mesh(left, teff.edges, logg.edges, counts, DENSITY_COLOURS, _log_colours(counts))
    fe_h = _mesh(right, teff.edges, logg.edges, kiel.fe_h.medians(), "cividis", FE_H_COLOURS)
    _bar(figure, left, density, f"stars per {teff.width:g} K × {logg.width:g} dex", location="top", aspect=16)
    _bar(figure, right, fe_h, _FE_H_LABEL, location="top", aspect=16, extend="both")
    left.set(xlim=_span(teff, counts.sum(axis=1))[::-1], ylim=_span(logg, counts.sum(axis=0))[::-1])
    left.set_ylabel(axis_label("logg", "dex"))
    left.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    for axes in (left, right):
        axes.set_xlabel(axis_label("teff", "K"))
    right.tick_params(labelleft=False)
    return {"density": density, "fe_h": fe_h}


def draw_figure_16(figure: Figure, galaxy: GalaxyMap, title: str) -> dict[str, Artist]:
    """The paper's Fig. 16: median [Fe/H] in the plane of Galactocentric R and z, with the Sun and its position as text.

    Args:
        figure: an empty one.
        galaxy: the map to draw.
        title: above it; names the sample.

    Returns:
        The artists by name: `fe_h`, `sun`.
    """
    distance = f"distance = 1/parallax where parallax/error > {galaxy.parallax_snr_limit:g}"
    figure.suptitle(f"{title}\n{FRAME.words()}\n{distance}")
    axes = figure.subplots()
    x, y, counts = galaxy.fe_h.x, galaxy.fe_h.y, galaxy.fe_h.stars.counts
    fe_h = _mesh(axes, x.edges, y.edges, galaxy.fe_h.medians(), "cividis", FE_H_COLOURS)
    _bar(figure, axes, fe_h, _FE_H_LABEL, location="right", aspect=25, extend="both")
    (sun,) = axes.plot(FRAME.galcen_distance_kpc, FRAME.z_sun_kpc, "*", color=VERMILION, mec="white", mew=0.5, ms=7)
    axes.set(xlim=_span(x, counts.sum(axis=1)), ylim=_span(y, counts.sum(axis=0)), xlabel="R (kpc)", ylabel="z (kpc)")
    return {"fe_h": fe_h, "sun": sun}


def _mesh(axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, colours, norm: Normalize) -> QuadMesh:
    """Cells (x.size - 1, y.size - 1) in colour; those of zero or NaN stay white."""
    hidden = np.isnan(values) | ((values == 0) & isinstance(norm, LogNorm))
    return axes.pcolormesh(x, y, np.ma.array(values, mask=hidden).T, cmap=colours, norm=norm, rasterized=True)


def _log_colours(density: np.ndarray) -> LogNorm:
    """From the sparsest cell that has stars to the densest, over a decade at least."""
    with_stars = density[density > 0]
    if not with_stars.size:
        return LogNorm(1, 10)
    return LogNorm(with_stars.min(), max(with_stars.max(), 10 * with_stars.min()))


def _span(bins: Bins, n_stars: np.ndarray) -> tuple[float, float]:
    """The edges of the first and of the last bin with stars, and two bins more on either side."""
    where = np.flatnonzero(n_stars)
    first, last = (where[0], where[-1] + 1) if where.size else (0, bins.n)
    return bins.edges[first] - 2 * bins.width, bins.edges[last] + 2 * bins.width


def _bar(figure: Figure, axes: Axes, artist: ScalarMappable, label: str, **options) -> None:
    """A colour bar; a logarithmic one has plain numbers, enough of them but without overlap."""
    if isinstance(artist.norm, LogNorm):
        decades = np.ptp(np.log10(artist.get_clim()))
        options["ticks"] = LogLocator(subs=(1, 2, 5) if decades < 2 else (1,))
        options["format"] = "{x:,g}"
    bar = figure.colorbar(artist, ax=axes, label=label, **options)
    bar.minorformatter = NullFormatter()


def _label_sky(axes: Axes) -> None:
    """Galactic longitudes along the equator and latitudes along the rim, in degrees."""
    halo = [matplotlib.patheffects.withStroke(linewidth=1.5, foreground="white")]
    longitudes_deg = np.arange(-120, 121, 60)
    names = [f"{-l_deg % 360}°" for l_deg in longitudes_deg]
    axes.set_xticks(np.radians(longitudes_deg), names, path_effects=halo, va="center")
    axes.set_yticks(np.radians([-60, -30, 0, 30, 60]))
    axes.grid(lw=0.3, color="0.75")
    axes.set(xlabel="Galactic longitude l", ylabel="Galactic latitude b")
