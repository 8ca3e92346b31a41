"""Networks of one label each -> one network of all labels, as the paper's catalogue has it (Sec. 3.4).

Joined, each network answers as it does alone: with its own scaling, samples, calibrated errors and training domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import JoinedDomain, TrainingDomain
from acf_jax.data.scaling import JoinedScaling
from acf_jax.inference.network import Network
from acf_jax.labels import LABELS, LabelScaling
from acf_jax.models.acf import ACFConfig
from acf_jax.models.joined import JoinedACF, JoinedConfig


def join(networks: Sequence[Network]) -> Network:
    """One network that predicts what several do; in the order of `labels.LABELS`, whatever theirs.

    Args:
        networks: of different labels, trained on one dataset; a single one is returned as it is.

    Raises:
        ValueError: if two predict the same label, were trained on different datasets, or are not of one kind: all
            with the parallax or all without, all with predicted noise or all without.
    """
    if len(networks) == 1:
        return networks[0]
    members = tuple(sorted(networks, key=lambda network: list(LABELS).index(network.targets[0])))
    first = members[0]
    model = JoinedACF(JoinedConfig(tuple(_config(member) for member in members)))
    for member in members[1:]:
        ours, theirs = (network.sidecar["dataset"] for network in (first, member))
        if ours["fingerprint"] != theirs["fingerprint"]:
            raise ValueError(
                f"the networks of {first.targets[0]} and {member.targets[0]} were trained on different datasets "
                f"({ours['config']}, fingerprint {ours['fingerprint'][:12]}, and {theirs['config']}, "
                f"{theirs['fingerprint'][:12]}): train both on one."
            )
    label_scaling = LabelScaling(
        model.config.targets,
        *(
            tuple(value for member in members for value in getattr(member.label_scaling, name))
            for name in ("mean", "std")
        ),
    )
    input_scaling = JoinedScaling(tuple(member.input_scaling for member in members))
    calibrations = [member.error_calibration for member in members if member.error_calibration]
    domains = [member.training_domain for member in members if isinstance(member.training_domain, TrainingDomain)]
    return Network(
        model=model,
        params={name: member.params for name, member in zip(model.config.names, members, strict=True)},
        input_scaling=input_scaling,
        label_scaling=label_scaling,
        targets=model.config.targets,
        bands=first.bands,
        sidecar=_joined_sidecar(members, model.config)
        | {"label_scaling": label_scaling.to_dict(), "input_scaling": input_scaling.to_dict()},
        step=sum(member.step for member in members),
        error_calibration=ErrorCalibration.join(calibrations) if len(calibrations) == len(members) else None,
        training_domain=JoinedDomain(tuple(domains)) if len(domains) == len(members) else None,
        members=members,
    )


def _joined_sidecar(members: Sequence[Network], config: JoinedConfig) -> dict[str, Any]:
    """How the networks were made; the configs by the networks' names, steps and measurements taken together."""
    sidecars = [member.sidecar for member in members]
    validations = [sidecar.get("validation", {}) for sidecar in sidecars]
    together = {
        kind: {target: moments for validation in validations for target, moments in validation[kind].items()}
        for kind in ("labels", "truth")
        if all(kind in validation for validation in validations)
    }
    return {
        **sidecars[0],
        "config": dict(zip(config.names, (sidecar["config"] for sidecar in sidecars), strict=True)),
        "targets": list(config.targets),
        "step": sum(member.step for member in members),
        "num_steps": sum(sidecar.get("num_steps", 0) for sidecar in sidecars),
        "code_version": ", ".join(dict.fromkeys(str(sidecar.get("code_version")) for sidecar in sidecars)),
        "validation": together,
        "history": [],
    }


def _config(member: Network) -> ACFConfig:
    config = member.model.config
    if isinstance(config, JoinedConfig):
        raise ValueError("joined networks cannot be joined again: give the networks of which they consist.")
    return config
