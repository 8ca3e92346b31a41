"""What worker processes make for a build: files in its work folder, each whole or not there.

`scan_block` joins and selects the stars of one block of the sky, `make_part` makes the examples of
`PART_SIZE` selected stars. Both do nothing where their file exists already, which is all there is to resuming.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datasets.archives.interface import Archive, ArchiveError, ServiceError, Target
from datasets.files import Arrays, load, load_array, save
from datasets.imaging.alignment import Method
from datasets.samples.selection import first_failed
from datasets.skymapper import CUTOUT_SIZE_PX
from datasets.smss_stamps.configs import CONFIGS, Config
from datasets.smss_stamps.fields import FIELDS
from datasets.stamps import Stamp, StampError, make_stamp
from datasets.surveys.base import Sources, Survey
from datasets.surveys.opening import open_survey
from datasets.surveys.stars import catalogue_fields

PART_SIZE = 32
BYTES_PER_STAR = 2 * 70_000  # an example in its part and in the packed dataset, while both exist
OF_THE_WHOLE_BLOCK = ("first_failed", "last_object_id")
"""What a block's file holds besides the selected stars' fields."""


@dataclass(frozen=True)
class Choices:
    """What a build may choose besides the sample. The paper's way is `reproject`, `table` and `paper`."""

    aligner: Method = "fast"
    sky: Literal["cutout", "table"] = "cutout"
    splits: Literal["7:1:2", "paper"] = "7:1:2"  # of `DIVISIONS`

    @property
    def stamps(self) -> dict[str, Any]:
        """How stamps are made, for `make_stamp`."""
        return {"aligner": self.aligner, "sky": self.sky}


OURS = Choices()


@dataclass(frozen=True)
class Job:
    """What is built, from what, and its work folder: all that a worker needs to know."""

    config: str
    seed: int  # of the mock sky, and of the sampling
    folder: Path
    sources: Sources = field(default_factory=Sources)
    choices: Choices = OURS

    @property
    def divided_config(self) -> Config:
        """The config, with the splits that were asked for."""
        return CONFIGS[self.config].divided(self.choices.splits)

    @property
    def provenance(self) -> dict:
        """Where the dataset comes from, as it was written when the work folder was made."""
        return json.loads((self.folder / "provenance.json").read_text())

    @property
    def selection(self) -> Path:
        """What the selection removed; written just before `selected`."""
        return self.folder / "selection.json"

    @property
    def selected(self) -> Path:
        """The catalogue fields of the selected stars, in sky order."""
        return self.folder / "selected.npz"

    def block(self, index: int) -> Path:
        """The stars of one block of the sky."""
        return self.folder / f"block-{index:06d}.npz"

    def part(self, index: int) -> Path:
        """The examples of selected stars `PART_SIZE * index` to `PART_SIZE * (index + 1)`."""
        return self.folder / f"part-{index:06d}.npz"

    def parts(self, n_stars: int) -> list[Path]:
        """All parts of a build of `n_stars`, in order."""
        return [self.part(index) for index in range(math.ceil(n_stars / PART_SIZE))]


@functools.lru_cache(maxsize=1)
def _selected(path: Path) -> Arrays:
    return load(path)


def scan_block(job: Job, index: int) -> Path:
    """Select among the stars of one block: the selected ones' catalogue fields, and every star's `first_failed`.

    Of a paged survey the block before must be there: the file's `last_object_id` says where the next one begins.
    """
    path = job.block(index)
    if not path.exists():
        survey, cuts = open_survey(job.config, job.seed, job.sources), CONFIGS[job.config].cuts
        after = int(load_array(job.block(index - 1), "last_object_id")) if survey.is_paged and index else None
        stars = survey.stars(index, after)
        failed = first_failed(stars, cuts)
        keep = failed == len(cuts)
        fields = catalogue_fields({name: values[keep] for name, values in stars.items()})
        last_object_id = np.max(stars["object_id"], initial=-1)
        save(path, {"first_failed": failed, "last_object_id": last_object_id, **fields})
    return path


def make_part(job: Job, index: int) -> int:
    """Make the examples of one part and return the number of its stars.

    The file holds the examples' fields, stars first; `rejected_row` and `rejected_reason` of the stars without a
    stamp, the row being that in `selected.npz`, and `rejected_by_service` of those that might have one had the
    archive not failed; and `digest`, a SHA-256 over the fields' bytes.

    Raises:
        ArchiveDownError: if the archive serves nothing at all.
    """
    selected = _selected(job.selected)
    rows = range(PART_SIZE * index, min(PART_SIZE * (index + 1), len(selected["object_id"])))
    if not job.part(index).exists():
        survey = open_survey(job.config, job.seed, job.sources)
        save(job.part(index), _examples(survey, selected, rows, job.choices))
    return len(rows)


def _examples(survey: Survey, selected: Arrays, rows: range, choices: Choices) -> Arrays:
    archive = survey.archive
    known = [row for row in rows if selected["object_id"][row] != -1]
    columns = (selected[name][known].tolist() for name in ("object_id", "ra", "dec"))
    archive.prefetch([Target(*star) for star in zip(*columns, strict=True)], CUTOUT_SIZE_PX)
    stamps: dict[int, Stamp] = {}
    rejected: dict[int, Exception] = {}
    for row in rows:
        try:
            if selected["object_id"][row] == -1:
                raise StampError(survey.why_not_found(int(selected["input_row"][row])))
            stamps[row] = _stamp(archive, {name: values[row] for name, values in selected.items()}, choices)
        except (StampError, ArchiveError) as error:
            rejected[row] = error
    fields = {name: values[list(stamps)] for name, values in selected.items()}
    fields |= _stacked(list(stamps.values()))
    return {
        **fields,
        "rejected_row": np.array(list(rejected), np.int64),
        "rejected_reason": np.array([str(error) for error in rejected.values()], np.str_),
        "rejected_by_service": np.array([isinstance(error, ServiceError) for error in rejected.values()], bool),
        "digest": np.frombuffer(_digest(fields), np.uint8),
    }


def _stamp(archive: Archive, star: Mapping[str, np.generic], choices: Choices) -> Stamp:
    position = float(star["ra"]), float(star["dec"])
    if not np.isfinite(position).all():
        raise StampError("the archive has no position for it")
    stamp = make_stamp(archive, int(star["object_id"]), *position, float(star["ebmv_sfd"]), **choices.stamps)
    if not np.isfinite(stamp.flux).all():
        raise StampError("the stamp holds values that are not finite")
    return stamp


def _stacked(stamps: list[Stamp]) -> Arrays:
    same = ("mask", "n_detections", "n_dropped", "fwhm", "n_masked_pixels")
    attributes = {"stamp": "flux"} | {name: name for name in same}
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
