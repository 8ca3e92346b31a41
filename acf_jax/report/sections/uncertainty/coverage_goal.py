"""Whether intervals cover what they should, overall and in bins, judged against what chance alone would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import betabinom, binom

from acf_jax.labels import LABELS
from acf_jax.metrics.residuals import regular_edges
from acf_jax.metrics.uncertainty import CoverageBin, binned_coverage
from acf_jax.report.context import Context
from acf_jax.report.quantities import LABEL_STEPS, Quantity, quantities
from acf_jax.report.words import NAMES

GOAL_LEVELS = {"coverage_68": 0.6827, "coverage_90": 0.90}
OVERALL_TOLERANCE, BIN_TOLERANCE = 0.01, 0.03
MIN_STARS = 500
"""Bins with fewer stars are not judged: chance alone moves the coverage of 500 by 2 percentage points at 68 %."""


@dataclass(frozen=True)
class JudgedBin:
    """The coverage of one bin of one quantity."""

    where: str  # as in "g 12.0 to 12.5 mag"
    bin: CoverageBin
    level: float

    @property
    def deviation(self) -> float:
        """Observed minus nominal coverage."""
        return self.bin.coverage - self.level


@dataclass(frozen=True)
class Verdict:
    """One method's intervals of one parameter at one level."""

    level: float
    n: int  # stars
    coverage: float
    known_bins: tuple[JudgedBin, ...]  # in what is known at prediction time; of MIN_STARS stars or more
    label_bins: tuple[JudgedBin, ...]  # in the labels, which the intervals cannot know
    n_beyond_by_chance: float  # of the known bins, expected beyond the tolerance if the intervals were exact
    overall_by_chance: float  # probability that exact intervals miss the overall tolerance
    method: str = ""
    target: str = ""

    @property
    def deviation(self) -> float:
        """Observed minus nominal coverage, overall."""
        return self.coverage - self.level

    @property
    def beyond(self) -> tuple[JudgedBin, ...]:
        """Known bins outside the tolerance."""
        return tuple(each for each in self.known_bins if abs(each.deviation) > BIN_TOLERANCE)

    @property
    def is_met(self) -> bool:
        """Whether the goal is met, overall and in every known bin."""
        return abs(self.deviation) <= OVERALL_TOLERANCE and not self.beyond

    def to_dict(self) -> dict:
        """As JSON types."""
        known, label = worst(self.known_bins), worst(self.label_bins)
        return {
            "method": self.method, "target": self.target, "level": self.level, "n": self.n,
            "coverage": None if np.isnan(self.coverage) else self.coverage,
            "n_bins": len(self.known_bins), "n_bins_beyond": len(self.beyond),
            "n_bins_beyond_by_chance": self.n_beyond_by_chance, "overall_by_chance": self.overall_by_chance,
            "is_met": self.is_met,
            "worst_bin": None if known is None else {"where": known.where, **known.bin.to_dict()},
            "worst_label_bin": None if label is None else {"where": label.where, **label.bin.to_dict()},
        }  # fmt: skip


def judge(
    covered: np.ndarray, level: float, known: Sequence[Quantity], labels: Sequence[Quantity], n_calibration: int | None
) -> Verdict:
    """The coverage of one parameter's intervals.

    Args:
        covered: (n,) from `uncertainty.inside`; NaN for a star that does not count.
        level: nominal coverage.
        known: what can be binned in at prediction time.
        labels: what cannot.
        n_calibration: stars that the intervals were fitted to; None for those fitted to none.

    Returns:
        the verdict, of a method and target without a name.
    """
    counted = covered[np.isfinite(covered)]
    known_bins, label_bins = (_judged(covered, level, each) for each in (known, labels))
    by_chance = [beyond_by_chance(each.bin.n, level, BIN_TOLERANCE, n_calibration) for each in known_bins]
    return Verdict(
        level,
        n=counted.size,
        coverage=float(counted.mean()) if counted.size else float("nan"),
        known_bins=known_bins,
        label_bins=label_bins,
        n_beyond_by_chance=float(sum(by_chance)),
        overall_by_chance=beyond_by_chance(counted.size, level, OVERALL_TOLERANCE, n_calibration),
    )


def beyond_by_chance(n: int, level: float, tolerance: float, n_calibration: int | None) -> float:
    """Probability that exact intervals' coverage is further than `tolerance` from `level`.

    The number covered is binomial. The coverage of conformal intervals fitted to m stars is itself drawn, from a Beta
    distribution with k and m + 1 - k, k = ceil((m + 1) level) (Vovk 2012, arXiv:1209.2673).

    Args:
        n: stars whose coverage is counted.
        level: nominal coverage.
        tolerance: in coverage, on either side.
        n_calibration: m; None for intervals fitted to no star.

    Returns:
        the probability; 0 of no star.
    """
    if not n:
        return 0.0
    if n_calibration is None:
        number_covered = binom(n, level)
    else:
        rank = int(np.ceil((n_calibration + 1) * level - 1e-9))
        number_covered = betabinom(n, rank, max(n_calibration + 1 - rank, 1))
    first, last = np.ceil(n * (level - tolerance) - 1e-9), np.floor(n * (level + tolerance) + 1e-9)
    return float(1 - (number_covered.cdf(last) - number_covered.cdf(first - 1)))


def worst(bins: Sequence[JudgedBin]) -> JudgedBin | None:
    """The bin furthest from its nominal coverage; None of no bins."""
    return max(bins, key=lambda each: abs(each.deviation), default=None)


def known_and_label_quantities(context: Context, mean: np.ndarray) -> tuple[list[Quantity], list[Quantity]]:
    """What the validation stars are binned in: known at prediction time, and the labels.

    Args:
        context: of the evaluation.
        mean: (n, n_targets) predictions.
    """
    others = quantities(context.stars(), context.targets, context.dataset.bands)
    labels = [each for each in others if each.key in context.targets]
    predicted = [_predicted(target, mean[:, i]) for i, target in enumerate(context.targets)]
    return [*predicted, *(each for each in others if each.key not in context.targets)], labels


def bins_of(covered: np.ndarray, quantity: Quantity) -> list[CoverageBin]:
    """Coverage in a quantity's bins, those of few stars too."""
    return binned_coverage(covered, np.asarray(quantity.x, np.float64), quantity.edges.tolist())


def _predicted(target: str, values: np.ndarray) -> Quantity:
    edges = regular_edges(values, LABEL_STEPS[target])
    return Quantity(f"predicted_{target}", f"predicted {NAMES[target]}", LABELS[target], values, edges)


def _judged(covered: np.ndarray, level: float, quantities: Sequence[Quantity]) -> tuple[JudgedBin, ...]:
    return tuple(
        JudgedBin(f"{quantity.name} {quantity.bin_name(i)} {quantity.unit}".rstrip(), each, level)
        for quantity in quantities
        for i, each in enumerate(bins_of(covered, quantity))
        if each.n >= MIN_STARS
    )
