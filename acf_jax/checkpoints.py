"""Checkpoints: parameters, optimizer, data iterator and a sidecar that tells how they were made.

A run's folder holds ``checkpoints/<step>``, of which the latest and the best are kept. Orbax writes each into a
temporary folder and renames it, so that a killed run leaves whole checkpoints only. The sidecar is JSON:

    format_version, code_version, config, targets, bands, label_scaling, input_scaling,
    dataset (name, config, version, fingerprint, folder), step, validation (metrics), history (of them)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from acf_jax.acf import ACF, ACFConfig
from acf_jax.cswin import CSWinConfig
from acf_jax.labels import LabelScaling
from acf_jax.scaling import InputScaling

FORMAT_VERSION = 1
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


def load_model(run_dir: str | Path, which: str = "best") -> TrainedModel:
    """The ``best`` or the ``latest`` checkpoint of a run, on this machine's first device.

    Raises:
        CheckpointError: if the folder or a checkpoint in it is missing, or newer code wrote it.
    """
    with open_manager(run_dir, read_only=True) as manager:
        step = find_step(manager, run_dir, which)
        sidecar = read_sidecar(manager, step)
        params = restore_params(manager, step)
    return TrainedModel(
        model=model_from_config(sidecar["config"]["model"]),
        params=params,
        input_scaling=InputScaling.from_dict(sidecar["input_scaling"]),
        label_scaling=LabelScaling.from_dict(sidecar["label_scaling"]),
        targets=tuple(sidecar["targets"]),
        bands=sidecar["bands"],
        sidecar=sidecar,
        step=step,
    )
