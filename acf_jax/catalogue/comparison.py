"""A catalogue against another survey: the paper's Figs. 11 and 12 of all its stars, with what they show in numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.figures.figure_files import save_figure
from acf_jax.catalogue.figures.maps import NONE, flag_names
from acf_jax.catalogue.files import formats
from acf_jax.catalogue.flags import TRAINING_SPLIT, Flag
from acf_jax.catalogue.info import targets_in
from acf_jax.catalogue.star_facts import STARS
from acf_jax.files import whole_file
from acf_jax.labels import LABELS, NAMES
from acf_jax.metrics.bootstrap import Draws
from acf_jax.metrics.measurements import Measurement, to_dicts
from acf_jax.plots import external as external_plots
from acf_jax.surveys import comparing
from acf_jax.surveys.matching import Matched, match
from acf_jax.surveys.reading import Entries

NOT_TRAINED_ON, TRAINED_ON, ALL = "not trained on", "trained on", "all"
"""The groups of stars that are measured; the last two on demand."""


def write_comparison(
    catalogue: Path,
    entries: Entries,
    out_dir: Path,
    *,
    excluded: Flag = NONE,
    with_trained: bool = False,
    training: Path | None = None,
) -> dict:
    """Compare a catalogue with a survey: figures as PNG and PDF, and `compare.json`, all numbers.

    Args:
        catalogue: what `formats.read_columns` reads.
        entries: the survey's.
        out_dir: made if need be.
        excluded: flags whose stars are left out.
        with_trained: mark the stars that the network was trained on, and measure them apart, instead of leaving them
            out.
        training: folder of the prepared dataset that the network was trained on, for a catalogue of another one, which
            has no flag `TRAINED_ON`.

    Returns:
        what is in `compare.json`.

    Raises:
        CatalogueError: if the catalogue or the dataset cannot be read, the catalogue and the survey have no parameter
            in common, or a file cannot be written.
    """
    there = targets_in(catalogue)
    targets = [target for target in there if target in entries.targets]
    if not targets:
        raise CatalogueError(
            f"{catalogue} has {', '.join(there) or 'no parameter'} and the survey's table "
            f"{', '.join(entries.targets)}: there is no parameter to compare."
        )
    provenance = formats.read_provenance(catalogue)
    matched = match(entries, _batches(catalogue, targets))
    if not matched.stars:
        raise CatalogueError(f"{catalogue} has no rows.")
    is_trained = (matched.stars["flags"] & Flag.TRAINED_ON.value) != 0
    if training is not None:
        is_trained |= np.isin(matched.stars["object_id"], _trained_ids(training))
    has_result = np.logical_or.reduce([np.isfinite(matched.stars[target]) for target in targets])
    compared, counts = np.ones(len(matched), bool), dict(matched.counts)
    for reason, kept in (
        ("flagged", (matched.stars["flags"] & int(excluded)) == 0),
        ("no parameters in the catalogue", has_result),
        *(() if with_trained else (("trained on", ~is_trained),)),
    ):
        counts[f"left out: {reason}"] = int(np.count_nonzero(compared & ~kept))
        compared &= kept
    counts["stars compared"] = int(compared.sum())
    groups = {NOT_TRAINED_ON: compared & ~is_trained}
    if with_trained:
        groups |= {TRAINED_ON: compared & is_trained, ALL: compared}
    found: list[Measurement] = []
    for group, rows in groups.items():
        labels, answers = _of(matched, targets, rows)
        survey = entries.survey.name
        found += comparing.measure(
            labels, answers, Draws(), method="catalogue", reference=survey, sample=survey, group=group
        )
    labels, answers = _of(matched, targets, groups[NOT_TRAINED_ON])
    trends = comparing.trends(labels, answers, targets)
    sample = provenance.get("sample") or provenance.get("title") or "sample not stated in the catalogue"
    told: dict[str, Any] = {
        "catalogue": str(catalogue),
        "sample": sample,
        "networks": {name: network["fingerprint"] for name, network in provenance.get("networks", {}).items()},
        "survey": entries.survey.name,
        "is_mock": entries.is_mock,
        "stars_left_out_by_flags": flag_names(excluded),
        "trained_on_may_be_unknown": training is None and _of_another_dataset(provenance),
        "counts": counts,
        "paper": {"n": entries.survey.paper_n, "std": dict(entries.survey.paper_std)},
        "measurements": to_dicts(found),
        "trends": comparing.trend_records(trends),
        "figures": {},
    }
    if compared.any():
        told["figures"] = _write_figures(matched, groups, trends, out_dir, sample)
    with whole_file(out_dir / "compare.json", "x") as file:
        file.write(json.dumps(told, indent=2, allow_nan=False) + "\n")
    return told | {"table": _table(entries, found, targets, list(groups))}


def _batches(catalogue: Path, targets: list[str]) -> Iterator[dict[str, np.ndarray]]:
    names = ["object_id", "source_id", "raj2000", "dej2000", "flags", *targets]
    for rows in formats.read_columns(catalogue, names):
        yield {**rows, "ra": rows["raj2000"], "dec": rows["dej2000"]}


def _of(matched: Matched, targets: list[str], rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Labels and answers of some of the stars."""
    labels = {name: values[rows] for name, values in matched.labels.items()}
    return labels, {target: matched.stars[target][rows].astype(np.float64) for target in targets}


