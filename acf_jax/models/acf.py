"""The ACF: CSWin features of the stamp and an astrometric branch, fused by a stochastic prediction module.

Paper Sec. 3.2 and 3.3. Inputs are scaled already (`data/scaling.py`) and outputs are standardised (`labels.py`).
"""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key
from scipy.special import ndtr, ndtri

from acf_jax.models import growth_curve
from acf_jax.models.cswin import STD_OF_CUT_NORMAL, WEIGHT_CUT, CSWin, CSWinConfig, gelu, weight_init
from acf_jax.shapes import AnyArray, Features, Scalars, Stamps

LOG_VARIANCE_RANGE = (-12.0, 6.0)  # of standardised labels: no star's noise is outside, and no likelihood overflows


@dataclasses.dataclass(frozen=True)
class ACFConfig:
    """An ACF; the defaults are the paper's. `use_parallax=False` is the ACPF (Sec. 5.1).

    >>> tiny = acf_jax.ACFConfig(backbone=acf_jax.CSWinConfig.tiny(), targets=("teff",))
    >>> tiny.num_outputs, tiny.dropout_rate
    (1, 0.2)

    Beyond the paper: with `growth_curve` the scalar branch also reads the stamp's own fluxes; with `heteroscedastic`
    the head also predicts the variance of each label's noise.
    """

    backbone: CSWinConfig = dataclasses.field(default_factory=CSWinConfig)
    targets: tuple[str, ...] = ("teff", "logg", "fe_h")  # one output each; the paper trains one network per target
    use_parallax: bool = True
    growth_curve: bool = False
    heteroscedastic: bool = False
    astrometric_features: int = 128
    head_widths: tuple[int, ...] = (320, 160)
    dropout_rate: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "head_widths", tuple(self.head_widths))
        if not self.targets:
            raise ValueError("targets is empty; name at least one label to predict.")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate = {self.dropout_rate} must be at least 0 and below 1.")

    @classmethod
    def from_sections(cls, model: Mapping[str, Any], bands: str) -> "ACFConfig":
        """From the `model` section of a training's config, in which the backbone's fields stand beside the others.

        Args:
            model: values by the names of the fields.
            bands: of the stamps, in order.

        Raises:
            ValueError: if the numbers contradict each other.
            TypeError: if there is no such field.
        """
        # JSON has lists for tuples.
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in model.items()
        }
        names = {field.name for field in dataclasses.fields(CSWinConfig)}
        backbone = {name: values.pop(name) for name in sorted(names & values.keys())}
        return cls(backbone=CSWinConfig(num_bands=len(bands), **backbone), **values)

    def to_section(self) -> dict[str, Any]:
        """Undo `from_sections`: the `model` section, without fields that follow from the stamps or never change."""
        section = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        backbone = dataclasses.asdict(section.pop("backbone"))
        return section | {name: value for name, value in backbone.items() if name not in ("num_bands", "param_dtype")}

    @property
    def backbones(self) -> tuple[CSWinConfig, ...]:
        """The only one; networks that were joined have several."""
        return (self.backbone,)

    @property
    def num_features(self) -> int:
        """Of a stamp."""
        return self.backbone.num_features

    @property
    def num_scalars(self) -> int:
        """Numbers a star that the scalar branch reads; 0: there is no such branch."""
        parallax = 2 if self.use_parallax else 0
        if not self.growth_curve:
            return parallax
        return parallax + growth_curve.num_features(self.backbone.num_bands, self.use_parallax)

    @property
    def num_outputs(self) -> int:
        """Of the head: a value for each target, then, if heteroscedastic, a variance for each."""
        return len(self.targets) * (2 if self.heteroscedastic else 1)


