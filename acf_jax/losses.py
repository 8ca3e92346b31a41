"""The training loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def smooth_l1(residual: jax.Array) -> jax.Array:
    """0.5 x^2 where |x| < 1, else |x| - 0.5, element by element (paper, Eq. 16)."""
    size = jnp.abs(residual)
    return jnp.where(size < 1, 0.5 * residual**2, size - 0.5)