def _trained_ids(folder: Path) -> np.ndarray:
    """The object_ids of a prepared dataset's training split."""
    try:
        rows = pq.read_table(folder / STARS, columns=["object_id"], filters=[("split", "=", TRAINING_SPLIT)])
    except (OSError, pyarrow.ArrowException) as error:
        raise CatalogueError(
            f"{folder / STARS} cannot be read: give the folder of a prepared dataset, smss_stamps/CONFIG/VERSION."
        ) from error
    return rows["object_id"].to_numpy()


def _of_another_dataset(provenance: Mapping) -> bool:
    """Whether a network was trained on another dataset than the catalogue's: then no star has the flag for that."""
    own = provenance.get("dataset", {}).get("fingerprint")
    return any(
        network.get("trained_on", {}).get("fingerprint") != own for network in provenance.get("networks", {}).values()
    )


def _write_figures(
    matched: Matched, groups: Mapping[str, np.ndarray], trends: Mapping, out_dir: Path, sample: str
) -> dict[str, dict[str, Any]]:
    survey, name, targets = matched.survey.name, comparing.figure_name(matched.survey), list(trends)
    told = f"{survey}{' (mock)' if matched.is_mock else ''}; catalogue: {sample}"
    trained_on = _of(matched, targets, groups[TRAINED_ON]) if TRAINED_ON in groups else None
    figures = external_plots.draw(
        *_of(matched, targets, groups[NOT_TRAINED_ON]), trends, survey, trained_on=trained_on, title=told
    )
    marked = "; grey: stars that the network was trained on, which the numbers leave out" if trained_on else ""
    captions = {
        name: f"Parameters against the labels of {told}. Dashed: one to one; colour: density of stars{marked}.",
        f"{name}_trends": f"Residuals along the labels of {told}. {comparing.TRENDS_IN_WORDS}",
    }
    return {
        stem: {"files": save_figure(figure, out_dir, stem), "caption": caption}
        for figure, (stem, caption) in zip(figures, captions.items(), strict=True)
    }


def _table(entries: Entries, found: list[Measurement], targets: list[str], groups: list[str]) -> str:
    """For people, in columns."""
    rows: list[tuple[str, ...]] = [("Stars", "Parameter", *comparing.HEADER)]
    for group in groups:
        for target in targets:
            cells = comparing.table_row(found, entries.survey, target, group=group)
            rows.append((group, f"{NAMES[target]} ({LABELS[target]})", *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[:2] = [-width for width in widths[:2]]  # words on the left
    return "\n".join("  ".join(f"%{w}s" % cell for cell, w in zip(row, widths, strict=True)) for row in rows)
