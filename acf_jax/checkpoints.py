"""Checkpoints: parameters, optimizer, data iterator and a sidecar that says how they were made.

A run's folder holds `checkpoints/<step>`, of which the latest and the best are kept. Orbax writes each into a
temporary folder and renames it, so that a killed run leaves whole checkpoints only. The sidecar is JSON:

    format_version, code_version, config, targets, bands, label_scaling, input_scaling,
    dataset (name, config, version, fingerprint, folder), step, validation (metrics), history (of them)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from acf_jax.errors import ACFError

FORMAT_VERSION = 1
SCORE = "mean_standardised_sigma"
"""The best checkpoint has the smallest: validation standard deviation / label standard deviation, over targets."""


class CheckpointError(ACFError):
    """No checkpoint to read, or one of another kind; the message says what to do."""


def open_manager(run_dir: str | Path, *, create: bool = False) -> ocp.CheckpointManager:
    """Orbax's manager of a run's checkpoints; `create` makes the folder and clears away what a killed run left.

    Raises:
        CheckpointError: if there is no such folder and `create` is False.
    """
    folder = Path(run_dir).absolute() / "checkpoints"
    if not create and not folder.is_dir():
        missing = "no such folder" if not Path(run_dir).exists() else "no checkpoints in it: it is not a run's folder"
        raise CheckpointError(
            f"{run_dir}: {missing}. `python train.py --config configs/demo.py --workdir {run_dir}` makes one."
        )
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


def save(
    manager: ocp.CheckpointManager, step: int, *, params: Any, optimizer: Any, iterator: dict, sidecar: dict
) -> None:
    """Start writing a checkpoint; returns as soon as the arrays are copied to the host.

    Args:
        manager: from `open_manager`.
        step: of the training.
        params: pytree of arrays.
        optimizer: its state, a pytree of arrays.
        iterator: the state of the training batches, as JSON types.
        sidecar: how the checkpoint was made, as JSON types.
    """
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
    """Step of the `best` or the `latest` checkpoint.

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


def last_sidecar(run_dir: str | Path) -> dict | None:
    """The sidecar of a run's latest checkpoint; None if there is no run, or no checkpoint of it yet.

    Raises:
        CheckpointError: if newer code wrote it.
    """
    if not (Path(run_dir) / "checkpoints").is_dir():
        return None
    with open_manager(run_dir) as manager:
        step = manager.latest_step()
        return None if step is None else read_sidecar(manager, step)


def restore_params(manager: ocp.CheckpointManager, step: int) -> Any:
    """The parameters alone, whatever number of devices they were trained on."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        manager.item_metadata(step)["params"].tree,
    )
    return manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(target)))["params"]


def restore_training(manager: ocp.CheckpointManager, step: int, params: Any, optimizer: Any) -> tuple[Any, Any, dict]:
    """All that a training goes on with.

    Args:
        manager: from `open_manager`.
        step: of the checkpoint.
        params: pytree of arrays with the shapes and devices of the result.
        optimizer: likewise.

    Returns:
        Parameters, the optimizer's state, the iterator's state.
    """
    restored = manager.restore(
        step,
        args=ocp.args.Composite(
            params=ocp.args.StandardRestore(params),
            optimizer=ocp.args.StandardRestore(optimizer),
            iterator=ocp.args.JsonRestore(),
        ),
    )
    return restored["params"], restored["optimizer"], restored["iterator"]


def _score(metrics: Mapping[str, float]) -> float:
    return metrics[SCORE]
