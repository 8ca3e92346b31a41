"""Where an evaluation came from: command, code, networks, datasets, software and machine, in JSON types.

No host name, and no folder but those that were typed on the command line.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from acf_jax.data.prepared import IDENTITY, PreparedDataset
from acf_jax.files import without_folders
from acf_jax.inference.network import Network
from acf_jax.report.context import Context
from acf_jax.version import __version__

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "array_record", "numpy",
    "scipy", "matplotlib", "scikit-learn", "optuna", "xgboost", "lightgbm", "catboost", "photutils", "astropy",
)  # fmt: skip
GIT_TIMEOUT_S = 10


def gather(context: Context, command: Sequence[str] | None = None) -> dict:
    """All of it, for `results.json` and the end of the report.

    Args:
        context: what was evaluated.
        command: its words; by default those that started this process.
    """
    datasets = {"evaluated": context.dataset} | ({"low_quality": context.low_quality} if context.low_quality else {})
    networks = {**context.networks, **{f"{k}, low quality": n for k, n in context.low_quality_networks.items()}}
    options = asdict(context.options)
    options.pop("progress")
    return {
        "command": shlex.join(sys.orig_argv if command is None else command),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "code_version": __version__,
        "git": git_state(Path(__file__).parents[2]),
        "options": options,
        "networks": {name: network_record(trained) for name, trained in networks.items()},
        "datasets": {role: dataset_record(dataset) for role, dataset in datasets.items()},
        "software": software(),
        "machine": machine(),
    }


def network_record(trained: Network) -> dict:
    """Its making, as its checkpoint tells."""
    sidecar = trained.sidecar
    return {
        "step": trained.step,
        "num_steps": sidecar.get("num_steps"),
        "n_parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.params)),
        "code_version": sidecar.get("code_version"),
        "jax_version": sidecar.get("jax_version"),
        "dataset": {name: sidecar["dataset"][name] for name in IDENTITY},
        "config": without_folders(sidecar["config"]),
    }


def dataset_record(dataset: PreparedDataset) -> dict:
    """Its identity and what its builder recorded of its making."""
    recorded = {name: dataset.metadata[name] for name in ("provenance", "selection") if name in dataset.metadata}
    return {**dataset.identity, "splits": dict(dataset.splits), **without_folders(recorded)}


def git_state(folder: Path) -> dict | None:
    """`commit` and `changed`, whether tracked files differ from it; None if `folder` is not a clone's root."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return None  # installed somewhere inside another project's clone
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def software() -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def machine() -> dict:
    """Processors that this process may use, and JAX's devices."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "n_cpus": len(affinity(0)) if affinity else os.cpu_count(),
        "devices": [device.device_kind for device in jax.local_devices()],
    }


def facts(provenance: Mapping) -> Iterator[tuple[str, str]]:
    """Names and texts for the end of the report, in order; `code` in backticks."""
    git = provenance["git"]
    commit = "" if git is None else f", commit `{git['commit']}`{' with changes' if git['changed'] else ''}"
    yield "Command", f"`{provenance['command']}`"
    yield "Date", provenance["date"]
    yield "Code", f"ACF-JAX {provenance['code_version']}{commit}"
    yield "Options", ", ".join(f"{name} {_printed(value)}" for name, value in provenance["options"].items())
    for name, network in provenance["networks"].items():
        yield f"Network {name}", _network_text(network)
    for role, dataset in provenance["datasets"].items():
        splits = ", ".join(f"{split} {n:,}" for split, n in dataset["splits"].items())
        yield f"Dataset, {role.replace('_', ' ')}", f"{_dataset_text(dataset)}; stars: {splits}"
    yield "Software", ", ".join(f"{name} {version}" for name, version in provenance["software"].items())
    machine = provenance["machine"]
    devices = ", ".join(f"{machine['devices'].count(kind)} x {kind}" for kind in sorted(set(machine["devices"])))
    yield "Machine", f"{machine['system']}, {machine['n_cpus']} processors; JAX on {devices}"


def listings(provenance: Mapping) -> Iterator[tuple[str, str]]:
    """Titles and lines of what is too long for `facts`: the configs, and how the datasets were made."""
    for name, network in provenance["networks"].items():
        yield f"Config of {name}", "\n".join(flat(network["config"]))
    for role, dataset in provenance["datasets"].items():
        made = {name: dataset[name] for name in ("provenance", "selection") if name in dataset}
        if made:
            yield f"Making of the dataset, {role.replace('_', ' ')}", "\n".join(flat(made))


def flat(value: Any, name: str = "") -> Iterator[str]:
    """A line `name.of.it: value` for each value, at any depth; a text of several lines follows its name."""
    if isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        value = dict(enumerate(value, start=1))
    if isinstance(value, Mapping):
        for inner_name, inner in value.items():
            yield from flat(inner, f"{name}.{inner_name}" if name else f"{inner_name}")
    elif isinstance(value, str) and "\n" in value:
        yield f"{name}:"
        yield from (f"  {line}" for line in value.splitlines())
    else:
        yield f"{name}: {value}"


def _printed(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"


def _network_text(network: Mapping) -> str:
    in_all = "" if network["num_steps"] is None else f" of {network['num_steps']:,}"
    versions = ", ".join(
        f"{name} {network[key]}" for name, key in (("ACF-JAX", "code_version"), ("JAX", "jax_version")) if network[key]
    )
    made = f"; trained by {versions}" if versions else ""
    return (
        f"{network['n_parameters']:,} parameters, step {network['step']:,}{in_all}{made}, "
        f"on {_dataset_text(network['dataset'])}"
    )


def _dataset_text(dataset: Mapping) -> str:
    return f"{dataset['name']}/{dataset['config']} {dataset['version']}, fingerprint `{dataset['fingerprint'][:12]}`"