class ACF(nn.Module):
    """`encode`: stamps -> features, deterministic; `predict`: features and astrometry -> targets, stochastic.

    >>> import jax
    >>> model = acf_jax.ACF(acf_jax.ACFConfig(backbone=acf_jax.CSWinConfig.tiny()))
    >>> stamps, scalars = jax.numpy.zeros((2, 48, 48, 6)), jax.numpy.zeros((2, 2))
    >>> shapes = jax.eval_shape(lambda key: model.init(key, stamps, scalars, deterministic=True), jax.random.key(0))
    >>> sorted(shapes["params"])
    ['astrometric', 'backbone', 'head_0', 'head_1', 'head_2']

    Calling the module runs both. Monte Carlo dropout (`mc_dropout.py`) runs the first once and the second
    many times.
    """

    config: ACFConfig = ACFConfig()

    def setup(self) -> None:
        """Names the parts: `backbone`, `astrometric`, `head_0` to `head_2`."""
        config, backbone = self.config, self.config.backbone
        # Never in half precision: that saves no time here and loses the labels' last digits.
        self.head_dtype = jnp.promote_types(backbone.dtype, jnp.float32)
        kernel_init = weight_init(backbone.weight_std)
        options: dict[str, Any] = {
            "kernel_init": kernel_init,
            "dtype": self.head_dtype,
            "param_dtype": backbone.param_dtype,
        }
        self.backbone = CSWin(backbone)
        if config.num_scalars:
            self.astrometric = nn.Dense(config.astrometric_features, **options)
        widths = (*config.head_widths, config.num_outputs)
        self.head = [nn.Dense(width, **options) for width in widths]
        self.dropout = [nn.Dropout(config.dropout_rate) for _ in widths]

    def __call__(
        self,
        stamps: Stamps,
        scalars: Scalars | None,
        deterministic: bool = False,
    ) -> Float[Array, "star {self.config.num_outputs}"]:
        """One full pass: `encode`, then `predict`.

        Args:
            stamps: scaled.
            scalars: as `predict` takes them.
            deterministic: False drops paths and numbers, with `rngs={"drop_path": key, "dropout": key}`.

        Returns:
            As `predict`.
        """
        return self.predict(self.encode(stamps, deterministic), scalars, deterministic)

    def encode(self, stamps: Stamps, deterministic: bool = True) -> Features:
        """Scaled stamps -> the backbone's features.

        Raises:
            ValueError: if the stamps don't fit the backbone.
        """
        return self.backbone(stamps, deterministic)

    def predict(
        self,
        features: Features,
        scalars: Scalars | None,
        deterministic: bool = False,
    ) -> Float[Array, "star {self.config.num_outputs}"]:
        """The prediction module: dropout on the input of each dense layer (Eq. 11), in training and in prediction.

        Args:
            features: from `encode`.
            scalars: `config.num_scalars` a star, from `scaling.InputScaling.scalars`: the scaled parallax and its
                error, the growth curve; None for a network that reads none.
            deterministic: True switches dropout off, otherwise `rngs={"dropout": key}` is needed.

        Returns:
            Standardised: the targets, then, if heteroscedastic, the variance of each
            about its label; float32 at least, whatever the backbone's dtype.

        Raises:
            ValueError: if a network that reads scalars is given none.
        """
        x = jnp.asarray(features, self.head_dtype)
        if self.config.num_scalars:
            if scalars is None:
                raise ValueError(
                    f"This network reads {self.config.num_scalars} scalars a star: give (batch, "
                    f"{self.config.num_scalars}) of InputScaling.scalars, or build an ACPF."
                )
            x = jnp.concatenate([x, gelu(self.astrometric(scalars))], axis=-1)
        for layer, (dense, dropout) in enumerate(zip(self.head, self.dropout, strict=True)):
            x = dense(dropout(gelu(x) if layer else x, deterministic=deterministic))
        if self.config.heteroscedastic:
            values, log_variance = jnp.split(x, 2, axis=-1)
            x = jnp.concatenate([values, jnp.exp(jnp.clip(log_variance, *LOG_VARIANCE_RANGE))], axis=-1)
        return x


def init_params(model: ACF, seed: int, stamp_shape: tuple[int, int, int] = (48, 48, 6)) -> dict[str, Any]:
    """Fresh parameters: weights from a truncated normal distribution, biases 0 (paper Sec. 3.4), LayerNorms at 1 and 0.

    Equal in distribution to `model.init`, whose compilation costs a quarter of a minute, and the same on every device
    and version of JAX: a weight's values depend on the seed and its place in the tree.

    Args:
        model: the network.
        seed: of all weights.
        stamp_shape: height, width and bands of a stamp.

    Returns:
        The tree of parameters, as `model.apply` takes it under "params".
    """
    key, stamps, scalars = jax.random.key(0), jnp.zeros((1, *stamp_shape)), jnp.zeros((1, model.config.num_scalars))
    shapes = jax.eval_shape(lambda: model.init(key, stamps, scalars, deterministic=True))["params"]

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not name.endswith("kernel"):
            return jnp.full(leaf.shape, name.endswith("scale"), leaf.dtype)
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        return jnp.asarray(truncated_normal(generator, leaf.shape, model.config.backbone.weight_std), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def truncated_normal(generator: np.random.Generator, shape: tuple[int, ...], std: float) -> np.ndarray:
    """The distribution of `cswin.weight_init`, drawn by NumPy.

    Args:
        generator: gives the random numbers.
        shape: of the result.
        std: standard deviation after the cut.

    Returns:
        float64 numbers.
    """
    low, high = ndtr(-WEIGHT_CUT), ndtr(WEIGHT_CUT)
    return std / STD_OF_CUT_NORMAL * ndtri(generator.uniform(low, high, shape))


@runtime_checkable
class Applied(Protocol):
    """An `ACF`, or several that were joined."""

    def apply(self, variables: dict[str, Any], *inputs: Any, **options: Any) -> Any:
        """A method of the network, under these parameters.

        Args:
            variables: `params`.
            *inputs: of the method.
            **options: `method`, its name, and `rngs`.

        Returns:
            What the method returns.
        """


def predict_per_star(
    model: Applied,
    params: dict[str, Any],
    features: Features,
    scalars: Scalars | None,
    keys: Key[Array, " star"],
) -> Float[Array, "star output"]:
    """`ACF.predict` with dropout, each star under its own key.

    Args:
        model: the network.
        params: its parameters.
        features: from `ACF.encode`.
        scalars: None for an ACPF.
        keys: one a star.

    Returns:
        As `ACF.predict`.
    """

    def one(
        features: Float[AnyArray, " feature"], scalars: Float[AnyArray, " scalar"] | None, key: Key[Array, ""]
    ) -> Float[Array, " output"]:
        scalars = None if scalars is None else scalars[None]
        return model.apply({"params": params}, features[None], scalars, method="predict", rngs={"dropout": key})[0]

    return jax.vmap(one)(features, scalars, keys)
