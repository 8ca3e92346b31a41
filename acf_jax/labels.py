"""The labels: their names, units and standardisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LABELS: dict[str, str] = {"teff": "K", "logg": "dex", "fe_h": "dex"}
"""Name of every label a network can be trained on, with its unit."""

NAMES = {"teff": "Teff", "logg": "log g", "fe_h": "[Fe/H]"}
"""How labels are called in words."""


def number(value: float | None, unit: str, sign: str = "") -> str:
    """A residual's moment as it is printed.

    Args:
        value: in `unit`.
        unit: K or dex.
        sign: `+` for a number that always has a sign.

    Returns:
        one decimal in K, three in dex; a dash for None and NaN.
    """
    return "-" if value is None or value != value else f"{value:{sign}z.{1 if unit == 'K' else 3}f}"


@dataclass(frozen=True)
class LabelScaling:
    """Physical labels to zero mean and unit variance over the training split, and back.

    `mean` and `std` hold one number per target, in the target's unit. Arrays may be NumPy's or JAX's.
    """

    targets: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, labels, targets: Sequence[str]) -> LabelScaling:
        """From the training split's labels (n, n_targets).

        Raises:
            ValueError: if a target is unknown, a label is not finite, or all labels of a target are equal.
        """
        check_targets(targets)
        labels = np.asarray(labels, np.float64)
        for target, column in zip(targets, labels.T, strict=True):
            n_bad = np.count_nonzero(~np.isfinite(column))
            if n_bad:
                raise ValueError(f"{n_bad} of the {len(column)} training labels {target} are not finite.")
            if np.ptp(column) == 0:
                raise ValueError(f"All {len(column)} training labels {target} are equal: there is nothing to learn.")
        return cls(tuple(targets), tuple(labels.mean(0).tolist()), tuple(labels.std(0).tolist()))

    def standardise(self, values):
        """Physical labels (..., n_targets) in units of the training split's standard deviation about its mean."""
        return (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def invert(self, standardised):
        """Standardised labels (..., n_targets) in physical units."""
        return standardised * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32)

    def to_dict(self) -> dict:
        """As JSON types."""
        return {"targets": list(self.targets), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, stored: dict) -> LabelScaling:
        """Undo `to_dict`."""
        return cls(tuple(stored["targets"]), tuple(stored["mean"]), tuple(stored["std"]))


def check_targets(targets: Sequence[str]) -> None:
    """Refuse targets that are no labels, or none at all, or the same twice.

    Raises:
        ValueError: naming the labels there are.
    """
    unknown = [target for target in targets if target not in LABELS]
    if unknown or not targets or len(set(targets)) != len(targets):
        raise ValueError(f"targets = {tuple(targets)} must be one or more different labels of {', '.join(LABELS)}.")
