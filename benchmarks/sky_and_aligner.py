"""Which sky level and aligner keep an injected star's flux and place: a build's four ways on the same mock stars.

    python -m benchmarks.sky_and_aligner [--stars N] [--json]

Isolated stars of the mock sky, all detections used. A band's flux in a circle of 8 px (4 arcsec) and in the whole stamp
is compared with what was put on its frames, their true zeropoints and the circle's share of the light allowed for; the
centroid in that circle with the star's true place. By way: `bias`, `scatter` and `95` (median, 1.4826 MAD and 95th
percentile of the absolute value, per cent of the flux, all bands together); `centroid`, median distance in milliarcsec.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from benchmarks import command
from datasets.imaging.alignment import pixel_of, stamp_grid
from datasets.imaging.calibration import flux_scale, star_profile
from datasets.mock_sky.archive import MockArchive
from datasets.mock_sky.sky import MockSky
from datasets.skymapper import BANDS, PIXEL_SCALE_ARCSEC, STAMP_SIZE_PX
from datasets.stamps import StampError, align_detections, stack

WAYS = tuple(product(("cutout", "table"), ("fast", "reproject")))
RADIUS_PX = 8.0
MAX_FOREIGN = 0.002  # light of all neighbours over a star's own
SHAPE = (STAMP_SIZE_PX, STAMP_SIZE_PX)


class Injected(NamedTuple):
    """A star of the mock sky."""

    object_id: int
    catalogue_radec: tuple[float, float]  # deg, where SkyMapper sees it
    true_radec: tuple[float, float]
    mag: np.ndarray  # (6,) AB, as put on the frames
    exposures: np.ndarray  # of it that are used, as `datasets.mock_sky.exposures` draws them


def isolated_stars() -> Iterator[Injected]:
    """Stars with detections in every band and no light of neighbours."""
    archive, sky, block = MockArchive(seed=0), MockSky(seed=0), 0
    while True:
        stars, exposures, neighbours = (getattr(sky.block(block), n) for n in ("stars", "exposures", "neighbours"))
        master = archive.tables_of_block(block)["dr4.master"]
        seen = {int(row["object_id"]): (float(row["raj2000"]), float(row["dej2000"])) for row in master}
        for star in stars:
            mine = exposures[(exposures["star"] == star["star"]) & (exposures["use_in_clipped"] == 1)]
            near = neighbours["mag"][neighbours["star"] == star["star"]]
            foreign = (10 ** (-0.4 * (near - star["mag"]))).sum(axis=0).max(initial=0)
            if foreign < MAX_FOREIGN and set(mine["filter"]) == set(BANDS):
                object_id = int(star["object_id"])
                yield Injected(object_id, seen[object_id], (float(star["ra"]), float(star["dec"])), star["mag"], mine)
        block += 1


def errors(archive: MockArchive, star: Injected, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """What a way makes of a star.

    Args:
        archive: the star's.
        star: one of `isolated_stars`.
        settings: `sky` and `aligner` of `make_stamp`.

    Returns:
        Fluxes in circle and stamp over the injected ones, less 1, (6, 3 with the centroid's distance in arcsec), and
        the stamp, (48, 48, 6); None for a star not all of whose detections can be used.
    """
    try:
        made = align_detections(archive, star.object_id, *star.catalogue_radec, 0.0, **settings)
    except StampError:
        return None
    if made.dropped.reasons():
        return None
    x, y = pixel_of(stamp_grid(made.reference.wcs, *star.catalogue_radec).wcs, *star.true_radec)
    planes, found = [], []
    for band, mag in zip(BANDS, star.mag.tolist(), strict=True):
        plane, _ = stack([aligned.on_grid for aligned in made.of_band[band]])
        expected, inside = np.zeros(2), star_profile(SHAPE, x, y, 1.0)[1] <= RADIUS_PX**2
        frames = star.exposures[star.exposures["filter"] == band]
        for frame in frames:
            profile, _ = star_profile(SHAPE, x, y, float(frame["fwhm"]) / PIXEL_SCALE_ARCSEC)
            counts = 10 ** (-0.4 * (mag - float(frame["zeropoint"]))) / len(frames)
            scale = counts * flux_scale(float(frame["zpapprox"]), band, 0.0)
            expected += scale * np.array([profile[inside].sum(), profile.sum()])
        rows, columns = np.nonzero(inside)
        weights = plane[inside] / plane[inside].sum()
        off = np.hypot(weights @ columns - x, weights @ rows - y) * PIXEL_SCALE_ARCSEC
        found.append([*(np.array([plane[inside].sum(), plane.sum()]) / expected - 1), off])
        planes.append(plane)
    return np.array(found), np.stack(planes, axis=-1)


def measure(n_stars: int) -> dict[str, float]:
    """Make the stamps of the same stars in all four ways, and compare them with what was injected."""
    archive = MockArchive(seed=0)
    found: dict[tuple[str, str], list[np.ndarray]] = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    apart = 0.0
    for star in isolated_stars():
        made = {}
        for sky, aligner in WAYS:
            start = time.process_time()
            made[sky, aligner] = errors(archive, star, {"sky": sky, "aligner": aligner})
            seconds[sky, aligner] += time.process_time() - start
        whole = {way: answer for way, answer in made.items() if answer is not None}
        if len(whole) < len(WAYS):
            continue
        for way, (of_bands, _) in whole.items():
            found[way].append(of_bands)
        fast, reproject = (whole["cutout", aligner][1] for aligner in ("fast", "reproject"))
        apart = max(apart, float(np.abs(fast - reproject).max() / reproject.max()))
        if len(found[WAYS[0]]) == n_stars:
            break
    figures: dict[str, float] = {"stars": n_stars}
    for way in WAYS:
        of_stars = np.array(found[way])  # (n_stars, 6, 3)
        for i, where in enumerate(("circle", "stamp")):
            median = np.median(of_stars[..., i])
            figures[f"{'_'.join(way)}_{where}_bias"] = round(100 * float(median), 3)
            spread = 1.4826 * np.median(np.abs(of_stars[..., i] - median))
            figures[f"{'_'.join(way)}_{where}_scatter"] = round(100 * float(spread), 3)
            tail = np.quantile(np.abs(of_stars[..., i]), 0.95)
            figures[f"{'_'.join(way)}_{where}_95"] = round(100 * float(tail), 3)
        figures[f"{'_'.join(way)}_centroid"] = round(1e3 * float(np.median(of_stars[..., 2])), 2)
    figures["aligners_apart_over_peak"] = float(f"{apart:.2g}")
    figures["reproject_over_fast_time"] = round(seconds["cutout", "reproject"] / seconds["cutout", "fast"], 2)
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command.run("sky_and_aligner", measure, 200, arguments)


if __name__ == "__main__":
    sys.exit(main())
