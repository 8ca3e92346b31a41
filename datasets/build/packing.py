"""Finished parts -> the prepared folder: TFDS files, tables, metadata, README, Croissant file, checksums."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from tqdm import tqdm

from datasets.build.checksums import checksums_of, sha256, write_checksums
from datasets.build.croissant import CROISSANT, REJECTED, write_croissant
from datasets.build.parts import OURS, Job
from datasets.build.readme import prepared_readme
from datasets.build.star_table import STAR_TABLE, write_star_table
from datasets.errors import DataError
from datasets.files import Arrays, load
from datasets.skymapper import BANDS, EXTINCTION_COEFFICIENTS, PIXEL_SCALE_ARCSEC
from datasets.smss_stamps.configs import CONFIGS, NAME, VERSION
from datasets.smss_stamps.terms import terms


class BuildError(DataError):
    """The dataset cannot be built; the message says why and what to do."""


class NoStampError(BuildError):
    """None of the selected stars has a stamp."""

    def __init__(self, message: str, rejected: pyarrow.Table):
        """`rejected`: every star and its reason, as `rejected.parquet` would have them."""
        super().__init__(message)
        self.rejected = rejected


@dataclass(frozen=True)
class Contents:
    """What the parts of a build hold, in order."""

    object_id: np.ndarray  # (n,) int64 of the examples
    rejected_row: np.ndarray  # (m,) int64, rows among the selected stars
    rejected_reason: list[str]
    fingerprint: str


def pack(job: Job, n_stars: int, progress: bool = True) -> Path:
    """Pack all parts of `job` into a prepared folder inside its work folder, and return that folder.

    Args:
        job: whose parts are there.
        n_stars: selected ones.
        progress: whether to show a bar.

    Returns:
        The folder.

    Raises:
        NoStampError: if there would be no example.
        BuildError: if there would be none in one of the splits, or if a selected star is neither an
            example nor rejected.
    """
    # Here, because worker processes import this module too and TFDS takes a second.
    import tensorflow_datasets as tfds

    from datasets.smss_stamps.smss_stamps_dataset_builder import Builder

    config = job.divided_config
    if n_stars == 0:
        raise BuildError(f"no star is selected for the config {config.name}: there is nothing to build.")
    selected, contents = load(job.selected), read_contents(job, n_stars)
    n_of_split = check(config.splits, [config.split_of(i) for i in contents.object_id], selected, contents)
    described = metadata(job, n_stars, contents)
    (job.folder / "metadata.json").write_text(json.dumps(described))
    builder = Builder(config=job.config, data_dir=job.folder / "packed")
    options = tfds.download.DownloadConfig(manual_dir=job.folder)
    with tqdm(desc="Packing", total=len(contents.object_id), unit="star", disable=not progress) as bar:
        builder.on_example = bar.update
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS speaks of downloads
            builder.download_and_prepare(file_format="array_record", download_config=options)
    folder = Path(builder.data_dir)
    pyarrow.parquet.write_table(rejected_stars(selected, contents), folder / REJECTED)
    write_star_table(job, n_stars, folder / STAR_TABLE)
    (folder / "README.md").write_text(prepared_readme(described, n_of_split, contents.rejected_reason))
    checksums = checksums_of(folder)
    write_croissant(folder, described, checksums)
    write_checksums(folder, checksums | {CROISSANT: sha256(folder / CROISSANT)})
    return folder


def read_contents(job: Job, n_stars: int) -> Contents:
    """What all parts hold, but the examples; the fingerprint is a SHA-256 over the settings and every example."""
    identity = {"name": NAME, "version": VERSION, "config": job.config, "seed": job.seed, "stars": n_stars}
    identity |= job.choices.stamps
    if job.choices.splits != OURS.splits:
        identity["splits"] = job.choices.splits  # not always, so that older datasets keep their fingerprints
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    object_ids, rows, reasons = [], [], []
    for path in job.parts(n_stars):
        with np.load(path) as part:
            digest.update(part["digest"].tobytes())
            object_ids.append(part["object_id"])
            rows.append(part["rejected_row"])
            reasons += part["rejected_reason"].tolist()
    return Contents(np.concatenate(object_ids), np.concatenate(rows), reasons, digest.hexdigest())


def check(splits: tuple[str, ...], split_of_example: list[str], selected: Arrays, contents: Contents) -> dict[str, int]:
    """Count the examples of each split, and refuse a dataset that is not whole.

    Args:
        splits: of the config.
        split_of_example: split by split, one an example.
        selected: fields of the selected stars.
        contents: of the parts.

    Returns:
        Examples of each split.

    Raises:
        NoStampError: if there is no example.
        BuildError: if a split would be empty, or stars are missing.
    """
    n_stars, n_rejected = len(selected["object_id"]), len(contents.rejected_row)
    if not len(contents.object_id):
        reason, _ = Counter(contents.rejected_reason).most_common(1)[0]
        raise NoStampError(
            f"none of the {n_stars:,} selected stars has a stamp; of most: {reason}.",
            rejected_stars(selected, contents),
        )
    of_parts = np.concatenate([contents.object_id, selected["object_id"][contents.rejected_row]])
    if not np.array_equal(np.sort(of_parts), np.sort(selected["object_id"])):
        raise BuildError(
            f"the parts do not add up: {len(contents.object_id):,} examples and {n_rejected:,} rejected stars of "
            f"{n_stars:,} selected ones. Delete the work folder (named *.parts-*) and build again."
        )
    n_of_split = {split: split_of_example.count(split) for split in splits}
    if empty := [split for split, n in n_of_split.items() if not n]:
        raise BuildError(f"the split {empty[0]} would be empty with {n_stars} stars; ask for more.")
    return n_of_split


def metadata(job: Job, n_stars: int, contents: Contents) -> dict:
    """What a reader needs to understand the examples and to know where they came from; goes to `metadata.json`.

    Args:
        job: whose parts are there.
        n_stars: selected ones.
        contents: of the parts.

    Returns:
        JSON types.
    """
    config = CONFIGS[job.config]
    selection = json.loads(job.selection.read_text())
    ways = {"7:1:2": "train if below 7, calibration if 7", "paper": "train if below 8"}
    by_hash = (
        "blake2b(object_id, 8 bytes little-endian; digest of 8 bytes little-endian) % 10: "
        f"{ways[job.choices.splits]}, validation if above"
    )
    return {
        "config": config.name,
        "bands": BANDS,
        "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
        "extinction_coefficients": EXTINCTION_COEFFICIENTS,
        "units": {name: field.unit for name, field in config.fields().items()},
        "descriptions": {name: field.description for name, field in config.fields().items()},
        "fingerprint": contents.fingerprint,
        "provenance": job.provenance,
        "licence": terms(config).licence,
        "n_stars": n_stars,
        "n_rejected": len(contents.rejected_row),
        "n_scanned": selection["n_scanned"],
        "n_not_drawn": selection["n_not_drawn"],
        "selection": selection["cuts"],
        "split": by_hash if len(config.splits) > 1 else f"all stars are in {config.splits[0]}",
    }


def rejected_stars(selected: Arrays, contents: Contents) -> pyarrow.Table:
    """The selected stars that have no example, each with its reason."""
    names = [name for name in ("input_row", "object_id", "source_id", "ra", "dec") if name in selected]
    columns = {name: selected[name][contents.rejected_row] for name in names}
    return pyarrow.table(columns | {"reason": pyarrow.array(contents.rejected_reason, pyarrow.string())})
