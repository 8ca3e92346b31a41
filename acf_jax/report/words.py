"""The residuals that sections speak of, and how their moments are written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import Estimate
from acf_jax.report.context import Context, labels_of
from acf_jax.report.section import number

PREFIXES = {"label": "", "truth": "true_"}
"""How the fields of each reference begin."""


def references(context: Context) -> tuple[str, ...]:
    """What residuals are taken about: the labels, and on the mock sky the truth."""
    return ("label", "truth") if context.is_mock else ("label",)


def residuals(context: Context, name: str, kind: str) -> dict[str, np.ndarray]:
    """Prediction minus reference of a network over the validation split: {target: (n,)}; NaN where either is."""
    targets = context.network(name).targets
    residual = context.prediction(name).mean - labels_of(context.stars(), targets, PREFIXES[kind])
    return {target: residual[:, i] for i, target in enumerate(targets)}


def in_words(value: float, target: str, sign: str = "") -> str:
    """A residual's moment with its unit."""
    return f"{number(value, LABELS[target], sign)} {LABELS[target]}"


def enumerated(words: Iterable[str]) -> str:
    """As in "a, b and c"; "none" for no word."""
    *first, last = list(words) or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


def with_interval(estimate: Estimate, unit: str, sign: str = "") -> str:
    """The estimate and its interval in brackets, in a unit of residuals; a dash for none."""
    if np.isnan(estimate.value):
        return "-"
    value, lower, upper = (number(x, unit, sign) for x in (estimate.value, estimate.lower, estimate.upper))
    return f"{value} [{lower}, {upper}]"
