"""Stamps of a prepared dataset, file by file: a file that cannot be read costs only the stars in it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from acf_jax.data.prepared import PreparedDataset


class StampReader:
    """Reads stamps by split and index; a star whose stamp cannot be used comes back with the reason."""

    def __init__(self, dataset: PreparedDataset):
        import tensorflow_datasets as tfds  # here, because it takes half a second

        info = tfds.builder_from_directory(str(dataset.folder)).info
        self._features = tfds.features.FeaturesDict({name: info.features[name] for name in ("object_id", "stamp")})
        self.shape = tuple(info.features["stamp"].shape)
        self._files = {name: [Path(path) for path in split.filepaths] for name, split in info.splits.items()}
        self._starts = {name: np.cumsum([0, *split.shard_lengths]) for name, split in info.splits.items()}

    def read(self, split: np.ndarray, index: np.ndarray, object_id: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """The stamps of some stars.

        Args:
            split: (n,) names.
            index: (n,) of each star in its split.
            object_id: (n,) that the examples should have.

        Returns:
            (n, height, width, bands) float32, microjansky per pixel, and for each star why its stamp cannot be used,
            an empty text if it can; do not use the other stamps.
        """
        stamps, reasons = np.zeros((len(index), *self.shape), np.float32), []
        for row, (name, number, star) in enumerate(zip(split, index, object_id, strict=True)):
            try:
                example = self._example(name, int(number))
            except (RuntimeError, ValueError, OSError, KeyError, IndexError) as error:  # what its library raises
                reasons.append(f"its stamp cannot be read: {_short(error)}")
                continue
            if int(example["object_id"]) != star:
                reasons.append(f"its place in the dataset holds another star, {int(example['object_id'])}")
                continue
            stamps[row] = example["stamp"]
            reasons.append(_why_unusable(stamps[row]))
        return stamps, reasons

    def _example(self, split: str, index: int) -> dict[str, np.ndarray]:
        starts = self._starts[split]
        file = int(np.searchsorted(starts, index, side="right")) - 1
        return self._features.deserialize_example_np(self._records(split, file)[index - int(starts[file])])

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a reader lives as long as its catalogue is being made
    def _records(self, split: str, file: int):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        path = self._files[split][file]
        records = ArrayRecordDataSource([str(path)])
        expected = int(np.diff(self._starts[split])[file])
        if len(records) != expected:
            raise ValueError(f"{path.name} holds {len(records)} examples, not {expected}")
        return records


def _why_unusable(stamp: np.ndarray) -> str:
    if not np.isfinite(stamp).all():
        return "its stamp holds a pixel that is not a finite number"
    return "" if stamp.any() else "its stamp is blank: every pixel is zero"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
