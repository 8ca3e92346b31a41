"""What a network was trained on, and how far a star is from it.

A star is described by the backbone's features and by its stamp's light profile. Without the profile a stamp a hundred
times too bright would pass: the backbone's normalisation removes most of a stamp's scale. The distance in each is
Mahalanobis's, with a covariance shrunk towards the unit matrix (Ledoit & Wolf 2004, J. Multivar. Anal. 88, 365), so
that directions in which training stars hardly differ count, too, but not without limit. Lee et al. (2018, NeurIPS 31,
7167) detect foreign inputs in this way. The larger of the two counts, divided by the `QUANTILE` of stars that were not
trained on: a star beyond 1 is more unusual than nearly all of those.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

Points = Float[np.ndarray, "point axis"]
Distances = Float32[np.ndarray, " point"]

QUANTILE = 0.99
"""The quantile of the held-out stars' distances that becomes 1: the rate of false alarms is one minus this."""

MIN_STARS = 50
"""Fewer training or held-out stars are not enough for a fit."""

EIGENVALUE_FLOOR = 1e-4  # of the mean: in a feature that never varies, a rounding error must not become a distance
CORE, WING, EDGE = 1 / 24, 1 / 6, 1 / 3  # of a stamp's side: 2, 8 and 16 of 48 pixels from its centre
SOFTENING_UJY_PER_PX = 1.0  # about the sky's noise: fainter light counts linearly, brighter by its logarithm


