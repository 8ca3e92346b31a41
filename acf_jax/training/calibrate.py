"""Fits calibrated errors and the training domain of a run's best checkpoint, and stores them with it.

The input is the checkpoint and stars that it was not trained on.

The calibration split is used for both: it calibrates the errors, and says which distance from the training stars is
common among other stars of their kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acf_jax.calibration.errors import MIN_STARS, ErrorCalibration
from acf_jax.calibration.training_domain import MIN_STARS as MIN_DOMAIN_STARS
from acf_jax.calibration.training_domain import TrainingDomain, light_profile
from acf_jax.data.batches import filled_batches
from acf_jax.data.prepared import PreparedDataset
from acf_jax.devices.sharding import n_devices, on_all_devices, spread_over_devices
from acf_jax.inference import fitted, mc_dropout
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network
from acf_jax.inference.split import SplitPrediction, predict_split

SPLIT = "calibration"
N_SAMPLES, SEED = 100, 0  # the defaults of a prediction
N_TRAIN_STARS, N_HELD_OUT_STARS = 20_000, 5_000  # at most, for the domain: more would hardly change it
LARGE_ERROR_QUANTILE = 0.99
STARS_AT_A_TIME = 64  # for each device: the default of `mc_dropout.predict`, so that the backbone is not compiled again
INPUTS = ("stamp", "parallax", "parallax_error")


def calibrate(run_dir: str | Path, dataset: PreparedDataset, progress: bool = True) -> ErrorCalibration | None:
    """Fit the errors and the training domain of a run's best checkpoint, and store them with the run.

    Each is fitted once: a checkpoint that already has one keeps it.

    Args:
        run_dir: the run's folder.
        dataset: the dataset that it was trained on.
        progress: whether to show a bar.

    Returns:
        The errors' calibration, new or from before; None where too few stars have a label and a prediction, and
        without a calibration split: nothing is fitted to the stars that the network is judged by.

    Raises:
        CheckpointError: if there is no checkpoint.
    """
    network = load(run_dir)
    if not dataset.splits.get(SPLIT):
        return None
    calibration = network.error_calibration
    lacks_domain = network.training_domain is None and has_stars_for_domain(dataset)
    if calibration is not None and not lacks_domain:
        return calibration
    stars = dataset.arrays(SPLIT, ("object_id", "parallax", "parallax_error", *network.targets))
    answer = predict_split(network, dataset, stars, split=SPLIT, n_samples=N_SAMPLES, seed=SEED, progress=progress)
    if calibration is None:
        calibration = fit_errors(network, answer, stars)
        if calibration is not None:
            fitted.write_error_calibration(run_dir, network.step, calibration)
    if lacks_domain:
        domain = fit_domain(network, dataset, error_limits(network, answer, calibration), progress)
        if domain is not None:
            fitted.write_training_domain(run_dir, network.step, domain)
    return calibration


def has_stars_for_domain(dataset: PreparedDataset) -> bool:
    """Whether the dataset's splits are large enough."""
    return min(dataset.n_examples(split) for split in ("train", SPLIT)) >= MIN_DOMAIN_STARS


def fit_errors(network: Network, answer: SplitPrediction, stars: dict) -> ErrorCalibration | None:
    """Calibrated errors of a network.

    Args:
        network: the network whose errors they are.
        answer: its answer for n stars that it was not trained on.
        stars: their labels, (n,) by target.

    Returns:
        The fit; None where too few stars have a label and a prediction.
    """
    labels = np.stack([stars[target] for target in network.targets], axis=-1)
    if (np.isfinite(labels) & np.isfinite(answer.mean)).sum(axis=0).min() < MIN_STARS:
        return None
    return ErrorCalibration.fit(answer.mean, answer.std, answer.noise_std, labels, network.targets)


def error_limits(network: Network, answer: SplitPrediction, calibration: ErrorCalibration | None) -> dict[str, float]:
    """What an error must exceed to be called large: the 99th percentile of those that a catalogue would give.

    Args:
        network: the network whose errors they are.
        answer: its answer for stars that it was not trained on.
        calibration: of its errors; None: use Monte Carlo errors.

    Returns:
        The limits by target; infinite where no star has an error.
    """
    errors = answer.std if calibration is None else calibration.std(answer.mean, answer.std, answer.noise_std)
    columns = {target: column[np.isfinite(column)] for target, column in zip(network.targets, errors.T, strict=True)}
    return {
        target: float(np.quantile(column, LARGE_ERROR_QUANTILE)) if column.size else float("inf")
        for target, column in columns.items()
    }


def fit_domain(
    network: Network, dataset: PreparedDataset, limits: dict[str, float], progress: bool
) -> TrainingDomain | None:
    """The training domain, from a sample of the training split, and the calibration split for the threshold.

    Args:
        network: the trained network.
        dataset: the dataset that it was trained on.
        limits: from `error_limits`.
        progress: whether to show bars.

    Returns:
        The fit; None for too few stars.
    """
    train = describe_stars(network, dataset, "train", N_TRAIN_STARS, progress)
    held_out = describe_stars(network, dataset, SPLIT, N_HELD_OUT_STARS, progress)
    if min(len(train[0]), len(held_out[0])) < MIN_DOMAIN_STARS:
        return None
    labels = dataset.arrays("train", network.targets)
    return TrainingDomain.fit(
        *train,
        *held_out,
        label_min={target: float(np.nanmin(labels[target])) for target in network.targets},
        label_max={target: float(np.nanmax(labels[target])) for target in network.targets},
        error_limits=limits,
    )


def describe_stars(
    network: Network, dataset: PreparedDataset, split: str, n_stars: int, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What a training domain is fitted to: stars of a split, drawn at random.

    Args:
        network: gives the features.
        dataset: holds the stars.
        split: the split's name.
        n_stars: at most.
        progress: whether to show a bar.

    Returns:
        Backbone features (n, d) and light profiles (n, 3 bands); stars whose inputs are not finite are left out.
    """
    rows = np.sort(np.random.default_rng(SEED).permutation(dataset.n_examples(split))[:n_stars])
    params, at_a_time = on_all_devices(network.params), STARS_AT_A_TIME * n_devices()
    features, profiles = [], []
    with mc_dropout.progress_bar(len(rows), progress) as bar:
        for batch, n_real in filled_batches(len(rows), at_a_time):
            stars = dataset.arrays(split, INPUTS, rows[batch])
            inputs = spread_over_devices([np.asarray(stars[name], np.float32) for name in INPUTS])
            encoded, _, finite = mc_dropout.encode(network.model, network.input_scaling, params, *inputs)
            good = np.flatnonzero(np.asarray(finite)[:n_real])
            features.append(np.asarray(encoded)[good])
            profiles.append(light_profile(stars["stamp"][good]))
            bar.update(n_real)
    return np.concatenate(features), np.concatenate(profiles)
