"""Prepared dataset -> arrays and training batches.

A prepared dataset is a folder that TFDS wrote in its array_record format; reading it needs neither TensorFlow nor the
builder's code.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acf_jax.data.batches import filled_batches
from acf_jax.errors import ACFError

if TYPE_CHECKING:
    import grain

VERSION = re.compile(r"\d+\.\d+\.\d+")
BUILD = "python -m datasets.build"
SAMPLES = (
    "mock", "mock_large", "mock_low_quality", "high_quality", "low_quality", "catalogue", "stars", "mock_stars"
)  # fmt: skip
"""The configs of `datasets.build`, which this package does not import."""
IDENTITY = ("name", "config", "version", "fingerprint")
"""What tells one dataset from another."""
GALAH_FILE = "GALAH_DR3_main_allstar_v2.fits"
GALAH_URL = "https://cloud.datacentral.org.au/teamdata/GALAH/public/GALAH_DR3/"


class DatasetError(ACFError):
    """The dataset is missing or unfit; the message says what to do."""


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset folder, opened; only its metadata is read before `examples` or `arrays` is called."""

    folder: Path
    name: str
    config: str
    version: str
    metadata: Mapping  # what the builder recorded: bands, fingerprint, units, provenance
    splits: Mapping[str, int]  # name -> number of examples
    fields: tuple[str, ...]

    @property
    def bands(self) -> str:
        """Bands of a stamp's last axis, in order."""
        return "".join(self.metadata["bands"])

    @property
    def fingerprint(self) -> str:
        """Hash of all that determines the dataset's content."""
        return self.metadata["fingerprint"]

    @property
    def stamps(self) -> dict[str, str]:
        """How its stamps were made, `sky` and `aligner`; empty where the builder did not say."""
        return dict(self.metadata.get("provenance", {}).get("recipe", {}).get("stamps", {}))

    @property
    def identity(self) -> dict[str, str]:
        """What tells it from others: `IDENTITY`."""
        return {name: getattr(self, name) for name in IDENTITY}

    def describe(self) -> dict:
        """What a checkpoint stores about its dataset."""
        return self.identity | {"folder": str(self.folder)} | ({"stamps": self.stamps} if self.stamps else {})

    def check_stamps(self, trained_on: Mapping) -> None:
        """Refuse a network, whose checkpoint stored `trained_on`, that learned on stamps with another sky level.

        Which aligner made them does not matter: both make the same stamps (docs/real-data.md).

        Raises:
            DatasetError: naming both.
        """
        theirs, ours = (stamps.get("sky", "cutout") for stamps in (trained_on.get("stamps", {}), self.stamps))
        if self.stamps and theirs != ours:
            raise DatasetError(
                f"The network was trained on stamps built with `--sky {theirs}`, those of {self.folder} were built "
                f"with `--sky {ours}`: build that sample anew, in another --data-dir, with `--sky {theirs}`."
            )

    def n_examples(self, split: str) -> int:
        """Number of examples of a split.

        Raises:
            DatasetError: if there is no such split.
        """
        if split not in self.splits:
            raise DatasetError(f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}.")
        return self.splits[split]

    def examples(self, split: str, fields: Sequence[str] | None = None) -> Examples:
        """The split as a random-access sequence of examples that hold `fields` (default: all) and read no others.

        Raises:
            DatasetError: if there is no such split or field.
        """
        import tensorflow_datasets as tfds  # here, because it takes half a second

        self.n_examples(split)
        fields = self.fields if fields is None else tuple(fields)
        missing = [name for name in fields if name not in self.fields]
        if missing:
            raise DatasetError(f"{self.folder} has no field {', '.join(missing)}; it has {', '.join(self.fields)}.")
        builder = _builder(self.folder.absolute())
        records = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        # TFDS's own partial decoding needs TensorFlow; a dictionary of the wanted features does not.
        return Examples(records, tfds.features.FeaturesDict({name: builder.info.features[name] for name in fields}))

    def arrays(
        self, split: str, fields: Sequence[str] | None = None, indices: Sequence[int] | np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Fields of a split's examples, stacked, in the order on disk.

        Args:
            split: its name.
            fields: their names (default: all).
            indices: of the examples (default: all).

        Returns:
            {field: (n, ...)}.

        Raises:
            DatasetError: if there is no such split or field.
        """
        return self.examples(split, fields).stack(indices)


class Examples:
    """Examples on disk, decoded when they are read; a Grain source. Every value is a NumPy array or scalar."""

    def __init__(self, records, features):
        self._records, self._features = records, features
        self._dtypes = {name: np.dtype(feature.np_dtype) for name, feature in features.items()}

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        example = self._features.deserialize_example_np(self._records[index])
        return {name: np.asarray(example[name], dtype) for name, dtype in self._dtypes.items()}

    def stack(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The examples at `indices` (default: all), stacked field by field."""
        indices = range(len(self)) if indices is None else indices
        stacked = {
            name: np.empty((len(indices), *feature.shape), self._dtypes[name])
            for name, feature in self._features.items()
        }
        for row, index in enumerate(indices):
            for name, value in self[index].items():
                stacked[name][row] = value
        return stacked


class InMemoryExamples:
    """Examples read once; the same sequence as `Examples`."""

    def __init__(self, examples: Examples):
        self._arrays = examples.stack()

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: values[index] for name, values in self._arrays.items()}

    def stack(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The examples at `indices` (default: all), stacked field by field."""
        return self._arrays if indices is None else {name: a[list(indices)] for name, a in self._arrays.items()}


def how_to_prepare(config: str, options: str = "") -> str:
    """The whole way to a prepared sample, in order, commands in backticks; `options` join the command."""
    if config not in SAMPLES:
        return f"there is no such sample, see `{BUILD} --help`"
    options = f" {options}" if options else ""
    if config in ("high_quality", "low_quality"):
        return f"download {GALAH_FILE} from {GALAH_URL}, then `{BUILD} --config {config} --galah {GALAH_FILE}{options}`"
    if config in ("stars", "mock_stars"):
        return f"`{BUILD} --config {config} --table FILE{options}` with the table of your stars"
    return f"`{BUILD} --config {config}{options}`"


def find_dataset(data_dir: str | Path, name: str, config: str) -> Path:
    """Folder of the newest prepared version of a dataset, `data_dir/name/config/version`.

    Args:
        data_dir: where the prepared datasets are.
        name: of the dataset.
        config: of the sample.

    Returns:
        The folder.

    Raises:
        DatasetError: if there is none.
    """
    parent = Path(data_dir) / name / config
    versions = [path.parent for path in parent.glob("*/dataset_info.json") if VERSION.fullmatch(path.parent.name)]
    if not versions:
        where, then = ("", "") if str(data_dir) == "data" else (f"--data-dir {data_dir}", f" --data_dir {data_dir}")
        mock = ""
        if config in ("high_quality", "low_quality"):
            mock = f" Or train on a mock sky, without any download: {how_to_prepare('mock', where)}, then "
            mock += f"`python train.py --config configs/demo.py{then}`."
        raise DatasetError(
            f"The dataset {name}/{config} is not prepared in {data_dir}. To prepare it: "
            f"{how_to_prepare(config, where)}; then the same command again (--data_dir names another place to "
            f"look).{mock}"
        )
    return max(versions, key=lambda folder: [int(number) for number in folder.name.split(".")])


def open_dataset(dataset: str | Path, data_dir: str | Path = "data") -> PreparedDataset:
    """Open a prepared dataset: only its metadata is read at first.

    >>> dataset = acf_jax.open_dataset("smss_stamps/mock")
    >>> dataset.bands, dataset.splits["validation"]
    ('uvgriz', 10)
    >>> stars = dataset.arrays("validation", ("stamp", "teff"))
    >>> stars["stamp"].shape
    (10, 48, 48, 6)

    Args:
        dataset: `smss_stamps/CONFIG`, of which the newest version is taken, or the folder of one version.
        data_dir: where the prepared datasets are, if no folder is given.

    Returns:
        The dataset.

    Raises:
        DatasetError: if there is none.
    """
    folder = Path(dataset)
    if not (folder / "dataset_info.json").exists():
        name, _, config = str(dataset).partition("/")
        if folder.exists() or not config or "/" in config:
            raise DatasetError(f"{folder} holds no prepared dataset: {how_to_prepare('mock')} prepares a mock sky.")
        folder = find_dataset(data_dir, name, config)
    info = _builder(folder.absolute()).info
    metadata = dict(info.metadata or {})
    missing = {"bands", "fingerprint"} - metadata.keys()
    if missing:
        raise DatasetError(f"{folder}/metadata.json lacks {', '.join(sorted(missing))}: prepare the dataset anew.")
    return PreparedDataset(
        folder=folder,
        name=info.name,
        config=info.config_name,
        version=str(info.version),
        metadata=metadata,
        splits={name: split.num_examples for name, split in info.splits.items()},
        fields=tuple(sorted(info.features)),  # TFDS keeps no order
    )


def training_batches(
    examples: Examples | InMemoryExamples, batch_size: int, seed: int, num_threads: int = 2
) -> grain.DatasetIterator:
    """Endless shuffled batches {field: (batch_size, ...)}; the iterator's `get_state` and `set_state` resume it.

    Every epoch is a new permutation of the whole split. Batches run on over the end of an epoch, so that no example is
    left out and all batches have one shape.

    Args:
        examples: of the training split.
        batch_size: examples in a batch.
        seed: of the permutations.
        num_threads: how many threads read.

    Returns:
        Grain's iterator.
    """
    import grain  # here, because predicting needs none of it

    shuffled = grain.MapDataset.source(examples).seed(seed).shuffle()
    batches = shuffled.repeat().batch(batch_size, drop_remainder=True)
    return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4)))


def ordered_batches(
    examples: Examples | InMemoryExamples, batch_size: int
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """All examples once, in order: batches of one shape with the number of their rows that count.

    The last batch is filled up with its last example.
    """
    for rows, n_real in filled_batches(len(examples), batch_size):
        yield examples.stack(rows), n_real


@functools.lru_cache(maxsize=4)
def _builder(folder: Path):
    """Kept by where it is: the same relative path may be another folder after a change of directory."""
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(str(folder))
