"""Scan a survey's blocks for the stars of a sample, and write down which they are and what each cut removed."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.build.packing import BuildError
from datasets.build.parts import OF_THE_WHOLE_BLOCK, Job, scan_block
from datasets.build.workers import Workers
from datasets.files import Arrays, load, load_array, save, whole_file
from datasets.samples.sampling import stratified
from datasets.samples.selection import removed_per_cut
from datasets.smss_stamps.configs import CONFIGS, Config
from datasets.surveys.opening import open_survey

BLOCKS_WITHOUT_A_STAR = 40

STRATA = {"phot_g_mean_mag": (11, 12, 13, 14, 15, 16), "bp_rp": (0.5, 0.8, 1.1, 1.5)}
"""Edges in mag, which with the sky make the strata of a drawn sample: the paper (section 6) does not name its own."""


def select(job: Job, n_stars: int | None, workers: Workers, progress: bool) -> int:
    """Write the catalogue fields of the selected stars, and what each cut removed.

    Selected are the first `n_stars` in the order of the blocks (None: all), or, of a config that is sampled, so many
    drawn from all.

    Args:
        job: what is built.
        n_stars: to select or draw; None for all.
        workers: who scan the blocks.
        progress: whether to show a bar.

    Returns:
        The number of selected stars.

    Raises:
        BuildError: if no star passes the cuts.
    """
    if not job.selected.exists():
        config = CONFIGS[job.config]
        paths, first_failed = _scan(job, None if config.is_sampled else n_stars, workers, progress)
        is_selected = first_failed == len(config.cuts)
        rows = np.arange(np.count_nonzero(is_selected))
        if n_stars is not None and config.is_sampled:
            rows = _drawn(paths, n_stars, job.seed)
        elif n_stars is not None:
            rows = rows[:n_stars]
            # The sky ends with the last star taken, so that every star looked at is selected or removed by one cut.
            first_failed = first_failed[: np.flatnonzero(is_selected)[: len(rows)][-1] + 1]
        with whole_file(job.selection, "x") as file:
            json.dump(_counts(job, config, first_failed, len(rows)), file)
        save(job.selected, _gathered(paths, rows))
    return len(load_array(job.selected, "object_id"))


def _scan(job: Job, n_stars: int | None, workers: Workers, progress: bool) -> tuple[list[Path], np.ndarray]:
    """The files of the blocks up to `n_stars` selected stars, or of all, and every star's `first_failed`."""
    n_cuts, paths, first_failed, n_found = len(CONFIGS[job.config].cuts), [], [], 0
    with tqdm(desc="Selecting", total=n_stars, unit="star", disable=not progress) as bar:
        for path in _blocks(job, workers):
            first_failed.append(load_array(path, "first_failed"))
            paths.append(path)
            n_new = int(np.count_nonzero(first_failed[-1] == n_cuts))
            n_found += n_new
            bar.update(n_new if n_stars is None else min(n_new, n_stars - bar.n))
            if n_stars is not None and n_found >= n_stars:
                break
            if CONFIGS[job.config].is_mock and not n_found and len(paths) == BLOCKS_WITHOUT_A_STAR:
                break  # this sky has no end
    if not n_found:
        raise BuildError(f"none of the {sum(map(len, first_failed)):,} stars looked at passes the selection.")
    return paths, np.concatenate(first_failed)


def _blocks(job: Job, workers: Workers) -> Iterator[Path]:
    """The files of all blocks, in order, made where they are not there yet."""
    survey = open_survey(job.config, job.seed, job.sources)
    if not survey.is_paged:
        yield from workers.run_in_order(functools.partial(scan_block, job), survey.blocks())
        return
    for index in survey.blocks():
        path = scan_block(job, index)
        if not len(load_array(path, "first_failed")):
            return
        yield path


def _drawn(paths: list[Path], n_stars: int, seed: int) -> np.ndarray:
    """Rows of `n_stars` drawn from the selected stars of all blocks, ascending."""
    columns: dict[str, list] = {name: [] for name in ("object_id", "ra", "dec", *STRATA)}
    for path in paths:
        with np.load(path) as block:
            for name, values in columns.items():
                values.append(block[name])
    stars = {name: np.concatenate(values) for name, values in columns.items()}
    return stratified(stars, STRATA, n=min(n_stars, len(stars["object_id"])), seed=seed, sky=("ra", "dec"))


def _gathered(paths: list[Path], rows: np.ndarray) -> Arrays:
    """The catalogue fields of some of the selected stars, `rows` ascending; a block at a time is in memory."""
    blocks, start = [], 0
    for path in paths:
        block = load(path)
        n_selected = len(block["object_id"])
        mine = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + n_selected)] - start
        blocks.append({name: values[mine] for name, values in block.items() if name not in OF_THE_WHOLE_BLOCK})
        start += n_selected
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _counts(job: Job, config: Config, first_failed: np.ndarray, n_taken: int) -> dict:
    """What each cut removed; None for a cut that the archive made itself, which does not tell."""
    by_archive = open_survey(job.config, job.seed, job.sources).cuts_made
    cuts = [
        {"cut": cut.name, "description": cut.description, "removed": None if cut.name in by_archive else removed}
        for cut, removed in zip(config.cuts, removed_per_cut(first_failed, config.cuts), strict=True)
    ]
    n_selected = int(np.count_nonzero(first_failed == len(config.cuts)))
    return {"n_scanned": len(first_failed), "cuts": cuts, "n_not_drawn": n_selected - n_taken}
