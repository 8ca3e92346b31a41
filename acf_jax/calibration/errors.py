"""Calibrated errors, fitted to stars that the network was not trained on.

Monte Carlo dropout measures only the network's own uncertainty: its spread leaves out the noise of stamps and labels,
and its scale depends on the dropout rate. There are two corrections, made for each parameter separately:

* Variance scaling: sigma^2 = (a mc^2 + b noise^2 + c) exp(s), with a, b, c >= 0 of greatest likelihood. b is used if
  the network predicts a noise; s, a sum of piecewise linear functions of the predicted parameters, is used if it
  raises the likelihood of stars that it was not fitted to.
* Conformal intervals: mean -+ q sigma, with q the quantile of |residual| / sigma that covers the wanted fraction of a
  new star's labels whatever the distribution (Vovk et al. 2005; Lei et al. 2018, JASA 113, 1094). So that all stars
  can be used for both, each star's sigma is here one that was fitted without it (cross-conformal; Vovk 2015).

Both are calibrated to the labels, whose noise they contain: for the truth they are too wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import ndtr

Predicted = Float[np.ndarray, "star target"]
Residuals = Float[np.ndarray, " star"]
Terms = Float[np.ndarray, "star term"]
Shapes = Float[np.ndarray, "star knot"]
Weights = tuple[Float[np.ndarray, " term"], Float[np.ndarray, " knot"]]
"""What `Terms` and `Shapes` are multiplied by: a, b and c; and s at the knots of all predicted parameters."""

LEVELS = (*(round(0.05 * i, 2) for i in range(1, 20)), 0.6827)
"""Nominal coverage of the available intervals."""

MIN_STARS = 50
"""Fewer stars are not enough for a fit; the 95 % interval alone needs 19."""

N_FOLDS = 5
KNOTS = (0.02, 0.15, 0.5, 0.85, 0.98)
"""Quantiles of the predicted parameters between which s is linear; beyond them it is constant."""

SHAPE_PRIOR_STD = 1.0
"""Of the logarithm of the variance at each knot: keeps s near zero where there are few stars."""

OUTLIER_SIGMA = 3.0
"""A larger residual, in sigma, counts in the fit as one of this size."""


@dataclass(frozen=True)
class ParameterCalibration:
    """What was fitted for one parameter."""

    mc_factor: float  # a
    noise_factor: float | None  # b; None if the network predicts no noise
    variance: float  # c, in the parameter's unit squared
    shape: tuple[tuple[float, ...], ...] | None  # s at the knots of each predicted parameter; None if there is no s
    half_widths: tuple[float, ...]  # q, in sigma, of each of LEVELS
    n_stars: int  # that it was fitted to
    n_left_out: int  # without a finite label or prediction


@dataclass(frozen=True)
class ErrorCalibration:
    """Calibrated standard deviations and intervals for the predictions of one network."""

    targets: tuple[str, ...]
    knots: tuple[tuple[float, ...], ...]  # of each predicted parameter, in its unit
    parameters: tuple[ParameterCalibration, ...]  # of each target

    @classmethod
    def fit(
        cls,
        mean: Predicted,
        mc_std: Predicted,
        noise_std: Predicted | None,
        labels: Predicted,
        targets: Sequence[str],
    ) -> ErrorCalibration:
        """From stars that the network was not trained on. Stars without a finite label or prediction are left out.

        Args:
            mean: predicted parameters, in physical units.
            mc_std: Monte Carlo standard deviations.
            noise_std: standard deviations of the noise that the network predicts; None if it predicts none.
            labels: in the same units.
            targets: the parameters' names.

        Returns:
            What was fitted.

        Raises:
            ValueError: if shapes disagree, or a parameter has fewer than `MIN_STARS` stars.
        """
        mean, mc_std, noise_std = _checked(mean, mc_std, noise_std, len(targets))
        labels = np.asarray(labels, np.float64)
        if labels.shape != mean.shape:
            raise ValueError(f"labels {labels.shape} and predictions {mean.shape} must have one shape.")
        knots = tuple(_knots(column) for column in mean.T)
        shapes = _shape_functions(mean, knots)
        parameters = []
        for i, target in enumerate(targets):
            residual, terms = labels[:, i] - mean[:, i], _terms(mc_std, noise_std, i)
            good = np.isfinite(residual) & np.isfinite(terms).all(axis=1) & np.isfinite(shapes).all(axis=1)
            if good.sum() < MIN_STARS:
                raise ValueError(
                    f"{good.sum()} stars with a label and prediction of {target} are too few to calibrate its errors: "
                    f"give {MIN_STARS} or more that the network was not trained on."
                )
            parameters.append(_fit_parameter(residual[good], terms[good], shapes[good], knots, int((~good).sum())))
        return cls(tuple(targets), knots, tuple(parameters))

    @classmethod
    def join(cls, members: Sequence[ErrorCalibration]) -> ErrorCalibration:
        """Those of networks with different targets, as one of all targets.

        A parameter's s stays a function of what its own network predicts: at the others' knots it is 0.
        """
        knots = tuple(of_one for member in members for of_one in member.knots)
        parameters: list[ParameterCalibration] = []
        for member in members:
            n_before = len(parameters)
            before, after = (
                tuple((0.0,) * len(of_one) for of_one in part)
                for part in (knots[:n_before], knots[n_before + len(member.knots) :])
            )
            parameters += [
                replace(fitted, shape=None if fitted.shape is None else (*before, *fitted.shape, *after))
                for fitted in member.parameters
            ]
        return cls(tuple(target for member in members for target in member.targets), knots, tuple(parameters))

    def std(self, mean: Predicted, mc_std: Predicted, noise_std: Predicted | None) -> Predicted:
        """Calibrated standard deviations.

        Args:
            mean: predicted parameters, as in `fit`.
            mc_std: Monte Carlo standard deviations.
            noise_std: None for a network that predicts no noise.

        Returns:
            One for each prediction, in its unit; NaN for a star without a prediction.

        Raises:
            ValueError: if shapes disagree, or `noise_std` is given where the fit had none, or missing where it had one.
        """
        mean, mc_std, noise_std = _checked(mean, mc_std, noise_std, len(self.targets))
        if (noise_std is None) != (self.parameters[0].noise_factor is None):
            with_ = "with" if noise_std is None else "without"
            raise ValueError(f"These errors were calibrated {with_} noise_std: predict {with_} it, or fit them anew.")
        shapes = _shape_functions(mean, self.knots)
        columns = []
        for i, fitted in enumerate(self.parameters):
            noise_factor = [] if fitted.noise_factor is None else [fitted.noise_factor]
            factors = np.array([fitted.mc_factor, *noise_factor, fitted.variance])
            weights = np.concatenate(fitted.shape) if fitted.shape else np.zeros(shapes.shape[1])
            columns.append(np.sqrt(_variance(_terms(mc_std, noise_std, i), shapes, (factors, weights))))
        std = np.stack(columns, axis=1)
        return np.where(np.isfinite(mean), std, np.nan)

    def interval(
        self, mean: Predicted, mc_std: Predicted, noise_std: Predicted | None, level: float
    ) -> tuple[Predicted, Predicted]:
        """Conformal intervals.

        Args:
            mean: predicted parameters, as in `fit`.
            mc_std: Monte Carlo standard deviations.
            noise_std: None for a network that predicts no noise.
            level: their nominal coverage.

        Returns:
            Their lower and their upper bounds.

        Raises:
            ValueError: as `std`, or if `level` is not one of `LEVELS`.
        """
        if level not in LEVELS:
            raise ValueError(f"level = {level} must be one of {', '.join(map(str, sorted(LEVELS)))}.")
        half_width = [fitted.half_widths[LEVELS.index(level)] for fitted in self.parameters]
        reach = self.std(mean, mc_std, noise_std) * half_width
        return mean - reach, mean + reach

    def to_dict(self) -> dict:
        """As JSON types."""
        return asdict(self) | {"levels": list(LEVELS)}

    @classmethod
    def from_dict(cls, stored: Mapping) -> ErrorCalibration:
        """Undo `to_dict`, also after storage as JSON.

        Raises:
            ValueError: if the intervals stored are not those of `LEVELS`.
        """
        if tuple(stored["levels"]) != LEVELS:
            raise ValueError("This error calibration holds other intervals than this code reads: fit it anew.")
        parameters = tuple(
            ParameterCalibration(**{name: _as_tuples(value) for name, value in fitted.items()})
            for fitted in stored["parameters"]
        )
        return cls(tuple(stored["targets"]), _as_tuples(stored["knots"]), parameters)


def conformal_quantile(scores: Residuals, level: float) -> float:
    """The smallest score below which a new, exchangeable one falls with a probability of `level` at least.

    Args:
        scores: finite, of held-out stars.
        level: above 0. Where n is too small for it, the score is infinite.
    """
    rank = int(np.ceil((len(scores) + 1) * level - 1e-9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def _fit_parameter(
    residual: Residuals, terms: Terms, shapes: Shapes, knots: Sequence[Sequence[float]], n_left_out: int
) -> ParameterCalibration:
    candidates = []
    for of_one in (shapes[:, :0], shapes):  # without and with s
        fitted = _fit_variance(residual, terms, of_one)
        std = _held_out_std(residual, terms, of_one, fitted)
        candidates.append((_loss(residual, std**2).mean(), std, fitted))
    with_shape = bool(candidates[1][0] < candidates[0][0])
    _, held_out_std, (factors, weights) = candidates[with_shape]
    scores = np.abs(residual) / held_out_std
    ends = np.cumsum([len(of_one) for of_one in knots])[:-1]
    return ParameterCalibration(
        mc_factor=float(factors[0]),
        noise_factor=float(factors[1]) if len(factors) == 3 else None,
        variance=float(factors[-1]),
        shape=tuple(tuple(part.tolist()) for part in np.split(weights, ends)) if with_shape else None,
        half_widths=tuple(conformal_quantile(scores, level) for level in LEVELS),
        n_stars=len(residual),
        n_left_out=n_left_out,
    )


def _held_out_std(residual: Residuals, terms: Terms, shapes: Shapes, start: Weights) -> Residuals:
    """Each star's sigma, fitted to the stars of the other folds, starting from the fit to all stars."""
    fold = np.arange(len(residual)) % N_FOLDS
    std = np.empty(len(residual))
    for k in range(N_FOLDS):
        weights = _fit_variance(residual[fold != k], terms[fold != k], shapes[fold != k], start)
        std[fold == k] = np.sqrt(_variance(terms[fold == k], shapes[fold == k], weights))
    return std


