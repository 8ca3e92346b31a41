"""How far predicted uncertainties can be trusted: Gaussian predictive distributions against what was observed.

A star's prediction is a normal distribution of mean `mean` and standard deviation `std`; `values` are its labels
or its injected truth, all (n,) and in one unit. Stars without a finite mean or value, or without a positive `std`,
are left out of every measure, and `uncertainty_metrics` counts them.

Terms: Gneiting & Raftery (2007, JASA 102, 359) for scores, Gneiting, Balabdaoui & Raftery (2007, JRSS B 69, 243) for
PIT and sharpness, Ilg et al. (2018, ECCV, arXiv:1802.07095) for sparsification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy.stats import norm

from acf_jax.metrics.residuals import finite_or_none

LEVELS = {"coverage_68": 0.6827, "coverage_90": 0.90, "coverage_95": 0.95}
"""Nominal coverage of the central intervals that are reported."""

N_STEPS = 100
"""Fractions of the stars removed, from none on, of which a sparsification curve consists."""


@dataclass(frozen=True)
class UncertaintyMetrics:
    """Measures of one parameter's uncertainties; those with a unit have the parameter's. NaN where no star is left."""

    n: int  # stars with a finite mean and value and a positive std
    n_left_out: int  # the others
    coverage_68: float  # fraction of values inside the central 68.27 % interval
    coverage_90: float
    coverage_95: float
    crps: float  # mean continuous ranked probability score, the parameter's unit; less is better
    nll: float  # mean negative log-likelihood, nats, of a density per the parameter's unit; less is better
    sharpness: float  # root mean predicted variance; less is better among calibrated ones
    ause: float  # area between sparsification curve and oracle, relative to the RMSE of all; 0 is perfect

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON, which has no NaN: None in its place."""
        return finite_or_none(asdict(self))


@dataclass(frozen=True)
class Sparsification:
    """RMSE of the stars left, relative to that of all, as more of the most uncertain are taken away."""

    removed: np.ndarray  # (n_steps,) fraction of the stars taken away, from 0
    by_std: np.ndarray  # (n_steps,) when those of greatest std go first
    by_error: np.ndarray  # (n_steps,) when those of greatest |residual| go first: the oracle

    @property
    def error(self) -> float:
        """AUSE: the area between the two curves, over removed fractions 0 to 1; 0 for a perfect order."""
        return float(np.mean(self.by_std - self.by_error))


@dataclass(frozen=True)
class ErrorBin:
    """Stars of similar predicted standard deviation; in the parameter's unit."""

    n: int
    std: float  # root mean predicted variance
    rmse: float  # root mean square residual: equal to `std` if calibrated
    rmse_error: float  # standard error of `rmse`, from the scatter of the squared residuals


@dataclass(frozen=True)
class CoverageBin:
    """Stars with lower <= x < upper (the last bin: <=) and the fraction of them whose interval holds the value."""

    lower: float
    upper: float
    n: int
    coverage: float

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON, which has no NaN: None in its place."""
        return finite_or_none(asdict(self))


def usable(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which stars (n,) count: a finite mean and value, and a finite std above zero.

    Args:
        mean: (n,) predicted values.
        std: (n,) predicted standard deviations.
        values: (n,) labels or truth.

    Returns:
        (n,) bool.

    Raises:
        ValueError: if the three are not vectors of one length.
    """
    mean, std, values = (np.asarray(array) for array in (mean, std, values))
    if mean.ndim != 1 or not mean.shape == std.shape == values.shape:
        raise ValueError(
            f"mean {mean.shape}, std {std.shape} and values {values.shape} must be three vectors of one length."
        )
    return np.isfinite(mean) & np.isfinite(values) & np.isfinite(std) & (std > 0)


