"""Prepare the dataset: a sky's stars -> selection -> stamps -> TFDS. See ``python -m datasets.build --help``.

Workers make small files in a work folder beside the result (:mod:`datasets.parts`); when all are there, they are
packed, checksummed and put in place by one rename. So the result is whole or absent, an interrupted build goes on where
it was, and neither interruptions nor the number of workers can change a byte of it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.packing import CHECKSUMS, BuildError, damaged_files, pack
from datasets.parts import PART_SIZE, Job, load, make_part, save_atomically, scan_block
from datasets.selection import HIGH_QUALITY, removed_per_cut
from datasets.smss_stamps.configs import CONFIGS, NAME, VERSION
from datasets.workers import Workers

BYTES_PER_STAR = 2 * 70_000  # an example in its part and in the packed dataset, while both exist
BLOCKS_WITHOUT_A_STAR = 40


def build(
    config: str = "mock",
    *,
    n_stars: int | None = None,
    data_dir: str | Path = "data",
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Prepare a config of ``smss_stamps``, or find it prepared, and return its folder.

    Args:
        config: a name in :data:`CONFIGS`.
        n_stars: stars to select, in sky order; the config's own number by default. Those without a stamp are listed in
            ``rejected.parquet``, the others are the examples.
        data_dir: the result is in ``data_dir/smss_stamps/config/version``.
        seed: seed of the mock sky.
        workers: processes; by default one per CPU, and with 1 everything happens in this one.
        progress: whether to show progress bars.

    Raises:
        BuildError: if the build is impossible, or what is prepared there is another sky.
    """
    if config not in CONFIGS:
        raise BuildError(f"there is no config {config!r}; there are {', '.join(CONFIGS)}.")
    n_stars = CONFIGS[config].n_stars if n_stars is None else n_stars
    workers = available_cpus() if workers is None else workers
    if n_stars < 1 or seed < 0 or workers < 1:
        raise BuildError("the number of stars and of workers must be positive, the seed not negative.")
    folder = Path(data_dir) / NAME / config / VERSION
    try:
        if is_prepared(folder, n_stars, seed):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_build(folder):
            if not is_prepared(folder, n_stars, seed):  # by another process, between the first look and the lock
                _build(folder, config, n_stars, seed, workers, progress)
    except OSError as error:
        raise BuildError(
            f"{error.filename or folder}: {error.strerror or error}. Nothing finished is lost: when that is mended "
            "(or another --data-dir chosen), the same command goes on."
        ) from error
    except BrokenProcessPool as error:
        raise BuildError(
            "a worker process died, perhaps for lack of memory. Nothing finished is lost: give the same command with "
            "fewer --workers."
        ) from error
    return folder


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_prepared(folder: Path, n_stars: int, seed: int) -> bool:
    """Whether the folder is prepared with these stars.

    Raises:
        BuildError: if it is prepared with others.
    """
    if not folder.exists():
        return False
    try:
        metadata = json.loads((folder / "metadata.json").read_text())
        prepared = metadata["n_stars"], metadata["provenance"]["seed"]
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise BuildError(f"{folder} is there but is not a dataset of this builder; move it away first.") from error
    if prepared != (n_stars, seed):
        raise BuildError(
            f"{folder} is prepared already, with {prepared[0]:,} stars of seed {prepared[1]}; for {n_stars:,} stars of "
            f"seed {seed} delete that folder or choose another --data-dir."
        )
    return True


@contextlib.contextmanager
def _only_build(folder: Path) -> Iterator[None]:
    """Hold the lock on building ``folder``; the system releases it however this process ends."""
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


def _build(folder: Path, config: str, n_stars: int, seed: int, n_workers: int, progress: bool) -> None:
    recipe = {"config": config, "version": VERSION, "stars": n_stars, "seed": seed, "code": _code_digest()}
    name = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    job = Job(config, seed, folder.with_name(f"{folder.name}.parts-{name}"))
    job.folder.mkdir(exist_ok=True)
    shutil.rmtree(job.folder / "packed", ignore_errors=True)
    _check_space(job, n_stars)
    with Workers(n_workers) as workers:
        select(job, n_stars, workers, progress)
        make_parts(job, n_stars, workers, progress)
    packed = pack(job, n_stars, progress)
    os.sync()  # the parts go next: what was packed from them must be on the disk by then
    os.replace(packed, folder)
    with contextlib.suppress(OSError):  # TFDS's note of the default config: the same for every config, and there once
        os.replace(job.folder / "packed" / NAME / ".config", folder.parent.parent / ".config")
    shutil.rmtree(job.folder)