def _fit_variance(residual: Residuals, terms: Terms, shapes: Shapes, start: Weights | None = None) -> Weights:
    """The weights of greatest likelihood."""
    # Each term's mean is scaled to the typical squared residual, so that the weights are of order one.
    typical = terms.mean(axis=0)
    scale = np.where(typical > 0, _robust_variance(residual) / np.maximum(typical, 1e-300), 1.0)
    scaled = terms * scale
    n_terms = terms.shape[1]

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        basic, shape = scaled @ theta[:n_terms], np.exp(shapes @ theta[n_terms:])
        variance = basic * shape
        # d loss / d log(variance)
        slope = 0.5 * (1 - np.minimum(residual**2 / variance, OUTLIER_SIGMA**2) / _CONSISTENCY)
        penalty = 0.5 * np.sum((theta[n_terms:] / SHAPE_PRIOR_STD) ** 2)
        gradient = [(slope / basic) @ scaled, slope @ shapes + theta[n_terms:] / SHAPE_PRIOR_STD**2]
        n = len(residual)
        return (_loss(residual, variance).sum() + penalty) / n, np.concatenate(gradient) / n

    # A variance of exactly zero has no likelihood: c stays positive, in sigma a hundredth of the typical residual.
    bounds = [(0, None)] * (n_terms - 1) + [(1e-4, None)] + [(None, None)] * shapes.shape[1]
    factors, weights = (scale / n_terms, np.zeros(shapes.shape[1])) if start is None else start
    first = np.concatenate([factors / scale, weights])
    found = minimize(loss_and_gradient, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000}).x
    return found[:n_terms] * scale, found[n_terms:]


