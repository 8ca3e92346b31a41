"""A network from wherever it is kept: the folder of a run, or a bundle; or of several runs, one for each label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import safe_open

from acf_jax import checkpoints
from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import TrainingDomain
from acf_jax.checkpoints import CheckpointError
from acf_jax.files import Folders, as_paths
from acf_jax.inference import bundle_files, fitted
from acf_jax.inference.bundle_files import CHECKSUMS, damaged_files, recorded_files
from acf_jax.inference.fingerprint import network_fingerprint
from acf_jax.inference.joining import join
from acf_jax.inference.network import Network


def load(folders: Folders, which: str = "best") -> Network:
    """The network of a bundle, or a checkpoint of a run, on this machine's first device.

    A bundle is read only if all its files agree with its checksums and its fingerprint.

    >>> network = acf_jax.load("runs/demo")
    >>> print(network)  # doctest: +ELLIPSIS
    ACF        stamps in u v g r i z, parallax -> teff (K), logg (dex), fe_h (dex)
    network    ... parameters, 16 features, step ...
    trained on smss_stamps/mock/...
    residuals  ...
    errors     ...

    Args:
        folders: a run's folder, or a bundle's; or those of networks of different labels, trained on one dataset, which
            are joined into one: `acf_jax.load(["runs/acf_teff", "runs/acf_logg", "runs/acf_fe_h"])`.
        which: the `best` or the `latest` checkpoint of the run; a bundle holds one.

    Raises:
        CheckpointError: if it is neither, newer code wrote it, a file of the bundle is missing or was altered, or
            networks cannot be joined.
    """
    paths = as_paths(folders)
    if not paths:
        raise CheckpointError("No folder was given: name a run's or a bundle's.")
    networks = [_load_bundle(path) if is_bundle(path) else _load_run(path, which) for path in paths]
    try:
        return join(networks)
    except ValueError as error:
        raise CheckpointError(f"{', '.join(map(str, paths))} cannot be joined: {error}") from error


def _load_run(run_dir: Path, which: str) -> Network:
    with checkpoints.open_manager(run_dir) as manager:
        step = checkpoints.find_step(manager, which)
        sidecar = checkpoints.read_sidecar(manager, step)
        params = checkpoints.restore_params(manager, step)
    return Network.from_sidecar(
        sidecar,
        params,
        step,
        error_calibration=fitted.read_error_calibration(run_dir, step),
        training_domain=fitted.read_training_domain(run_dir, step),
    )


def is_bundle(path: str | Path) -> bool:
    """Whether a folder is a bundle, complete or not."""
    return any((Path(path) / name).is_file() for name in (bundle_files.DESCRIPTION, bundle_files.PARAMETERS, CHECKSUMS))


def _load_bundle(folder: Path) -> Network:
    described = read_description(folder)
    _check_files(folder, described)
    try:
        trained = _assemble(folder, described)
    except CheckpointError:  # of a member
        raise
    except Exception as error:  # whole files whose content fits no network can raise any kind of error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{folder} holds no network that can be read ({reason}): write the bundle anew."
        ) from error
    if network_fingerprint(trained) != described["fingerprint"]:
        raise CheckpointError(
            f"{folder}/{bundle_files.DESCRIPTION} and the parameters beside it are not of one network: their "
            "fingerprint is not the recorded one. Fetch the bundle anew."
        )
    return trained


def read_description(folder: Path) -> dict[str, Any]:
    """What `bundle.json` holds.

    Raises:
        CheckpointError: if it is missing or damaged, or newer code wrote it.
    """
    path = folder / bundle_files.DESCRIPTION
    try:
        described = json.loads(path.read_text())
        version, code_version = described["format_version"], described["code_version"]
        trained_format = described["checkpoint"]["format_version"]
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: fetch the bundle anew.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: fetch the bundle anew.") from error
    for what, found, known in (
        ("bundle", version, bundle_files.FORMAT_VERSION),
        ("checkpoint", trained_format, checkpoints.FORMAT_VERSION),
    ):
        if found > known:
            raise CheckpointError(
                f"{folder} has {what} format {found}, written by ACF-JAX {code_version}; this code reads formats up "
                f"to {known}: update it (git pull)."
            )
    return described


def _check_files(folder: Path, described: dict[str, Any]) -> None:
    try:
        needed = bundle_files.needed(described)
        unrecorded = [name for name in needed if name not in recorded_files(folder)]
        damaged = damaged_files(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}/{CHECKSUMS} is missing or damaged: fetch the bundle anew.") from error
    if damaged or unrecorded:
        raise CheckpointError(
            f"{folder}: {', '.join(damaged + unrecorded)} missing, or not as in {CHECKSUMS}: fetch the bundle anew."
        )


def _assemble(folder: Path, described: dict[str, Any]) -> Network:
    if "members" in described:
        # Their files are among those that were checked, their parameters in the fingerprint.
        return join([_assemble(folder / name, read_description(folder / name)) for name in described["members"]])
    calibration, domain = described["error_calibration"], None
    if described["training_domain"] is not None:
        with np.load(folder / bundle_files.TRAINING_DOMAIN) as arrays:
            domain = TrainingDomain.from_arrays(dict(arrays))
    return Network.from_sidecar(
        described["checkpoint"],
        read_params(folder / bundle_files.PARAMETERS),
        described["step"],
        error_calibration=None if calibration is None else ErrorCalibration.from_dict(calibration),
        training_domain=domain,
    )


def read_params(path: Path) -> dict[str, Any]:
    """A network's parameters from a safetensors file, whose names are their paths: `backbone/stage1/qkv/kernel`."""
    with safe_open(path, framework="numpy") as file:
        arrays = {name: jnp.asarray(file.get_tensor(name)) for name in file.keys()}
    return unflatten_dict(arrays, sep="/")
