"""PRNG keys by star: a draw for a star depends on its object_id, and on no other star, batch, place or device."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def split_ids(object_id: np.ndarray) -> np.ndarray:
    """int64 ids (n,) as (n, 2) uint32, high half first: JAX has no 64-bit integers unless asked."""
    ids = np.ascontiguousarray(object_id, dtype=np.int64).view(np.uint64)
    return np.stack([ids >> np.uint64(32), ids & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.uint32)


def star_keys(key: jax.Array, ids: np.ndarray | jax.Array) -> jax.Array:
    """One key a star, that depends on `key` and the star's own id alone: not on its batch, place or device.

    Args:
        key: a PRNG key, of a seed in prediction and of a step in training.
        ids: (n, 2) uint32, from `split_ids(object_id)`.

    Returns:
        (n,) keys.
    """
    return jax.vmap(lambda star: jax.random.fold_in(jax.random.fold_in(key, star[0]), star[1]))(jnp.asarray(ids))


def star_key(key: jax.Array, object_id: int) -> jax.Array:
    """One star's key; `star_keys` for many."""
    return star_keys(key, split_ids(np.array([object_id])))[0]


def sample_keys(star: jax.Array, samples: jax.Array) -> jax.Array:
    """The keys of the numbered `samples` (n,) of the star whose key is `star`."""
    return jax.vmap(partial(jax.random.fold_in, star))(samples)