def _code_digest() -> str:
    """A hash of this package, so that parts made by different code never end up in one dataset."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in {".py", ".npz", ".csv"}):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def _check_space(job: Job, n_stars: int) -> None:
    missing = n_stars * BYTES_PER_STAR - sum(path.stat().st_size for path in job.folder.iterdir() if path.is_file())
    free = shutil.disk_usage(job.folder).free
    if missing > free:
        raise BuildError(
            f"{job.folder.parent} has {free / 1e9:.1f} GB free, and {n_stars:,} stars take up to {missing / 1e9:.1f} "
            "GB more while being built; make room or choose another --data-dir."
        )


def select(job: Job, n_stars: int, workers: Workers, progress: bool) -> None:
    """Write the catalogue fields of the first ``n_stars`` selected stars of the sky, and what each cut removed."""
    if job.selected.exists():
        return
    blocks, n_found = [], 0
    scanned = workers.run_in_order(functools.partial(scan_block, job), itertools.count())
    with (
        contextlib.closing(scanned),
        tqdm(desc="Selecting", total=n_stars, unit="star", disable=not progress) as bar,
    ):
        while n_found < n_stars:
            blocks.append(load(next(scanned)))
            n_new = min(len(blocks[-1]["object_id"]), n_stars - n_found)
            n_found += n_new
            bar.update(n_new)
            if not n_found and len(blocks) == BLOCKS_WITHOUT_A_STAR:
                raise BuildError(f"no star in {len(blocks)} blocks of the sky passes the selection.")
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    first_failed = columns.pop("first_failed")
    # The sky ends with the last star taken, so that every star looked at is selected or removed by one cut.
    first_failed = first_failed[: np.flatnonzero(first_failed == len(HIGH_QUALITY))[n_stars - 1] + 1]
    cuts = [
        {"cut": cut.name, "description": cut.description, "removed": removed}
        for cut, removed in zip(HIGH_QUALITY, removed_per_cut(first_failed), strict=True)
    ]
    job.selection.write_text(json.dumps({"n_scanned": len(first_failed), "cuts": cuts}))
    save_atomically(job.selected, {name: values[:n_stars] for name, values in columns.items()})


def make_parts(job: Job, n_stars: int, workers: Workers, progress: bool) -> None:
    """Make the parts that are not there yet."""
    missing = [index for index, path in enumerate(job.parts(n_stars)) if not path.exists()]
    n_done = n_stars - sum(min(PART_SIZE, n_stars - PART_SIZE * index) for index in missing)
    with (
        contextlib.closing(workers.run_in_order(functools.partial(make_part, job), missing)) as made,
        tqdm(desc="Stamps", total=n_stars, initial=n_done, unit="star", smoothing=0.1, disable=not progress) as bar,
    ):
        for n_made in made:
            bar.update(n_made)


def summary(folder: Path) -> str:
    """The selection and the counts of a prepared dataset, as a table for people."""
    metadata = json.loads((folder / "metadata.json").read_text())
    info = json.loads((folder / "dataset_info.json").read_text())
    splits = {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]}
    rows = [("stars looked at", metadata["n_scanned"])]
    rows += [(f"  fail: {cut['description']}", -cut["removed"]) for cut in metadata["selection"]]
    rows += [("selected", metadata["n_stars"]), ("  without a stamp (rejected.parquet)", -metadata["n_rejected"])]
    rows += [("examples", sum(splits.values()))] + [(f"  {name}", n) for name, n in splits.items()]
    size = sum(path.stat().st_size for path in folder.iterdir())
    table = "\n".join(f"{label:<56}{count:>10,}" for label, count in rows)
    return f"{table}\n{folder}  {size / 1e6:,.0f} MB"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    folder = Path(options.data_dir) / NAME / options.config / VERSION
    started = time.perf_counter()
    try:
        if options.verify:
            return _verify(folder)
        was_there = folder.exists()
        build(
            options.config,
            n_stars=options.stars,
            data_dir=options.data_dir,
            seed=options.seed,
            workers=options.workers,
        )
    except BuildError as error:
        print(f"datasets.build: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndatasets.build: stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    print(summary(folder))
    took = time.perf_counter() - started
    print("Already prepared: nothing to do." if was_there else f"Prepared in {took // 60:.0f} min {took % 60:.0f} s.")
    for leftover in sorted(folder.parent.glob(f"{VERSION}.parts-*")):
        print(f"Left by another build that was not finished: {leftover}; delete it unless that one is to go on.")
    train_config = "demo" if options.config == "mock" else "mock"
    print(
        f"Next: python train.py --config configs/{train_config}.py --workdir runs/{train_config} "
        f"--data_dir {options.data_dir}"
    )
    return 0


def _verify(folder: Path) -> int:
    if not (folder / CHECKSUMS).exists():
        raise BuildError(f"{folder} is not prepared; leave --verify away to prepare it.")
    damaged = damaged_files(folder)
    if damaged:
        raise BuildError(f"{folder}: {', '.join(damaged)} differ from {CHECKSUMS}; delete the folder and build again.")
    print(f"{folder}: every file is as it was built.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.build",
        description="Prepare the dataset smss_stamps: select stars, make a stamp of each from its cutouts, and write\n"
        "them in TFDS's array_record format to DATA_DIR/smss_stamps/CONFIG/VERSION.",
        epilog="configs:\n"
        + "\n".join(f"  {c.name:<12}{c.n_stars:>8,} stars  {c.description}" for c in CONFIGS.values())
        + "\n\n"
        "A core makes some 20 to 30 stars a second: mock takes minutes, mock_large an hour or two on two cores, and\n"
        "15 GB while it is built. Stop either at any time, with ctrl-C or harder: the same command goes on where it\n"
        "was. Neither interruptions nor the number of workers change a byte of the result.\n\n"
        "examples:\n"
        "  python -m datasets.build --config mock                               the demo's dataset, in data/\n"
        "  python -m datasets.build --config mock --stars 64 --data-dir try     a taste of it, in seconds\n"
        "  python -m datasets.build --config mock --verify                      is every file as it was built?",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, choices=CONFIGS, help="what to build, see below")
    parser.add_argument(
        "--data-dir", "--data_dir", default="data", help="where datasets are kept (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per CPU)")
    parser.add_argument("--stars", type=int, help="selected stars (default: the config's number)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mock sky (default: %(default)s)")
    parser.add_argument("--verify", action="store_true", help="recompute the checksums of what is prepared")
    return parser


if __name__ == "__main__":
    sys.exit(main())
