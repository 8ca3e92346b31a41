"""How fast one process draws and photographs the mock sky: `python -m benchmarks.mock_sky [--stars N] [--json]`."""

from __future__ import annotations

import sys
import time

from benchmarks import command
from datasets.mock_sky.archive import MockArchive
from datasets.mock_sky.sky import BLOCK_SIZE
from datasets.skymapper import CUTOUT_SIZE_PX


def measure(n_stars: int, seed: int = 0) -> dict[str, float]:
    """Figures of a sky of `n_stars`, in seconds of processor time so that a busy machine does not matter."""
    catalogues = MockArchive(seed)
    catalogues.tables_of_block(0)  # reads the stellar tables, once
    start = time.process_time()
    catalogues.tables_of_block(1)
    catalogue_s_per_star = (time.process_time() - start) / BLOCK_SIZE

    archive = MockArchive(seed, n_stars)
    stars = archive.table("dr4.master")["object_id", "raj2000", "dej2000"]
    archive.detections(stars["object_id"][0])
    n_frames = n_bytes = 0
    start = time.process_time()
    for object_id, ra_deg, dec_deg in stars.iterrows():
        for detection in archive.detections(object_id):
            cutout = archive.cutout(detection, ra_deg, dec_deg, CUTOUT_SIZE_PX)
            n_frames += 1
            n_bytes += len(cutout.image) + len(cutout.mask or b"")
    frames_s = time.process_time() - start
    return {
        "stars_per_s_per_core": round(n_stars / (frames_s + n_stars * catalogue_s_per_star), 2),
        "catalogue_stars_per_s_per_core": round(1 / catalogue_s_per_star, 1),
        "ms_per_detection": round(1e3 * frames_s / n_frames, 4),
        "detections_per_star": round(n_frames / n_stars, 2),
        "bytes_per_star": round(n_bytes / n_stars),
        "stars": n_stars,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command.run("mock_sky", measure, 100, arguments)


if __name__ == "__main__":
    sys.exit(main())
