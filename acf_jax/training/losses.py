"""The training losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def smooth_l1(residual: jax.Array) -> jax.Array:
    """0.5 x^2 where |x| < 1, else |x| - 0.5, element by element (paper, Eq. 16)."""
    size = jnp.abs(residual)
    return jnp.where(size < 1, 0.5 * residual**2, size - 0.5)


def noise_nll(residual: jax.Array, variance: jax.Array) -> jax.Array:
    """Negative log-likelihood of residuals under a Gaussian of a predicted variance, without the constant.

    No gradient flows through the residual: the variance learns from this, the predicted value from Eq. 16 alone.
    If both learned from the likelihood, the network would give hard stars a large variance and stop learning them.
    """
    residual = jax.lax.stop_gradient(residual)
    return 0.5 * (jnp.log(variance) + residual**2 / variance)
