"""A CPU's cores as devices: how many, and who has the last word."""

import os
import subprocess
import sys

import pytest

from acf_jax.devices.cores import MAX_DEVICES, MIN_STARS_A_DEVICE, devices_for

ASK = """
from acf_jax.devices import cores
cores.available_cores = lambda: 3
cores.split_cores(96)
import jax, os
print(jax.local_device_count(), "--xla_cpu_multi_thread_eigen=false" in os.environ.get("XLA_FLAGS", ""))
"""


@pytest.mark.parametrize("batch_size", [1, 7, 8, 32, 90, 97, 128, 256])
@pytest.mark.parametrize("n_cores", [1, 2, 3, 8, 64])
def test_devices_divide_the_batch_and_none_has_too_few_stars(batch_size, n_cores):
    n_devices = devices_for(batch_size, n_cores)
    assert batch_size % n_devices == 0
    assert n_devices <= min(n_cores, MAX_DEVICES)
    assert n_devices == 1 or batch_size // n_devices >= MIN_STARS_A_DEVICE


def test_two_cores_share_the_batches_of_the_configs():
    assert devices_for(32, 2) == devices_for(128, 2) == 2  # configs/demo.py and configs/acf.py


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ({}, "3 True"),
        ({"XLA_FLAGS": "--xla_backend_optimization_level=0"}, "3 True"),
        ({"JAX_NUM_CPU_DEVICES": "1"}, "1 False"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, "2 False"),
        ({"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=true"}, "1 False"),
    ],
)
def test_the_cores_become_devices_unless_the_user_has_chosen(given, printed):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    asked = subprocess.run(
        [sys.executable, "-c", ASK],
        env=environment | {"JAX_PLATFORMS": "cpu"} | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == printed
