"""Our CSWin Transformer beside the golden values: every quantity's deviation, in every precision, and its tolerance.

The one owner of the comparison: the tests assert what `python -m tests.golden` prints. Quantities have the authors'
names: "operation stage1.0.qkv", "map stage1", "features", "loss", "gradient stage1.0.qkv.weight", "gradient norms".
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from acf_jax.models.cswin import CSWin, CSWinConfig
from acf_jax.models.torch_weights import cswin_params_from_torch, torch_from_cswin_params

FOLDER = Path(__file__).parent
MAPS = ("patch_embed", "stage1", "merge1", "stage2", "merge2", "stage3", "merge3", "stage4", "norm")
OPERATIONS = {  # of a block: the authors' name -> ours
    "norm1": "norm1_out",
    "qkv": "qkv_out",
    "attns.0": "vertical_out",
    "attns.1": "horizontal_out",
    "proj": "proj_out",
    "norm2": "norm2_out",
    "mlp.fc1": "fc1_out",
    "mlp.act": "gelu_out",
    "mlp": "fc2_out",
    "out": "out",
}
KINDS = ("operation", "map", "features", "loss", "gradient", "gradient norms")

# Operations and gradients were computed in float64 but stored in float32: 2^-24 is as far as they can be compared.
STORED_ROUNDOFF = 2.0**-24
FLOAT64_TOLERANCE = 1e-10
# In the narrower precisions a deviation is rounding that has piled up. The tolerance is so many unit roundoffs of the
# dtype: a few dozen in float32, where every term of a sum is rounded; less in bfloat16, whose sums are in float32 and
# rounded once; twice as much in gradients, which go through every layer twice; hardly any in the loss, a mean over 512
# numbers.
ROUNDOFFS = {"float32": 32, "bfloat16": 16}
ROUNDOFFS_OF_THE_LOSS = 4


class Precision(NamedTuple):
    """What the network computes in, and what its parameters are stored in."""

    dtype: str
    param_dtype: str

    @property
    def config(self) -> CSWinConfig:
        """The golden network's, in this precision."""
        return CSWinConfig.tiny(dtype=self.dtype, param_dtype=self.param_dtype)


PRECISIONS = {
    "float64": Precision("float64", "float64"),
    "float32": Precision("float32", "float32"),
    "mixed": Precision("bfloat16", "float32"),
    "bfloat16": Precision("bfloat16", "bfloat16"),
}


@functools.cache
def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of one golden file."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def golden_stamps() -> np.ndarray:
    """(4, 48, 48, 6) float32."""
    return load("cswin_tiny")["in.x"].transpose(0, 2, 3, 1)


def golden_weights() -> dict[str, np.ndarray]:
    """The authors' name -> float32 array."""
    others = ("in", "out", "loss", "gradnorm")
    return {name: array for name, array in load("cswin_tiny").items() if name.split(".")[0] not in others}


def golden_params(precision: str) -> dict:
    """`golden_weights` as parameters of our network."""
    with jax.enable_x64(precision == "float64"):
        return cswin_params_from_torch(golden_weights(), PRECISIONS[precision].config)


def golden_quantities() -> dict[str, np.ndarray]:
    """Every quantity's golden value, by name."""
    values, gradients = load("cswin_tiny"), load("cswin_tiny_grads")
    quantities = {"operation " + name.removeprefix("op."): array for name, array in load("cswin_tiny_ops").items()}
    quantities |= {f"map {name}": values[f"out.{name}"] for name in MAPS}
    quantities |= {"features": values["out.features"], "loss": values["loss"]}
    quantities |= {f"gradient {name}": array for name, array in gradients.items()}
    norms = [values[f"gradnorm.{name}"] for name in gradients]
    return quantities | {"gradient norms": np.array([*norms, values["gradnorm.total"]])}


