"""A training's settings, checked. The defaults are the paper's run; `configs/acf.py` says which of them it prints.

The files in `configs/` make these settings and say what each run changes. On the command line `--config.batch_size 64`
changes a field, `--config.model.dropout_rate 0.1` a field of a part. The network's own fields, `model`, are those of
`ACFConfig` (models/acf.py) and `CSWinConfig` (models/cswin.py).

Runs from before a field was added do not have it: the field's default must be what those runs did.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict, FrozenConfigDict

from acf_jax.data.augment import check_rotations
from acf_jax.data.scaling import check_methods
from acf_jax.errors import ACFError
from acf_jax.labels import check_targets
from acf_jax.models.acf import ACFConfig

SCHEDULES = ("staircase", "warmup_cosine")
T = TypeVar("T")


class TrainingError(ACFError):
    """Training cannot start or go on; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Which prepared dataset is trained on."""

    name: str = "smss_stamps"  # TFDS name
    config: str = "high_quality"  # TFDS config, the sample
    bands: str = "uvgriz"  # the stamps' bands, in order


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """How stamps and parallaxes are scaled, of which the paper says nothing: docs/input-scaling.md."""

    # "whitened" is "linear" with a fixed 6 x 6 matrix behind it that the first convolution could learn by itself, so
    # the network can express the same; it learns colours sooner, measured on the mock sky with a small network.
    stamp_method: str = "whitened"  # linear, whitened or asinh
    asinh_softening_sigma: float = 100.0  # sky sigma; where asinh turns from linear to logarithmic
    parallax_method: str = "log"  # log or raw

    def __post_init__(self):
        check_methods(self.stamp_method, self.parallax_method)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How training stamps are varied."""

    flips: bool = True  # mirror half of the stamps
    rotations: str = "quarter"  # none, quarter (multiples of 90 degrees: exact) or free (interpolates)

    def __post_init__(self):
        check_rotations(self.rotations)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with the L2 term inside the gradient, and the schedule of the learning rate."""

    schedule: str = "staircase"  # staircase or warmup_cosine
    learning_rate: float = 1e-4  # at the start (staircase) or at the peak (warmup_cosine)
    decay_rate: float = 0.8  # factor of a step down; staircase only
    decay_epochs: int = 50  # epochs from one step down to the next; staircase only
    warmup_steps: int = 0  # steps of linear rise; warmup_cosine only
    beta1: float = 0.99  # decay of the first moment
    beta2: float = 0.999  # decay of the second moment
    epsilon: float = 1e-8  # added to the root of the second moment
    l2: float = 5e-5  # coefficient of the L2 term, added to the gradient before Adam's scaling
    clip_norm: float = 0.0  # bound of the gradient's global norm; 0: none

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimizer.schedule = {self.schedule!r} must be one of {', '.join(SCHEDULES)}.")
        for name, least in (("learning_rate", 0), ("warmup_steps", 0), ("l2", 0), ("clip_norm", 0), ("decay_rate", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"optimizer.{name} = {getattr(self, name)} must be at least {least}.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optimizer.{name} = {getattr(self, name)} must be at least 0 and below 1.")
        if self.decay_epochs <= 0:
            raise ValueError(f"optimizer.decay_epochs = {self.decay_epochs} must be above 0.")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All settings of a training."""

    seed: int = 0  # of parameters, shuffling, augmentation and dropout
    batch_size: int = 128  # stars; global: divided among the devices
    microbatch_size: int = 0  # stars a device works on at a time; 0: about 32 on a CPU, its whole share elsewhere
    num_epochs: float = 300.0  # epochs; may be a fraction
    num_steps: int = 0  # steps; if not 0, instead of num_epochs
    checkpoint_every_steps: int = 0  # steps from one validation and checkpoint to the next; 0: an epoch
    log_every_steps: int = 20  # steps from one TensorBoard point to the next
    cache_in_memory: bool = False  # read the dataset once; 55 kB a star
    backbone_weights: str = ""  # file that the backbone starts from: docs/imagenet-weights.md; "": drawn at random
    dataset: DatasetConfig = DatasetConfig()
    model: ACFConfig = dataclasses.field(default_factory=ACFConfig)
    input: InputConfig = InputConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size = {self.batch_size} must be at least 1.")
        if self.num_steps <= 0 and self.num_epochs <= 0:
            raise ValueError("num_steps and num_epochs are both 0: one of them must give the length of the training.")
        for name, least in (("checkpoint_every_steps", 0), ("log_every_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}.")
        check_targets(self.model.targets)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any] | ConfigDict | FrozenConfigDict) -> TrainingConfig:
        """From what a file in `configs/` makes, or from the config that a checkpoint holds.

        Raises:
            TrainingError: if a field is unknown, a value cannot be used, or two values contradict each other.
        """
        values = {name: _plain(value) for name, value in config.items()}
        try:
            for name, part in (("dataset", DatasetConfig), ("input", InputConfig), ("augment", AugmentConfig),
                               ("optimizer", OptimizerConfig)):  # fmt: skip
                values[name] = _made(part, values.get(name, {}), f"{name}.")
            values["model"] = ACFConfig.from_sections(values.get("model", {}), values["dataset"].bands)
            return _made(cls, values)
        except (ValueError, TypeError) as error:
            raise TrainingError(f"The config cannot be used: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Undo `from_dict`: nested dictionaries of JSON types."""
        return _json(dataclasses.asdict(self) | {"model": self.model.to_section()})

    def to_config_dict(self) -> ConfigDict:
        """For a file in `configs/`: fields may be set, also on the command line, but none can be added."""
        return ConfigDict(self.to_dict() | {"model": self.model.to_section()})  # with tuples, which stay tuples


def as_training_config(config: TrainingConfig | Mapping[str, Any] | ConfigDict) -> TrainingConfig:
    """A training's settings, as they are or as a file in `configs/` made them.

    Raises:
        TrainingError: as `TrainingConfig.from_dict`.
    """
    return config if isinstance(config, TrainingConfig) else TrainingConfig.from_dict(config)


def _made(part: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    known = {field.name for field in dataclasses.fields(part)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"there is no field {prefix}{unknown[0]}; there are {', '.join(sorted(known))}.")
    return part(**values)


def _plain(value: Any) -> Any:
    """A part of a ConfigDict as a dictionary."""
    return {name: _plain(inner) for name, inner in value.items()} if hasattr(value, "items") else value


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _json(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
