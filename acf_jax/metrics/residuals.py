"""How far predictions are from a reference, and how far their uncertainties can be trusted.

A residual is prediction minus reference, as in the lower panels of the paper's Fig. 8. Stars without a finite
prediction or reference are counted and left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

MAD_TO_STD = 1.4826
"""The standard deviation of a Gaussian in units of its median absolute deviation."""

MOMENTS = ("offset", "std", "mad_std", "rmse", "outlier_fraction")
"""The moments of residuals that `moments` computes, in the order in which they are told."""

OUTLIER_WIDTH = 3.0
"""An outlier lies further from the median than this many times 1.4826 MAD: 0.27 % of a Gaussian's residuals do."""

INTERVALS = {"coverage_68": 1.0, "coverage_95": 1.96}
"""Half-width, in predicted standard deviations, of the two central intervals whose coverage is counted."""

NOMINAL_COVERAGE = {"coverage_68": 0.6827, "coverage_95": 0.9500}
"""The fraction of a Gaussian's residuals inside each of `INTERVALS`."""


@dataclass(frozen=True)
class ResidualMetrics:
    """Moments of the residuals of one parameter, in that parameter's unit; NaN where no star is left."""

    n: int  # stars with a finite prediction and a finite reference
    n_without_prediction: int
    n_without_reference: int  # among those with a prediction
    offset: float  # mean residual, the paper's mu
    std: float  # standard deviation about the offset, ddof 0, the paper's sigma
    mad_std: float  # 1.4826 x median absolute deviation from the median
    rmse: float  # root mean square residual: offset^2 + std^2 = rmse^2
    outlier_fraction: float  # fraction with |residual - median| > 3 x 1.4826 MAD; 0.0027 of a Gaussian
    coverage_68: float | None  # fraction with |residual| <= 1 predicted std; 0.6827 if calibrated and Gaussian
    coverage_95: float | None  # fraction with |residual| <= 1.96 predicted std; 0.95 if so; None without std

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON, which has no NaN: None in its place."""
        return finite_or_none(asdict(self))


@dataclass(frozen=True)
class ResidualBin:
    """Residuals of the stars with lower <= x < upper; NaN moments in an empty bin."""

    lower: float
    upper: float
    n: int
    offset: float
    std: float  # ddof 0

    @property
    def offset_error(self) -> float:
        """Standard error of the offset, std / sqrt(n)."""
        return self.std / np.sqrt(self.n) if self.n else float("nan")

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON, which has no NaN: None in its place."""
        return finite_or_none(asdict(self))


def residual_metrics(prediction: np.ndarray, reference: np.ndarray, std: np.ndarray | None = None) -> ResidualMetrics:
    """Metrics of one parameter over a sample.

    Args:
        prediction: (n,) predicted values; NaN or infinite for a star that has none.
        reference: (n,) labels or injected truth, in the same unit; NaN where unknown.
        std: (n,) predicted standard deviations, in the same unit; None for a method that gives none.

    Returns:
        the metrics, in that unit.

    Raises:
        ValueError: if the lengths differ.
    """
    prediction, reference = aligned(prediction, reference)
    predicted = np.isfinite(prediction)
    used = predicted & np.isfinite(reference)
    residual = (prediction - reference)[used]
    coverage: dict[str, float | None] = dict.fromkeys(INTERVALS)
    if std is not None:
        _, std = aligned(prediction, std)
        coverage = {name: interval_coverage(residual, std[used], width) for name, width in INTERVALS.items()}
    return ResidualMetrics(
        n=int(used.sum()),
        n_without_prediction=int((~predicted).sum()),
        n_without_reference=int((predicted & ~used).sum()),
        coverage_68=coverage["coverage_68"],
        coverage_95=coverage["coverage_95"],
        **{name: float(value) for name, value in moments(residual).items()},
    )


def moments(residual: np.ndarray, names: Sequence[str] = MOMENTS) -> dict[str, np.ndarray]:
    """Moments over the last axis, (..., n) -> {name: (...)}; NaN where n is 0.

    Args:
        residual: prediction minus reference, finite.
        names: which of `MOMENTS`. Those that need medians take most of the time.
    """
    residual = np.asarray(residual, np.float64)
    if not residual.shape[-1]:
        return {name: np.full(residual.shape[:-1], np.nan) for name in names}
    values = {
        "offset": residual.mean(axis=-1),
        "std": residual.std(axis=-1),
        "rmse": np.sqrt(np.mean(residual**2, axis=-1)),
    }
    if not values.keys() >= set(names):
        distance = np.abs(residual - np.median(residual, axis=-1, keepdims=True))
        mad_std = MAD_TO_STD * np.median(distance, axis=-1)
        outlier = distance > OUTLIER_WIDTH * mad_std[..., None]
        values |= {"mad_std": mad_std, "outlier_fraction": outlier.mean(axis=-1)}
    return {name: values[name] for name in names}