def gaussian_interval(mean: np.ndarray, std: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound of the central interval of nominal coverage `level`, in any shape.

    Args:
        mean: predicted values.
        std: predicted standard deviations, of the same shape.
        level: between 0 and 1.

    Returns:
        the bounds, of that shape.
    """
    half_width = gaussian_half_width(level) * np.asarray(std, np.float64)
    return mean - half_width, mean + half_width


def gaussian_half_width(level: float) -> float:
    """Of the central interval of nominal coverage `level`, in standard deviations: 1 for 0.6827."""
    return float(norm.ppf(0.5 + level / 2))


def inside(lower: np.ndarray, upper: np.ndarray, values: np.ndarray) -> np.ndarray:
    """1.0 where lower <= value <= upper, 0.0 where not, NaN where one of them is NaN: (n,).

    Args:
        lower: (n,) bounds.
        upper: (n,).
        values: (n,) labels or truth.

    Returns:
        (n,).
    """
    known = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(values)
    return np.where(known, (lower <= values) & (values <= upper), np.nan)


def coverage(lower: np.ndarray, upper: np.ndarray, values: np.ndarray) -> float:
    """Fraction of values inside their intervals; NaN for no star.

    Args:
        lower: (n,) bounds.
        upper: (n,).
        values: (n,) labels or truth.

    Returns:
        the fraction.
    """
    return _mean(inside(lower, upper, values))


def pit(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Probability integral transform: the predictive distribution function at each value, (n,).

    Uniform on [0, 1] if calibrated; a U if overconfident, a hump if underconfident, a slope if biased.

    Args:
        mean: (n,) predicted values.
        std: (n,) predicted standard deviations.
        values: (n,) labels or truth.

    Returns:
        (n,) between 0 and 1.
    """
    return norm.cdf(_standardised(mean, std, values))


def crps(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of each star, (n,), in the parameter's unit.

    Args:
        mean: (n,) predicted values.
        std: (n,) predicted standard deviations.
        values: (n,) labels or truth.

    Returns:
        (n,), in the parameter's unit; less is better.
    """
    z = _standardised(mean, std, values)
    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def negative_log_likelihood(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each star, (n,), in nats, of a density per the parameter's unit.

    Args:
        mean: (n,) predicted values.
        std: (n,) predicted standard deviations.
        values: (n,) labels or truth.

    Returns:
        (n,), in nats; less is better.
    """
    return 0.5 * _standardised(mean, std, values) ** 2 + np.log(std) + 0.5 * np.log(2 * np.pi)


def sparsification(residual: np.ndarray, std: np.ndarray, n_steps: int = N_STEPS) -> Sparsification:
    """RMSE of what is left when the most uncertain stars are taken away.

    Args:
        residual: (n,) finite.
        std: (n,) finite; ties fall in the stars' order.
        n_steps: fractions removed, from 0 in equal steps; one star at least is left.

    Returns:
        the curves.

    Raises:
        ValueError: if there is no star.
    """
    residual, std = np.asarray(residual, np.float64), np.asarray(std, np.float64)
    if not residual.size:
        raise ValueError("a sparsification curve needs one star at least, got none.")
    removed = np.arange(n_steps) / n_steps
    n_left = np.maximum(np.ceil((1 - removed) * residual.size - 1e-9).astype(int), 1)

    def curve(order: np.ndarray) -> np.ndarray:
        mean_square = np.cumsum(residual[order] ** 2)[n_left - 1] / n_left
        return np.sqrt(mean_square / mean_square[0]) if mean_square[0] else np.zeros(n_steps)

    ascending = (np.argsort(by, kind="stable") for by in (std, np.abs(residual)))
    return Sparsification(removed, *map(curve, ascending))


def error_against_std(residual: np.ndarray, std: np.ndarray, n_bins: int = 10) -> list[ErrorBin]:
    """Root mean square residual in bins of predicted std that hold equally many stars, from the least uncertain on.

    Args:
        residual: (n,) finite.
        std: (n,) in the same unit.
        n_bins: as many, or as there are stars.

    Returns:
        the bins.
    """
    residual, std = np.asarray(residual, np.float64), np.asarray(std, np.float64)
    bins = []
    for rows in np.array_split(np.argsort(std, kind="stable"), min(n_bins, std.size) or 1):
        if rows.size:
            square = residual[rows] ** 2
            rmse = np.sqrt(square.mean())
            error = square.std() / np.sqrt(rows.size) / (2 * rmse) if rmse else 0.0
            bins.append(ErrorBin(int(rows.size), float(np.sqrt(np.mean(std[rows] ** 2))), float(rmse), float(error)))
    return bins


def binned_coverage(covered: np.ndarray, x: np.ndarray, edges: Sequence[float] | np.ndarray) -> list[CoverageBin]:
    """Coverage in bins of `x`.

    Args:
        covered: (n,) from `inside`; NaN for a star that does not count.
        x: (n,) the quantity to bin in.
        edges: (n_bins + 1,) increasing; the last bin holds its upper edge too.

    Returns:
        the bins, in the order of the edges.
    """
    bins = []
    for i in range(len(edges) - 1):
        lower, upper = edges[i], edges[i + 1]
        last = i == len(edges) - 2
        within = (x >= lower) & ((x <= upper) if last else (x < upper)) & np.isfinite(covered)
        bins.append(CoverageBin(float(lower), float(upper), int(within.sum()), _mean(covered[within])))
    return bins


def uncertainty_metrics(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> UncertaintyMetrics:
    """All measures of one parameter over a sample.

    Args:
        mean: (n,) predicted values; NaN for a star that has none.
        std: (n,) predicted standard deviations.
        values: (n,) labels or injected truth; NaN where unknown.

    Returns:
        the measures.

    Raises:
        ValueError: if the lengths differ.
    """
    good = usable(mean, std, values)
    n_left_out = int((~good).sum())
    mean, std, values = (np.asarray(array, np.float64)[good] for array in (mean, std, values))
    if not mean.size:
        unknown = {field.name: float("nan") for field in fields(UncertaintyMetrics)[2:]}  # all but the counts
        return UncertaintyMetrics(n=0, n_left_out=n_left_out, **unknown)
    return UncertaintyMetrics(
        n=mean.size,
        n_left_out=n_left_out,
        **{name: coverage(*gaussian_interval(mean, std, level), values) for name, level in LEVELS.items()},
        crps=float(crps(mean, std, values).mean()),
        nll=float(negative_log_likelihood(mean, std, values).mean()),
        sharpness=float(np.sqrt(np.mean(std**2))),
        ause=sparsification(mean - values, std).error,
    )


def _standardised(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (np.asarray(values, np.float64) - mean) / std


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
