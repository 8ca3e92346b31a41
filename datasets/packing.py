"""Finished parts -> the prepared folder: metadata, TFDS files, the list of rejected stars, checksums."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from tqdm import tqdm

from datasets.archives.skymapper import BANDS, EXTINCTION_COEFFICIENTS, PIXEL_SCALE_ARCSEC
from datasets.parts import STAMP_SETTINGS, Job, load
from datasets.smss_stamps.configs import NAME, SPLITS, VERSION, split_of
from datasets.smss_stamps.fields import FIELDS, TRUTH_FIELDS

CHECKSUMS = "checksums.txt"


class BuildError(Exception):
    """The dataset cannot be built; the message says why and what to do."""


def pack(job: Job, n_stars: int, progress: bool = True) -> Path:
    """Pack all parts of ``job`` into a prepared folder inside its work folder, and return that folder.

    Raises:
        BuildError: if a split would be empty.
    """
    # Here, because worker processes import this module too and TFDS takes a second.
    import tensorflow_datasets as tfds

    from datasets.smss_stamps.smss_stamps_dataset_builder import Builder

    empty = set(SPLITS) - {split_of(object_id) for object_id in example_ids(job, n_stars)}
    if empty:
        raise BuildError(f"the split {min(empty)} would be empty with {n_stars} stars; ask for more.")
    rejected = rejected_stars(job, n_stars)
    (job.folder / "metadata.json").write_text(json.dumps(metadata(job, n_stars, len(rejected))))
    builder = Builder(config=job.config, data_dir=job.folder / "packed")
    config = tfds.download.DownloadConfig(manual_dir=job.folder)
    with tqdm(desc="Packing", total=n_stars - len(rejected), unit="star", disable=not progress) as bar:
        builder.on_example = bar.update
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS speaks of downloads
            builder.download_and_prepare(file_format="array_record", download_config=config)
    folder = Path(builder.data_dir)
    pyarrow.parquet.write_table(rejected, folder / "rejected.parquet")
    write_checksums(folder)
    return folder


def metadata(job: Job, n_stars: int, n_rejected: int) -> dict:
    """What a reader needs to understand the examples and to know where they came from; goes to ``metadata.json``."""
    fields = FIELDS | TRUTH_FIELDS
    selection = json.loads(job.selection.read_text())
    return {
        "bands": BANDS,
        "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
        "extinction_coefficients": EXTINCTION_COEFFICIENTS,
        "units": {name: field.unit for name, field in fields.items()},
        "descriptions": {name: field.description for name, field in fields.items()},
        "fingerprint": fingerprint(job, n_stars),
        "provenance": {"archive": "mock sky", "seed": job.seed, "stamps": STAMP_SETTINGS},
        "n_stars": n_stars,
        "n_rejected": n_rejected,
        "n_scanned": selection["n_scanned"],
        "selection": selection["cuts"],
        "split": "train if blake2b(object_id, 8 bytes little-endian; digest of 8 bytes little-endian) % 10 < 8",
    }


def fingerprint(job: Job, n_stars: int) -> str:
    """SHA-256 over what determines the dataset: its identity, settings, and the content of every example."""
    identity = {"name": NAME, "version": VERSION, "config": job.config, "seed": job.seed, "stars": n_stars}
    digest = hashlib.sha256(json.dumps(identity | STAMP_SETTINGS, sort_keys=True).encode())
    for path in job.parts(n_stars):
        with np.load(path) as part:
            digest.update(part["digest"].tobytes())
    return digest.hexdigest()


def example_ids(job: Job, n_stars: int) -> np.ndarray:
    """The object_id of every example, in order: (n,) int64."""
    ids = []
    for path in job.parts(n_stars):
        with np.load(path) as part:
            ids.append(part["object_id"])
    return np.concatenate(ids)


def rejected_stars(job: Job, n_stars: int) -> pyarrow.Table:
    """The selected stars that have no example, each with its reason."""
    selected = load(job.selected)
    rows, reasons = [], []
    for path in job.parts(n_stars):
        with np.load(path) as part:
            rows += part["rejected_row"].tolist()
            reasons += part["rejected_reason"].tolist()
    columns = {name: selected[name][rows] for name in ("object_id", "source_id", "ra", "dec")}
    return pyarrow.table(columns | {"reason": pyarrow.array(reasons, pyarrow.string())})


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a prepared folder, in the format of ``sha256sum``."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != CHECKSUMS]
    (folder / CHECKSUMS).write_text("".join(lines))


def damaged_files(folder: Path) -> list[str]:
    """Names of the files that are missing or differ from their recorded checksum."""
    recorded = (line.split("  ", 1) for line in (folder / CHECKSUMS).read_text().splitlines())
    return [name for checksum, name in recorded if not (folder / name).is_file() or _sha256(folder / name) != checksum]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
