"""Several ACFs as one: each predicts its own labels, as the paper's three networks do (Sec. 3.4)."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from acf_jax.models.acf import ACF, ACFConfig
from acf_jax.models.cswin import CSWinConfig
from acf_jax.shapes import AnyArray


@dataclasses.dataclass(frozen=True)
class JoinedConfig:
    """The configs of networks that read the same stars; what it says of them all is what `ACFConfig` says of one."""

    members: tuple[ACFConfig, ...]

    def __post_init__(self) -> None:
        targets = self.targets
        if len(set(targets)) < len(targets):
            twice = next(target for target in targets if targets.count(target) > 1)
            raise ValueError(f"two of the networks predict {twice}: give one network for each label.")
        for name, what in (("use_parallax", "read the parallax"), ("heteroscedastic", "predict the labels' noise")):
            if len({getattr(member, name) for member in self.members}) > 1:
                raise ValueError(f"some of the networks {what} and some do not: give networks of one kind.")

    @property
    def names(self) -> tuple[str, ...]:
        """The members': the labels that they predict."""
        return tuple("_".join(member.targets) for member in self.members)

    @property
    def targets(self) -> tuple[str, ...]:
        """Those of all members."""
        return tuple(itertools.chain.from_iterable(member.targets for member in self.members))

    @property
    def backbones(self) -> tuple[CSWinConfig, ...]:
        """One a member."""
        return tuple(member.backbone for member in self.members)

    @property
    def use_parallax(self) -> bool:
        """Whether they read it."""
        return self.members[0].use_parallax

    @property
    def growth_curve(self) -> bool:
        """Whether one of them reads the stamp's own fluxes."""
        return any(member.growth_curve for member in self.members)

    @property
    def heteroscedastic(self) -> bool:
        """Whether they predict the labels' noise."""
        return self.members[0].heteroscedastic

    @property
    def num_features(self) -> int:
        """Of a stamp, by all members."""
        return sum(member.num_features for member in self.members)

    @property
    def num_scalars(self) -> int:
        """Numbers a star that all scalar branches read."""
        return sum(member.num_scalars for member in self.members)

    @property
    def num_outputs(self) -> int:
        """A value for each target, then, if heteroscedastic, a variance for each."""
        return sum(member.num_outputs for member in self.members)


@dataclasses.dataclass(frozen=True)
class JoinedACF:
    """ACFs side by side. `apply` is that of `ACF`: stamps, scalars, features and outputs are the members' in a row.

    A member sees the random keys that it would see alone, so that its samples are the same alone and joined.
    """

    config: JoinedConfig

    def apply(
        self,
        variables: dict[str, Any],
        *inputs: Float[AnyArray, "star ..."] | None,
        method: str = "__call__",
        **options: Any,
    ) -> Array:
        """Each member's method of its own part of the inputs.

        Args:
            variables: `params`, the members' by their names.
            *inputs: of `ACF`'s method: (n, ..., what all members read of it).
            method: `__call__`, `encode` or `predict`.
            **options: to all members alike, as `rngs`.

        Returns:
            (n, what all members give); of `encode` features, otherwise values of all targets, then variances.
        """
        members, params = self.config.members, variables["params"]
        divided = [
            _divided(values, [_width(member, kind) for member in members])
            for values, kind in zip(inputs, _INPUTS[method], strict=True)
        ]
        outputs: list[Any] = [
            ACF(member).apply({"params": params[name]}, *parts, method=method, **options)
            for member, name, parts in zip(members, self.config.names, zip(*divided, strict=True), strict=True)
        ]
        if method != "encode" and self.config.heteroscedastic:
            halves = [jnp.split(jnp.asarray(output), 2, axis=-1) for output in outputs]
            outputs = [values for values, _ in halves] + [variances for _, variances in halves]
        return jnp.concatenate(outputs, axis=-1)


_INPUTS = {"__call__": ("stamps", "scalars"), "encode": ("stamps",), "predict": ("features", "scalars")}


def _width(member: ACFConfig, kind: str) -> int:
    """How much of a kind of input a member reads, along the last axis."""
    widths = {
        "stamps": member.backbone.num_bands,
        "features": member.num_features,
        "scalars": member.num_scalars,
    }
    return widths[kind]


def _divided(values: Float[AnyArray, "star ..."] | None, widths: list[int]) -> list[Float[AnyArray, "star ..."] | None]:
    if values is None:
        return [None] * len(widths)
    ends = list(itertools.accumulate(widths))
    return [values[..., end - width : end] if width else None for width, end in zip(widths, ends, strict=True)]
