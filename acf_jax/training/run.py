"""A training run before its first step: config, dataset and model together, and all checks that they fit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from acf_jax import checkpoints
from acf_jax.data.prepared import Examples, InMemoryExamples, PreparedDataset, find_dataset, open_dataset
from acf_jax.data.scaling import InputScaling
from acf_jax.devices.microbatches import microbatch_size
from acf_jax.errors import differences
from acf_jax.labels import LabelScaling
from acf_jax.models.acf import ACF
from acf_jax.models.imagenet_weights import backbone_params_from_file
from acf_jax.models.torch_files import WeightsFileError
from acf_jax.training.config import TrainingConfig, TrainingError
from acf_jax.training.optimizer import adam_with_l2, learning_rate_schedule
from acf_jax.version import __version__

INPUT_FIELDS = ("object_id", "stamp", "parallax", "parallax_error")
SCALING_SAMPLE = 2_000  # stamps that the input scaling is fitted on: more would hardly change it
# None of these changes what is learned, except for the last digits.
FREE_TO_CHANGE = ("checkpoint_every_steps", "log_every_steps", "cache_in_memory", "microbatch_size", "model.remat")


@dataclass(frozen=True)
class Run:
    """What stays the same throughout a training; what takes long is made when it is first asked for."""

    config: TrainingConfig
    dataset: PreparedDataset
    stored: Mapping | None = None  # sidecar of the checkpoint that it goes on from; None: a fresh start

    @functools.cached_property
    def model(self) -> ACF:
        """The network that is trained."""
        return ACF(self.config.model)

    @property
    def chosen_by(self) -> str:
        """The split by which the best checkpoint is chosen; of a dataset divided as the paper's, `validation`."""
        return "calibration" if self.dataset.splits.get("calibration") else "validation"

    @functools.cached_property
    def examples(self) -> dict[str, Examples | InMemoryExamples]:
        """The splits that training reads, `train` and `chosen_by`, with the fields that it needs and no others."""
        config, dataset = self.config, self.dataset
        truth = tuple(f"true_{target}" for target in config.model.targets if f"true_{target}" in dataset.fields)
        fields = (*INPUT_FIELDS, *config.model.targets)
        splits: dict[str, Examples] = {
            "train": dataset.examples("train", fields),
            self.chosen_by: dataset.examples(self.chosen_by, fields + truth),
        }
        return {name: InMemoryExamples(split) if config.cache_in_memory else split for name, split in splits.items()}

    @functools.cached_property
    def scalings(self) -> tuple[InputScaling, LabelScaling]:
        """Of inputs and labels: those that the run has, or fitted to the training split.

        Raises:
            TrainingError: if a label, parallax or stamp is not finite, or all labels are equal.
        """
        if self.stored is None:
            with jax.ensure_compile_time_eval():  # should a step be the first to ask, while it is traced
                return fit_scalings(self.config, self.dataset, self.examples["train"])
        stored = self.stored
        return InputScaling.from_dict(stored["input_scaling"]), LabelScaling.from_dict(stored["label_scaling"])

    @property
    def input_scaling(self) -> InputScaling:
        """Of stamps and parallaxes."""
        return self.scalings[0]

    @property
    def label_scaling(self) -> LabelScaling:
        """Of the labels."""
        return self.scalings[1]

    @functools.cached_property
    def backbone(self) -> dict | None:
        """Parameters that the backbone starts from, of the file `config.backbone_weights`.

        None without a file, and for a run that goes on.

        Raises:
            TrainingError: if the file cannot be read or holds the weights of another network.
        """
        if not self.config.backbone_weights or self.stored is not None:
            return None
        try:
            return backbone_params_from_file(self.config.backbone_weights, self.config.model.backbone)
        except (WeightsFileError, ValueError) as error:
            raise TrainingError(f"The backbone cannot start from backbone_weights: {error}") from error

    @property
    def first_step(self) -> int:
        """Steps done before."""
        return 0 if self.stored is None else self.stored["step"]

    @property
    def num_steps(self) -> int:
        """Length of the training."""
        return self.config.num_steps or max(1, round(self.config.num_epochs * self.steps_per_epoch))

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training split."""
        return self.dataset.n_examples("train") // self.config.batch_size

    @property
    def checkpoint_every_steps(self) -> int:
        """Steps from one validation and checkpoint to the next."""
        return self.config.checkpoint_every_steps or self.steps_per_epoch

    @functools.cached_property
    def schedule(self) -> optax.Schedule:
        """Learning rate by step.

        Raises:
            TrainingError: if it does not fit the length of the training.
        """
        try:
            return learning_rate_schedule(self.config.optimizer, self.num_steps, self.steps_per_epoch)
        except ValueError as error:
            raise TrainingError(f"The config cannot be used: {error}") from error

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer of all parameters."""
        return adam_with_l2(self.config.optimizer, self.schedule)

    def sidecar(self, step: int, history: list[dict]) -> dict:
        """How a checkpoint was made; `history` holds all validations, the last of them from this step."""
        return {
            "format_version": checkpoints.FORMAT_VERSION,
            "code_version": __version__,
            "jax_version": jax.__version__,
            "config": self.config.to_dict(),
            "targets": list(self.config.model.targets),
            "bands": self.dataset.bands,
            "label_scaling": self.label_scaling.to_dict(),
            "input_scaling": self.input_scaling.to_dict(),
            "dataset": self.dataset.describe(),
            "step": step,
            "num_steps": self.num_steps,
            "checkpoint_chosen_by": self.chosen_by,
            "validation": history[-1],
            "history": history,
        }


