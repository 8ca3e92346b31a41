"""The paper's Fig. 2: a star's detections on their way to its stamp, as they were served, calibrated and aligned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from datasets.imaging.alignment import pixel_of, stamp_grid
from datasets.skymapper import BANDS
from datasets.stamps import AlignedDetections, AlignedFrame, stack

Block = Literal["original", "corrected", "aligned", "stacked"]
BLOCKS: dict[Block, str] = {
    "original": "Original\n(ADU)",
    "corrected": "Corrected\n(µJy / px)",
    "aligned": "Aligned\n(µJy / px)",
    "stacked": "Stacked\n(µJy / px)",
}
"""What a block of panels is called, with the unit of the peaks written into its panels."""

SIZE_IN = (7.1, 8.3)
"""Width and height for two detections a band, with `STYLE`: a printed page's."""

STYLE: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "figure.titlesize": 8,
    "figure.labelsize": 7.5,
    "axes.linewidth": 0.5,
}
"""Settings of Matplotlib, for `matplotlib.rc_context`, that make the text readable at that size."""

VERMILION = "#d55e00"
_CORE_RADIUS_PX = 6
_STRETCH = 0.01  # of a panel's range: up to there brightness is linear, beyond it logarithmic
_NO_DATA = "0.4"


@dataclass(frozen=True)
class Panel:
    """One picture of the figure."""

    pixels: np.ndarray  # (ny, nx), NaN where a frame does not reach
    x: float  # 0-based pixel of the star
    y: float
    words: str = ""  # written into it


def draw_figure_2(
    figure: Figure, detections: AlignedDetections, ra_deg: float, dec_deg: float, title: str, n_shown: int = 2
) -> dict[tuple[Block, str, int], AxesImage]:
    """Draw a star's Fig. 2: four blocks of panels, a column per band, a row per detection.

    The panels of a band in one block share their brightness range, whose upper end, the star's peak, is written into
    the lowest of them. The star is at the corner of two strokes; where a frame does not reach, panels are grey.

    Args:
        figure: an empty one with the layout `constrained`.
        detections: from `stamps.align_detections`.
        ra_deg: the star's right ascension.
        dec_deg: its declination.
        title: which star.
        n_shown: detections of a band, at most (the paper shows two); the stack is of all.

    Returns:
        the images by block, band and row, row 0 on top.

    Raises:
        ValueError: if `n_shown` is not positive.
    """
    panels = {block: panels_of(detections, block, ra_deg, dec_deg, n_shown) for block in BLOCKS}
    n_rows = {block: max(map(len, of_band.values())) for block, of_band in panels.items()}
    figure.suptitle(title)
    heights = [*(n + 0.15 for n in n_rows.values()), 0.45]  # in panels: a little for titles, and the scale
    subfigures: Any = figure.subfigures(len(BLOCKS) + 1, 1, height_ratios=heights)
    *parts, scale = subfigures
    images: dict[tuple[Block, str, int], AxesImage] = {}
    for part, (block, of_band) in zip(parts, panels.items(), strict=True):
        part.supylabel(BLOCKS[block])
        axes = part.subplots(n_rows[block], len(BANDS), squeeze=False)
        for column, band in enumerate(BANDS):
            for row, image in enumerate(_draw_column(axes[:, column], of_band[band])):
                images[block, band, row] = image
            if block == "original":
                n = len(detections.of_band[band])
                axes[0, column].set_title(f"{band}, {n} detection{'s' if n > 1 else ''}")
    _draw_scale(scale.subplots())
    return images


