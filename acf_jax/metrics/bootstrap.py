"""How far a sample's moments would differ in another sample of stars: the percentile bootstrap.

Stars are drawn with replacement, as many as there are, over and over; the middle 95 % of what the draws give is the
interval (Efron & Tibshirani 1993, chapter 13). It tells of the finite number of stars, not of how a network trained
from another seed would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from acf_jax.metrics.residuals import MOMENTS, aligned, finite_or_none, moments

LEVEL = 0.95
"""Of an interval, where nothing else is said."""

VALUES_AT_A_TIME = 2_000_000  # resampled residuals in memory: 16 MB, and a few times that in work


@dataclass(frozen=True)
class Estimate:
    """A number measured on a sample, with what the bootstrap says of it; NaN with fewer than two stars."""

    value: float  # of the sample itself
    lower: float  # of the percentile interval
    upper: float
    error: float  # standard deviation over the resamples
    n: int  # stars it was measured on

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON, which has no NaN: None in its place."""
        return finite_or_none(asdict(self))


@dataclass(frozen=True)
class MomentsBin:
    """Offset and standard deviation of the residuals of the stars with lower <= x < upper."""

    lower: float
    upper: float
    median_x: float  # of the bin's stars; NaN if there are none
    n: int
    offset: Estimate
    std: Estimate

    def to_dict(self) -> dict:
        """Plain values for JSON: None for NaN, and for the edge of a bin that is open to that side."""
        edges = {"lower": self.lower, "upper": self.upper, "median_x": self.median_x, "n": self.n}
        return finite_or_none(edges) | {"offset": self.offset.to_dict(), "std": self.std.to_dict()}


@dataclass(frozen=True)
class Draws:
    """The samples of stars that are drawn; the same seed draws the same stars from samples of the same size."""

    n_resamples: int = 1_000
    seed: int = 0
    level: float = LEVEL  # of the intervals

    def __post_init__(self):
        if self.n_resamples < 2 or not 0 < self.level < 1:
            raise ValueError(
                "an interval needs 2 resamples or more and a level between 0 and 1; got "
                f"{self.n_resamples} and {self.level}"
            )

    def estimates(self, statistics: Callable[[np.ndarray], np.ndarray], n: int) -> list[Estimate]:
        """An estimate of each statistic of n stars; `statistics` maps rows (..., n) to (..., n_statistics)."""
        value = statistics(np.arange(n))
        if n < 2:
            nothing = float("nan")
            return [Estimate(float(v), nothing, nothing, nothing, n) for v in value]
        resampled = np.concatenate([statistics(rows) for rows in self._resamples(n)])
        tail = 50 * (1 - self.level)
        lower, upper = np.percentile(resampled, (tail, 100 - tail), axis=0)
        error = resampled.std(axis=0, ddof=1)
        numbers = zip(value, lower, upper, error, strict=True)
        return [Estimate(float(v), float(low), float(high), float(e), n) for v, low, high, e in numbers]

    def _resamples(self, n: int) -> Iterator[np.ndarray]:
        """Row numbers of samples drawn with replacement, (k, n) at a time, `n_resamples` in all."""
        rng = np.random.default_rng(self.seed)
        at_a_time = max(VALUES_AT_A_TIME // n, 1)
        for start in range(0, self.n_resamples, at_a_time):
            yield rng.integers(0, n, (min(at_a_time, self.n_resamples - start), n), dtype=np.int32)


def bootstrap_moments(
    residual: np.ndarray, draws: Draws = Draws(), names: Sequence[str] = MOMENTS
) -> dict[str, Estimate]:
    """Moments of residuals, each with its interval; stars that are not finite are left out.

    Args:
        residual: (n,) prediction minus reference.
        draws: the resamples.
        names: of `residuals.MOMENTS`.

    Returns:
        the estimates by moment, in the residuals' unit.

    Raises:
        ValueError: if the residuals are no vector.
    """
    residual = np.asarray(residual, np.float64)
    if residual.ndim != 1:
        raise ValueError(f"expected a vector of residuals, one per star; got shape {residual.shape}")
    residual = residual[np.isfinite(residual)]

    def statistics(rows: np.ndarray) -> np.ndarray:
        return np.stack(list(moments(residual[rows], names).values()), axis=-1)

    return dict(zip(names, draws.estimates(statistics, residual.size), strict=True))


def std_ratio(residual: np.ndarray, other: np.ndarray, draws: Draws = Draws()) -> Estimate:
    """std(`residual`) / std(`other`) of two methods on the same stars, with its paired interval.

    Every resample draws the same stars for both, so that what makes a star hard for both cancels. Stars for which
    either is not finite are left out of both.

    Args:
        residual: (n,) prediction minus reference of one method.
        other: (n,) of the other method, for the same stars in the same order.
        draws: the resamples.

    Returns:
        the ratio; NaN where the other method has no scatter.

    Raises:
        ValueError: if the lengths differ.
    """
    residual, other = aligned(residual, other)
    good = np.isfinite(residual) & np.isfinite(other)
    residual, other = residual[good], other[good]

    def statistics(rows: np.ndarray) -> np.ndarray:
        a, b = residual[rows].std(axis=-1), other[rows].std(axis=-1)
        return (a / np.where(b > 0, b, np.nan))[..., None]

    return draws.estimates(statistics, residual.size)[0]


def bootstrap_bins(
    residual: np.ndarray, x: np.ndarray, edges: Sequence[float] | np.ndarray, draws: Draws = Draws()
) -> list[MomentsBin]:
    """Offset and standard deviation in bins of `x`, with bootstrap intervals; a star of NaN is in no bin.

    Args:
        residual: (n,) prediction minus reference.
        x: (n,) the quantity to bin in.
        edges: (n_bins + 1,) increasing; a bin holds lower <= x < upper, so that infinite edges leave it open.
        draws: the resamples.

    Returns:
        the bins, in the order of the edges.

    Raises:
        ValueError: if the lengths differ.
    """
    residual, x = aligned(residual, x)
    bins = []
    for lower, upper in pairwise(edges):
        inside = (x >= lower) & (x < upper) & np.isfinite(residual)
        n = int(inside.sum())
        median_x = float(np.median(x[inside])) if n else float("nan")
        estimates = bootstrap_moments(residual[inside], draws, ("offset", "std"))
        bins.append(MomentsBin(float(lower), float(upper), median_x, n, **estimates))
    return bins
