"""The uncertainties that are compared: as Monte Carlo dropout gives them, and as calibrated on held-out stars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.data.prepared import how_to_prepare
from acf_jax.inference.split import SplitPrediction
from acf_jax.metrics.uncertainty import LEVELS, UncertaintyMetrics, coverage, gaussian_interval, uncertainty_metrics
from acf_jax.report.context import Context, labels_of

MC, NOISE_HEAD, SCALED, CONFORMAL = "MC dropout (the paper's)", "MC + noise head", "variance-scaled", "conformal"
"""Names of the methods."""

CALIBRATION = "calibration"
"""The split that calibrated errors are fitted to."""

Bounds = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Method:
    """One way to give an uncertainty to every star of a split."""

    name: str
    std: np.ndarray  # (n, n_targets); of conformal intervals the half-width at 68.27 %
    interval: Callable[[float], Bounds]  # nominal coverage -> lower and upper bounds, (n, n_targets) each
    is_density: bool = True  # whether there is a distribution to score, or intervals only


def error_calibration(context: Context) -> tuple[ErrorCalibration | None, str]:
    """The network's calibrated errors, and a sentence that says where they come from, or why there are none."""
    if context.trained.error_calibration is not None:
        return context.trained.error_calibration, "The calibrated errors are those stored with the checkpoint."
    if not context.dataset.splits.get(CALIBRATION):
        return None, (
            "Calibrated errors are left out: the dataset has no `calibration` split to fit them to, as one built "
            f"without `--splits paper` has. Prepare it so ({how_to_prepare(context.dataset.config)}) and train on it."
        )
    prediction = context.prediction(split=CALIBRATION)
    labels = labels_of(context.stars(CALIBRATION), context.targets)
    try:
        fitted = ErrorCalibration.fit(prediction.mean, prediction.std, prediction.noise_std, labels, context.targets)
    except ValueError as error:
        return None, f"Calibrated errors are left out: {error}"
    return fitted, (
        f"The calibrated errors were fitted here, to the {context.sample(CALIBRATION)}, none of which the network's "
        "weights were fitted to."
    )


def methods(prediction: SplitPrediction, calibration: ErrorCalibration | None) -> list[Method]:
    """Those that there are, the paper's first."""
    mean, mc_std, noise_std = prediction.mean, prediction.std, prediction.noise_std
    found = [_gaussian(MC, mean, mc_std)]
    if noise_std is not None:
        found.append(_gaussian(NOISE_HEAD, mean, np.hypot(mc_std, noise_std)))
    if calibration is not None:
        found.append(_gaussian(SCALED, mean, calibration.std(mean, mc_std, noise_std)))
        intervals = partial(calibration.interval, mean, mc_std, noise_std)
        lower, upper = intervals(LEVELS["coverage_68"])
        found.append(Method(CONFORMAL, (upper - lower) / 2, intervals, is_density=False))
    return found


def measure(method: Method, mean: np.ndarray, values: np.ndarray, i: int) -> UncertaintyMetrics:
    """A method's measures for the target number `i`; intervals that are no distribution have no CRPS and no NLL.

    Args:
        method: one of `methods`.
        mean: (n, n_targets) predictions.
        values: (n, n_targets) labels or truth.
        i: number of the target.

    Returns:
        the measures; NaN for those that there are not.
    """
    found = uncertainty_metrics(mean[:, i], method.std[:, i], values[:, i])
    if method.is_density:
        return found
    bounds = {name: (bound[:, i] for bound in method.interval(level)) for name, level in LEVELS.items()}
    covered = {name: coverage(lower, upper, values[:, i]) for name, (lower, upper) in bounds.items()}
    return replace(
        found, crps=float("nan"), nll=float("nan"), coverage_68=covered["coverage_68"],
        coverage_90=covered["coverage_90"], coverage_95=covered["coverage_95"],
    )  # fmt: skip


def _gaussian(name: str, mean: np.ndarray, std: np.ndarray) -> Method:
    return Method(name, std, partial(gaussian_interval, mean, std))
