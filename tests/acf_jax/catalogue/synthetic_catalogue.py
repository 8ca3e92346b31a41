"""Rows of a catalogue drawn at random, with all that is awkward in them, in shards."""

from __future__ import annotations

import enum
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from acf_jax.catalogue.columns import Column, columns
from acf_jax.catalogue.files.formats import arrow_schema, to_arrow

COLUMNS = columns(("teff", "logg", "fe_h"), has_input_row=True)
PROVENANCE = {
    "title": 'Atmospheric parameters of <12> stars & "more", it\'s a test: [Fe/H] ≤ 0',
    "checkpoint": "runs/acf/" + 20 * "long/" + "step_100",
    "dataset": {"name": "smss_stamps", "config": "mock", "version": "2.0.0", "fingerprint": 64 * "f"},
    "n_samples": 100,
    "seed": 2**40,
    "sample": "mock sky, 12 stars",
}
TEXTS = ('says "no", twice', "a, b; c & d < e > f", "it's 'quoted'", "Größe\tna\\n", "x" * 200, "two\nlines", "#1")


class Bits(enum.IntFlag):
    """Two flags."""

    BAD = 1
    WORSE = 2


FLAGS = ((Bits.BAD, "not good, a < b & c"), (Bits.WORSE, 'less "good"'))


def random_rows(n: int, seed: int = 0, of: tuple[Column, ...] = COLUMNS, missing: float = 0.2) -> dict[str, np.ndarray]:
    """n rows in which a fraction of what may be missing is; identifiers have up to 19 digits."""
    random = np.random.default_rng(seed)
    rows = {}
    for column in of:
        if column.dtype == "str":
            values = np.array(TEXTS, object)[random.integers(len(TEXTS), size=n)]
        elif column.is_float:
            scale = 10.0 ** random.integers(-3, 4, size=n)
            values = (random.normal(size=n) * scale).astype(column.dtype)
        else:
            values = random.integers(np.iinfo(column.dtype).max // 2, np.iinfo(column.dtype).max, size=n)
            values = values.astype(column.dtype)
        if column.missing:
            values[random.random(n) < missing] = {"s": "", "f": np.nan, "i": -1}[column.dtype[0]]
        rows[column.name] = values
    return rows


def write_shards(folder: Path, rows: dict[str, np.ndarray], of=COLUMNS, n_shards: int = 3) -> list[Path]:
    """The rows in Parquet files as the catalogue's engine writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = arrow_schema(of)
    paths = []
    for i, places in enumerate(np.array_split(np.arange(len(rows[of[0].name])), n_shards)):
        paths.append(folder / f"shard-{i:06d}.parquet")
        pq.write_table(to_arrow({name: values[places] for name, values in rows.items()}, of, schema), paths[-1])
    return paths
