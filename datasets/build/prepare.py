"""Prepare a dataset: a sky's stars -> selection -> stamps -> TFDS.

Workers make small files in a work folder beside the result (`datasets.build.parts`); when all are there, they are
packed, checksummed and put in place by one rename. So the result is whole or absent, an interrupted build goes on where
it was, and neither interruptions nor the number of workers can change a byte of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from datasets.archives.interface import ArchiveDownError, ArchiveError
from datasets.build.packing import BuildError, pack
from datasets.build.parts import BYTES_PER_STAR, OURS, PART_SIZE, Choices, Job, make_part
from datasets.build.recipe import provenance, recipe, work_folder_name
from datasets.build.scan import select
from datasets.build.workers import Workers, available_cpus
from datasets.errors import DataError
from datasets.files import load_array, whole_file
from datasets.smss_stamps.configs import CONFIGS, NAME, VERSION, Config
from datasets.surveys.base import Sources

if TYPE_CHECKING:
    from datasets.build.beam import BeamWorkers


def build(
    config: str = "mock",
    *,
    n_stars: int | None = None,
    data_dir: str | Path = "data",
    seed: int = 0,
    workers: int | None = None,
    sources: Sources | None = None,
    choices: Choices = OURS,
    beam_options: list[str] | None = None,
    progress: bool = True,
) -> Path:
    """Prepare a config of `smss_stamps`, or find it prepared, and return its folder.

    Args:
        config: a name in `CONFIGS`.
        n_stars: stars to select, in sky order (of `catalogue`: to draw); the config's own number by default. Those
            without a stamp are listed in `rejected.parquet`, the others are the examples.
        data_dir: the result is in `data_dir/smss_stamps/config/version`.
        seed: of the mock sky, and of the drawing.
        workers: processes; by default one per CPU, and with 1 everything happens in this one.
        sources: services and files of the real sky; the cache is in `data_dir/cache` unless it says otherwise.
        choices: how stamps are made and the sample is divided.
        beam_options: make the parts by Apache Beam with these options, instead of by `workers`.
        progress: whether to show progress bars.

    Returns:
        The prepared folder.

    Raises:
        BuildError: if the build is impossible, or what is prepared there was made otherwise.
    """
    n_workers = available_cpus() if workers is None else workers
    with _told_as_build_errors():
        job, wanted = plan(config, n_stars, data_dir, seed, n_workers, sources, choices)
        folder = prepared_folder(data_dir, config)
        if is_prepared(folder, wanted):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_build(folder):
            if not is_prepared(folder, wanted):  # by another process, between the first look and the lock
                start(job, wanted)
                shutil.rmtree(job.folder / "packed", ignore_errors=True)
                with Workers(n_workers) as pool, _makers(job, pool, beam_options) as makers:
                    _build(job, wanted["stars"], folder, pool, makers, progress)
    return folder


def selected_only(
    config: str,
    n_stars: int | None,
    data_dir: str | Path,
    seed: int,
    workers: int | None,
    sources: Sources,
    choices: Choices = OURS,
) -> tuple[Job, int]:
    """Only select, as `build` would, which goes on from there.

    Args:
        config: as of `build`.
        n_stars: as of `build`.
        data_dir: as of `build`.
        seed: as of `build`.
        workers: as of `build`.
        sources: as of `build`.
        choices: as of `build`.

    Returns:
        The job and the number of processes.

    Raises:
        BuildError: as `build`.
    """
    n_workers = available_cpus() if workers is None else workers
    with _told_as_build_errors():
        job, wanted = plan(config, n_stars, data_dir, seed, n_workers, sources, choices)
        folder = prepared_folder(data_dir, config)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_build(folder), Workers(n_workers) as pool:
            start(job, wanted)
            select(job, wanted["stars"], pool, progress=True)
    return job, n_workers


def prepared_folder(data_dir: str | Path, config: str) -> Path:
    """Where a config's dataset is, or will be."""
    return Path(data_dir) / NAME / config / VERSION


