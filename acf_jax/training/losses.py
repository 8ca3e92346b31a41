"""The training losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def smooth_l1(residual: jax.Array) -> jax.Array:
    """0.5 x^2 where |x| < 1, else |x| - 0.5, element by element (paper, Eq. 16)."""
    size = jnp.abs(residual)
    return jnp.where(size < 1, 0.5 * residual**2, size - 0.5)


def noise_nll(residual: jax.Array, variance: jax.Array) -> jax.Array:
    """Negative log-likelihood of residuals under a Gaussian of a predicted variance, but for a constant.

    The residual is taken as given: the variance learns from it, and the value that it belongs to from Eq. 16 alone.
    Under the likelihood of both, a network excuses what it finds hard by a large variance, and stops learning it.
    """
    residual = jax.lax.stop_gradient(residual)
    return 0.5 * (jnp.log(variance) + residual**2 / variance)
