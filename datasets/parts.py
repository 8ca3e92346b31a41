"""What worker processes make for a build: files in its work folder, each whole or not there.

``scan_block`` joins and selects the stars of one block of the sky, ``make_part`` makes the examples of
``PART_SIZE`` selected stars. Both do nothing where their file exists already, which is all there is to resuming.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.archives.interface import Archive, ArchiveError
from datasets.selection import HIGH_QUALITY, first_failed
from datasets.smss_stamps.configs import CONFIGS
from datasets.smss_stamps.fields import FIELDS
from datasets.stamps import Stamp, StampError, make_stamp
from datasets.stars import catalogue_fields, one_row_per_star

PART_SIZE = 32
STAMP_SETTINGS = {"aligner": "fast", "sky": "cutout"}

Arrays = dict[str, np.ndarray]
"""Columns by name, stars first."""


@dataclass(frozen=True)
class Job:
    """A build's archive and work folder: all that a worker needs to know."""

    config: str
    seed: int
    folder: Path

    @property
    def selection(self) -> Path:
        """What the selection removed; written just before ``selected``."""
        return self.folder / "selection.json"

    @property
    def selected(self) -> Path:
        """The catalogue fields of the selected stars, in sky order."""
        return self.folder / "selected.npz"

    def block(self, index: int) -> Path:
        """The stars of one block of the sky."""
        return self.folder / f"block-{index:06d}.npz"

    def part(self, index: int) -> Path:
        """The examples of selected stars ``PART_SIZE * index`` to ``PART_SIZE * (index + 1)``."""
        return self.folder / f"part-{index:06d}.npz"

    def parts(self, n_stars: int) -> list[Path]:
        """All parts of a build of ``n_stars``, in order."""
        return [self.part(index) for index in range(math.ceil(n_stars / PART_SIZE))]


def save_atomically(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file that is never seen half-written, not even after a power failure."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Arrays:
    """All arrays of an npz file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@functools.lru_cache(maxsize=1)
def _archive(config: str, seed: int) -> Archive:
    return CONFIGS[config].open_archive(seed)


@functools.lru_cache(maxsize=1)
def _selected(path: Path) -> Arrays:
    return load(path)


def scan_block(job: Job, index: int) -> Path:
    """Select among the stars of one block: the selected ones' catalogue fields, and every star's ``first_failed``."""
    path = job.block(index)
    if not path.exists():
        tables = _archive(job.config, job.seed).tables_of_block(index)
        stars = one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"], tables.get("truth"))
        failed = first_failed(stars)
        keep = failed == len(HIGH_QUALITY)
        fields = catalogue_fields({name: values[keep] for name, values in stars.items()})
        save_atomically(path, {"first_failed": failed, **fields})
    return path


def make_part(job: Job, index: int) -> int:
    """Make the examples of one part and return the number of its stars.

    The file holds the examples' fields, stars first; ``rejected_row`` and ``rejected_reason`` of the stars without a
    stamp, the row being that in ``selected.npz``; and ``digest``, a SHA-256 over the fields' bytes.
    """
    selected = _selected(job.selected)
    rows = range(PART_SIZE * index, min(PART_SIZE * (index + 1), len(selected["object_id"])))
    if not job.part(index).exists():
        save_atomically(job.part(index), _examples(_archive(job.config, job.seed), selected, rows))
    return len(rows)


def _examples(archive: Archive, selected: Arrays, rows: range) -> Arrays:
    stamps: dict[int, Stamp] = {}
    rejected: dict[int, str] = {}
    for row in rows:
        try:
            stamps[row] = _stamp(archive, {name: values[row] for name, values in selected.items()})
        except (StampError, ArchiveError) as error:
            rejected[row] = str(error)
    fields = {name: values[list(stamps)] for name, values in selected.items()}
    fields |= _stacked(list(stamps.values()))
    return {
        **fields,
        "rejected_row": np.array(list(rejected), np.int64),
        "rejected_reason": np.array(list(rejected.values()), np.str_),
        "digest": np.frombuffer(_digest(fields), np.uint8),
    }


def _stamp(archive: Archive, star: Mapping[str, np.generic]) -> Stamp:
    position = float(star["ra"]), float(star["dec"])
    stamp = make_stamp(archive, int(star["object_id"]), *position, float(star["ebmv_sfd"]), **STAMP_SETTINGS)
    if not np.isfinite(stamp.flux).all():
        raise StampError("the stamp holds values that are not finite")
    return stamp


def _stacked(stamps: list[Stamp]) -> Arrays:
    attributes = {"stamp": "flux", **{name: name for name in ("mask", "n_detections", "fwhm", "n_masked_pixels")}}
    # The reshape keeps the axes of a part without a single stamp.
    return {
        name: np.array([getattr(stamp, attribute) for stamp in stamps], FIELDS[name].dtype).reshape(
            -1, *FIELDS[name].shape
        )
        for name, attribute in attributes.items()
    }


def _digest(fields: Arrays) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(fields):
        digest.update(name.encode() + np.ascontiguousarray(fields[name]).tobytes())
    return digest.digest()
