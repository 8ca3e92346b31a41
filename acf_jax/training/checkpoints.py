"""Checkpoints: parameters, optimizer, data iterator and a sidecar that tells how they were made.

A run's folder holds ``checkpoints/<step>``, of which the latest and the best are kept. Orbax writes each into a
temporary folder and renames it, so that a killed run leaves whole checkpoints only. The sidecar is JSON:

    format_version, code_version, config, targets, bands, label_scaling, input_scaling,
    dataset (name, config, version, fingerprint, folder), step, validation (metrics), history (of them)

After training, two files join it, of the best checkpoint: ``error_calibration.json``, which makes the errors of its
predictions honest, and ``training_domain.npz``, which tells the stars that are unlike those it was trained on.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import TrainingDomain
from acf_jax.data.scaling import InputScaling
from acf_jax.labels import LabelScaling
from acf_jax.models.acf import ACF, ACFConfig
from acf_jax.models.cswin import CSWinConfig

FORMAT_VERSION = 1
ERROR_CALIBRATION = "error_calibration.json"
TRAINING_DOMAIN = "training_domain.npz"
SCORE = "mean_standardised_sigma"
"""What the best checkpoint has least of: validation standard deviation / label standard deviation, over targets."""


class CheckpointError(Exception):
    """No checkpoint to read, or one of another kind; the message says what to do."""


@dataclass(frozen=True)
class TrainedModel:
    """A network with its parameters and everything needed to feed it and to read its answer."""

    model: ACF
    params: Any
    input_scaling: InputScaling
    label_scaling: LabelScaling
    targets: tuple[str, ...]
    bands: str
    sidecar: dict
    step: int
    error_calibration: ErrorCalibration | None = None  # of this very checkpoint; None: not calibrated
    training_domain: TrainingDomain | None = None  # likewise; None: not known


def load_model(run_dir: str | Path, which: str = "best") -> TrainedModel:
    """The ``best`` or the ``latest`` checkpoint of a run, on this machine's first device.

    Raises:
        CheckpointError: if the folder or a checkpoint in it is missing, or newer code wrote it.
    """
    with open_manager(run_dir) as manager:
        step = find_step(manager, which)
        sidecar = read_sidecar(manager, step)
        params = restore_params(manager, step)
    return TrainedModel(
        model=model_from_config(sidecar["config"]),
        params=params,
        input_scaling=InputScaling.from_dict(sidecar["input_scaling"]),
        label_scaling=LabelScaling.from_dict(sidecar["label_scaling"]),
        targets=tuple(sidecar["targets"]),
        bands=sidecar["bands"],
        sidecar=sidecar,
        step=step,
        error_calibration=read_error_calibration(run_dir, step),
        training_domain=read_training_domain(run_dir, step),
    )


def model_from_config(config: Mapping[str, Any]) -> ACF:
    """The network that a config's ``model`` section describes, for the bands of its ``dataset`` section.

    Raises:
        ValueError: if its numbers contradict each other.
    """
    values = dict(config["model"])
    backbone = {field.name: values.pop(field.name) for field in fields(CSWinConfig) if field.name in values}
    return ACF(ACFConfig(backbone=CSWinConfig(num_bands=len(config["dataset"]["bands"]), **backbone), **values))


def open_manager(run_dir: str | Path, *, create: bool = False) -> ocp.CheckpointManager:
    """Orbax's manager of a run's checkpoints; ``create`` makes the folder and clears away what a killed run left.

    Raises:
        CheckpointError: if there is no such folder and it is not to be created.
    """
    folder = Path(run_dir).absolute() / "checkpoints"
    if not create and not folder.is_dir():
        missing = "no such folder" if not Path(run_dir).exists() else "no checkpoints in it: it is not a run's folder"
        raise CheckpointError(f"{run_dir}: {missing}. `python train.py --workdir {run_dir}` makes one.")
    arrays, json = ocp.StandardCheckpointHandler, ocp.JsonCheckpointHandler
    return ocp.CheckpointManager(
        folder,
        item_handlers={"params": arrays(), "optimizer": arrays(), "iterator": json(), "sidecar": json()},
        options=ocp.CheckpointManagerOptions(
            create=create,
            cleanup_tmp_directories=create,
            best_fn=_score,
            best_mode="min",
            # `max_to_keep` beside `best_fn` would drop the latest step. BestN keeps the last of its sorted list.
            preservation_policy=AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=_score, reverse=True, n=1)]),
        ),
    )


def save(manager: ocp.CheckpointManager, step: int, *, params, optimizer, iterator: dict, sidecar: dict) -> None:
    """Start writing a checkpoint; returns as soon as the arrays are copied to the host."""
    manager.save(
        step,
        args=ocp.args.Composite(
            params=ocp.args.StandardSave(params),
            optimizer=ocp.args.StandardSave(optimizer),
            iterator=ocp.args.JsonSave(iterator),
            sidecar=ocp.args.JsonSave(sidecar),
        ),
        metrics={SCORE: sidecar["validation"][SCORE]},
    )


def find_step(manager: ocp.CheckpointManager, which: str) -> int:
    """Step of the ``best`` or the ``latest`` checkpoint.

    Raises:
        CheckpointError: if there is none yet.
    """
    if which not in ("best", "latest"):
        raise CheckpointError(f"There is no {which!r} checkpoint: ask for 'best' or 'latest'.")
    step = manager.best_step() if which == "best" else manager.latest_step()
    if step is None:
        raise CheckpointError(
            f"{manager.directory} holds no checkpoint yet: the first is written after the first epoch of training."
        )
    return step


def read_sidecar(manager: ocp.CheckpointManager, step: int) -> dict:
    """The sidecar of one checkpoint.

    Raises:
        CheckpointError: if newer code wrote it.
    """
    restored = manager.restore(step, args=ocp.args.Composite(sidecar=ocp.args.JsonRestore()))
    sidecar = restored["sidecar"]
    if sidecar["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{manager.directory}/{step} has format {sidecar['format_version']}, written by ACF-JAX "
            f"{sidecar['code_version']}; this code reads formats up to {FORMAT_VERSION}: update it (git pull)."
        )
    return sidecar


def restore_params(manager: ocp.CheckpointManager, step: int) -> Any:
    """The parameters alone, whatever number of devices they were trained on."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        manager.item_metadata(step)["params"].tree,
    )
    return manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(target)))["params"]


