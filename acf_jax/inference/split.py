"""A network's answers for the stars of a prepared dataset's split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from acf_jax.data.prepared import PreparedDataset
from acf_jax.devices.sharding import n_devices
from acf_jax.inference import mc_dropout
from acf_jax.inference.parts import NetworkParts

STARS_AT_A_TIME = 256  # for each device: stamps in memory, 14 MB


@dataclass(frozen=True)
class SplitPrediction:
    """The network's answer for every star of a split, in the split's order."""

    mean: np.ndarray  # (n, n_targets), physical units; NaN for a star without a prediction
    std: np.ndarray  # (n, n_targets), Monte Carlo standard deviation
    reason: list[str | None]  # why a star has no prediction; None for those that have
    noise_std: np.ndarray | None = None  # (n, n_targets), from a heteroscedastic head

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays that NumPy saves without pickling."""
        arrays = {"mean": self.mean, "std": self.std, "reason": np.array([r or "" for r in self.reason], np.str_)}
        return arrays if self.noise_std is None else arrays | {"noise_std": self.noise_std}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SplitPrediction:
        """Undo `to_arrays`."""
        reason = [str(r) or None for r in arrays["reason"]]
        return cls(arrays["mean"], arrays["std"], reason, arrays.get("noise_std"))


def predict_split(
    network: NetworkParts,
    dataset: PreparedDataset,
    stars: Mapping[str, np.ndarray],
    *,
    split: str,
    n_samples: int,
    seed: int,
    progress: bool,
) -> SplitPrediction:
    """Monte Carlo dropout over a whole split, reading a few stamps at a time.

    Args:
        network: the one that predicts.
        dataset: where the stamps are.
        stars: object_id, parallax and parallax_error of the split, each (n,).
        split: its name.
        n_samples: T of Eq. 13.
        seed: of the samples.
        progress: whether to show a bar.

    Returns:
        The answer for every star, in the split's order.
    """
    n_stars, at_a_time = len(stars["object_id"]), STARS_AT_A_TIME * n_devices()
    parts, reason = [], []
    with mc_dropout.progress_bar(n_stars, progress) as bar:
        for start in range(0, n_stars, at_a_time):
            rows = np.arange(start, min(start + at_a_time, n_stars))
            stamps = dataset.arrays(split, ("stamp",), rows)["stamp"]
            astrometry = (stars["parallax"][rows], stars["parallax_error"][rows])
            part = mc_dropout.predict(
                network, stamps, *astrometry, stars["object_id"][rows], n_samples=n_samples, seed=seed, progress=False
            )
            good_stamp = np.isfinite(stamps).all(axis=(1, 2, 3))
            reason += [why_missing(*star) for star in zip(np.isfinite(part.mean).all(axis=1), good_stamp, strict=True)]
            parts.append(part)
            bar.update(len(rows))
    noise_std = None if parts[0].noise_std is None else np.concatenate([part.noise_std for part in parts])
    mean, std = (np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "std"))
    return SplitPrediction(mean, std, reason, noise_std)


def why_missing(predicted: bool, good_stamp: bool) -> str | None:
    """Why a star has no prediction; None if it has one."""
    if predicted:
        return None
    return "parallax or its error unusable" if good_stamp else "stamp holds a pixel that is not a number"
