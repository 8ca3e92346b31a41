"""A network and a prepared dataset -> a catalogue. `predict.py` is the command line of this.

    OUT/plan.json           what the catalogue is made of, fixed before the first star
    OUT/shards/             rows, as they come; each file whole or not there, and never made twice
    OUT/catalogue.parquet   all rows, once all shards are there; other formats beside, where asked for
    OUT/ReadMe              CDS-style, with a byte-by-byte description

Each of several processes, on one machine or many, makes its share of the shards; the process that finds all of them at
its end puts the catalogue together. The processes share only the file system.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from tqdm import tqdm

from acf_jax.catalogue import flags
from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files import cds_readme
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.files.formats import write_catalogue
from acf_jax.catalogue.plan import Plan, settle
from acf_jax.catalogue.predicting import Job, predict_shards
from acf_jax.catalogue.provenance import provenance
from acf_jax.catalogue.shards import is_whole, shard_path
from acf_jax.catalogue.stamp_reader import StampReader
from acf_jax.catalogue.star_facts import StarFacts
from acf_jax.data.prepared import PreparedDataset
from acf_jax.inference.fingerprint import errors_fingerprint, network_fingerprint
from acf_jax.inference.network import Network
from acf_jax.running import bar_options

SHARD_SIZE = 10_000  # stars; a few seconds of a GPU: the most that an interruption may cost
BATCH_SIZE_ON_CPU, BATCH_SIZE = 128, 512  # stars on each device at a time


@dataclass(frozen=True)
class Options:
    """How a catalogue is made; all of these except the last three are part of its plan."""

    n_samples: int = 100
    seed: int = 0
    shard_size: int = SHARD_SIZE
    batch_size: int | None = None  # None: by the kind of device
    process: int = 0  # this process, from 0
    n_processes: int = 1  # that share the work
    progress: bool = True


def make_catalogue(
    networks: Mapping[str, Network],
    dataset: PreparedDataset,
    folder: Path,
    files: Sequence[Path],
    readme: Path,
    options: Options = Options(),
) -> list[Path]:
    """Make a catalogue of all stars of a prepared dataset, or go on with one.

    Args:
        networks: "ACF" and, for stars without a parallax, "ACPF"; or one of them.
        dataset: all its splits, and the stars that have no stamp.
        folder: of plan and shards.
        files: the catalogue's, in the formats that their suffixes name.
        readme: the file of its description.
        options: how it is made.

    Returns:
        What was put together: empty if other processes still have shards to make.

    Raises:
        CatalogueError: if networks and dataset do not fit, the folder holds another catalogue, a table cannot be read,
            or a file cannot be written. What is finished stays, and the same call goes on from there.
    """
    check(networks, dataset)
    facts = StarFacts(dataset.folder, dataset.bands)
    plan = make_plan(networks, dataset, facts, options)
    date = settle(plan, folder)
    left_behind = unfinished(folder, files)
    mine = plan.shards_of(options.process, options.n_processes)
    missing = [shard for shard in mine if not is_whole(shard_path(folder, shard), plan, shard)]
    n_mine, n_missing = (sum(len(plan.rows(shard)) for shard in numbers) for numbers in (mine, missing))
    with tqdm(
        total=n_mine, initial=n_mine - n_missing, unit="star", desc="Predicting", **bar_options(options.progress)
    ) as bar:
        if missing:
            job = Job(networks, StampReader(dataset) if facts.n_examples else None, facts.take, plan)
            predict_shards(job, missing, lambda shard: shard_path(folder, shard), bar)
    shards = [shard_path(folder, shard) for shard in range(plan.n_shards)]
    if not all(path.exists() for path in shards):
        return []
    described, told = columns(plan.targets, plan.has_input_row), provenance(plan, networks, dataset, date)
    _put_together(Contents.from_shards(shards, described, told, flags.TABLE), files, readme, options.progress)
    for part, _ in left_behind & unfinished(folder, files):  # unchanged since then: no process is writing it
        part.unlink(missing_ok=True)
    return [*files, readme]


def _put_together(contents: Contents, files: Sequence[Path], readme: Path, progress: bool) -> None:
    for path in files:
        write_catalogue(contents, path, progress)
    described_file = next((path for path in files if path.suffix == ".dat"), files[0])  # byte by byte where it can be
    cds_readme.write_readme(readme, described_file, contents)


def unfinished(folder: Path, files: Sequence[Path]) -> set[tuple[Path, int]]:
    """Parts of shards and of `files` that a process is writing, or left when it was killed; with the time of change."""
    parts = [
        *folder.glob("shards/.*.part"),
        *(part for file in files for part in file.parent.glob(f".{file.name}.*.part")),
    ]
    found = set()
    for part in parts:
        with contextlib.suppress(FileNotFoundError):  # finished in the meantime
            found.add((part, part.stat().st_mtime_ns))
    return found


def check(networks: Mapping[str, Network], dataset: PreparedDataset) -> None:
    """Refuse networks that do not fit this dataset or each other.

    Raises:
        CatalogueError: naming what does not fit.
        DatasetError: if the stamps have another sky level than those of a network's training.
    """
    for trained in networks.values():
        if trained.bands != dataset.bands:
            raise CatalogueError(
                f"The network reads stamps in the bands {trained.bands}, those of {dataset.folder} are in "
                f"{dataset.bands}: take a network trained on such stamps, or prepare the dataset anew."
            )
        dataset.check_stamps(trained.sidecar["dataset"])
    if len({trained.targets for trained in networks.values()}) > 1:
        told = "; ".join(f"{name}: {', '.join(trained.targets)}" for name, trained in networks.items())
        raise CatalogueError(f"The networks predict different labels ({told}): give two that predict the same.")


def make_plan(networks: Mapping[str, Network], dataset: PreparedDataset, facts: StarFacts, options: Options) -> Plan:
    """The plan of a catalogue.

    Args:
        networks: by name.
        dataset: whose stars these are.
        facts: about them.
        options: as of `make_catalogue`.

    Returns:
        The plan, which `settle` compares with the one in a catalogue's folder.

    Raises:
        CatalogueError: if the dataset holds no star.
    """
    if not len(facts):
        raise CatalogueError(f"{dataset.folder} holds no star: there is nothing to predict.")
    return Plan(
        n_stars=len(facts),
        shard_size=options.shard_size,
        n_samples=options.n_samples,
        seed=options.seed,
        batch_size=options.batch_size or default_batch_size(),
        dataset=dataset.identity,
        networks={name: network_fingerprint(trained) for name, trained in networks.items()},
        errors={name: errors_fingerprint(trained) for name, trained in networks.items()},
        targets=next(iter(networks.values())).targets,
        has_input_row=facts.has_input_row,
    )


def default_batch_size() -> int:
    """Stars on each device at a time, by the kind of device."""
    return BATCH_SIZE_ON_CPU if jax.default_backend() == "cpu" else BATCH_SIZE
