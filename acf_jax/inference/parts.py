"""What a trained network consists of: its parameters, and what is needed to scale its inputs and read its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import JoinedDomain, TrainingDomain
from acf_jax.data.scaling import InputScaling, Scaling
from acf_jax.labels import LabelScaling
from acf_jax.models.acf import ACF, ACFConfig
from acf_jax.models.joined import JoinedACF

Model = ACF | JoinedACF


@dataclass(frozen=True, repr=False)
class NetworkParts:
    """All that is stored of a network; its methods are in `network.Network`."""

    model: Model
    params: Any  # of joined networks by their names
    input_scaling: Scaling
    label_scaling: LabelScaling
    targets: tuple[str, ...]
    bands: str
    sidecar: dict[str, Any]  # how it was made: acf_jax/checkpoints.py
    step: int
    error_calibration: ErrorCalibration | None = None  # of this checkpoint; None: not calibrated
    training_domain: TrainingDomain | JoinedDomain | None = None  # likewise; None: not known
    members: tuple[Self, ...] = ()  # the networks that were joined into this one: joining.py

    @classmethod
    def from_sidecar(cls, sidecar: dict[str, Any], params: Any, step: int, **fitted: Any) -> Self:
        """From what was stored.

        Args:
            sidecar: of the network's checkpoint.
            params: its parameters.
            step: of its training.
            **fitted: `error_calibration` and `training_domain`.

        Returns:
            The network.

        Raises:
            ValueError, KeyError, TypeError: if the sidecar describes no network.
        """
        return cls(
            model=model_from_config(sidecar["config"]),
            params=params,
            input_scaling=InputScaling.from_dict(sidecar["input_scaling"]),
            label_scaling=LabelScaling.from_dict(sidecar["label_scaling"]),
            targets=tuple(sidecar["targets"]),
            bands=sidecar["bands"],
            sidecar=sidecar,
            step=step,
            **fitted,
        )

    @property
    def named_members(self) -> dict[str, Self]:
        """The networks that were joined, by the labels that each predicts; empty for a network that is one."""
        names = self.model.config.names if isinstance(self.model, JoinedACF) else ()
        return dict(zip(names, self.members, strict=True))

    @property
    def name(self) -> str:
        """The paper's name of the framework: ACF, or ACPF without parallax; a variant has its own."""
        config = self.model.config
        return ("ACF" if config.use_parallax else "ACPF") + ("-growth" if config.growth_curve else "")


def model_from_config(config: Mapping[str, Any]) -> ACF:
    """The network that a config's `model` section describes, for the bands of its `dataset` section.

    Raises:
        ValueError: if its numbers contradict each other.
    """
    return ACF(ACFConfig.from_sections(config["model"], config["dataset"]["bands"]))
