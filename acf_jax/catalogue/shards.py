"""Shards of a catalogue: Parquet files, each whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq

from acf_jax.catalogue.columns import Rows, columns
from acf_jax.catalogue.errors import told_if_not_written
from acf_jax.catalogue.files.arrow_rows import arrow_schema, to_arrow
from acf_jax.catalogue.plan import Plan
from acf_jax.files import whole_file


def shard_path(folder: Path, shard: int) -> Path:
    """Where a shard of the catalogue in `folder` is, or will be."""
    return folder / "shards" / f"shard-{shard:06d}.parquet"


def write_shard(path: Path, rows: Rows, targets: Sequence[str], has_input_row: bool) -> None:
    """Write rows of the catalogue.

    Args:
        path: of the file.
        rows: columns by name, each (n,).
        targets: labels in the catalogue.
        has_input_row: whether the stars are those of a user's table.

    Raises:
        CatalogueError: if the disk is full or the file cannot be written.
    """
    described = columns(targets, has_input_row)
    schema = arrow_schema(described)
    with told_if_not_written(path), whole_file(path) as file:
        pq.write_table(to_arrow(rows, described, schema), file, write_page_checksum=True)


def is_whole(path: Path, plan: Plan, shard: int) -> bool:
    """Whether a shard is there and can be read; only the ends of the file are checked.

    Every page has a checksum, which is checked when the shards are put together.

    Args:
        path: of the file.
        plan: of the catalogue.
        shard: its number.

    Returns:
        False if it must be made, or made anew.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.metadata.num_rows == len(plan.rows(shard))
    except (OSError, pyarrow.ArrowException):
        return False
