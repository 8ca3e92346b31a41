"""What was measured: a number a record, in flat lists from which tables and sentences take what they need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from acf_jax.metrics.bootstrap import Draws, Estimate, bootstrap_moments
from acf_jax.metrics.residuals import ResidualMetrics, residual_metrics
from acf_jax.metrics.uncertainty import UncertaintyMetrics

Record = TypeVar("Record")

COUNTS = ("n_without_prediction", "n_without_reference")
"""Quantities that count stars which a measurement leaves out."""


@dataclass(frozen=True)
class Measurement:
    """One number measured on the answers of one method."""

    method: str  # a network, trees, a photometry
    target: str  # the label that it predicts
    reference: str  # what the answers are compared with: `label`, `truth`, or a survey's labels
    quantity: str  # `offset`, `std`, ..., `std_ratio`; moments are in the target's unit
    estimate: Estimate
    sample: str = ""  # which stars, where a section looks at several samples
    group: str = "all"  # which of the sample's stars
    inputs: str = ""  # what the method reads, where there is a choice
    against: str = ""  # the method that a ratio or a difference compares with

    def to_dict(self) -> dict[str, str | float | int | None]:
        """A flat record of JSON types; None for NaN."""
        identity = {name: value for name, value in vars(self).items() if name != "estimate"}
        return identity | self.estimate.to_dict()


def select(records: Iterable[Record], **wanted: str) -> list[Record]:
    """Those whose fields have these values, in their order; measurements or any other records."""
    return [each for each in records if all(getattr(each, name) == value for name, value in wanted.items())]


def estimates(measurements: Iterable[Measurement], by: str, **wanted: str) -> dict[str, Estimate]:
    """The estimates of those selected, by the value that each has of one field.

    Args:
        measurements: to select from.
        by: the field, e.g. `quantity`.
        **wanted: values of the others, as of `select`.

    Returns:
        the estimates by that value, in their order.

    Raises:
        ValueError: if two of them have the same value.
    """
    selected = select(measurements, **wanted)
    found = {getattr(m, by): m.estimate for m in selected}
    if len(found) < len(selected):
        raise ValueError(f"{len(selected)} measurements have {len(found)} values of {by}: select by more fields.")
    return found


def distinct(records: Iterable[Record], field: str) -> list[str]:
    """The values of one field, each once, in the order of their first record."""
    return list(dict.fromkeys(getattr(each, field) for each in records))


def without_interval(value: float | None, n: int) -> Estimate:
    """An estimate of which nothing but the value is known; None is NaN."""
    unknown = float("nan")
    return Estimate(unknown if value is None else float(value), unknown, unknown, unknown, n)


def from_metrics(metrics: ResidualMetrics | UncertaintyMetrics, **identity: str) -> list[Measurement]:
    """A measurement, without interval, of every number but `n`; `identity` says what it is of."""
    values = {name: value for name, value in vars(metrics).items() if name != "n"}
    return [
        Measurement(quantity=name, estimate=without_interval(value, metrics.n), **identity)
        for name, value in values.items()
    ]


def moments(prediction: np.ndarray, values: np.ndarray, draws: Draws, **identity: str) -> list[Measurement]:
    """The residuals' moments, the standard deviation with its bootstrap interval.

    Args:
        prediction: (n,) of one target; NaN for a star without.
        values: (n,) of the reference, in the same unit; NaN where unknown.
        draws: the bootstrap's.
        **identity: what the measurements are of.

    Returns:
        a measurement of each number in `ResidualMetrics` but `n`.
    """
    std = bootstrap_moments(prediction - values, draws, ("std",))["std"]
    return [
        replace(m, estimate=std) if m.quantity == "std" else m
        for m in from_metrics(residual_metrics(prediction, values), **identity)
    ]


def to_dicts(measurements: Iterable[Measurement]) -> list[dict]:
    """Flat records of JSON types."""
    return [m.to_dict() for m in measurements]
