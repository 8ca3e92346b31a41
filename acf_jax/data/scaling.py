"""How stamps and parallaxes become network inputs of order one.

Every stamp method is `function(flux / unit) @ matrix` pixel by pixel: a unit per band, a function of one number, a
matrix across bands. Every parallax method is `(function(parallax, error) - center) / scale`. The numbers are fitted
once on the training split and are stored in the checkpoint.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from acf_jax.models import growth_curve
from acf_jax.shapes import AnyArray, PerStar, Scalars, Stamps

STAR_RADIUS_PX = 6.0  # holds nearly all of the star's light and little of the sky's noise
SKY_RADIUS_PX = 18.0  # beyond it, little light of the star
EIGENVALUE_FLOOR = 1e-6  # of the largest: a band that copies another must not be divided by zero
PARALLAX_FLOOR_MAS = 1e-2  # below it a parallax is noise, and a negative one has no logarithm


UnitAndMatrix = tuple[Float[np.ndarray, " band"], Float[np.ndarray, "band channel"]]


class StampStatistics(NamedTuple):
    """What the training stamps say about fluxes, in uJy / pix."""

    star_rms: float  # of the pixels near the star, over bands; median over stars
    sky_sigma: Float[np.ndarray, " band"]  # 1.4826 MAD of the outer pixels, median over stars
    covariance: Float[np.ndarray, "band band"]  # uncentred, of pixels near the star in units of each star's own rms


def stamp_statistics(stamps: Float[np.ndarray, "star y x band"]) -> StampStatistics:
    """Statistics of training stamps in uJy / pix."""
    stamps = np.asarray(stamps, np.float32)
    _, ny, nx, _ = stamps.shape
    radius = np.hypot(*np.meshgrid(np.arange(ny) - ny // 2, np.arange(nx) - nx // 2, indexing="ij"))
    near, outer = stamps[:, radius <= STAR_RADIUS_PX], stamps[:, radius >= SKY_RADIUS_PX]
    rms = np.sqrt(np.mean(near**2, axis=(1, 2), dtype=np.float64))
    # In units of its own rms every star has the same weight; otherwise only the few brightest would count.
    relative = (near / rms[:, None, None]).reshape(-1, stamps.shape[-1]).astype(np.float64)
    deviation = np.abs(outer - np.median(outer, axis=1, keepdims=True))
    sky_sigma = 1.4826 * np.median(np.median(deviation, axis=1), axis=0)
    return StampStatistics(float(np.median(rms)), sky_sigma, relative.T @ relative / len(relative))


def whitening(covariance: Float[np.ndarray, "band band"]) -> Float[np.ndarray, "band band"]:
    """The symmetric matrix W with W C W = 1: unlike the eigenvectors themselves, it leaves no sign or order open."""
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    eigenvalues = np.maximum(eigenvalues, EIGENVALUE_FLOOR * eigenvalues[-1])
    return (eigenvectors / np.sqrt(eigenvalues)) @ eigenvectors.T


def _linear(stats: StampStatistics, softening_sigma: float) -> UnitAndMatrix:
    n_bands = len(stats.sky_sigma)
    return np.full(n_bands, stats.star_rms), np.eye(n_bands)


def _whitened(stats: StampStatistics, softening_sigma: float) -> UnitAndMatrix:
    return np.full(len(stats.sky_sigma), stats.star_rms), whitening(stats.covariance)


def _asinh(stats: StampStatistics, softening_sigma: float) -> UnitAndMatrix:
    unit = softening_sigma * stats.sky_sigma
    return unit, np.eye(len(unit)) / np.mean(np.arcsinh(stats.star_rms / unit))


class StampMethod(NamedTuple):
    """One way of scaling stamps: a function of flux / unit, and the fit that gives unit and matrix."""

    function: Callable
    fit: Callable[[StampStatistics, float], UnitAndMatrix]


STAMP_METHODS = {
    "linear": StampMethod(lambda flux: flux, _linear),
    "whitened": StampMethod(lambda flux: flux, _whitened),
    "asinh": StampMethod(jnp.arcsinh, _asinh),
}

PARALLAX_METHODS = {
    "log": lambda parallax, error: (jnp.log10(jnp.maximum(parallax, PARALLAX_FLOOR_MAS)), jnp.log10(error)),
    "raw": lambda parallax, error: (parallax, error),
}


class Scaling(abc.ABC):
    """What networks read of stars."""

    @abc.abstractmethod
    def stamps(self, stamps: Float[AnyArray, "*pixels band"]) -> Float[Array, "*pixels channel"]:
        """Stamps in uJy / pix as network inputs."""

    @abc.abstractmethod
    def scalars(
        self, stamps: Stamps, parallax: PerStar | None, parallax_error: PerStar | None, use_parallax: bool
    ) -> Scalars | None:
        """What the scalar branch reads.

        Args:
            stamps: in uJy / pix, not scaled.
            parallax: in mas; ignored without `use_parallax`.
            parallax_error: likewise.
            use_parallax: False for an ACPF.

        Returns:
            `ACFConfig.num_scalars` numbers a star; None if that is 0.
        """

    @abc.abstractmethod
    def to_dict(self) -> dict:
        """As JSON types."""

    def network_inputs(
        self, stamps: Stamps, parallax: PerStar | None, parallax_error: PerStar | None, use_parallax: bool
    ) -> tuple[Float[Array, "star y x channel"], Float[Array, "star scalar"] | None, Bool[Array, " star"]]:
        """What the network reads of stars (n,): scaled, with zeros for stars that have an input that is not finite.

        Args:
            stamps: (n, y, x, band) in uJy / pix, not scaled.
            parallax: (n,) in mas; ignored without `use_parallax`.
            parallax_error: (n,) in mas.
            use_parallax: False for an ACPF.

        Returns:
            What `stamps` and `scalars` return, and (n,) bool: whether all inputs of a star were finite.
        """
        scalars = self.scalars(stamps, parallax, parallax_error, use_parallax)
        stamps = self.stamps(stamps)
        finite = jnp.isfinite(stamps).all(axis=(1, 2, 3))
        if scalars is not None:
            finite &= jnp.isfinite(scalars).all(axis=1)
            scalars = jnp.where(finite[:, None], scalars, 0)
        return jnp.where(finite[:, None, None, None], stamps, 0), scalars, finite


@dataclass(frozen=True)
class InputScaling(Scaling):
    """The fitted scaling of stamps and parallaxes; `stamps` and `scalars` may be called under `jax.jit`."""

    bands: str
    stamp_method: str
    unit: tuple[float, ...]  # uJy / pix, per band
    matrix: tuple[tuple[float, ...], ...]  # (band in, channel out)
    parallax_method: str
    center: tuple[float, float]
    scale: tuple[float, float]
    growth_center: tuple[float, ...] = ()  # of growth_curve.features; empty: the network does not read them
    growth_scale: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        stamps: Float[np.ndarray, "star y x band"],
        parallax: Float[np.ndarray, " parallax"],
        parallax_error: Float[np.ndarray, " parallax"],
        *,
        bands: str,
        stamp_method: str = "whitened",
        parallax_method: str = "log",
        asinh_softening_sigma: float = 100.0,
        use_parallax: bool = True,
        use_growth_curve: bool = False,
    ) -> InputScaling:
        """From stars of the training split.

        Args:
            stamps: in uJy / pix.
            parallax: in mas, of the same stars; parallaxes of further stars may follow.
            parallax_error: in mas.
            bands: of the stamps, in order.
            stamp_method: one of `STAMP_METHODS`.
            parallax_method: one of `PARALLAX_METHODS`.
            asinh_softening_sigma: where asinh turns from linear to logarithmic, in units of the sky's sigma.
            use_parallax: False for an ACPF.
            use_growth_curve: whether the network reads the stamps' growth curves.

        Returns:
            The fitted scaling.

        Raises:
            ValueError: if a method is unknown, or a stamp, parallax or error is not finite.
        """
        check_methods(stamp_method, parallax_method)
        inputs = {"stamp": stamps, "parallax": parallax, "parallax_error": parallax_error}
        for name, values in inputs.items():
            if not np.all(np.isfinite(values)):
                raise ValueError(f"The training split has values of {name} that are not finite.")
        unit, matrix = STAMP_METHODS[stamp_method].fit(stamp_statistics(stamps), asinh_softening_sigma)
        features = np.stack(PARALLAX_METHODS[parallax_method](np.asarray(parallax), np.asarray(parallax_error)))
        growth = np.zeros((1, 0))
        if use_growth_curve:
            growth = np.asarray(_growth_curve(stamps, parallax[: len(stamps)] if use_parallax else None))
        return cls(
            bands=bands,
            stamp_method=stamp_method,
            unit=tuple(unit.tolist()),
            matrix=tuple(map(tuple, matrix.tolist())),
            parallax_method=parallax_method,
            center=tuple(features.mean(1, dtype=np.float64).tolist()),
            scale=tuple(features.std(1, dtype=np.float64).tolist()),
            growth_center=tuple(growth.mean(0, dtype=np.float64).tolist()),
            growth_scale=tuple(growth.std(0, dtype=np.float64).tolist()),
        )

    def stamps(self, stamps: Float[AnyArray, "*pixels band"]) -> Float[Array, "*pixels channel"]:
        """Stamps in uJy / pix as network inputs."""
        scaled = STAMP_METHODS[self.stamp_method].function(stamps / jnp.asarray(self.unit, jnp.float32))
        # Whitened colours are small differences of large numbers, which a GPU's TF32 product would round away.
        return jnp.matmul(scaled, jnp.asarray(self.matrix, jnp.float32), precision=jax.lax.Precision.HIGHEST)

    def astrometry(self, parallax: PerStar, parallax_error: PerStar) -> Float[Array, "star 2"]:
        """Parallaxes and their errors in mas as network inputs."""
        features = jnp.stack(PARALLAX_METHODS[self.parallax_method](parallax, parallax_error), axis=-1)
        return (features - jnp.asarray(self.center, jnp.float32)) / jnp.asarray(self.scale, jnp.float32)

    def scalars(
        self, stamps: Stamps, parallax: PerStar | None, parallax_error: PerStar | None, use_parallax: bool
    ) -> Scalars | None:
        """The scaled astrometry, then the scaled growth curve of the stamps.

        Args:
            stamps: as of `Scaling`, like all others.
            parallax: in mas.
            parallax_error: in mas.
            use_parallax: False for an ACPF.

        Returns:
            As of `Scaling`.
        """
        parts = [self.astrometry(parallax, parallax_error)] if use_parallax else []  # type: ignore[arg-type]
        if self.growth_center:
            growth = _growth_curve(stamps, parallax if use_parallax else None)
            center, scale = (jnp.asarray(values, jnp.float32) for values in (self.growth_center, self.growth_scale))
            parts.append((growth - center) / scale)
        return jnp.concatenate(parts, axis=-1) if parts else None

    def to_dict(self) -> dict:
        """As JSON types."""
        return asdict(self) | {"matrix": [list(row) for row in self.matrix]}

    @classmethod
    def from_dict(cls, stored: dict) -> InputScaling:
        """Undo `to_dict`."""
        names = ("unit", "center", "scale", "growth_center", "growth_scale")
        tuples = {name: tuple(stored[name]) for name in names if name in stored}
        return cls(**stored | tuples | {"matrix": tuple(map(tuple, stored["matrix"]))})


@dataclass(frozen=True)
class JoinedScaling(Scaling):
    """What each network reads of the same stars, in a row; as `InputScaling`, which see."""

    members: tuple[Scaling, ...]

    def stamps(self, stamps: Float[AnyArray, "*pixels band"]) -> Float[Array, "*pixels channel"]:
        """Stamps in uJy / pix as the members' inputs, in a row."""
        return jnp.concatenate([member.stamps(stamps) for member in self.members], axis=-1)

    def scalars(
        self, stamps: Stamps, parallax: PerStar | None, parallax_error: PerStar | None, use_parallax: bool
    ) -> Scalars | None:
        """What the members' scalar branches read, in a row.

        Args:
            stamps: as of `Scaling`, like all others.
            parallax: in mas.
            parallax_error: in mas.
            use_parallax: False for ACPFs.

        Returns:
            As of `Scaling`.
        """
        parts = [member.scalars(stamps, parallax, parallax_error, use_parallax) for member in self.members]
        read = [part for part in parts if part is not None]
        return jnp.concatenate(read, axis=-1) if read else None

    def to_dict(self) -> dict:
        """As JSON types."""
        return {"members": [member.to_dict() for member in self.members]}


def _growth_curve(stamps: Stamps, parallax: PerStar | None) -> Float[Array, "star feature"]:
    """`growth_curve.features`, of parallaxes that have a logarithm."""
    floored = None if parallax is None else jnp.maximum(jnp.asarray(parallax), PARALLAX_FLOOR_MAS)
    return growth_curve.features(jnp.asarray(stamps), floored)


def check_methods(stamp_method: str, parallax_method: str) -> None:
    """Refuse unknown methods.

    Raises:
        ValueError: naming the methods there are.
    """
    if stamp_method not in STAMP_METHODS:
        raise ValueError(f"stamp_method = {stamp_method!r} must be one of {', '.join(STAMP_METHODS)}.")
    if parallax_method not in PARALLAX_METHODS:
        raise ValueError(f"parallax_method = {parallax_method!r} must be one of {', '.join(PARALLAX_METHODS)}.")
