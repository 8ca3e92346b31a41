"""A run's best checkpoint and the stars it was not trained on -> calibrated errors beside the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acf_jax import checkpoints
from acf_jax.error_calibration import MIN_STARS, ErrorCalibration
from acf_jax.input_pipeline import PreparedDataset
from acf_jax.split_prediction import predict_split

SPLIT = "calibration"
N_SAMPLES, SEED = 100, 0  # as predictions have them unless asked otherwise


def calibrate(run_dir: str | Path, dataset: PreparedDataset, progress: bool = True) -> ErrorCalibration | None:
    """Fit the errors of a run's best checkpoint to the calibration split, and store them with the run.

    Fitted once: a checkpoint that has its calibration keeps it.

    Args:
        run_dir: the run's folder.
        dataset: the one that it was trained on.
        progress: whether to show a bar.

    Returns:
        What was fitted or was there; None where too few stars have a label and a prediction.

    Raises:
        CheckpointError: if there is no checkpoint.
    """
    trained = checkpoints.load_model(run_dir)
    if trained.error_calibration is not None:
        return trained.error_calibration
    stars = dataset.arrays(SPLIT, ("object_id", "parallax", "parallax_error", *trained.targets))
    answer = predict_split(trained, dataset, stars, split=SPLIT, n_samples=N_SAMPLES, seed=SEED, progress=progress)
    labels = np.stack([stars[target] for target in trained.targets], axis=-1)
    if (np.isfinite(labels) & np.isfinite(answer.mean)).sum(axis=0).min() < MIN_STARS:
        return None
    calibration = ErrorCalibration.fit(answer.mean, answer.std, answer.noise_std, labels, trained.targets)
    checkpoints.write_error_calibration(run_dir, trained.step, calibration)
    return calibration
