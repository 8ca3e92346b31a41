"""How labels, references and numbers are called and written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import Estimate
from acf_jax.report.section import number

NAMES = {"teff": "Teff", "logg": "log g", "fe_h": "[Fe/H]"}
REFERENCES = {"label": "the labels", "truth": "the injected truth"}


def with_unit(target: str) -> str:
    """A label's name with its unit, as in "Teff (K)"."""
    return f"{NAMES[target]} ({LABELS[target]})"


def in_words(value: float, target: str, sign: str = "") -> str:
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
    if np.isnan(estimate.value):
        return "-"
    value, lower, upper = (number(x, unit, sign) for x in (estimate.value, estimate.lower, estimate.upper))
    return f"{value} [{lower}, {upper}]"


def ratio(estimate: Estimate, decimals: int = 2) -> str:
    """A ratio with its interval, as in "1.11 [1.05, 1.17]"; a dash for NaN."""
    if np.isnan(estimate.value):
        return "-"
    value, lower, upper = (f"{x:.{decimals}f}" for x in (estimate.value, estimate.lower, estimate.upper))
    return f"{value} [{lower}, {upper}]"
