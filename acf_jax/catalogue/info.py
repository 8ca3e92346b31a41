"""What a catalogue's file holds: rows, results, flags, reasons, ranges, and where it comes from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files import formats
from acf_jax.catalogue.flags import TABLE, Flag
from acf_jax.labels import LABELS

IMAGE = re.compile(r"\b[a-z] \d{14}-\d+: ")  # as in "u 20170120125856-10: the star's core is masked"
MAX_REASONS = 50
"""Reasons counted separately: one may name a star's own value, so there can be as many as stars."""


def survey(catalogue: Path) -> dict:
    """Read a whole catalogue, a file or a folder, in batches; the results are JSON types.

    Returns:
        `n_rows`, `n_with_result`, `n_without_flag`, `flags` (name to n), `reasons` (why there is no result,
        to n, the most frequent first), `ranges` (parameter to lowest and highest value) and `provenance`.

    Raises:
        CatalogueError: if it cannot be read.
    """
    targets = targets_in(catalogue)
    n_rows = n_with_result = n_without_flag = 0
    flags: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    ranges = {target: (np.inf, -np.inf) for target in targets}
    for rows in formats.read_columns(catalogue, ["flags", "reason", *targets]):
        bits = rows["flags"]
        n_rows += bits.size
        n_with_result += int(np.count_nonzero((bits & Flag.NO_RESULT.value) == 0))
        n_without_flag += int(np.count_nonzero(bits == 0))
        flags.update({str(flag.name): int(np.count_nonzero(bits & flag.value)) for flag in Flag})
        _count_reasons(reasons, rows["reason"])
        for target, (lowest, highest) in ranges.items():
            ranges[target] = (
                np.fmin.reduce(rows[target], initial=lowest),
                np.fmax.reduce(rows[target], initial=highest),
            )
    return {
        "catalogue": str(catalogue),
        "n_rows": n_rows,
        "n_with_result": n_with_result,
        "n_without_flag": n_without_flag,
        "flags": {flag.name: flags[str(flag.name)] for flag in Flag},
        "reasons": dict(reasons.most_common()),
        "ranges": {name: list(map(float, ends)) for name, ends in ranges.items() if ends[0] <= ends[1]},
        "provenance": formats.read_provenance(catalogue),
    }


def targets_in(catalogue: Path) -> list[str]:
    """The parameters that a catalogue has columns of.

    Raises:
        CatalogueError: if it cannot be read.
    """
    missing = missing_columns(catalogue, LABELS)
    return [target for target in LABELS if target not in missing]


def missing_columns(catalogue: Path, names: Iterable[str]) -> list[str]:
    """Which of these columns the catalogue lacks.

    Raises:
        CatalogueError: if it cannot be read.
    """
    _first_row(catalogue, "flags")  # every catalogue has them: what fails here is the file
    missing = []
    for name in names:
        try:
            _first_row(catalogue, name)
        except CatalogueError:
            missing.append(name)
    return missing


def as_text(found: Mapping) -> str:
    """What `survey` found, as text for people."""
    n_rows = found["n_rows"]
    lines = [
        f"{found['catalogue']}",
        "",
        _line("rows", n_rows, n_rows),
        _line("with a result", found["n_with_result"], n_rows),
    ]
    lines += [_line("without any flag", found["n_without_flag"], n_rows)]
    if found["reasons"]:
        lines += ["", "no result, because", *(_line(f"  {why}", n, n_rows) for why, n in found["reasons"].items())]
    lines += ["", "flags"]
    lines += [
        f"{_line(f'  {flag.value:>5} {flag.name}', found['flags'][flag.name], n_rows)}  {text}" for flag, text in TABLE
    ]
    lines += ["", "from ... to"]
    lines += [f"  {name:<8}{low:>10.2f}{high:>10.2f} {LABELS[name]}" for name, (low, high) in found["ranges"].items()]
    lines += ["", "provenance", *(f"  {name}: {value}" for name, value in _flat(found["provenance"]))]
    return "\n".join(lines)


def _count_reasons(counts: Counter, reasons: np.ndarray) -> None:
    """Count the reasons given, whatever the image; once there are many different ones, a new one counts as another."""
    for reason in filter(None, reasons):
        reason = IMAGE.sub("", reason)
        counts[reason if reason in counts or len(counts) < MAX_REASONS else "other reasons"] += 1


def _first_row(catalogue: Path, name: str) -> None:
    next(formats.read_columns(catalogue, [name], batch_rows=1), None)


def _line(words: str, n: int, n_rows: int) -> str:
    return f"{words:<32}{n:>12,}{100 * n / max(n_rows, 1):>7.2f} %"


def _flat(values: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for name, value in values.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return pairs