def light_profile(stamps: Float[np.ndarray, "star y x band"]) -> Float32[np.ndarray, "star 3*band"]:
    """Brightness, colours, concentration and sky of stamps.

    Args:
        stamps: in uJy / pix.

    Returns:
        Softened logarithms (Lupton et al. 1999) of mean surface brightness: the core's mean
        over bands, its differences from band to band, and in each band wing less core, and edge. NaN for a stamp with
        a pixel that is not finite.
    """
    n_stars, ny, nx, n_bands = stamps.shape
    radius = np.hypot(*np.meshgrid(np.arange(ny) - ny // 2, np.arange(nx) - nx // 2, indexing="ij")).ravel() / nx
    rings = np.stack([radius <= CORE, (radius > CORE) & (radius <= WING), radius >= EDGE]).astype(np.float32)
    rings /= rings.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # 0 times infinity: NaN, as any pixel outside the rings that is not finite
        means = rings @ np.asarray(stamps, np.float32).reshape(n_stars, ny * nx, n_bands)
    core, wing, edge = np.moveaxis(np.arcsinh(means / SOFTENING_UJY_PER_PX), 1, 0)
    # Colours by themselves: as small differences of brightnesses they would be lost in the covariance's shrinkage.
    return np.concatenate([core.mean(axis=1, keepdims=True), np.diff(core, axis=1), wing - core, edge], axis=1)


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """Mean and covariance of a set of points, as the map that makes the points at distance 1 the unit sphere."""

    center: Float32[np.ndarray, " axis"]
    whitening: Float32[np.ndarray, "axis axis"]

    @classmethod
    def fit(cls, points: Points) -> Ellipsoid:
        """Fitted to points; the scale and origin of a column do not matter."""
        from sklearn.covariance import ledoit_wolf  # here, because it takes half a second

        points = np.asarray(points, np.float64)
        center, scale = points.mean(axis=0), points.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        covariance, _ = ledoit_wolf((points - center) / scale, assume_centered=True)
        eigenvalues, eigenvectors = np.linalg.eigh(covariance)
        eigenvalues = np.maximum(eigenvalues, EIGENVALUE_FLOOR * max(eigenvalues.mean(), EIGENVALUE_FLOOR))
        whitening = eigenvectors / np.sqrt(eigenvalues) / scale[:, None]
        return cls(center.astype(np.float32), whitening.astype(np.float32))

    def divided_by(self, distance: float) -> Ellipsoid:
        """The ellipsoid whose distances are this one's divided by `distance`."""
        return Ellipsoid(self.center, (self.whitening / distance).astype(np.float32))

    def distance(self, points: Points) -> Distances:
        """Distances of points from the centre; NaN for points that are not finite."""
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.linalg.norm((np.asarray(points, np.float32) - self.center) @ self.whitening, axis=1)
        return np.where(np.isfinite(points).all(axis=1), distance, np.float32(np.nan))


@dataclass(frozen=True, eq=False)
class TrainingDomain:
    """What a catalogue's flags need to know about the training set."""

    features: Ellipsoid  # of the backbone's features; 1 at the threshold, as the next
    profiles: Ellipsoid  # of `light_profile`
    n_train: int  # stars that center and whitening were fitted to
    n_held_out: int  # stars that the threshold was fitted to
    quantile: float  # of the held-out stars' distances, at the threshold
    label_min: Mapping[str, float]  # of the training labels, by target, in its unit
    label_max: Mapping[str, float]
    error_limits: Mapping[str, float]  # by target: 99th percentile of the held-out stars' errors

    @classmethod
    def fit(
        cls,
        features: Float[np.ndarray, "train feature"],
        profiles: Float[np.ndarray, "train profile"],
        held_out_features: Float[np.ndarray, "held_out feature"],
        held_out_profiles: Float[np.ndarray, "held_out profile"],
        *,
        label_min: Mapping[str, float],
        label_max: Mapping[str, float],
        error_limits: Mapping[str, float],
    ) -> TrainingDomain:
        """From stars that the network was trained on, and others of the same kind.

        Args:
            features: the backbone's.
            profiles: from `light_profile`.
            held_out_features: of stars that the network was not trained on; they set the threshold.
            held_out_profiles: of the same.
            label_min: of the training labels, by target, in its unit.
            label_max: likewise.
            error_limits: by target: what an error must exceed to be called large.

        Returns:
            What was fitted.

        Raises:
            ValueError: if a value is not finite, or stars are fewer than `MIN_STARS`.
        """
        n_train, n_held_out = len(features), len(held_out_features)
        if min(n_train, n_held_out) < MIN_STARS:
            raise ValueError(
                f"{n_train} training and {n_held_out} held-out stars are too few to tell what is unlike them: "
                f"give {MIN_STARS} or more of each."
            )
        if not all(np.isfinite(a).all() for a in (features, profiles, held_out_features, held_out_profiles)):
            raise ValueError("Features and profiles must be finite: leave out the stars whose inputs are not.")
        parts = [Ellipsoid.fit(train) for train in (features, profiles)]
        # Scaled to each other by the training stars: held-out stars that were used twice would look too good.
        parts = [
            part.divided_by(_threshold(part.distance(train)))
            for part, train in zip(parts, (features, profiles), strict=True)
        ]
        larger = np.maximum(parts[0].distance(held_out_features), parts[1].distance(held_out_profiles))
        parts = [part.divided_by(_threshold(larger)) for part in parts]
        limits = dict(label_min), dict(label_max), dict(error_limits)
        return cls(parts[0], parts[1], n_train, n_held_out, QUANTILE, *limits)

    def distance(
        self, features: Float[np.ndarray, "star feature"], stamps: Float[np.ndarray, "star y x band"]
    ) -> Distances:
        """How far stars are from the training set; beyond 1 they are unlike it.

        Args:
            features: the backbone's (`mc_dropout.encode`).
            stamps: in uJy / pix.

        Returns:
            NaN where a feature or pixel is not finite.

        Raises:
            ValueError: if features or bands are not as many as in training.
        """
        n_features, n_bands = len(self.features.center), len(self.profiles.center) // 3
        if features.shape[1:] != (n_features,) or stamps.ndim != 4 or stamps.shape[3] != n_bands:
            raise ValueError(
                f"features {features.shape} and stamps {stamps.shape} must be (n, {n_features}) and "
                f"(n, y, x, {n_bands}): this training domain is another network's."
            )
        return np.maximum(self.features.distance(features), self.profiles.distance(light_profile(stamps)))

    def summary(self) -> dict:
        """For a model card, as JSON types."""
        labels = {
            target: {"min": self.label_min[target], "max": self.label_max[target], "error_limit": limit}
            for target, limit in self.error_limits.items()
        }
        return {
            "labels": labels,
            "n_train": self.n_train,
            "n_held_out": self.n_held_out,
            "quantile": self.quantile,
            "n_features": len(self.features.center),
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays that NumPy saves without pickling."""
        targets = list(self.error_limits)
        numbers = ("label_min", "label_max", "error_limits")
        return {
            "features_center": self.features.center,
            "features_whitening": self.features.whitening,
            "profiles_center": self.profiles.center,
            "profiles_whitening": self.profiles.whitening,
            "n_stars": np.array([self.n_train, self.n_held_out], np.int64),
            "quantile": np.array(self.quantile),
            "targets": np.array(targets, np.str_),
            **{name: np.array([getattr(self, name)[target] for target in targets]) for name in numbers},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TrainingDomain:
        """Undo `to_arrays`.

        Raises:
            KeyError: if an array is missing.
            ValueError: if their shapes disagree.
        """
        features, profiles = (
            _ellipsoid(arrays[f"{name}_center"], arrays[f"{name}_whitening"]) for name in ("features", "profiles")
        )
        targets = [str(target) for target in arrays["targets"]]
        numbers = {
            name: dict(zip(targets, map(float, arrays[name]), strict=True))
            for name in ("label_min", "label_max", "error_limits")
        }
        n_train, n_held_out = map(int, arrays["n_stars"])
        return cls(features, profiles, n_train, n_held_out, float(arrays["quantile"]), **numbers)


@dataclass(frozen=True, eq=False)
class JoinedDomain:
    """What several networks were trained on; a star is as unlike as the network says that it is most unlike to.

    Each distance passes 1 for 1 % of stars like the training's, the largest of three for up to 3 %.
    """

    members: tuple[TrainingDomain, ...]

    @property
    def label_min(self) -> dict[str, float]:
        """Of the training labels, by target, in its unit."""
        return _merged(member.label_min for member in self.members)

    @property
    def label_max(self) -> dict[str, float]:
        """Likewise."""
        return _merged(member.label_max for member in self.members)

    @property
    def error_limits(self) -> dict[str, float]:
        """By target: what an error must exceed to be called large."""
        return _merged(member.error_limits for member in self.members)

    def distance(self, features: np.ndarray, stamps: np.ndarray) -> Distances:
        """How far stars are from the training set; beyond 1 they are unlike it.

        Args:
            features: (n, features of all backbones).
            stamps: (n, height, width, bands) in uJy / pix.

        Returns:
            (n,), NaN where a feature or pixel is not finite.
        """
        ends = itertools.accumulate(len(member.features.center) for member in self.members)
        parts = np.split(features, list(ends)[:-1], axis=1)
        return np.max([m.distance(part, stamps) for m, part in zip(self.members, parts, strict=True)], axis=0)

    def summary(self) -> dict:
        """For a model card, as JSON types."""
        each = [member.summary() for member in self.members]
        least = {name: min(one[name] for one in each) for name in ("n_train", "n_held_out", "quantile")}
        return least | {
            "labels": _merged(one["labels"] for one in each),
            "n_features": sum(one["n_features"] for one in each),
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As of the members, with their place in the names."""
        return {f"{i}_{name}": a for i, member in enumerate(self.members) for name, a in member.to_arrays().items()}


def _threshold(distances: Distances) -> float:
    """The distance below which `QUANTILE` of further stars stay (Vovk et al. 2005); with too few stars, the largest."""
    rank = min(int(np.ceil((len(distances) + 1) * QUANTILE)), len(distances))
    return max(float(np.sort(distances)[rank - 1]), float(np.finfo(np.float32).tiny))


def _ellipsoid(center: np.ndarray, whitening: np.ndarray) -> Ellipsoid:
    if whitening.shape != (*center.shape, *center.shape) or center.ndim != 1:
        raise ValueError(f"center {center.shape} and whitening {whitening.shape} must be (d,) and (d, d).")
    return Ellipsoid(center, whitening)


def _merged(mappings: Iterable[Mapping]) -> dict:
    return {name: value for mapping in mappings for name, value in mapping.items()}
