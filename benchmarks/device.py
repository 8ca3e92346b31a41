"""What the device under a benchmark is, how much memory it took, and what its maker says it could do."""

from __future__ import annotations

import platform
from pathlib import Path

import jax

from datasets.build.workers import available_cpus

# Dense peaks from NVIDIA's data sheets of each product. Those quote Tensor Cores with sparsity from Ampere on: halved
# here. There JAX multiplies float32 arrays as TF32 unless told otherwise, so TF32's is the peak; on V100 and T4, which
# have no bfloat16, it is plain float32's.
PEAK_TFLOP_PER_S = {  # how a device's name begins: (bfloat16, float32 as JAX multiplies it)
    "NVIDIA A10": (125, 62.5),
    "NVIDIA A100": (312, 156),
    "NVIDIA A30": (165, 82),
    "NVIDIA A40": (149.7, 74.8),
    "NVIDIA H100": (989.5, 494.5),
    "NVIDIA H100 NVL": (835.5, 417.5),
    "NVIDIA H100 PCIe": (756, 378),
    "NVIDIA H200": (989.5, 494.5),
    "NVIDIA H200 NVL": (835.5, 417.5),
    "NVIDIA L4": (121, 60),
    "NVIDIA L40": (181, 90.5),
    "NVIDIA L40S": (362, 183),
    "Tesla T4": (None, 8.1),
    "Tesla V100": (None, 15.7),
    "Tesla V100-PCIE": (None, 14),
}


def peak_flop_per_s(device_kind: str, dtype: str) -> float | None:
    """Dense peak of one device for products of `float32` or `bfloat16` arrays; None where none is known."""
    if " MIG " in device_kind:  # a slice of a device
        return None
    names = [
        name
        for name in PEAK_TFLOP_PER_S
        if device_kind.startswith(name) and not device_kind.removeprefix(name)[:1].isalnum()
    ]
    if not names:
        return None
    tflop_per_s = PEAK_TFLOP_PER_S[max(names, key=len)][("bfloat16", "float32").index(dtype)]
    return 1e12 * tflop_per_s if tflop_per_s else None


def device_name(device: jax.Device) -> str:
    """Of an accelerator its kind, of a CPU the processor's name and the cores that this process may use."""
    if device.platform != "cpu":
        return device.device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    n_cores = available_cpus()
    return f"{(names or [platform.machine()])[0]}, {n_cores} core{'s' if n_cores > 1 else ''}"


def counts_memory() -> bool:
    """Whether the devices' allocator knows its peak."""
    return "peak_bytes_in_use" in (jax.local_devices()[0].memory_stats() or {})


def peak_memory_bytes(compiled: jax.stages.Compiled | None = None) -> int | None:
    """Peak of the first device's allocator so far, or what a compiled program asks for; None without either."""
    if counts_memory():
        return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
    needs = None if compiled is None else compiled.memory_analysis()
    if needs is None:
        return None
    results = needs.output_size_in_bytes - needs.alias_size_in_bytes  # a donated argument's place is taken by a result
    return needs.argument_size_in_bytes + results + needs.temp_size_in_bytes