def our_quantities(precision: str, params: dict | None = None) -> dict[str, np.ndarray]:
    """The same quantities of our network, in float64 after they were computed in `precision`.

    Args:
        precision: a key of `PRECISIONS`.
        params: other than the golden ones, to see what difference they make.
    """
    params = golden_params(precision) if params is None else params
    config = PRECISIONS[precision].config
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):  # no TF32 on a GPU
        (loss, (features, maps)), gradients = _compiled_pass(config)(params, golden_stamps())
        gradients = torch_from_cswin_params(gradients, config)
    gradients = {name: np.asarray(gradients[name], np.float64) for name in load("cswin_tiny_grads")}
    norms = np.array([np.linalg.norm(gradient) for gradient in gradients.values()])
    quantities = forward_quantities(features, maps) | {"loss": np.asarray(loss, np.float64)}
    quantities |= {f"gradient {name}": gradient for name, gradient in gradients.items()}
    return quantities | {"gradient norms": np.array([*norms, np.linalg.norm(norms)])}


@functools.cache
def _compiled_pass(config: CSWinConfig):
    """Parameters and stamps -> loss, features and named maps; and the loss's gradients."""

    def loss(params, stamps):
        features, maps = features_and_maps(config, params, stamps)
        wide = features.astype(jnp.promote_types(features.dtype, jnp.float32))
        return jnp.mean(wide**2), (features, maps)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def features_and_maps(config: CSWinConfig, params: dict, stamps: jax.Array) -> tuple[jax.Array, dict]:
    """The network's output and its named intermediates."""
    features, state = CSWin(config).apply({"params": params}, stamps, mutable="intermediates")
    return features, state["intermediates"]


def forward_quantities(features: jax.Array, maps: Mapping) -> dict[str, np.ndarray]:
    """Those of `our_quantities` that need no gradient."""
    golden = golden_quantities()
    quantities = {}
    for name in golden:
        kind, _, part = name.partition(" ")
        if kind == "operation":
            stage, _, operation = part.split(".", 2)  # stage1, 0, qkv: of the stage's first block, for the first stamp
            ours = OPERATIONS[operation] if OPERATIONS[operation] in maps[stage] else "whole_out"
            quantities[name] = maps[stage][ours][0, :1]
        elif kind == "map":
            quantities[name] = maps[f"{part}_out"]
    quantities["features"] = features
    return {name: np.asarray(array, np.float64).reshape(golden[name].shape) for name, array in quantities.items()}


def forward_pass(precision: str) -> dict[str, np.ndarray]:
    """`forward_quantities` of the network as its code is now: compiled afresh, in a fraction of a full pass's time."""
    forward = jax.jit(functools.partial(features_and_maps, PRECISIONS[precision].config))
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):
        return forward_quantities(*forward(golden_params(precision), golden_stamps()))


def deviations(quantities: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Each quantity's largest absolute deviation, relative to its largest golden absolute value.

    Of the gradients' norms, each is relative to its own golden value.
    """
    golden = golden_quantities()
    by_name = {}
    for name, ours in quantities.items():
        scale = np.abs(golden[name]) if name == "gradient norms" else np.abs(golden[name]).max()
        by_name[name] = float(np.max(np.abs(ours - golden[name]) / scale))
    return by_name


@functools.cache
def measured(precision: str) -> dict[str, float]:
    """`deviations` of our network in `precision`."""
    return deviations(our_quantities(precision))


def kind_of(quantity: str) -> str:
    """The entry of `KINDS` to which a quantity belongs."""
    return quantity if quantity in KINDS else quantity.partition(" ")[0]


def tolerance(quantity: str, precision: str) -> float:
    """The largest deviation that the precision explains."""
    kind, dtype = kind_of(quantity), PRECISIONS[precision].dtype
    if dtype == "float64":
        return STORED_ROUNDOFF if kind in ("operation", "gradient") else FLOAT64_TOLERANCE
    roundoffs = ROUNDOFFS_OF_THE_LOSS if kind == "loss" else ROUNDOFFS[dtype]
    if kind in ("gradient", "gradient norms"):
        roundoffs *= 2
    return roundoffs * float(jnp.finfo(dtype).eps) / 2


def beyond_tolerance(deviations: Mapping[str, float], precision: str) -> dict[str, float]:
    """The quantities that deviate by more than the precision explains, or are not finite."""
    return {name: value for name, value in deviations.items() if not value <= tolerance(name, precision)}