def plan(
    config: str,
    n_stars: int | None,
    data_dir: str | Path,
    seed: int,
    n_workers: int,
    sources: Sources | None,
    choices: Choices,
) -> tuple[Job, dict]:
    """Check a build's options and name its work folder.

    Args:
        config: as of `build`.
        n_stars: as of `build`.
        data_dir: as of `build`.
        seed: as of `build`.
        n_workers: processes that share the rate of requests.
        sources: as of `build`.
        choices: as of `build`.

    Returns:
        The job, and the recipe.

    Raises:
        BuildError: if they make no sense, or a file is missing.
    """
    if config not in CONFIGS:
        raise BuildError(f"there is no config {config!r}; there are {', '.join(CONFIGS)}.")
    n_stars = CONFIGS[config].n_stars if n_stars is None else n_stars
    if (n_stars is not None and n_stars < 1) or seed < 0 or n_workers < 1:
        raise BuildError("the number of stars and of workers must be positive, the seed not negative.")
    if choices.splits == "paper" and len(CONFIGS[config].splits) == 1:
        raise BuildError(f"--splits paper: the config {config} has no labels to train on and is not divided.")
    sources = sources or Sources()
    _check_sources(CONFIGS[config], sources)
    sources = dataclasses.replace(
        sources,
        cache=str(Path(sources.cache or Path(data_dir) / "cache").absolute()),
        rate_per_s=sources.rate_per_s / n_workers,  # each process keeps its share
        **{name: str(Path(path).absolute()) for name, path in sources.files().items()},
    )
    wanted = recipe(config, n_stars, seed, sources, choices)
    folder = prepared_folder(data_dir, config)
    return Job(config, seed, folder.with_name(work_folder_name(wanted)).absolute(), sources, choices), wanted


def _check_sources(config: Config, sources: Sources) -> None:
    if not sources.rate_per_s > 0:
        raise BuildError(f"the rate of {sources.rate_per_s} requests a second must be positive.")
    if sources.contact:
        from datasets.archives.http import user_agent  # 0.2 s that the mock sky need not spend

        try:
            user_agent(sources.contact)
        except ValueError as error:
            raise BuildError(f"--contact: {error}, such as an e-mail address.") from error
    if config.needs_galah and not sources.galah:
        raise BuildError(
            f"the config {config.name} takes its labels from GALAH+ DR3: get GALAH_DR3_main_allstar_v2.fits from "
            "https://cloud.datacentral.org.au/teamdata/GALAH/public/GALAH_DR3/ and give it with --galah."
        )
    if config.has_input_row and not sources.table:
        raise BuildError(
            f"the config {config.name} needs a table of yours with columns ra and dec: give it with --table."
        )
    for name, path in sources.files().items():
        if not Path(path).is_file():
            raise BuildError(f"--{name} {path}: there is no such file.")


@contextlib.contextmanager
def _told_as_build_errors() -> Iterator[None]:
    """Turn what can go wrong in a build into one sentence."""
    try:
        yield
    except BuildError:
        raise
    except OSError as error:
        raise BuildError(
            f"{error.filename or 'the disk'}: {error.strerror or error}. Nothing finished is lost: when that is mended "
            "(or another --data-dir chosen), the same command goes on."
        ) from error
    except BrokenProcessPool as error:
        raise BuildError(
            "a worker process died, perhaps for lack of memory. Nothing finished is lost: give the same command with "
            "fewer --workers."
        ) from error
    except (ArchiveDownError, ArchiveError) as error:
        raise BuildError(f"{error} Nothing finished is lost: the same command goes on.") from error
    except DataError as error:
        raise BuildError(str(error)) from error


