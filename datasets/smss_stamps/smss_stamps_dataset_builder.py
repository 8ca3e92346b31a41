"""Packs the finished parts of a build into a TFDS dataset. Users call `python -m datasets.build`, which calls this.

The parts come in by TFDS's `manual_dir`: part files (`datasets.build.parts`) and the build's `metadata.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.writer import ExampleWriter
from tensorflow_datasets.proto import tf_example_pb2

from datasets.files import load
from datasets.smss_stamps.configs import CONFIGS, VERSION
from datasets.smss_stamps.fields import Field
from datasets.smss_stamps.terms import citations, terms

EXAMPLES_PER_SHARD = 1024

Places = list[tuple[Path, int]]
"""Where examples are: part file and row."""


def feature_of(field: Field) -> tfds.features.Tensor:
    """How a field lies on disk.

    Arrays are raw bytes, five times faster to write; so is float64, which TFDS would otherwise round to float32.
    """
    as_bytes = field.shape or field.dtype == "float64"
    return tfds.features.Tensor(
        shape=field.shape, dtype=np.dtype(field.dtype), encoding="bytes" if as_bytes else "none", doc=field.description
    )


class RepeatableWriter(ExampleWriter):
    """Writes the same examples as the same bytes: TFDS leaves the order of an example's fields to chance."""

    def write(self, path: Any, examples: Any) -> Any:
        """Write (key, serialised example) pairs to `path`.

        Raises:
            OSError: if the file cannot be written, say because the disk is full.
        """
        parse = tf_example_pb2.Example.FromString
        try:
            return super().write(path, ((key, parse(e).SerializeToString(deterministic=True)) for key, e in examples))
        except RuntimeError as error:
            raise OSError(str(error)) from error


class Builder(tfds.core.ShardBasedBuilder):
    """Builder of `smss_stamps`.

    Shard by shard, because TFDS's shuffling writer needs TensorFlow once a split outgrows 1 GB.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "First release.",
        "2.0.0": "A tenth of all stars moves from `train` to the new split `calibration`; low_quality is split, too.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=config.name, description=config.description) for config in CONFIGS.values()
    ]
    on_example: Callable[[], object] = staticmethod(lambda: None)  # called after each example, to show progress
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Run `python -m datasets.build`: it makes the parts and packs them."

    def _info(self) -> tfds.core.DatasetInfo:
        config = CONFIGS[self.builder_config.name]
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.get_metadata().description,
            features=tfds.features.FeaturesDict({name: feature_of(f) for name, f in config.fields().items()}),
            supervised_keys=None,
            homepage="https://skymapper.anu.edu.au",
            citation=citations(config),
            license=terms(config).licence,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _example_writer(self) -> ExampleWriter:
        return RepeatableWriter(self.info.file_format)

    def _shard_iterators_per_split(self, dl_manager: tfds.download.DownloadManager) -> dict[str, list[Callable]]:
        folder = Path(dl_manager.manual_dir)
        self.info.metadata.update(json.loads((folder / "metadata.json").read_text()))
        config = CONFIGS[self.builder_config.name].divided(self.info.metadata["provenance"]["recipe"]["splits"])
        places: dict[str, Places] = {split: [] for split in config.splits}
        for path in sorted(folder.glob("part-*.npz")):
            with np.load(path) as part:
                for row, object_id in enumerate(part["object_id"]):
                    places[config.split_of(object_id)].append((path, row))
        return {
            split: [
                partial(self._examples, of_split[start : start + EXAMPLES_PER_SHARD])
                for start in range(0, len(of_split), EXAMPLES_PER_SHARD)
            ]
            for split, of_split in places.items()
        }

    def _examples(self, places: Places) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        opened = None
        for path, row in places:
            if path != opened:
                part, opened = load(path), path
            yield int(part["object_id"][row]), {name: part[name][row] for name in self.info.features}
            self.on_example()
