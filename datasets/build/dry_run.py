"""What a build would take: stars, requests, gigabytes and hours, before any stamp is made.

The selection is really made, and kept for the build; detections are counted for a few stars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.archives.interface import ArchiveError
from datasets.build.parts import BYTES_PER_STAR, Job
from datasets.files import load_array
from datasets.smss_stamps.configs import CONFIGS
from datasets.surveys.opening import open_survey

SAMPLE = 20  # stars whose detections are counted
BYTES_PER_CUTOUT = 10_000  # image and mask as they lie in the cache, compressed
STARS_PER_S = {"fast": 25.0, "reproject": 8.0}  # of one process, from cutouts to stamps, by aligner


@dataclass(frozen=True)
class Estimate:
    """What is left to do."""

    n_stars: int
    n_unfound: int  # stars of a user's table that the archive does not have
    detections_per_star: float
    n_requests: int
    cache_gb: float
    dataset_gb: float
    hours: float

    def __str__(self) -> str:
        found = f" ({self.n_unfound:,} more are not in the archive)" if self.n_unfound else ""
        return (
            f"{self.n_stars:,} stars{found}, {self.detections_per_star:.1f} detections each\n"
            f"{self.n_requests:,} requests, fewer by those that are in the cache\n"
            f"{self.cache_gb:,.1f} GB of cutouts in the cache, "
            f"{self.dataset_gb:,.1f} GB for the dataset while it is built\n"
            f"{self.hours:,.1f} hours at least"
        )


def estimate(job: Job, n_workers: int, rate_per_s: float) -> Estimate:
    """Estimate the rest of a build whose stars are selected.

    Args:
        job: whose stars are selected.
        n_workers: processes that will make the stamps.
        rate_per_s: requests of all of them together.

    Returns:
        What is left to do.

    Raises:
        ArchiveDownError: if the archive serves nothing at all.
    """
    from datasets.archives.skymapper_archive import OBJECTS_PER_QUERY  # 0.2 s that no other command need spend

    object_ids = load_array(job.selected, "object_id")
    found = object_ids[object_ids != -1]
    rng = np.random.default_rng(0)
    sample = rng.choice(found, min(SAMPLE, len(found)), replace=False)
    n_detections = _mean_detections(job, sample.tolist())
    n_cutouts = n_detections * len(found)
    is_mock = CONFIGS[job.config].is_mock
    n_requests = 0 if is_mock else round(2 * n_cutouts + len(found) / OBJECTS_PER_QUERY)
    return Estimate(
        n_stars=len(found),
        n_unfound=len(object_ids) - len(found),
        detections_per_star=n_detections,
        n_requests=n_requests,
        cache_gb=0.0 if is_mock else n_cutouts * BYTES_PER_CUTOUT / 1e9,
        dataset_gb=len(found) * BYTES_PER_STAR / 1e9,
        hours=max(n_requests / rate_per_s, len(found) / STARS_PER_S[job.choices.aligner] / n_workers) / 3600,
    )


def _mean_detections(job: Job, object_ids: list[int]) -> float:
    """Detections with use_in_clipped = 1, averaged over the stars for which the archive answers."""
    archive, counts = open_survey(job.config, job.seed, job.sources).archive, []
    for object_id in object_ids:
        try:
            counts.append(sum(detection.use_in_clipped == 1 for detection in archive.detections(object_id)))
        except ArchiveError:
            continue
    return float(np.mean(counts)) if counts else 0.0
