"""What a catalogue's file is made of: rows from shards, and their description."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from acf_jax.catalogue.columns import Column
from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files.arrow_rows import from_arrow

Flags = Sequence[tuple[enum.IntFlag, str]]
"""Each bit with its meaning, as `flags.TABLE`."""

_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Contents:
    """Shards in order, the columns they hold, and what the file says about itself.

    `provenance` holds JSON types.
    """

    shards: Sequence[Path]
    columns: Sequence[Column]
    provenance: Mapping
    flags: Flags
    n_rows: int

    @classmethod
    def from_shards(
        cls, shards: Sequence[Path], columns: Sequence[Column], provenance: Mapping, flags: Flags
    ) -> Contents:
        """Look at the shards' headers.

        Args:
            shards: Parquet files, in order.
            columns: that they hold.
            provenance: of JSON types.
            flags: `flags.TABLE`.

        Returns:
            What can be written.

        Raises:
            CatalogueError: if one cannot be read or has other columns.
        """
        return cls(shards, columns, provenance, flags, sum(_n_rows(shard, columns) for shard in shards))

    def batches(self, progress: str = "") -> Iterator[dict[str, np.ndarray]]:
        """The rows, 10,000 at most at a time; `progress` names a bar to show.

        Raises:
            CatalogueError: if a shard cannot be read.
        """
        with tqdm(total=self.n_rows, unit="star", desc=progress, disable=None if progress else True) as bar:
            for batch in self._arrow_batches([column.name for column in self.columns]):
                yield from_arrow(batch, self.columns)
                bar.update(batch.num_rows)

    def text_widths(self, length=len) -> dict[str, int]:
        """The length of the longest text of every text column, at least 1, by `length`; reads these columns alone."""
        widths = {column.name: 1 for column in self.columns if column.dtype == "str"}
        for batch in self._arrow_batches(list(widths)):
            for name in widths:
                distinct = batch.column(name).unique().to_pylist()
                widths[name] = max(widths[name], *(length(text or "") for text in distinct), 1)
        return widths

    def information(self) -> Iterator[tuple[str, str]]:
        """The provenance, flattened (`dataset.version`), and the flags, as pairs of texts for people to read."""
        yield from flattened(self.provenance)
        for flag, text in self.flags:
            yield f"flag.{flag.name}", f"{flag.value}: {text}"

    def provenance_json(self) -> str:
        """The provenance as one line of ASCII."""
        return json.dumps(self.provenance)

    def _arrow_batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        for shard in self.shards:
            try:
                with pq.ParquetFile(shard, page_checksum_verification=True) as file:
                    yield from file.iter_batches(_BATCH_ROWS, columns=names)
            except (pa.ArrowException, OSError) as error:
                raise CatalogueError(_unreadable(shard)) from error


def parsed_provenance(text: str | bytes | None) -> dict:
    """Undo `provenance_json`; empty where there is none."""
    return json.loads(text) if text else {}


def _n_rows(shard: Path, columns: Sequence[Column]) -> int:
    try:
        with pq.ParquetFile(shard) as file:
            n_rows, names = file.metadata.num_rows, file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(_unreadable(shard)) from error
    if names != [column.name for column in columns]:
        raise CatalogueError(
            f"The shard {shard} has other columns than this catalogue: it belongs to another run. Choose an empty"
            " folder, or delete it and run again."
        )
    return n_rows


def _unreadable(shard: Path) -> str:
    return f"The shard {shard} cannot be read: delete it and run again, and it is made anew."


def flattened(values: Mapping, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names joined by dots, and values as texts: JSON of what is no text."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