def open_run(config: TrainingConfig, workdir: str | Path, data_dir: str | Path) -> Run:
    """A training before its first step, or before the first that is left, if nothing is in its way.

    Args:
        config: all settings.
        workdir: the run's folder, which need not be there.
        data_dir: where the prepared datasets are.

    Returns:
        The run.

    Raises:
        TrainingError: if config, dataset, this machine's devices, the file to start from or the run in `workdir`
            contradict each other.
        DatasetError: if the dataset is not prepared.
        CheckpointError: if newer code wrote the run in `workdir`.
    """
    check_devices(config)
    dataset = open_dataset(find_dataset(data_dir, config.dataset.name, config.dataset.config))
    check_dataset(config, dataset)
    run = Run(config, dataset, checkpoints.last_sidecar(workdir))
    if run.stored is not None:
        check_same_run(run.stored, config, dataset, workdir)
    _ = run.schedule, run.backbone  # which may refuse, before any work
    return run


def check_devices(config: TrainingConfig) -> None:
    """Refuse a batch that this machine's devices cannot share.

    Raises:
        TrainingError: saying which field, and what it may be.
    """
    n_devices = jax.local_device_count()
    if config.batch_size % n_devices:
        raise TrainingError(
            f"batch_size = {config.batch_size} is not divisible by the {n_devices} devices of this machine: "
            f"take a multiple of {n_devices}."
        )
    try:
        microbatch_size(config.batch_size // n_devices, config.microbatch_size)
    except ValueError as error:
        raise TrainingError(f"The config cannot be used: {error}") from error


def check_dataset(config: TrainingConfig, dataset: PreparedDataset) -> None:
    """Refuse a dataset that this config cannot be trained on.

    Raises:
        TrainingError: naming what does not fit.
    """
    if dataset.bands != config.dataset.bands:
        raise TrainingError(
            f"The stamps of {dataset.folder} have bands {dataset.bands}, the config asks for {config.dataset.bands}: "
            "set --config.dataset.bands, or prepare another dataset."
        )
    missing = [name for name in (*INPUT_FIELDS, *config.model.targets) if name not in dataset.fields]
    if missing:
        raise TrainingError(f"{dataset.folder} has no field {', '.join(missing)}, which training needs.")
    n_train = dataset.n_examples("train")
    if n_train < config.batch_size:
        raise TrainingError(
            f"{dataset.folder} has {n_train} training stars, fewer than batch_size = {config.batch_size}."
        )
    if not (dataset.splits.get("calibration") or dataset.splits.get("validation")):
        raise TrainingError(
            f"{dataset.folder} has neither calibration nor validation stars, by which the best checkpoint is chosen: "
            "prepare a larger dataset."
        )


def check_same_run(sidecar: Mapping, config: TrainingConfig, dataset: PreparedDataset, workdir: str | Path) -> None:
    """Refuse to go on with a run under another config or on another dataset.

    Args:
        sidecar: of the run's last checkpoint.
        config: the new one.
        dataset: the new one.
        workdir: the run's folder.

    Raises:
        TrainingError: listing what differs.
    """
    old, new = (
        {
            **without(flatten_dict(made_by.to_dict(), sep="."), FREE_TO_CHANGE),
            # Older runs have no `stamps`, which the fingerprint tells apart.
            "data": without(data, ("folder", "stamps")),
        }
        for made_by, data in (
            (TrainingConfig.from_dict(sidecar["config"]), sidecar["dataset"]),
            (config, dataset.describe()),
        )
    )
    lines = differences(old, new)
    if lines:
        raise TrainingError(
            f"{workdir} holds a run that was made otherwise (- there, + now):\n  "
            + "\n  ".join(lines)
            + "\nGive another --workdir, or the same settings to go on with it."
        )


def fit_scalings(
    config: TrainingConfig, dataset: PreparedDataset, train: Examples | InMemoryExamples
) -> tuple[InputScaling, LabelScaling]:
    """Label scaling from the whole training split, input scaling from its first stamps and all its parallaxes.

    Args:
        config: says which inputs and labels there are, and how they are scaled.
        dataset: the one to train on.
        train: its training split.

    Returns:
        The scaling of the inputs and of the labels.

    Raises:
        TrainingError: if a label, parallax or stamp is not finite, or all labels are equal.
    """
    names = ("parallax", "parallax_error", *config.model.targets)
    columns = dataset.arrays("train", ("object_id", *names))
    for name in names:
        bad = columns["object_id"][~np.isfinite(columns[name])]
        if bad.size:
            raise TrainingError(
                f"{bad.size} training stars of {dataset.folder} have a {name} that is not finite, "
                f"object_id {bad[0]} first: leave them out of the dataset."
            )
    stamps = train.stack(range(min(SCALING_SAMPLE, len(train))))["stamp"]
    try:
        input_scaling = InputScaling.fit(
            stamps,
            columns["parallax"],
            columns["parallax_error"],
            bands=dataset.bands,
            use_parallax=config.model.use_parallax,
            use_growth_curve=config.model.growth_curve,
            **asdict(config.input),
        )
        labels = np.stack([columns[target] for target in config.model.targets], axis=-1)
        return input_scaling, LabelScaling.fit(labels, config.model.targets)
    except ValueError as error:
        raise TrainingError(f"{dataset.folder} cannot be trained on: {error}") from error


def without(mapping: Mapping, names: tuple[str, ...]) -> dict:
    """A copy without some names."""
    return {name: value for name, value in mapping.items() if name not in names}
