"""How labels, references and numbers are called and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from acf_jax.data.prepared import how_to_prepare
from acf_jax.labels import LABELS, NAMES, number
from acf_jax.metrics.bootstrap import Estimate

REFERENCES = {"label": "the labels", "truth": "the injected truth"}


def low_quality_way(is_mock: bool) -> tuple[str, str, str]:
    """How to prepare the low-quality sample of the sky, to train on it, and to evaluate that: words with commands."""
    name, sample = ("demo", "mock_low_quality") if is_mock else ("acf", "low_quality")
    run = f"runs/{name}_low_quality"
    train = f"`python train.py --config configs/{name}.py --config.dataset.config={sample} --workdir {run}`"
    return how_to_prepare(sample), train, f"`--low-quality {run}` added to the command of this evaluation"


def with_unit(target: str) -> str:
    """A label's name with its unit, as in "Teff (K)"."""
    return f"{NAMES[target]} ({LABELS[target]})"


def in_words(value: float | None, target: str, sign: str = "") -> str:
    """A residual's moment with its unit.

    Args:
        value: in the target's unit.
        target: which label.
        sign: `+` for a number that always has a sign.

    Returns:
        as in "95.0 K".
    """
    return f"{number(value, LABELS[target], sign)} {LABELS[target]}"


def enumerated(words: Iterable[str]) -> str:
    """As in "a, b and c"; "none" for no word."""
    *first, last = list(words) or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


def with_interval(estimate: Estimate, unit: str, sign: str = "") -> str:
    """An estimate of a residual's moment with its interval.

    Args:
        estimate: in `unit`.
        unit: K or dex.
        sign: `+` for numbers that always have a sign.

    Returns:
        as in "95.0 [93.1, 97.2]"; a dash for NaN.
    """
    return _in_brackets(estimate, lambda value: number(value, unit, sign))


def ratio(estimate: Estimate, decimals: int = 2) -> str:
    """A ratio with its interval, as in "1.11 [1.05, 1.17]"; a dash for NaN."""
    return _in_brackets(estimate, lambda value: f"{value:.{decimals}f}")


def with_error(estimate: Estimate, target: str, sign: str = "") -> str:
    """An estimate of a residual's moment with its standard error.

    Args:
        estimate: in the target's unit.
        target: which label.
        sign: `+` for a number that always has a sign.

    Returns:
        as in "95.0 ± 1.2".
    """
    unit = LABELS[target]
    return f"{number(estimate.value, unit, sign)} ± {number(estimate.error, unit)}"


def _in_brackets(estimate: Estimate, written: Callable[[float], str]) -> str:
    if np.isnan(estimate.value):
        return "-"
    return f"{written(estimate.value)} [{written(estimate.lower)}, {written(estimate.upper)}]"