def restore_training(manager: ocp.CheckpointManager, step: int, params, optimizer) -> tuple[Any, Any, dict]:
    """Parameters, optimizer and iterator state, the arrays placed as in the given ones."""
    restored = manager.restore(
        step,
        args=ocp.args.Composite(
            params=ocp.args.StandardRestore(params),
            optimizer=ocp.args.StandardRestore(optimizer),
            iterator=ocp.args.JsonRestore(),
        ),
    )
    return restored["params"], restored["optimizer"], restored["iterator"]


def write_error_calibration(run_dir: str | Path, step: int, calibration: ErrorCalibration) -> None:
    """Keep the calibrated errors of the checkpoint at ``step``; whole, or not at all."""
    path = Path(run_dir) / ERROR_CALIBRATION
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"step": step, **calibration.to_dict()}, indent=1) + "\n")
    temporary.rename(path)


def read_error_calibration(run_dir: str | Path, step: int) -> ErrorCalibration | None:
    """The calibrated errors of the checkpoint at ``step``; None if there are none, or they are another checkpoint's.

    Raises:
        CheckpointError: if the file is damaged.
    """
    path = Path(run_dir) / ERROR_CALIBRATION
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        return ErrorCalibration.from_dict(stored) if stored.pop("step") == step else None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: delete it, and `python train.py` writes it anew.") from error


def write_training_domain(run_dir: str | Path, step: int, domain: TrainingDomain) -> None:
    """Keep what the checkpoint at ``step`` was trained on; whole, or not at all."""
    path = Path(run_dir) / TRAINING_DOMAIN
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:  # given a name, NumPy would add its own suffix
        np.savez(file, step=np.int64(step), **domain.to_arrays())
    temporary.rename(path)


def read_training_domain(run_dir: str | Path, step: int) -> TrainingDomain | None:
    """What the checkpoint at ``step`` was trained on; None if that is not known, or is another checkpoint's.

    Raises:
        CheckpointError: if the file is damaged.
    """
    path = Path(run_dir) / TRAINING_DOMAIN
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # which leaves a damaged file open
            return TrainingDomain.from_arrays(stored) if stored["step"] == step else None
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged: delete it, and `python train.py` writes it anew.") from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested dictionaries: a line ``- name: old`` and a line ``+ name: new`` each."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines += [f"- {prefix}{name}: {before}"] if name in old else []
            lines += [f"+ {prefix}{name}: {after}"] if name in new else []
    return lines


def _score(metrics: Mapping[str, float]) -> float:
    return metrics[SCORE]