def _loss(residual: Residuals, variance: Residuals) -> Residuals:
    """A Gaussian's negative log-likelihood without the constant, in which outliers count less.

    The consistency factor puts its minimum at the true variance if the residuals are Gaussian.
    """
    square, bound = residual**2 / variance, OUTLIER_SIGMA**2
    beyond = np.maximum(square / bound, 1)
    return 0.5 * np.log(variance) + 0.5 * np.where(square < bound, square, bound * (1 + np.log(beyond))) / _CONSISTENCY


def _mean_bounded_square(bound: float) -> float:
    """The mean of min(z^2, bound^2) for a standard Gaussian z."""
    tail, density = 2 * ndtr(-bound), np.exp(-0.5 * bound**2) / np.sqrt(2 * np.pi)
    return 1 - tail - 2 * bound * density + bound**2 * tail


_CONSISTENCY = _mean_bounded_square(OUTLIER_SIGMA)


def _variance(terms: Terms, shapes: Shapes, weights: Weights) -> Residuals:
    return (terms @ weights[0]) * np.exp(shapes @ weights[1])


def _terms(mc_std: Predicted, noise_std: Predicted | None, i: int) -> Terms:
    """What a, b and c multiply; without a noise there is no b."""
    columns = [mc_std[:, i] ** 2, *([] if noise_std is None else [noise_std[:, i] ** 2]), np.ones(len(mc_std))]
    return np.stack(columns, axis=1)


def _knots(column: Residuals) -> tuple[float, ...]:
    finite = column[np.isfinite(column)]
    return tuple(np.unique(np.quantile(finite, KNOTS)).tolist()) if finite.size else (0.0,)


def _shape_functions(mean: Predicted, knots: Sequence[Sequence[float]]) -> Shapes:
    """One at a knot, zero at the others of that parameter, linear between; parameter by parameter."""
    columns = [np.interp(mean[:, i], of_one, unit) for i, of_one in enumerate(knots) for unit in np.eye(len(of_one))]
    return np.stack(columns, axis=1)


def _robust_variance(residual: Residuals) -> float:
    """Of the residuals' central half about zero, as if Gaussian; never 0."""
    return max(float(np.median(np.abs(residual)) * 1.4826) ** 2, 1e-12)


def _checked(
    mean: ArrayLike, mc_std: ArrayLike, noise_std: ArrayLike | None, n_targets: int
) -> tuple[Predicted, Predicted, Predicted | None]:
    mean, mc_std = np.asarray(mean, np.float64), np.asarray(mc_std, np.float64)
    noise_std = None if noise_std is None else np.asarray(noise_std, np.float64)
    shapes = {each.shape for each in (mean, mc_std, noise_std) if each is not None}
    if len(shapes) > 1 or mean.ndim != 2 or mean.shape[1] != n_targets:
        raise ValueError(f"mean, mc_std and noise_std must be (n, {n_targets}) each; got {sorted(shapes)}.")
    return mean, mc_std, noise_std


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value
