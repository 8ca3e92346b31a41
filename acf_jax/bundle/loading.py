"""A network from wherever it is kept: the folder of a run, or a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import safe_open

from acf_jax.bundle import layout
from acf_jax.bundle.checksums import CHECKSUMS, damaged_files, recorded_files
from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import TrainingDomain
from acf_jax.data.scaling import InputScaling
from acf_jax.inference.fingerprint import network_fingerprint
from acf_jax.labels import LabelScaling
from acf_jax.training import checkpoints
from acf_jax.training.checkpoints import CheckpointError, TrainedModel


def load_network(path: str | Path) -> TrainedModel:
    """The network of a bundle, or the best checkpoint of a run, on this machine's first device.

    A bundle is read only if every file of it is what its checksums and its fingerprint say.

    Raises:
        CheckpointError: if there is neither, newer code wrote it, or a file of the bundle is missing or was altered.
    """
    path = Path(path)
    return _load_bundle(path) if is_bundle(path) else checkpoints.load_model(path)


def is_bundle(path: str | Path) -> bool:
    """Whether a folder is a bundle, whole or not."""
    return any((Path(path) / name).is_file() for name in (layout.DESCRIPTION, layout.PARAMETERS, CHECKSUMS))


def _load_bundle(folder: Path) -> TrainedModel:
    described = read_description(folder)
    _check_files(folder)
    try:
        trained = _assemble(folder, described)
    except Exception as error:  # whole files whose content fits no network: what that raises cannot be listed
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{folder} holds no network that can be read ({reason}): write the bundle anew."
        ) from error
    if network_fingerprint(trained) != described["fingerprint"]:
        raise CheckpointError(
            f"{folder}/{layout.DESCRIPTION} and {layout.PARAMETERS} are not of one network: their fingerprint is not "
            "the recorded one. Fetch the bundle anew."
        )
    return trained


def read_description(folder: Path) -> dict:
    """What ``bundle.json`` holds.

    Raises:
        CheckpointError: if it is missing or damaged, or newer code wrote it.
    """
    path = folder / layout.DESCRIPTION
    try:
        described = json.loads(path.read_text())
        version, code_version = described["format_version"], described["code_version"]
        trained_format = described["checkpoint"]["format_version"]
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: fetch the bundle anew.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: fetch the bundle anew.") from error
    for what, found, known in (
        ("bundle", version, layout.FORMAT_VERSION),
        ("checkpoint", trained_format, checkpoints.FORMAT_VERSION),
    ):
        if found > known:
            raise CheckpointError(
                f"{folder} has {what} format {found}, written by ACF-JAX {code_version}; this code reads formats up "
                f"to {known}: update it (git pull)."
            )
    return described


def _check_files(folder: Path) -> None:
    try:
        unrecorded = [name for name in layout.NEEDED if name not in recorded_files(folder)]
        damaged = damaged_files(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}/{CHECKSUMS} is missing or damaged: fetch the bundle anew.") from error
    if damaged or unrecorded:
        raise CheckpointError(
            f"{folder}: {', '.join(damaged + unrecorded)} missing, or not as in {CHECKSUMS}: fetch the bundle anew."
        )


def _assemble(folder: Path, described: dict) -> TrainedModel:
    sidecar, calibration = described["checkpoint"], described["error_calibration"]
    domain = None
    if described["training_domain"] is not None:
        with np.load(folder / layout.TRAINING_DOMAIN) as arrays:
            domain = TrainingDomain.from_arrays(dict(arrays))
    return TrainedModel(
        model=checkpoints.model_from_config(sidecar["config"]),
        params=read_params(folder / layout.PARAMETERS),
        input_scaling=InputScaling.from_dict(sidecar["input_scaling"]),
        label_scaling=LabelScaling.from_dict(sidecar["label_scaling"]),
        targets=tuple(sidecar["targets"]),
        bands=sidecar["bands"],
        sidecar=sidecar,
        step=described["step"],
        error_calibration=None if calibration is None else ErrorCalibration.from_dict(calibration),
        training_domain=domain,
    )


def read_params(path: Path) -> dict:
    """A network's parameters from a safetensors file, whose names are their paths: ``backbone/stage1/qkv/kernel``."""
    with safe_open(path, framework="numpy") as file:
        arrays = {name: jnp.asarray(file.get_tensor(name)) for name in file.keys()}
    return unflatten_dict(arrays, sep="/")
