"""Folders on disk -> the context of an evaluation; whatever does not belong together is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from acf_jax.data.prepared import PreparedDataset, open_dataset
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network
from acf_jax.report.context import Context, Options
from acf_jax.report.quick import SPLIT, EvaluationError, network_name, open_same_dataset

SPLITS = ("train", "calibration", SPLIT)


def open_context(
    checkpoint_dir: str | Path,
    data_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    *,
    others: Sequence[str | Path] = (),
    low_quality: Sequence[str | Path] = (),
    options: Options | None = None,
) -> Context:
    """What an evaluation of a run needs.

    Args:
        checkpoint_dir: the folder of the run in question.
        data_dir: where `datasets.build` put its dataset; by default where it lay in training.
        out_dir: folder for the results; by default `evaluation` in the run's folder.
        others: folders of runs on the same dataset, to compare with.
        low_quality: folders of runs on the low-quality sample, or the folder of that prepared dataset alone.
        options: what the user set; None: nothing.

    Raises:
        CheckpointError, DatasetError: if there is no checkpoint or no dataset.
        EvaluationError: if two of them do not belong together.
    """
    trained = load(checkpoint_dir)
    dataset = open_same_dataset(trained, data_dir)
    check_splits(dataset)
    networks = {network_name(trained): trained}
    for folder in others:
        other = load(folder)
        check_comparable(trained, other, folder)
        networks[free_name(other, folder, networks)] = other
    low_quality_dataset, low_quality_networks = open_low_quality(low_quality, data_dir, networks)
    return Context(
        dataset,
        networks,
        Path(out_dir) if out_dir is not None else Path(checkpoint_dir) / "evaluation",
        options or Options(),
        low_quality=low_quality_dataset,
        low_quality_networks=low_quality_networks,
    )


def check_splits(dataset: PreparedDataset) -> None:
    """Refuse a dataset that was not divided in three.

    Raises:
        EvaluationError: naming the split that it lacks.
    """
    missing = [split for split in SPLITS if not dataset.splits.get(split)]
    if missing:
        raise EvaluationError(
            f"{dataset.folder} has no {missing[0]} stars, which the suite needs: prepare a larger dataset, or an old "
            "one anew, and train on it."
        )


def check_comparable(trained: Network, other: Network, folder: str | Path) -> None:
    """Refuse a network that was trained on other stars, or on other labels.

    Raises:
        EvaluationError: saying which.
    """
    if other.sidecar["dataset"]["fingerprint"] != trained.sidecar["dataset"]["fingerprint"]:
        raise EvaluationError(
            f"{folder} was trained on another dataset ({other.sidecar['dataset']['config']}, fingerprint "
            f"{other.sidecar['dataset']['fingerprint'][:12]}): the validation stars may be among those it was trained "
            "on. Compare networks of one dataset."
        )
    if other.targets != trained.targets:
        raise EvaluationError(
            f"{folder} predicts {', '.join(other.targets)}, not {', '.join(trained.targets)}: compare networks of the "
            "same targets."
        )


def free_name(trained: Network, folder: str | Path, taken: Mapping) -> str:
    """The network's name, with that of its folder where another network has the name already."""
    name = network_name(trained)
    return name if name not in taken else f"{name} ({Path(folder).name})"


def open_low_quality(
    folders: Sequence[str | Path], data_dir: str | Path | None, others: Mapping[str, Network]
) -> tuple[PreparedDataset | None, dict[str, Network]]:
    """The low-quality sample and the networks trained on it, none of them named as one of the `others`."""
    dataset, networks = None, {}
    trained = next(iter(others.values()))
    for folder in folders:
        if (Path(folder) / "dataset_info.json").exists():
            opened = open_dataset(folder)
        else:
            other = load(folder)
            opened = open_same_dataset(other, data_dir)
            networks[free_name(other, folder, {**others, **networks})] = other
        if dataset is not None and dataset.fingerprint != opened.fingerprint:
            raise EvaluationError(f"{folder} and {folders[0]} are of two datasets: give one low-quality sample.")
        dataset = opened
    if dataset is not None:
        check_splits(dataset)
        if dataset.fingerprint == trained.sidecar["dataset"]["fingerprint"]:
            raise EvaluationError(
                f"{folders[0]} is of the dataset that is evaluated, not of the low-quality sample: `python -m "
                "datasets.build --config mock_low_quality` prepares that."
            )
    return dataset, networks
