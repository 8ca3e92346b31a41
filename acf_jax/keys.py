"""PRNG keys by star: a draw for a star depends on its object_id, and on no other star, batch, place or device."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt32

from acf_jax.shapes import AnyArray


def split_ids(object_id: Int[np.ndarray, " star"]) -> UInt32[np.ndarray, "star 2"]:
    """Ids of 64 bits in two halves, the high one first: JAX has no 64-bit integers unless asked."""
    ids = np.ascontiguousarray(object_id, dtype=np.int64).view(np.uint64)
    return np.stack([ids >> np.uint64(32), ids & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.uint32)


def star_keys(key: Key[Array, ""], ids: UInt32[AnyArray, "star 2"]) -> Key[Array, " star"]:
    """One key a star, that depends on `key` and the star's own id alone: not on its batch, place or device.

    Args:
        key: of a seed in prediction and of a step in training.
        ids: from `split_ids(object_id)`.
    """
    return jax.vmap(lambda star: jax.random.fold_in(jax.random.fold_in(key, star[0]), star[1]))(jnp.asarray(ids))


def sample_keys(star: Key[Array, ""], samples: Int[AnyArray, " sample"]) -> Key[Array, " sample"]:
    """The keys of the numbered `samples` of the star whose key is `star`."""
    return jax.vmap(partial(jax.random.fold_in, star))(samples)