def panels_of(
    detections: AlignedDetections, block: Block, ra_deg: float, dec_deg: float, n_shown: int
) -> dict[str, list[Panel]]:
    """The panels of a block: a list for each band.

    Args:
        detections: from `stamps.align_detections`.
        block: of the figure.
        ra_deg: the star's right ascension.
        dec_deg: its declination.
        n_shown: detections of a band, at most.

    Returns:
        The panels of each band, from top to bottom.
    """
    on_grid = pixel_of(stamp_grid(detections.reference.wcs, ra_deg, dec_deg).wcs, ra_deg, dec_deg)
    if block == "stacked":
        flux = {band: stack([a.on_grid for a in all_of_it])[0] for band, all_of_it in detections.of_band.items()}
        return {band: [Panel(flux[band], *on_grid)] for band in BANDS}
    of_band: dict[str, list[Panel]] = {}
    for band in BANDS:
        of_band[band] = []
        for frame, aligned in chosen(detections.of_band[band], n_shown):
            position = pixel_of(frame.wcs, ra_deg, dec_deg)
            of_band[band].append(
                {
                    "original": Panel(frame.counts, *position, f"{frame.detection.exp_time:g} s, {frame.fwhm:.1f}″"),
                    "corrected": Panel(frame.flux, *position),
                    "aligned": Panel(np.where(aligned.covered, aligned.flux, np.nan), *on_grid),
                }[block]
            )
    return of_band


def chosen(aligned: Sequence[AlignedFrame], n_shown: int) -> list[AlignedFrame]:
    """The detections to show, as different as possible: spread evenly over all in order of exposure time and seeing.

    Raises:
        ValueError: if `n_shown` is not positive.
    """
    if n_shown < 1:
        raise ValueError(f"{n_shown} detections cannot be shown; ask for at least one")
    ordered = sorted(aligned, key=lambda a: (a.frame.detection.exp_time, a.frame.fwhm, a.frame.detection.image_id))
    places = np.linspace(0, len(ordered) - 1, min(n_shown, len(ordered)))
    return [ordered[place] for place in np.rint(places).astype(int)]


def brightness(panels: Sequence[Panel]) -> FuncNorm:
    """One range of brightness for several panels: from the faint end of their sky to the star's peak."""
    lowest = min(float(np.nanpercentile(panel.pixels, 1)) for panel in panels)
    peak = max(_peak(panel) for panel in panels)
    return _stretch(lowest, max(peak, np.nextafter(lowest, np.inf)))


def _peak(panel: Panel) -> float:
    ny, nx = panel.pixels.shape
    distance2 = (np.arange(ny) - panel.y)[:, None] ** 2 + (np.arange(nx) - panel.x) ** 2
    return float(np.nanmax(panel.pixels[distance2 <= _CORE_RADIUS_PX**2]))


def _stretch(lowest: float, highest: float) -> FuncNorm:
    width = _STRETCH * (highest - lowest)
    return FuncNorm(
        (lambda value: np.arcsinh((value - lowest) / width), lambda value: lowest + width * np.sinh(value)),
        vmin=lowest,
        vmax=highest,
        clip=True,
    )


def _draw_column(column: Sequence[Axes], panels: Sequence[Panel]) -> Iterator[AxesImage]:
    """The panels of one band in one block; axes that no detection is left for stay empty."""
    norm = brightness(panels)
    for axes, panel in zip(column, panels, strict=False):
        axes.set(xticks=[], yticks=[])
        axes.set_facecolor(_NO_DATA)
        pixels = np.ma.masked_invalid(panel.pixels)
        yield axes.imshow(pixels, cmap="cividis", norm=norm, origin="lower", interpolation="nearest")
        for strokes in (((5, 9), (0, 0)), ((0, 0), (5, 9))):
            axes.plot(*(np.add(s, at) for s, at in zip(strokes, (panel.x, panel.y), strict=True)), color=VERMILION)
        ny, nx = panel.pixels.shape
        axes.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5))
        axes.text(0.04, 0.96, panel.words, transform=axes.transAxes, va="top", color="white")
    peak = max(_peak(panel) for panel in panels)
    column[len(panels) - 1].text(
        0.04, 0.04, f"peak {_short(peak)}", transform=column[len(panels) - 1].transAxes, color="white"
    )
    for axes in column[len(panels) :]:
        axes.set_axis_off()


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _draw_scale(axes: Axes) -> None:
    bar = axes.figure.colorbar(
        ScalarMappable(_stretch(0, 1), "cividis"), cax=axes, orientation="horizontal", ticks=[0, 0.01, 0.1, 1]
    )
    bar.set_ticklabels(["faint end of the sky", "1 %", "10 %", "peak of the star"])
    bar.minorticks_off()
