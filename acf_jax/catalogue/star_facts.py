"""What a prepared dataset says about its stars besides their stamps, also about those without a stamp.

It comes from `stars.parquet` and `rejected.parquet` beside the examples, so that a damaged file of examples costs
the stamps in it and not the stars.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as pq

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.data.prepared import PreparedDataset
from acf_jax.files import whole_file

STARS, REJECTED = "stars.parquet", "rejected.parquet"
_NUMBERS = {  # columns of a star, and what is missing
    "input_row": -1,
    "own_parallax": -1,
    "object_id": -1,
    "source_id": -1,
    "ra": np.nan,
    "dec": np.nan,
    "parallax": np.nan,
    "parallax_error": np.nan,
    "flags": -1,
    "self_dist1": np.nan,
    "index": -1,
}

_USER_COLUMNS = ("input_row", "own_parallax")  # only in a dataset made from a user's table
_REJECTED_COLUMNS = ("object_id", "source_id", "ra", "dec", "reason")


class StarFacts:
    """All stars that went into a dataset, in the order of the user's table where there was one.

    Otherwise the examples come first, as they were selected, and then those without a stamp. A part of the table is in
    memory at a time, and 16 bytes a star throughout.
    """

    def __init__(self, folder: Path, bands: str):
        """Open the tables in a prepared dataset's folder.

        Raises:
            CatalogueError: if one is missing, cannot be read or lacks a column.
        """
        self._folder, self._bands = folder, bands
        with _told(folder / STARS):
            self._stars = pq.ParquetFile(folder / STARS)
        with _told(folder / REJECTED):
            self._rejected = pq.read_table(folder / REJECTED)
        there = self._stars.schema_arrow.names
        self.has_input_row = "input_row" in there
        self._names = needed_columns(bands, [name for name in _USER_COLUMNS if name in there])
        of_those_rejected = [*_REJECTED_COLUMNS, *(["input_row"] if self.has_input_row else [])]
        for path, needed, names in (
            (folder / STARS, self._names, there),
            (folder / REJECTED, of_those_rejected, self._rejected.column_names),
        ):
            if missing := [name for name in needed if name not in names]:
                raise CatalogueError(f"{path} has no column {', '.join(missing)}: prepare the dataset anew.")
        self.n_examples, self.n_rejected = self._stars.metadata.num_rows, len(self._rejected)
        self._order = self._places()
        ids = self._both("object_id")
        unique, counts = np.unique(ids, return_counts=True)
        self._repeated = unique[(counts > 1) & (unique != -1)]

    def __len__(self) -> int:
        return self.n_examples + self.n_rejected

    def take(self, rows: range) -> dict[str, np.ndarray]:
        """The stars of some rows of the catalogue.

        Returns:
            The columns of `_NUMBERS`; `split` and `index`, the example's place; `n_detections` (n, bands);
            `reason`, why a star has no stamp, empty for those that have; `duplicate`, whether its object_id
            appears more than once.
        """
        places = self._order[rows.start : rows.stop]
        example, other = places < self.n_examples, places >= self.n_examples
        examples = self._examples(places[example])
        rejected = _take(self._rejected, places[other] - self.n_examples)
        facts = {}
        for name, missing in _NUMBERS.items():
            facts[name] = np.full(len(places), missing)
            for part, where in ((examples, example), (rejected, other)):
                if name in part.column_names:
                    facts[name][where] = _numbers(part[name], missing)
        for name in ("split", "reason"):
            facts[name] = np.full(len(places), "", object)
        facts["split"][example] = examples["split"].to_pylist()
        facts["reason"][other] = [reason or "no stamp" for reason in rejected["reason"].to_pylist()]
        facts["n_detections"] = np.full((len(places), len(self._bands)), -1)
        for i, band in enumerate(self._bands):
            facts["n_detections"][example, i] = _numbers(examples[f"n_detections_{band}"], -1)
        facts["duplicate"] = np.isin(facts["object_id"], self._repeated)
        return facts

    def _places(self) -> np.ndarray:
        """Every row's place: among the examples, or after them among the stars without a stamp."""
        if self.has_input_row:
            return np.argsort(self._both("input_row"), kind="stable")
        return np.arange(len(self))

    def _both(self, name: str) -> np.ndarray:
        with _told(self._folder / STARS):
            examples = self._stars.read([name])[name]
        return np.concatenate([_numbers(column, -1) for column in (examples, self._rejected[name])])

    def _examples(self, places: np.ndarray) -> pyarrow.Table:
        """Rows of the table of examples, group by group as it lies on disk."""
        starts = np.cumsum(
            [0, *(self._stars.metadata.row_group(i).num_rows for i in range(self._stars.num_row_groups))]
        )
        groups = np.searchsorted(starts, places, side="right") - 1
        parts, row_of = [_take(self._group(0), places[:0])] if self._stars.num_row_groups else [], []
        for group in np.unique(groups):
            here = np.flatnonzero(groups == group)
            parts.append(_take(self._group(int(group)), places[here] - starts[group]))
            row_of.append(here)
        order = np.argsort(np.concatenate(row_of)) if row_of else np.zeros(0, np.int64)
        return _take(pyarrow.concat_tables(parts), order)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - one reader a catalogue, which lives as long
    def _group(self, group: int) -> pyarrow.Table:
        with _told(self._folder / STARS):
            return self._stars.read_row_group(group, self._names)


def needed_columns(bands: str, user_columns: Sequence[str] = ()) -> list[str]:
    """The columns of `stars.parquet` that a catalogue is made from."""
    numbers = [name for name in _NUMBERS if name not in _USER_COLUMNS]
    return [*user_columns, *numbers, *(f"n_detections_{band}" for band in bands), "split"]


def dataset_without_stamps(
    folder: Path, rejected: pyarrow.Table, bands: str, config: str, archive: str
) -> PreparedDataset:
    """Replaces the dataset where no star of a user's table has a stamp: the stars still get their rows.

    Args:
        folder: where its tables are written.
        rejected: input_row, object_id, source_id, ra, dec and reason of each.
        bands: of the stamps, had there been any.
        config: of the dataset, likewise.
        archive: where the stars were looked up.

    Returns:
        A dataset without splits.
    """
    kinds = {"split": pyarrow.string(), "input_row": pyarrow.int64()}
    names = needed_columns(bands, ("input_row",))
    nobody = pyarrow.table({name: pyarrow.array([], kinds.get(name, pyarrow.float64())) for name in names})
    for name, table in ((STARS, nobody), (REJECTED, rejected)):
        with whole_file(folder / name) as file:
            pq.write_table(table, file)
    metadata = {"bands": bands, "fingerprint": "no star has a stamp", "provenance": {"archive": archive}}
    return PreparedDataset(folder, "smss_stamps", config, "0.0.0", metadata, splits={}, fields=())


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the error of a missing or damaged file into one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise CatalogueError(f"{path} is missing: copy the whole folder, or prepare the dataset anew.") from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise CatalogueError(f"{path} cannot be read ({reason}): copy it again, or prepare the dataset anew.") from None


def _take(table: pyarrow.Table, rows: np.ndarray) -> pyarrow.Table:
    return table.take(pyarrow.array(rows, pyarrow.int64()))


def _numbers(column: pyarrow.ChunkedArray, missing: float) -> np.ndarray:
    """A column without nulls, and without a way through floats for integers."""
    kind = pyarrow.float64() if np.isnan(missing) else pyarrow.int64()
    return column.cast(kind).fill_null(missing).to_numpy()