def interval_coverage(residual: np.ndarray, std: np.ndarray, width: float) -> float:
    """Fraction of residuals within `width` predicted standard deviations of zero; NaN for no residual.

    Args:
        residual: (n,).
        std: (n,) predicted, in the same unit.
        width: half of the interval, in predicted standard deviations.

    Returns:
        the fraction.
    """
    residual, std = aligned(residual, std)
    return float(np.mean(np.abs(residual) <= width * std)) if residual.size else float("nan")


def magnitude_edges(mag: np.ndarray, step_mag: float = 0.5) -> np.ndarray:
    """Edges at multiples of `step_mag` that hold every finite magnitude; two at least."""
    return regular_edges(mag, step_mag)


def regular_edges(values: np.ndarray, step: float) -> np.ndarray:
    """Edges of bins at multiples of `step` that hold every finite value; two at least."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.array([0.0, step])
    first, last = np.floor(finite.min() / step), np.floor(finite.max() / step) + 1
    return step * np.arange(first, last + 1)


def binned_residuals(residual: np.ndarray, x: np.ndarray, edges: Sequence[float] | np.ndarray) -> list[ResidualBin]:
    """Offset and standard deviation of residuals in bins of `x`, e.g. of the log g residual in g magnitude.

    Stars whose residual or `x` is not finite are in no bin.

    Args:
        residual: (n,) prediction minus reference.
        x: (n,) the quantity to bin in.
        edges: (n_bins + 1,) increasing; a bin holds lower <= x < upper.

    Returns:
        the bins, in the order of the edges.
    """
    residual, x = aligned(residual, x)
    bins = []
    for lower, upper in pairwise(edges):
        inside = residual[(x >= lower) & (x < upper) & np.isfinite(residual)]
        offset, std = (inside.mean(), inside.std()) if inside.size else (np.nan, np.nan)
        bins.append(ResidualBin(float(lower), float(upper), int(inside.size), float(offset), float(std)))
    return bins


@dataclass(frozen=True)
class TrendPoint:
    """The residuals of the stars in one window of a running median."""

    x: float  # the median of what the trend runs along
    median: float
    lower: float  # 15.87 % of the residuals lie below; so does `upper` from above: +-1 sigma of a Gaussian
    upper: float
    n: int


def running_median(residual: np.ndarray, x: np.ndarray, n_windows: int = 12, least: int = 30) -> list[TrendPoint]:
    """The residuals' median along `x`, in windows of equally many stars, each half in the next one.

    Stars whose residual or `x` is not finite are in no window.

    Args:
        residual: (n,) prediction minus reference.
        x: (n,) what it may depend on.
        n_windows: about how many; fewer where a window would have too few stars.
        least: stars in a window.

    Returns:
        the points, by increasing `x`; none for fewer than `least` stars.
    """
    residual, x = aligned(residual, x)
    order = np.argsort(np.where(np.isfinite(residual), x, np.nan), kind="stable")
    order = order[: np.count_nonzero(np.isfinite(residual) & np.isfinite(x))]
    if len(order) < least:
        return []
    half = max(least // 2, len(order) // (n_windows + 1))
    n_halves = len(order) // half
    points = []
    for i in range(max(n_halves - 1, 1)):
        window = order[i * half : (i + 2) * half if i < n_halves - 2 else None]
        lower, median, upper = np.quantile(residual[window], [0.1587, 0.5, 0.8413])
        points.append(TrendPoint(float(np.median(x[window])), float(median), float(lower), float(upper), len(window)))
    return points


def aligned(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 vectors, so that sums over many float32 stars keep their digits.

    Raises:
        ValueError: if the two are not vectors of one length.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"expected two vectors of one length, one value per star; got shapes {a.shape} and {b.shape}")
    return a, b


def finite_or_none(values: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    """For JSON, which has neither NaN nor infinity: None in their place."""
    return {name: None if value is None or not np.isfinite(value) else value for name, value in values.items()}
