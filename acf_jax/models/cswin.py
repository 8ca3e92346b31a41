"""The CSWin Transformer (Dong et al. 2022, arXiv:2107.00652), the ACF's backbone, at its sizes for 48 x 48 stamps.

The computation is that of the CSWin authors' public code, operation by operation. Three details are easily missed,
because Flax has other defaults: LayerNorm's epsilon is 1e-5, GELU is the exact one, and convolutions pad
symmetrically.

Read downwards: the config, then an attention branch, a block, a stage, the network.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from acf_jax.models.stripes import Stripes, image_from_stripes, stripes_from_image
from acf_jax.shapes import AnyArray, FeatureMap, Stamps

LAYER_NORM_EPSILON = 1e-5
WEIGHT_CUT = 2  # where the normal distribution of the weights is cut, in its own standard deviations
STD_OF_CUT_NORMAL = 0.8796256610342398  # standard deviation of a standard normal distribution after that cut
# A stage of identical blocks is one block, scanned over its depth: 32 of them compile as fast as one. Short stages are
# unrolled, which XLA schedules better.
UNROLLED_DEPTH = 4
REMAT = ("nothing", "dots", "blocks")
POOLINGS = ("mean", "mean_attention")


@dataclasses.dataclass(frozen=True)
class CSWinConfig:
    """Sizes of a CSWin Transformer; the defaults are the ACF paper's (Sec. 3.1.4).

    Stage i has a map of stamp size / 2^(i+1) tokens a side and embed_dim * 2^i channels.

    >>> acf_jax.CSWinConfig().num_features, acf_jax.CSWinConfig.tiny().num_features
    (512, 128)

    Raises:
        ValueError: if the numbers contradict each other; the sentence says which ones.
    """

    num_bands: int = 6
    embed_dim: int = 64
    depths: tuple[int, ...] = (2, 4, 32, 2)  # blocks a stage
    num_heads: tuple[int, ...] = (2, 4, 8, 16)  # half of them in vertical, half in horizontal stripes
    stripe_widths: tuple[int, ...] = (1, 2, 3, 3)  # tokens; sw in the CSWin paper, split_size in its code
    mlp_ratio: float = 4.0  # hidden width of a block's MLP / channels
    drop_path_rate: float = 0.0  # of the last block; grows linearly from 0 in the first
    # What the backward pass computes again instead of keeping it: "nothing"; whatever is no product with a weight
    # matrix ("dots": half the memory, no slower); or all but a block's input ("blocks": least memory, a third slower).
    remat: str = "dots"
    dtype: str = "float32"  # of the computation
    param_dtype: str = "float32"
    weight_std: float = 0.02  # of every initial weight, whatever its fan-in
    pooling: str = "mean"  # of the last map's tokens; "mean_attention", not the authors', appends a learned mean

    def __post_init__(self) -> None:
        for name in ("depths", "num_heads", "stripe_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != len(self.depths):
                raise ValueError(
                    f"{name} = {getattr(self, name)} must have one entry a stage, as depths = {self.depths} has."
                )
        for name in ("dtype", "param_dtype"):
            object.__setattr__(self, name, jnp.dtype(getattr(self, name)).name)
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling = {self.pooling!r} must be one of {', '.join(POOLINGS)}.")
        if self.remat not in REMAT:
            raise ValueError(f"remat = {self.remat!r} must be one of {', '.join(REMAT)}.")
        for stage, heads in enumerate(self.num_heads):
            channels = self.embed_dim * 2**stage
            if channels % heads:
                raise ValueError(
                    f"Stage {stage + 1} has {channels} channels (embed_dim {self.embed_dim}), which "
                    f"{heads} heads don't divide; change embed_dim or num_heads."
                )
            if heads % 2 and stage + 1 < len(self.depths):
                raise ValueError(
                    f"Stage {stage + 1} has {heads} heads; it needs an even number, half for each direction of stripes."
                )

    @classmethod
    def tiny(cls, **changes: Any) -> "CSWinConfig":
        """A network of half a million parameters, for tests and laptops."""
        return cls(**{"embed_dim": 16, "depths": (1, 2, 2, 1), **changes})

    @property
    def num_features(self) -> int:
        """Features a stamp: the last stage's channels, twice if pooled in two ways."""
        return self.embed_dim * 2 ** (len(self.depths) - 1) * (1 if self.pooling == "mean" else 2)

    @property
    def drop_path_rates(self) -> tuple[np.ndarray, ...]:
        """Each stage's rates, (depth,) float32: from 0 in the network's first block linearly to that of the last."""
        rates = np.linspace(0, self.drop_path_rate, sum(self.depths), dtype=np.float32)
        return tuple(np.split(rates, np.cumsum(self.depths)[:-1]))

    def check_stamps(self, shape: tuple[Any, ...]) -> None:
        """Raises ValueError if stamps of `shape` = (batch, height, width, bands) don't fit this network.

        The batch may be a symbol: an exported program leaves it open.
        """
        if len(shape) != 4 or shape[-1] != self.num_bands:
            raise ValueError(f"Stamps must be (batch, height, width, {self.num_bands} bands), not {tuple(shape)}.")
        for stage, stripe_width in enumerate(self.stripe_widths):
            stride = 2 ** (stage + 1)
            for size in shape[1:3]:
                if size % stride:
                    raise ValueError(
                        f"A stamp of {size} pixels is not divisible by stage {stage + 1}'s stride, {stride}."
                    )
                if size // stride % stripe_width and stage + 1 < len(self.depths):
                    raise ValueError(
                        f"A stamp of {size} pixels gives stage {stage + 1} a map of {size // stride} tokens, "
                        f"which stripes of width {stripe_width} don't divide."
                    )


