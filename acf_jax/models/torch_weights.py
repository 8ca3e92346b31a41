"""Parameters of the CSWin authors' PyTorch code <-> parameters of `cswin.CSWin`; needs no PyTorch."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acf_jax.models.cswin import CSWin, CSWinConfig

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
) -> dict[str, Any]:
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
            this network does not have (-).
    """
    shapes = parameter_shapes(config, stamp_size)
    _check_fit("The state dict does", _torch_shapes_of(shapes), state_dict)
    params: dict[str, Any] = {}
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


def torch_from_cswin_params(
    params: Mapping[str, Any], config: CSWinConfig, stamp_size: int = 48
) -> dict[str, np.ndarray]:
    """The authors' named arrays from Flax parameters: the inverse of `cswin_params_from_torch`, bit by bit.

    Args:
        params: of `CSWin(config)`; of an `ACF`, its `params["backbone"]`.
        config: of the network they belong to.
        stamp_size: pixels on a side, as in `cswin_params_from_torch`.

    Returns:
        name -> array in PyTorch's layout and of the parameter's dtype, contiguous.

    Raises:
        ValueError: listing every path that is missing or has another shape in the network (+) and every path or shape
            that the network does not have (-).
    """
    shapes = parameter_shapes(config, stamp_size)
    leaves = _by_path(params)
    _check_fit("The parameters do", {path: leaf.shape for path, leaf in shapes.items()}, leaves)
    state_dict: dict[str, np.ndarray] = {}
    for path, leaf in leaves.items():
        blocks = np.asarray(leaf) if _is_stacked(path) else [np.asarray(leaf)]
        if path.endswith("kernel"):
            blocks = [block.transpose(np.argsort(KERNEL_AXES[block.ndim])) for block in blocks]
        names = torch_shapes(path, np.shape(leaf))
        state_dict |= {name: block.copy() for name, block in zip(names, blocks, strict=True)}
    return state_dict


def parameter_shapes(config: CSWinConfig, stamp_size: int = 48) -> dict[str, jax.ShapeDtypeStruct]:
    """Path ("stage1/qkv/kernel") -> shape and dtype of every parameter, without computing any."""
    stamps = jnp.zeros((1, stamp_size, stamp_size, config.num_bands))
    return _by_path(jax.eval_shape(CSWin(config).init, jax.random.key(0), stamps)["params"])


def torch_state_shapes(config: CSWinConfig, stamp_size: int = 48) -> dict[str, tuple[int, ...]]:
    """The authors' names and shapes of all parameters of the network."""
    return _torch_shapes_of(parameter_shapes(config, stamp_size))


def torch_shapes(path: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The authors' names and shapes of the parameter at our `path`: one, or in a stage one a block, in order."""
    modules = path
    for ours, theirs in MODULE_NAMES.items():
        modules = modules.replace(ours, theirs)
    modules = modules.replace("/", ".")
    stage, _, rest = modules.partition(".")
    one = shape[1:] if _is_stacked(path) else shape
    if path.endswith("kernel"):
        axes = KERNEL_AXES[len(one)]
        one = tuple(one[axes.index(axis)] for axis in range(len(one)))
    return {f"{stage}.{block}.{rest}": one for block in range(shape[0])} if _is_stacked(path) else {modules: one}


def _torch_shapes_of(shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, tuple[int, ...]]:
    return {name: shape for path, leaf in shapes.items() for name, shape in torch_shapes(path, leaf.shape).items()}


def _is_stacked(path: str) -> bool:
    """Whether the parameter's first axis counts the blocks of a stage."""
    return path.startswith("stage")


def _by_path(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> leaf of a tree of parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _check_fit(subject: str, expected: dict[str, tuple[int, ...]], arrays: Mapping[str, Any]) -> None:
    """Raises ValueError, listing the entries that differ as a diff does, if the two do not agree."""
    given = {name: tuple(np.shape(array)) for name, array in arrays.items()}
    lines = [(name, "+", shape) for name, shape in expected.items() if given.get(name) != shape]
    lines += [(name, "-", shape) for name, shape in given.items() if expected.get(name) != shape]
    if lines:
        raise ValueError(
            f"{subject} not fit the network (+ wanted, - given):\n"
            + "\n".join(f"{sign} {name} {shape}" for name, sign, shape in sorted(lines))
        )
