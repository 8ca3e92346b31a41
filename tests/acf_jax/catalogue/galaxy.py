"""A catalogue of stars that could be, for figures and counts: few facts of it are missing, and it is known which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.files import formats
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.flags import TABLE, Flag

PROVENANCE = {
    "title": "parameters",
    "sample": "mock sky, 3,000 stars drawn for a test",
    "networks": {"ACF": {"fingerprint": "f" * 64}},
}
N_STARS, N_WITHOUT_RESULT, N_FAINT = 3000, 40, 55


def rows_of(n: int = N_STARS, seed: int = 0, targets=("teff", "logg", "fe_h")) -> dict[str, np.ndarray]:
    """The first 40 stars have no result, the last 55 an uncertain parallax, every tenth is crowded."""
    random = np.random.default_rng(seed)
    rows = {}
    for column in columns(targets):
        empty = np.full(n, "", object) if column.dtype == "str" else np.zeros(n, column.dtype)
        rows[column.name] = empty + np.nan if column.is_float else empty
    rows["glon"], rows["glat"] = random.uniform(0, 360, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))
    rows["raj2000"], rows["dej2000"] = random.uniform(0, 360, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))
    rows["parallax"] = random.uniform(0.2, 3, n).astype(np.float32)
    rows["parallax_error"] = np.full(n, 0.02, np.float32)
    rows["parallax_error"][n - N_FAINT :] = 2
    drawn = {
        "teff": random.normal(5600, 500, n),
        "logg": random.normal(3.8, 0.4, n),
        "fe_h": random.normal(-0.5, 0.6, n),
    }
    for target in targets:
        rows[target] = drawn[target].astype(np.float32)
        rows[target][:N_WITHOUT_RESULT] = np.nan
    rows["flags"][:N_WITHOUT_RESULT] |= Flag.NO_RESULT.value
    rows["flags"][::10] |= Flag.CROWDED.value
    rows["reason"][:N_WITHOUT_RESULT] = "no detection in u"
    return rows


def write(path: Path, rows: dict[str, np.ndarray], targets=("teff", "logg", "fe_h"), provenance=PROVENANCE) -> Path:
    """The rows in one file, by way of two shards beside it."""
    n = len(rows["flags"])
    schema = formats.arrow_schema(columns(targets), {})
    shards = []
    for i, part in enumerate((slice(0, n // 3), slice(n // 3, n))):
        shards.append(path.parent / f"{path.stem}-{i}.shard.parquet")
        table = formats.to_arrow({name: values[part] for name, values in rows.items()}, columns(targets), schema)
        pq.write_table(table, shards[-1])
    formats.write_catalogue(Contents.from_shards(shards, columns(targets), provenance, TABLE), path, progress=False)
    return path
