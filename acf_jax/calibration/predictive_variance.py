"""The constant term of the predictive variance, tau^-1 (paper Eq. 14 and 15; Gal & Ghahramani 2016, arXiv:1506.02142).

    Var[y] = tau^-1 + (1/T) sum_t y_t^2 - E[y]^2

tau^-1 is the variance of the labels about what the network could know at best, one number for all stars. It comes from
a prior length scale (`from_length_scale`) or from held-out stars (`fit`):

    held_out = network.predict(..., samples=True)
    tau_inverse = predictive_variance.fit(held_out.samples, labels)
    prediction = network.predict(..., tau_inverse=tau_inverse)
    prediction.std, prediction.predictive_std  # without and with it

It is off by default. The paper prints no length scale; with its number of stars and L2 coefficient and a length scale
of 1, tau^-1 would be 11 times the variance of the labels themselves, so the uncertainties that it quotes cannot include
this term.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Samples = Float[np.ndarray, "sample star target"]

GRID_SIZE = 33  # trial values of tau: the likelihood may have more than one maximum
RELATIVE_TOLERANCE = 1e-6  # of the fitted variance


def from_length_scale(
    length_scale: float,
    *,
    keep_probability: float,
    n_stars: int,
    l2_coefficient: float,
    label_std: float | Sequence[float] = 1.0,
) -> Float[np.ndarray | np.float64, "..."]:
    """tau^-1 for tau = p l^2 / (2 N lambda), in the labels' units squared.

    Args:
        length_scale: l, of the prior over functions of standardised inputs.
        keep_probability: p, 1 - dropout rate.
        n_stars: N, of the training split.
        l2_coefficient: lambda, of the penalty lambda |W|^2 beside the loss averaged over stars.
        label_std: what the labels were standardised with, in physical units: `network.label_scaling.std`; 1 gives
            tau^-1 in units of the label variance.

    Returns:
        In the shape of `label_std`.

    Raises:
        ValueError: if a number is not positive.
    """
    positive = {"length_scale": length_scale, "n_stars": n_stars, "l2_coefficient": l2_coefficient}
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{name} = {value} must be positive.")
    if not 0 < keep_probability <= 1:
        raise ValueError(f"keep_probability = {keep_probability} must be above 0 and at most 1.")
    tau = keep_probability * length_scale**2 / (2 * n_stars * l2_coefficient)
    return np.square(label_std, dtype=np.float64) / tau


def fit(samples: Samples, labels: Float[np.ndarray, "star target"]) -> Float[np.ndarray, " target"]:
    """tau^-1 of greatest likelihood on stars that were not trained on.

    Args:
        samples: in physical units: `Prediction.samples`.
        labels: in the same units. A star without a finite label or prediction is left out.

    Returns:
        In the labels' units squared.

    Raises:
        ValueError: if shapes disagree, no star is left, or every star has a sample that equals its label.
    """
    samples, labels = np.asarray(samples, np.float64), np.asarray(labels, np.float64)
    if samples.ndim != 3 or samples.shape[1:] != labels.shape:
        raise ValueError(
            f"samples {samples.shape} and labels {labels.shape} must be (n_samples, n, n_targets) and (n, n_targets)."
        )
    return np.array([_fit_one(samples[..., i], labels[:, i], i) for i in range(labels.shape[1])])


def _fit_one(samples: Float[np.ndarray, "sample star"], labels: Float[np.ndarray, " star"], target: int) -> float:
    good = np.isfinite(samples).all(axis=0) & np.isfinite(labels)
    if not good.any():
        raise ValueError(f"Target {target}: no star has both a finite label and a finite prediction.")
    squares = (samples[:, good] - labels[good]) ** 2
    # Where the likelihood is greatest, tau^-1 is an average over stars of a weighted average over samples of these.
    low = squares.min(axis=0).mean()
    high = max(low, squares.mean())
    if low == 0:
        raise ValueError(f"Target {target}: a sample of every star equals its label: are these labels predictions?")

    def loss(log_variance: float) -> float:
        return 0.5 * log_variance - logsumexp(-0.5 * squares * np.exp(-log_variance), axis=0).mean()

    grid = np.linspace(np.log(low), np.log(high), GRID_SIZE)
    best = int(np.argmin([loss(value) for value in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, GRID_SIZE - 1)]
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": RELATIVE_TOLERANCE})
    return float(np.exp(found.x))
