"""A CPU's cores as JAX devices of one thread each: training and long predictions then use all of them all the time.

Left to itself, JAX sees one CPU device and XLA spreads each operation over the cores, the small ones badly. With its
own share of the stars, each core works through whole passes instead (benchmarks/README.md has the figures).
"""

from __future__ import annotations

import contextlib
import os

import jax

MIN_STARS_A_DEVICE = 8
"""With fewer stars on a device its operations become too small."""

MAX_DEVICES = 16
"""A limit, since each device holds the network and, in training, the optimizer's state."""

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
USERS_CHOICES = ("xla_force_host_platform_device_count", "xla_cpu_multi_thread_eigen")


def split_cores(batch_size: int | None = None) -> None:
    """Make the cores devices among which `batch_size` stars are divided evenly; devices of other kinds stay as is.

    Without a batch size each core becomes one.

    To be called before anything asks JAX for its devices; afterwards it does nothing. A user's own
    choice, by `JAX_NUM_CPU_DEVICES` or one of `USERS_CHOICES` in `XLA_FLAGS`, is kept.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" in os.environ or any(choice in flags for choice in USERS_CHOICES):
        return
    n_devices = devices_for(batch_size, available_cores()) if batch_size else min(available_cores(), MAX_DEVICES)
    if n_devices > 1:
        with contextlib.suppress(RuntimeError):  # JAX has its devices already, for example in a notebook: nothing to do
            jax.config.update("jax_num_cpu_devices", n_devices)
            os.environ["XLA_FLAGS"] = f"{flags} {ONE_THREAD}".strip()


def devices_for(batch_size: int, n_cores: int) -> int:
    """The largest number of devices that divides a batch and leaves none with too few stars."""
    most = max(1, min(n_cores, MAX_DEVICES, batch_size // MIN_STARS_A_DEVICE))
    return max(n for n in range(1, most + 1) if batch_size % n == 0)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
