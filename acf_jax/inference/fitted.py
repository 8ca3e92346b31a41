"""What is fitted to a checkpoint after its training, and lies beside it in the run's folder.

`error_calibration.json` calibrates the errors of its predictions, and `training_domain.npz` tells how unlike its
training stars a star is.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import TrainingDomain
from acf_jax.checkpoints import CheckpointError
from acf_jax.files import whole_file

ERROR_CALIBRATION = "error_calibration.json"
TRAINING_DOMAIN = "training_domain.npz"


def write_error_calibration(run_dir: str | Path, step: int, calibration: ErrorCalibration) -> None:
    """Store the calibrated errors of a checkpoint.

    Args:
        run_dir: the run's folder.
        step: of the checkpoint.
        calibration: what was fitted to it.
    """
    with whole_file(Path(run_dir) / ERROR_CALIBRATION, "x") as file:
        file.write(json.dumps({"step": step, **calibration.to_dict()}, indent=1) + "\n")


def write_training_domain(run_dir: str | Path, step: int, domain: TrainingDomain) -> None:
    """Store the training domain of a checkpoint.

    Args:
        run_dir: the run's folder.
        step: of the checkpoint.
        domain: what was fitted to it.
    """
    arrays: dict[str, Any] = {"step": np.int64(step), **domain.to_arrays()}
    with whole_file(Path(run_dir) / TRAINING_DOMAIN) as file:
        np.savez(file, **arrays)


def read_error_calibration(run_dir: str | Path, step: int) -> ErrorCalibration | None:
    """The calibrated errors of the checkpoint at `step`; None if there are none, or they belong to another checkpoint.

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
        raise _damaged(path) from error


def read_training_domain(run_dir: str | Path, step: int) -> TrainingDomain | None:
    """The training domain of the checkpoint at `step`; None if there is none, or it belongs to another checkpoint.

    Raises:
        CheckpointError: if the file is damaged.
    """
    path = Path(run_dir) / TRAINING_DOMAIN
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # np.load would not close a bad one
            return TrainingDomain.from_arrays(stored) if stored["step"] == step else None
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: delete it, and the command that trained writes it anew.")
