"""Parameters of the CSWin authors' PyTorch code -> parameters of `cswin.CSWin`; needs no PyTorch."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from acf_jax.cswin import CSWin, CSWinConfig

# Ours -> theirs, part by part of a parameter's path. Their two branches are attns.0 and attns.1, a single one attns.0.
MODULE_NAMES = {
    "patch_embed/conv": "stage1_conv_embed.0",
    "patch_embed/norm": "stage1_conv_embed.2",
    "vertical/lepe": "attns.0.get_v",
    "horizontal/lepe": "attns.1.get_v",
    "whole/lepe": "attns.0.get_v",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "kernel": "weight",
    "scale": "weight",
}
# PyTorch's (out, in) and (out, in, height, width) -> Flax's (in, out) and (height, width, in, out).
KERNEL_AXES = {2: (1, 0), 4: (2, 3, 1, 0)}


def cswin_params_from_torch(
    state_dict: Mapping[str, np.ndarray], config: CSWinConfig, stamp_size: int = 48
) -> dict[str, dict]:
    """Flax parameters from the authors' named arrays.

    Args:
        state_dict: name -> array in PyTorch's layout, as the authors' code names and shapes them.
        config: of the network to fill.
        stamp_size: pixels on a side. A stage whose map is no larger than its stripes has a single branch, so the
            parameters depend on it.

    Returns:
        `params` of `CSWin(config)`, as NumPy arrays of `config.param_dtype`; a stage's blocks are stacked.

    Raises:
        ValueError: listing every name that is missing or has another shape here (+) and every name or shape that
            this network has no place for (-).
    """
    shapes = parameter_shapes(config, stamp_size)
    expected = {name: shape for path, leaf in shapes.items() for name, shape in torch_shapes(path, leaf.shape).items()}
    given = {name: tuple(np.shape(array)) for name, array in state_dict.items()}
    if given != expected:
        raise ValueError(
            "The state dict does not fit the network (+ wanted, - given):\n" + _differences(expected, given)
        )
    params: dict[str, dict] = {}
    for path, leaf in shapes.items():
        arrays = [np.asarray(state_dict[name]) for name in torch_shapes(path, leaf.shape)]
        if path.endswith("kernel"):
            arrays = [array.transpose(KERNEL_AXES[array.ndim]) for array in arrays]
        *modules, name = path.split("/")
        place = params
        for module in modules:
            place = place.setdefault(module, {})
        place[name] = np.stack(arrays).reshape(leaf.shape).astype(leaf.dtype)
    return params


def parameter_shapes(config: CSWinConfig, stamp_size: int = 48) -> dict[str, jax.ShapeDtypeStruct]:
    """Path ("stage1/qkv/kernel") -> shape and dtype of every parameter, without computing any."""
    stamps = jnp.zeros((1, stamp_size, stamp_size, config.num_bands))
    shapes = jax.eval_shape(CSWin(config).init, jax.random.key(0), stamps)["params"]
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def torch_shapes(path: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The authors' names and shapes of the parameter at our `path`: one, or in a stage one a block, in order."""
    modules = path
    for ours, theirs in MODULE_NAMES.items():
        modules = modules.replace(ours, theirs)
    modules = modules.replace("/", ".")
    stage, _, rest = modules.partition(".")
    blocks = shape[0] if path.startswith("stage") else None
    one = shape if blocks is None else shape[1:]
    if path.endswith("kernel"):
        axes = KERNEL_AXES[len(one)]
        one = tuple(one[axes.index(axis)] for axis in range(len(one)))
    return {modules: one} if blocks is None else {f"{stage}.{block}.{rest}": one for block in range(blocks)}


def _differences(expected: dict[str, tuple], given: dict[str, tuple]) -> str:
    """The entries of the two that differ, a line each, as a diff shows them."""
    lines = [(name, "+", shape) for name, shape in expected.items() if given.get(name) != shape]
    lines += [(name, "-", shape) for name, shape in given.items() if expected.get(name) != shape]
    return "\n".join(f"{sign} {name} {shape}" for name, sign, shape in sorted(lines))
