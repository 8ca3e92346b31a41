"""Predictions on all of this machine's devices: each has its share of the stars, and all hold the parameters.

Stars don't depend on each other, so each device works alone: one compiled program of one shape, however many devices
there are. The parallelism of training is in `training/loop.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

STARS = "stars"
"""The mesh's only axis."""


def n_devices() -> int:
    """How many devices stars are spread over: this process's own, not those of other hosts."""
    return jax.local_device_count()


def spread_over_devices(arrays: Any) -> Any:
    """A pytree of arrays (n, ...), each divided among the devices; `n_devices()` divides n."""
    return jax.device_put(arrays, NamedSharding(_mesh(), PartitionSpec(STARS)))


def on_all_devices(arrays: Any) -> Any:
    """A pytree of arrays, whole on every device."""
    return jax.device_put(arrays, NamedSharding(_mesh(), PartitionSpec()))


def each_device(function: Callable) -> Callable:
    """`function(params, stars)`, each device with its own part of `stars`, as `function` sees it; for use in jit.

    Args:
        function: takes a pytree that is whole on every device, and a pytree of arrays whose first axis is stars;
            returns arrays whose first axis is stars.
    """
    return jax.shard_map(
        function,
        mesh=_mesh(),
        in_specs=(PartitionSpec(), PartitionSpec(STARS)),
        out_specs=PartitionSpec(STARS),
        check_vma=False,  # stars don't depend on each other: there is nothing to check
    )


@functools.cache
def _mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), (STARS,))
