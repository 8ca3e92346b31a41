"""Prepared datasets and networks so small that a catalogue of them takes a second, with every kind of awkward star."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import tensorflow_datasets as tfds

from acf_jax.inference import mc_dropout
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network
from acf_jax.inference.prediction import Prediction
from tests.acf_jax import tiny_dataset
from tests.acf_jax.bundle import tiny_bundle

ROOT = Path(__file__).parents[3]
BANDS, SIZE_PX, N_SAMPLES = "uvgriz", 16, 6
FIRST_SPLIT, SECOND_SPLIT = "train", "validation"
FILES_A_SPLIT = 2
NETWORK = {"model__depths": (1,), "model__num_heads": (2,), "model__stripe_widths": (1,), "model__head_widths": (16, 8)}


def make_stars(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Stars with all that the tables and the examples hold, none of them awkward; ids have 18 digits."""
    stars = tiny_dataset.make_stars(n, seed)
    rng = np.random.default_rng(seed)
    edge = (48 - SIZE_PX) // 2
    return {
        "object_id": 300_000_000_000_000_001 + 17 * rng.permutation(10 * n)[:n],
        "source_id": 6_000_000_000_000_000_001 + 1013 * np.arange(n),
        "ra": rng.uniform(0, 360, n),
        "dec": rng.uniform(-85, 2, n),
        "stamp": stars["stamp"][:, edge:-edge, edge:-edge].astype(np.float32),
        "parallax": stars["parallax"].astype(np.float32),
        "parallax_error": stars["parallax_error"].astype(np.float32),
        "flags": np.zeros(n, np.int32),
        "self_dist1": np.full(n, 60.0, np.float32),
        "n_detections": np.full((n, len(BANDS)), 5, np.int32),
        "split": np.where(np.arange(n) % 3 == 0, FIRST_SPLIT, SECOND_SPLIT),
    }


def make_rejected(n: int, seed: int = 2) -> dict[str, np.ndarray]:
    """Stars without a stamp; the last one is not in Gaia, nor has it a place on the sky."""
    rng = np.random.default_rng(seed)
    rejected = {
        "object_id": 200_000_000_000_000_001 + np.arange(n),
        "source_id": 5_000_000_000_000_000_001 + np.arange(n),
        "ra": rng.uniform(0, 360, n),
        "dec": rng.uniform(-85, 2, n),
        "reason": np.array([f"no usable detection in {BANDS[i % 6]}" for i in range(n)]),
    }
    rejected["source_id"][-1:], rejected["ra"][-1:], rejected["dec"][-1:] = -1, np.nan, np.nan
    return rejected


def write_dataset(
    data_dir: Path,
    stars: Mapping[str, np.ndarray],
    rejected: Mapping[str, np.ndarray] | None = None,
    bands: str = BANDS,
    input_rows: tuple[np.ndarray, np.ndarray] | None = None,
) -> Path:
    """Prepares `smss_stamps/mock` with its two tables; `input_rows` of stars and rejected make it a user's table's.

    Returns its folder.
    """
    rejected = make_rejected(0) if rejected is None else rejected
    fields = ("object_id", "stamp", "parallax", "parallax_error")
    parts = {name: np.flatnonzero(stars["split"] == name) for name in (FIRST_SPLIT, SECOND_SPLIT)}
    examples = {name: {field: stars[field][rows] for field in fields} for name, rows in parts.items() if len(rows)}
    with mock.patch.dict(tiny_dataset.SHAPES, stamp=stars["stamp"].shape[1:]):
        metadata = {"bands": bands, "fingerprint": "f" * 64, "provenance": {"archive": "mock sky"}}
        builder = tiny_dataset.SmssStamps(
            examples, metadata, data_dir=data_dir, config="mock", file_format="array_record"
        )
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=FILES_A_SPLIT))
    folder = Path(builder.data_path)
    write_tables(folder, stars, rejected, bands, input_rows)
    return folder


def write_tables(folder: Path, stars, rejected, bands: str = BANDS, input_rows=None) -> None:
    """`stars.parquet` and `rejected.parquet`, with the columns that `datasets.build` gives them."""
    index = np.zeros(len(stars["split"]), np.int64)
    for name in (FIRST_SPLIT, SECOND_SPLIT):
        index[stars["split"] == name] = np.arange((stars["split"] == name).sum())
    numbers = {name: stars[name] for name in stars if name not in ("split", "stamp", "n_detections")}
    numbers |= {f"n_detections_{band}": stars["n_detections"][:, i] for i, band in enumerate(bands)}
    table = {"split": pyarrow.array(stars["split"].tolist(), pyarrow.string()), "index": index, **numbers}
    others = dict(rejected) | {"reason": pyarrow.array(rejected["reason"].tolist(), pyarrow.string())}
    if input_rows is not None:
        table["input_row"], others["input_row"] = input_rows
    pq.write_table(pyarrow.table(table), folder / "stars.parquet", row_group_size=7)  # so that there are several
    pq.write_table(pyarrow.table(others), folder / "rejected.parquet")


def make_network(folder: Path, **changes) -> Path:
    """A run's folder with a network of random parameters, calibrated errors and a training domain."""
    return tiny_bundle.make_run(folder, **(NETWORK | changes))


def make_networks(folder: Path) -> dict[str, Network]:
    """One that reads parallaxes, and one that does not."""
    acpf = make_network(folder / "acpf", seed=1, model__use_parallax=False)
    return {"ACF": load(make_network(folder / "acf")), "ACPF": load(acpf)}


def predict(trained: Network, stars: Mapping[str, np.ndarray], rows=slice(None), **options) -> Prediction:
    """What the library says of these stars when asked directly."""
    names = ("stamp", "parallax", "parallax_error", "object_id")
    return mc_dropout.predict(
        trained, *(stars[name][rows] for name in names), progress=False, **({"n_samples": N_SAMPLES} | options)
    )


def script_environment(**more: str) -> dict[str, str]:
    """Of a process that computes as the tests themselves do: one device, and the date fixed."""
    return os.environ | {"JAX_NUM_CPU_DEVICES": "1", "SOURCE_DATE_EPOCH": "1790000000"} | more


def script(*arguments: object, under: Sequence[str] = (), **options) -> subprocess.Popen:
    """`python predict.py ...`, started, `under` another command if there is one; output goes to pipes."""
    command = [*under, sys.executable, str(ROOT / "predict.py"), *map(str, arguments)]
    options = {"env": script_environment(), "cwd": ROOT, "text": True} | options
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
