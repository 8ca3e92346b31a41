"""Folders on disk -> the context of an evaluation; whatever does not belong together is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from acf_jax.data.prepared import PreparedDataset, how_to_prepare, open_dataset
from acf_jax.errors import ACFError
from acf_jax.files import Folders, as_paths, folder_name, results_folder
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network
from acf_jax.report.context import Context, Options

SPLIT = "validation"
SPLITS = ("train", SPLIT)


class EvaluationError(ACFError):
    """Checkpoint and dataset do not fit together; the message says why and what to do."""


def open_context(
    checkpoint_dir: Folders,
    data_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    *,
    others: Sequence[Folders] = (),
    low_quality: Sequence[Folders] = (),
    options: Options | None = None,
) -> Context:
    """What an evaluation of a run needs.

    Args:
        checkpoint_dir: the folder of the run in question, or those of networks that are joined: `acf_jax.load`.
        data_dir: where `datasets.build` put its dataset; by default where it lay in training.
        out_dir: folder for the results; by default `evaluation` in the run's folder.
        others: of runs on the same dataset, to compare with; each one folder, or those of networks that are joined.
        low_quality: of runs on the low-quality sample, likewise, or the folder of that prepared dataset alone.
        options: what the user set; None: nothing.

    Returns:
        the context.

    Raises:
        CheckpointError, DatasetError: if there is no checkpoint or no dataset.
        EvaluationError: if two of them do not belong together.
    """
    trained = load(checkpoint_dir)
    dataset = open_same_dataset(trained, data_dir)
    _check_splits(dataset)
    networks = {trained.name: trained}
    for folder in others:
        other = load(folder)
        _check_comparable(trained, other, folder)
        networks[_free_name(other, folder, networks)] = other
    low_quality_dataset, low_quality_networks = _open_low_quality(low_quality, data_dir, networks)
    return Context(
        dataset,
        networks,
        results_folder(checkpoint_dir, out_dir),
        options or Options(),
        low_quality=low_quality_dataset,
        low_quality_networks=low_quality_networks,
    )


def open_same_dataset(trained: Network, data_dir: str | Path | None = None) -> PreparedDataset:
    """The dataset that a checkpoint was trained on, in `data_dir` or where it lay in training.

    Raises:
        DatasetError: if there is none.
        EvaluationError: if what lies there has other bands or another content, or no validation stars.
    """
    recorded = trained.sidecar["dataset"]
    folder = Path(recorded["folder"])
    if data_dir is not None:
        folder = Path(data_dir) / recorded["name"] / recorded["config"] / recorded["version"]
    dataset = open_dataset(folder)
    if dataset.bands != trained.bands:
        raise EvaluationError(
            f"The stamps in {folder} have bands {dataset.bands}, the network was trained on {trained.bands}: "
            "evaluate it on the dataset that it was trained on."
        )
    if dataset.fingerprint != recorded["fingerprint"]:
        raise EvaluationError(
            f"The dataset in {folder} has fingerprint {dataset.fingerprint[:12]}, the network was trained on "
            f"{recorded['fingerprint'][:12]}: its validation stars may be among those trained on. Point --data_dir to "
            "the dataset of the training, or train anew on this one."
        )
    if not dataset.splits.get(SPLIT):
        raise EvaluationError(f"The dataset in {folder} has no {SPLIT} stars: prepare a larger one and train on it.")
    return dataset


def _check_splits(dataset: PreparedDataset) -> None:
    """Refuse a dataset without training or validation stars; without calibration stars some sections are left out."""
    missing = [split for split in SPLITS if not dataset.splits.get(split)]
    if missing:
        raise EvaluationError(
            f"{dataset.folder} has no {missing[0]} stars, which the suite needs: prepare a larger dataset and train on "
            "it."
        )


def _check_comparable(trained: Network, other: Network, folder: Folders) -> None:
    """Refuse a network, whose run is in `folder`, that was trained on other stars, or on other labels."""
    told = " ".join(map(str, as_paths(folder)))
    if other.sidecar["dataset"]["fingerprint"] != trained.sidecar["dataset"]["fingerprint"]:
        raise EvaluationError(
            f"{told} was trained on another dataset ({other.sidecar['dataset']['config']}, fingerprint "
            f"{other.sidecar['dataset']['fingerprint'][:12]}): the validation stars may be among those it was trained "
            "on. Compare networks of one dataset."
        )
    if other.targets != trained.targets:
        raise EvaluationError(
            f"{told} predicts {', '.join(other.targets)}, not {', '.join(trained.targets)}: compare networks of the "
            "same targets, or join one for each label: --compare RUN_TEFF RUN_LOGG RUN_FE_H."
        )


def _free_name(trained: Network, folder: Folders, taken: Mapping[str, Network]) -> str:
    """The network's name, with that of its folder where another network has the name already."""
    return trained.name if trained.name not in taken else f"{trained.name} ({folder_name(folder)})"


def _open_low_quality(
    folders: Sequence[Folders], data_dir: str | Path | None, others: Mapping[str, Network]
) -> tuple[PreparedDataset | None, dict[str, Network]]:
    """The low-quality sample, None of no folder, and the networks trained on it, none named as one of the others."""
    dataset: PreparedDataset | None = None
    networks: dict[str, Network] = {}
    trained = next(iter(others.values()))
    for folder in folders:
        first, *further = paths = as_paths(folder)
        if any((path / "dataset_info.json").exists() for path in paths):
            if further:
                raise EvaluationError(
                    f"{' '.join(map(str, paths))} are joined, of which one is a prepared dataset: give that alone, "
                    "and runs by a further --low-quality."
                )
            opened = open_dataset(first)
        else:
            other = load(folder)
            opened = open_same_dataset(other, data_dir)
            networks[_free_name(other, folder, {**others, **networks})] = other
        if dataset is not None and dataset.fingerprint != opened.fingerprint:
            raise EvaluationError(
                f"{first} and {as_paths(folders[0])[0]} are of two datasets: give one low-quality sample."
            )
        dataset = opened
    if dataset is not None:
        _check_splits(dataset)
        dataset.check_stamps(trained.sidecar["dataset"])
        if dataset.fingerprint == trained.sidecar["dataset"]["fingerprint"]:
            sample = "mock_low_quality" if dataset.config.startswith("mock") else "low_quality"
            raise EvaluationError(
                f"{as_paths(folders[0])[0]} is of the dataset that is evaluated, not of the low-quality sample. To "
                f"prepare that: {how_to_prepare(sample)}."
            )
    return dataset, networks