def is_prepared(folder: Path, wanted: dict) -> bool:
    """Whether the folder is prepared by this recipe.

    Raises:
        BuildError: if it is prepared by another.
    """
    if not folder.exists():
        return False
    try:
        # Before splits could be chosen, recipes did not name them.
        prepared = {"splits": "7:1:2"} | json.loads((folder / "metadata.json").read_text())["provenance"]["recipe"]
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise BuildError(f"{folder} is there but is not a dataset of this builder; move it away first.") from error
    differing = [key for key in wanted if prepared.get(key) != wanted[key]]
    if differing:
        raise BuildError(
            f"{folder} is prepared already, with {_listed(prepared, differing)}; for {_listed(wanted, differing)} "
            "delete that folder or choose another --data-dir."
        )
    return True


def _listed(recipe: dict, keys: list[str]) -> str:
    return ", ".join(f"{key} = {recipe.get(key)}" for key in keys)


@contextlib.contextmanager
def _only_build(folder: Path) -> Iterator[None]:
    """Hold the lock on building `folder`; the system releases it however this process ends."""
    with open(folder.parent / f".{folder.name}.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BuildError(
                f"{folder} is being built already by process {lock.read().strip() or '(unknown)'}; "
                "wait for it, or stop it and give the command again."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def _makers(job: Job, workers: Workers, beam_options: list[str] | None) -> Iterator[Workers | BeamWorkers]:
    """Who makes the parts."""
    if beam_options is None:
        yield workers
        return
    from datasets.build import beam  # Apache Beam is an optional library, and large

    with beam.BeamWorkers(job.folder, beam_options, workers.n_workers) as makers:
        yield makers


def _build(
    job: Job, n_stars: int | None, folder: Path, workers: Workers, makers: Workers | BeamWorkers, progress: bool
) -> None:
    n_stars = select(job, n_stars, workers, progress)
    _check_space(job, n_stars)
    make_parts(job, n_stars, makers, progress)
    packed = pack(job, n_stars, progress)
    os.sync()  # the parts go next: what was packed from them must be on the disk by then
    os.replace(packed, folder)
    with contextlib.suppress(OSError):  # TFDS's note of the default config: the same for every config, and there once
        os.replace(job.folder / "packed" / NAME / ".config", folder.parent.parent / ".config")
    shutil.rmtree(job.folder)


def start(job: Job, wanted: dict) -> None:
    """Make the work folder, or find it, with the provenance of the time when it was made."""
    job.folder.mkdir(parents=True, exist_ok=True)
    path = job.folder / "provenance.json"
    if not path.exists():
        with whole_file(path, "x") as file:
            json.dump(provenance(wanted, job.sources), file)


def _check_space(job: Job, n_stars: int) -> None:
    missing = n_stars * BYTES_PER_STAR - sum(path.stat().st_size for path in job.folder.iterdir() if path.is_file())
    free = shutil.disk_usage(job.folder).free
    if missing > free:
        raise BuildError(
            f"{job.folder.parent} has {free / 1e9:.1f} GB free, and {n_stars:,} stars take up to {missing / 1e9:.1f} "
            "GB more while being built; make room or choose another --data-dir."
        )


def make_parts(job: Job, n_stars: int, workers: Workers | BeamWorkers, progress: bool) -> None:
    """Make the parts that are not there yet; those in which the archive failed a star, once more at the end.

    Args:
        job: whose stars are selected.
        n_stars: selected ones.
        workers: who make them.
        progress: whether to show a bar.
    """
    _make(job, n_stars, workers, progress, "Stamps")
    if failed := [path for path in job.parts(n_stars) if load_array(path, "rejected_by_service").any()]:
        for path in failed:
            path.unlink()
        _make(job, n_stars, workers, progress, "Once more, where the archive failed")


def _make(job: Job, n_stars: int, workers: Workers | BeamWorkers, progress: bool, title: str) -> None:
    missing = [index for index, path in enumerate(job.parts(n_stars)) if not path.exists()]
    n_done = n_stars - sum(min(PART_SIZE, n_stars - PART_SIZE * index) for index in missing)
    with (
        contextlib.closing(workers.run_in_order(functools.partial(make_part, job), missing)) as made,
        tqdm(desc=title, total=n_stars, initial=n_done, unit="star", smoothing=0.1, disable=not progress) as bar,
    ):
        for n_made in made:
            bar.update(n_made)