def weight_init(std: float) -> nn.initializers.Initializer:
    """A normal distribution cut at `WEIGHT_CUT` standard deviations; `std` is the standard deviation after the cut."""
    return nn.initializers.truncated_normal(std / STD_OF_CUT_NORMAL, lower=-WEIGHT_CUT, upper=WEIGHT_CUT)


def gelu(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """X times Phi(x), with the exact normal distribution function Phi, not its tanh approximation."""
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


def widened(x: Float[AnyArray, "*axes"]) -> Float[Array, "*axes"]:
    """In float32 at least: for sums, forward or in a gradient, in which bfloat16 would lose most terms."""
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


class _Layers(nn.Module):
    """What all modules here use: LayerNorm, weights with their biases, intermediates by name."""

    config: CSWinConfig

    def layer_norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(
            epsilon=LAYER_NORM_EPSILON, name=name, dtype=self.config.dtype, param_dtype=self.config.param_dtype
        )

    def weights(self, *shape: int) -> tuple[AnyArray, AnyArray]:
        """The parameters "kernel" of this shape and "bias", one a channel."""
        config = self.config
        kernel = self.param("kernel", weight_init(config.weight_std), shape, config.param_dtype)
        return kernel, self.param("bias", nn.initializers.zeros_init(), shape[-1:], config.param_dtype)

    def affine(
        self,
        x: Float[Array, "*axes channel"],
        kernel: Float[AnyArray, "channel feature"],
        bias: Float[AnyArray, " feature"],
    ) -> Float[Array, "*axes feature"]:
        """A product in `config.dtype` plus the bias.

        Args:
            x: what is multiplied, in any dtype.
            kernel: the weights.
            bias: added in float32 at least: its gradient is a sum over a batch's tokens.

        Returns:
            In `config.dtype`.
        """
        product = x.astype(self.config.dtype) @ kernel.astype(self.config.dtype)
        return (widened(product) + widened(bias)).astype(product.dtype)

    def capture(self, name: str, value: Array) -> Array:
        """Keeps `value` under the module's `name` if the caller made the collection "intermediates" mutable."""
        self.sow("intermediates", name, value, reduce_fn=lambda _, new: new, init_fn=lambda: None)
        return value


class Dense(_Layers):
    """A dense layer."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "*axes channel"]) -> Float[Array, "*axes {self.features}"]:
        """Of every token alike."""
        return self.affine(x, *self.weights(x.shape[-1], self.features))


class LePE(_Layers):
    """Locally-enhanced positional encoding (Dong et al. 2022, Eq. 7): a depthwise 3 x 3 convolution inside each stripe.

    Written as shifted multiply-adds, which train faster on a CPU than a grouped convolution. A shift by
    the stripe's whole width reads only padding and is left out.
    """

    @nn.compact
    def __call__(self, v: Stripes) -> Stripes:
        """What is added to the attention of values `v`."""
        kernel, bias = (widened(weight) for weight in self.weights(3, 3, 1, v.shape[-1]))
        height, width = v.shape[2:4]
        above, left = min(1, height - 1), min(1, width - 1)
        padded = jnp.pad(widened(v), ((0, 0), (0, 0), (above, above), (left, left), (0, 0)))
        total = bias
        for row in range(2 * above + 1):
            for column in range(2 * left + 1):
                weight = kernel[1 - above + row, 1 - left + column, 0]
                total = total + weight * padded[:, :, row : row + height, column : column + width]
        return total.astype(v.dtype)


class StripeAttention(nn.Module):
    """Self-attention within stripes, plus LePE (Dong et al. 2022, Eq. 4 and 8).

    `num_heads` heads of consecutive channels; queries are scaled by the root of a head's own width.
    """

    config: CSWinConfig
    num_heads: int
    stripe_height: int
    stripe_width: int

    @nn.compact
    def __call__(self, q: FeatureMap, k: FeatureMap, v: FeatureMap) -> FeatureMap:
        """One attention, stripe by stripe.

        Args:
            q: queries.
            k: keys.
            v: values.

        Returns:
            The values, averaged with the weights of their keys for each query.
        """
        height, width, channels = q.shape[1:]
        head_dim = channels // self.num_heads
        q, k, v = (stripes_from_image(x, self.stripe_height, self.stripe_width) for x in (q, k, v))
        tokens = (*q.shape[:2], self.stripe_height * self.stripe_width, self.num_heads, head_dim)

        scores = jnp.einsum("bsqhd,bskhd->bshqk", (q * head_dim**-0.5).reshape(tokens), k.reshape(tokens))
        weights = nn.softmax(widened(scores)).astype(v.dtype)
        attended = jnp.einsum("bshqk,bskhd->bsqhd", weights, v.reshape(tokens)).reshape(v.shape)
        return image_from_stripes(attended + LePE(self.config, name="lepe")(v), height, width)


class Block(_Layers):
    """A CSWin Transformer block (Dong et al. 2022, Eq. 9): cross-shaped attention, then an MLP, each on a residual.

    Half of the channels attend in vertical stripes, half in horizontal ones. Where `whole_map` is set all channels
    attend over the whole map.
    """

    num_heads: int
    stripe_width: int
    whole_map: bool
    deterministic: bool

    @nn.compact
    def __call__(self, x: FeatureMap, drop_path_rate: Float[Array, ""]) -> tuple[FeatureMap, None]:
        """One map to the next; the None is there for `nn.scan`."""
        channels = x.shape[-1]
        y = self.capture("norm1_out", self.layer_norm("norm1")(x))
        y = self.capture("qkv_out", Dense(self.config, 3 * channels, name="qkv")(y))
        y = self.attention(y)
        y = self.capture("proj_out", Dense(self.config, channels, name="proj")(y))
        x = x + self.drop_path(y, drop_path_rate)

        y = self.capture("norm2_out", self.layer_norm("norm2")(x))
        y = self.capture("fc1_out", Dense(self.config, int(channels * self.config.mlp_ratio), name="fc1")(y))
        y = self.capture("gelu_out", gelu(y))
        y = self.capture("fc2_out", Dense(self.config, channels, name="fc2")(y))
        x = x + self.drop_path(y, drop_path_rate)
        return self.capture("out", x), None

    def attention(self, qkv: FeatureMap) -> Float[Array, "star y x channel//3"]:
        """The branches' attention side by side, before `proj`; the channels are those of q, then of k, then of v."""
        height, width = qkv.shape[1:3]
        if self.whole_map:
            branch = StripeAttention(self.config, self.num_heads, height, width, name="whole")
            return self.capture("whole_out", branch(*jnp.split(qkv, 3, axis=-1)))
        vertical = StripeAttention(self.config, self.num_heads // 2, height, self.stripe_width, name="vertical")
        horizontal = StripeAttention(self.config, self.num_heads // 2, self.stripe_width, width, name="horizontal")
        # One split into six, whose gradient is one concatenation; halves of thirds would be padded and added.
        sixths = jnp.split(qkv, 6, axis=-1)
        first = self.capture("vertical_out", vertical(*sixths[0::2]))
        second = self.capture("horizontal_out", horizontal(*sixths[1::2]))
        return jnp.concatenate([first, second], axis=-1)

    def drop_path(self, x: FeatureMap, rate: Float[Array, ""]) -> FeatureMap:
        """Stochastic depth (Huang et al. 2016): drops a sample's branch; the others are scaled to keep the mean."""
        if self.deterministic or self.config.drop_path_rate == 0:
            return x
        keep = jax.random.bernoulli(self.make_rng("drop_path"), 1 - rate, (x.shape[0], 1, 1, 1))
        return jnp.where(keep, x / (1 - rate).astype(x.dtype), 0)


class StridedConv(_Layers):
    """A convolution of stride 2, padded symmetrically by half its size.

    Written as one product of the windows' pixels with the weights: XLA's own convolution has a gradient that is 30
    times slower on a CPU once it stands inside a loop, as it does where gradients are accumulated.
    """

    features: int
    size: int

    @nn.compact
    def __call__(self, x: FeatureMap) -> Float[Array, "star y//2 x//2 {self.features}"]:
        """A map of half the size."""
        kernel, bias = self.weights(self.size, self.size, x.shape[-1], self.features)
        # Columns first: the channels of the result are ordered as the kernel's axes, row by row.
        windows = strided_windows(strided_windows(x, 2, self.size), 1, self.size)
        return self.affine(windows, kernel.reshape(-1, self.features), bias)


def strided_windows(x: FeatureMap, axis: int, size: int) -> Float[Array, "star _ _ {size}*channel"]:
    """Windows of `size` pixels around every second pixel along `axis`, side by side in the channels.

    Args:
        x: zeros lie around it.
        axis: 1 or 2.
        size: of a window, odd.

    Returns:
        As `x`, half as long along `axis` and with `size` times the channels.
    """
    length = x.shape[axis]
    x = jnp.pad(x, [(size // 2, size // 2) if i == axis else (0, 0) for i in range(x.ndim)])
    pixels = [jax.lax.slice_in_dim(x, start, start + length, stride=2, axis=axis) for start in range(size)]
    return jnp.concatenate(pixels, axis=-1)


class Downsample(_Layers):
    """A convolution of stride 2 and a LayerNorm: the patch embedding (7 x 7) and the merges between stages (3 x 3)."""

    features: int
    size: int

    @nn.compact
    def __call__(self, x: FeatureMap) -> Float[Array, "star y//2 x//2 {self.features}"]:
        """A map of half the size."""
        return self.layer_norm("norm")(StridedConv(self.config, self.features, self.size, name="conv")(x))


class CSWin(_Layers):
    """Stamps -> features. Parameters of a stage's blocks are stacked along their first axis, in the blocks' order.

    Intermediate maps come by name: `intermediates(model, params, stamps)`.

    >>> import jax
    >>> model, stamps = acf_jax.CSWin(acf_jax.CSWinConfig.tiny()), jax.numpy.zeros((2, 48, 48, 6))
    >>> jax.eval_shape(lambda key: model.init_with_output(key, stamps)[0], jax.random.key(0)).shape
    (2, 128)
    """

    config: CSWinConfig = CSWinConfig()

    @nn.compact
    def __call__(self, stamps: Stamps, deterministic: bool = True) -> Float[Array, "star {self.config.num_features}"]:
        """The features of a batch of stamps.

        Args:
            stamps: scaled.
            deterministic: False drops paths, with `rngs={"drop_path": key}`, if `config.drop_path_rate` is not 0.

        Returns:
            In `config.dtype`.

        Raises:
            ValueError: if the stamps' size is not divisible by a stage's stride and stripe width, or their bands are
                not as many as the network's.
        """
        config = self.config
        config.check_stamps(stamps.shape)
        x = Downsample(config, config.embed_dim, 7, name="patch_embed")(jnp.asarray(stamps, config.dtype))
        self.capture("patch_embed_out", x)
        for stage in range(len(config.depths)):
            if stage:
                x = Downsample(config, 2 * x.shape[-1], 3, name=f"merge{stage}")(x)
                self.capture(f"merge{stage}_out", x)
            x = self.capture(f"stage{stage + 1}_out", self.stage(stage, x, deterministic))
        x = self.capture("norm_out", self.layer_norm("norm")(x))
        mean = x.mean(axis=(1, 2))
        return mean if config.pooling == "mean" else jnp.concatenate([mean, self.attention_pool(x)], axis=-1)

    def attention_pool(self, x: FeatureMap) -> Float[Array, "star channel"]:
        """Tokens averaged with weights learned from them."""
        score = nn.Dense(
            1, use_bias=False, name="pool", kernel_init=weight_init(self.config.weight_std),
            dtype=self.config.dtype, param_dtype=self.config.param_dtype,
        )(x)  # fmt: skip
        weights = jax.nn.softmax(widened(score), axis=(1, 2)).astype(x.dtype)
        return (weights * x).sum(axis=(1, 2))

    def stage(self, stage: int, x: FeatureMap, deterministic: bool) -> FeatureMap:
        """A stage's blocks, one after the other.

        Args:
            stage: its number, from 0.
            x: the map before the first block.
            deterministic: as in the call.

        Returns:
            The map after the last block.
        """
        config = self.config
        depth, stripe_width = config.depths[stage], config.stripe_widths[stage]
        # The authors' rule: the last stage, and any map no larger than its stripes, has a single branch.
        whole_map = stage + 1 == len(config.depths) or x.shape[1:3] == (stripe_width, stripe_width)
        blocks = nn.scan(
            rematerialised(Block, config.remat),
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "drop_path": True},
            length=depth,
            unroll=depth if depth <= UNROLLED_DEPTH else 1,
        )
        arguments = (config, config.num_heads[stage], stripe_width, whole_map, deterministic)
        return blocks(*arguments, name=f"stage{stage + 1}")(x, jnp.asarray(config.drop_path_rates[stage]))[0]


def rematerialised(block: type[Block], remat: str) -> type[Block]:
    """`block`, keeping for the backward pass no more than `CSWinConfig.remat` says."""
    if remat == "dots":
        return nn.remat(block, prevent_cse=False, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
    return nn.remat(block) if remat == "blocks" else block


def intermediates(model: CSWin, params: dict[str, Any], stamps: Stamps) -> dict[str, Any]:
    """Every named intermediate map of a deterministic forward pass.

    Args:
        model: the network.
        params: its parameters.
        stamps: scaled.

    Returns:
        "patch_embed_out", "stage1_out", "merge1_out", ... "norm_out": (batch, height, width, channels); and under
        "stage1", "stage2", ... the operations of its blocks: "norm1_out", "qkv_out", "vertical_out", "horizontal_out"
        (or "whole_out"), "proj_out", "norm2_out", "fc1_out", "gelu_out", "fc2_out", "out", each with the block's number
        as an axis before the batch's.
    """
    _, state = model.apply({"params": params}, stamps, mutable="intermediates")
    return state["intermediates"]
