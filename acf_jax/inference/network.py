"""A trained network, with its predictions and features."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from acf_jax.data.prepared import PreparedDataset
from acf_jax.inference import mc_dropout
from acf_jax.inference.parts import NetworkParts
from acf_jax.inference.prediction import Prediction
from acf_jax.inference.split import predict_split
from acf_jax.labels import LABELS


@dataclass(frozen=True, repr=False)
class Network(NetworkParts):
    """A trained network, as `acf_jax.load` reads it.

    >>> network = acf_jax.load("runs/demo")
    >>> network.targets
    ('teff', 'logg', 'fe_h')
    >>> network.bands
    'uvgriz'
    """

    def predict(
        self,
        stamp: np.ndarray,
        parallax: np.ndarray | None,
        parallax_error: np.ndarray | None,
        object_id: np.ndarray,
        *,
        n_samples: int = 100,
        seed: int = 0,
        batch_size: int = 64,
        samples: bool = False,
        tau_inverse: np.ndarray | None = None,
        progress: bool = True,
    ) -> Prediction:
        """Atmospheric parameters of stars, with their uncertainties.

        >>> network, dataset = acf_jax.load("runs/demo"), acf_jax.open_dataset("smss_stamps/mock")
        >>> inputs = dataset.arrays("validation", ("stamp", "parallax", "parallax_error", "object_id"))
        >>> prediction = network.predict(**inputs, n_samples=20)
        >>> prediction.mean.shape, prediction.units
        ((10, 3), ('K', 'dex', 'dex'))

        Args:
            stamp: (n, height, width, bands) in microjansky per pixel, as in the dataset.
            parallax: (n,) mas; None for a network without parallax (ACPF).
            parallax_error: (n,) mas; likewise.
            object_id: (n,) integers: the same star has the same samples in any batch.
            n_samples: Monte Carlo passes, T of Eq. 13.
            seed: of the samples.
            batch_size: stars on each device at a time.
            samples: also return every sample.
            tau_inverse: (n_targets,) the constant term of Eq. 15, from `acf_jax.calibration.predictive_variance`.
            progress: whether a prediction that takes long shows a progress bar.

        Returns:
            Means and standard deviations in physical units; NaN for a star whose inputs are not finite.

        Raises:
            ValueError: if shapes disagree, bands are not the network's, or it needs a parallax and none is given.
        """
        return mc_dropout.predict(
            self,
            stamp,
            parallax,
            parallax_error,
            object_id,
            n_samples=n_samples,
            seed=seed,
            batch_size=batch_size,
            samples=samples,
            tau_inverse=tau_inverse,
            progress=progress,
        )

    def predict_split(
        self, dataset: PreparedDataset, split: str, *, n_samples: int = 100, seed: int = 0, progress: bool = True
    ) -> Prediction:
        """As `predict`, for every star of a prepared dataset's split, with a few stamps in memory at a time.

        >>> network, dataset = acf_jax.load("runs/demo"), acf_jax.open_dataset("smss_stamps/mock")
        >>> prediction = network.predict_split(dataset, "validation", n_samples=20)
        >>> len(prediction) == dataset.splits["validation"]
        True

        Args:
            dataset: from `acf_jax.open_dataset`.
            split: its name, of `dataset.splits`.
            n_samples: T of Eq. 13.
            seed: of the samples.
            progress: whether to show a bar.

        Returns:
            The prediction, in the order of the split, with the reason where a star has none.

        Raises:
            DatasetError: if there is no such split, or its stamps have another sky level than those of the training.
            ValueError: if the dataset's bands are not the network's.
        """
        if dataset.bands != self.bands:
            raise ValueError(f"{dataset.folder} has stamps in {dataset.bands}, this network reads {self.bands}.")
        dataset.check_stamps(self.sidecar.get("dataset", {}))
        stars = dataset.arrays(split, ("object_id", "parallax", "parallax_error"))
        answer = predict_split(self, dataset, stars, split=split, n_samples=n_samples, seed=seed, progress=progress)
        return Prediction(
            answer.mean,
            answer.std,
            targets=self.targets,
            units=tuple(LABELS[target] for target in self.targets),
            finite=np.array([reason is None for reason in answer.reason], bool),
            noise_std=answer.noise_std,
            error_calibration=self.error_calibration,
            object_id=stars["object_id"],
            reason=tuple(answer.reason),
        )

    def features(self, stamp: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
        """The backbone's features of stamps, to be clustered, plotted or given to another regressor.

        >>> network, dataset = acf_jax.load("runs/demo"), acf_jax.open_dataset("smss_stamps/mock")
        >>> network.features(dataset.arrays("validation", ("stamp",))["stamp"]).shape
        (10, 16)

        Args:
            stamp: (n, height, width, bands) in microjansky per pixel.
            batch_size: stars on each device at a time.

        Returns:
            (n, num_features) float32; NaN for a stamp with a pixel that is not finite.

        Raises:
            ValueError: if the stamps do not fit the network.
        """
        return mc_dropout.features(self, stamp, batch_size)

    def config_of(self, target: str) -> Mapping[str, Any]:
        """The config of the training that made the network of a label."""
        return next(m.sidecar["config"] for m in self.members or (self,) if target in m.targets)

    def _facts(self) -> list[tuple[str, str]]:
        """The lines of `repr`."""
        config, dataset = self.model.config, self.sidecar.get("dataset", {})
        reads = f"stamps in {' '.join(self.bands)}" + (", parallax" if config.use_parallax else "")
        gives = ", ".join(f"{target} ({LABELS[target]})" for target in self.targets)
        n_parameters = sum(np.size(leaf) for leaf in jax.tree.leaves(self.params))
        trained_on = "/".join(dataset[name] for name in ("name", "config", "version") if name in dataset)
        validated = self.sidecar.get("validation", {}).get("labels", {})
        stds = ", ".join(f"{target} {validated[target]['std']:.3g} {LABELS[target]}" for target in validated)
        joined = f"{len(self.members)} joined, " if self.members else ""
        n_calibrated = self.error_calibration and min(fitted.n_stars for fitted in self.error_calibration.parameters)
        chosen_by = self.sidecar.get("checkpoint_chosen_by", "calibration")
        return [
            (self.name, f"{reads} -> {gives}"),
            ("network", f"{joined}{n_parameters:,} parameters, {config.num_features} features, step {self.step:,}"),
            ("trained on", trained_on or "unknown"),
            ("residuals", f"{stds or 'unknown'} (standard deviation about the labels, {chosen_by} split)"),
            ("errors", f"calibrated on {n_calibrated:,} stars" if n_calibrated else "not calibrated"),
        ]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<11}{text}" for name, text in self._facts())

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in self._facts())
        return f"<table>{''.join(rows)}</table>"
