"""The backbone's start from a file of the CSWin authors' weights, as trained on ImageNet: docs/imagenet-weights.md."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from acf_jax.errors import differences
from acf_jax.models.cswin import CSWinConfig
from acf_jax.models.torch_files import read_state_dict
from acf_jax.models.torch_weights import cswin_params_from_torch, torch_state_shapes

FIRST_KERNEL = "stage1_conv_embed.0.weight"  # (channels, colours, 7, 7)
CLASSIFIER = "head."
BLOCK = re.compile(r"stage(\d+)\.(\d+)\.")
# The published networks: (channels of the first stage, blocks a stage) -> name, heads a stage. Heads do not show in the
# weights' shapes, and the same weights cut into other heads are another network.
PUBLISHED: dict[tuple[int, tuple[int, ...]], tuple[str, tuple[int, ...]]] = {
    (64, (1, 2, 21, 1)): ("CSWin-T", (2, 4, 8, 16)),
    (64, (2, 4, 32, 2)): ("CSWin-S", (2, 4, 8, 16)),
    (96, (2, 4, 32, 2)): ("CSWin-B", (4, 8, 16, 32)),
    (144, (2, 4, 32, 2)): ("CSWin-L", (6, 12, 24, 24)),
}


def backbone_params_from_file(path: str | Path, config: CSWinConfig, stamp_size: int = 48) -> dict[str, Any]:
    """Parameters of `CSWin(config)` from a file.

    Args:
        path: a `.pth` or `.safetensors` file.
        config: of the network to fill.
        stamp_size: pixels on a side.

    Returns:
        As `cswin_params_from_torch`.

    Raises:
        WeightsFileError: if the file cannot be read.
        ValueError: if its weights are those of another network, or not finite.
    """
    state_dict = adapt_imagenet_state_dict(read_state_dict(path), config, stamp_size)
    infinite = [name for name, array in state_dict.items() if not np.all(np.isfinite(array))]
    if infinite:
        raise ValueError(f"{path} has values of {infinite[0]} that are not finite.")
    return cswin_params_from_torch(state_dict, config, stamp_size)


def adapt_imagenet_state_dict(
    state_dict: Mapping[str, np.ndarray], config: CSWinConfig, stamp_size: int = 48
) -> dict[str, np.ndarray]:
    """The authors' ImageNet weights as a state dict that `cswin_params_from_torch` takes.

    The classifier is left out; the first convolution's colours become bands (`bands_from_colours`); everything else
    keeps its numbers. Neither the stride and padding of the first convolution nor the width of the stripes shows in a
    parameter, so weights of 224 and of 384 pixels serve alike. The width decides only whether a stage has two
    branches, each with a 3 x 3 LePE kernel for its half of the channels, or a single one with a kernel for all. Because
    heads are runs of consecutive channels, two kernels side by side are the same as a single one; where the map is no
    larger than the stripes, both compute the same.

    Args:
        state_dict: name -> array, with or without the classifier.
        config: of the network to fill.
        stamp_size: pixels on a side.

    Returns:
        Name -> array.

    Raises:
        ValueError: if the weights are those of a network of other sizes, listing what differs.
    """
    adapted = {name: array for name, array in state_dict.items() if not name.startswith(CLASSIFIER)}
    _check_sizes(adapted, config)
    adapted[FIRST_KERNEL] = _fit_channels(adapted[FIRST_KERNEL], config.num_bands)
    wanted = torch_state_shapes(config, stamp_size)
    for first in [name for name in adapted if ".attns.0." in name]:
        second = first.replace(".attns.0.", ".attns.1.")
        whole = np.concatenate([adapted.pop(name) for name in (first, second) if name in adapted])
        adapted |= zip((first, second), np.split(whole, 2), strict=True) if second in wanted else {first: whole}
    return adapted


def bands_from_colours(
    kernel: Float[np.ndarray, "channel 3 height width"], num_bands: int
) -> Float[np.ndarray, "channel {num_bands} height width"]:
    """A first convolution on red, green and blue -> one on bands, from the bluest to the reddest.

    Blue, green and red are taken as three equal pieces of the spectrum that the bands divide equally among themselves,
    and each colour's kernel is shared out over its piece: of six bands u and v get half of the blue kernel each, g and
    r half of the green one, i and z half of the red one. The bands reach far beyond what the eye sees, so only the
    order of the wavelengths can be kept.

    The shares of a kernel add up to the whole kernel. So an image that is equal in all bands, whatever its pattern, is
    filtered by the sum of the three kernels, as a grey image was: the filters for shapes keep their response, in sign
    and size, and those for colours stay blind to grey.

    Args:
        kernel: red first.
        num_bands: 1 or more.

    Returns:
        The kernel on bands, in the dtype of `kernel`.
    """
    # In units of 1 / (3 bands) of the spectrum, in which all edges are whole numbers.
    band, colour = 3 * np.arange(num_bands)[:, None], num_bands * np.arange(3)
    overlap = np.minimum(band + 3, colour + num_bands) - np.maximum(band, colour)
    shares = np.maximum(overlap, 0) / num_bands  # (bands, colours); a colour's shares add up to 1
    return np.einsum("bc,ochw->obhw", shares, kernel[:, ::-1]).astype(kernel.dtype)


def _fit_channels(kernel: np.ndarray, num_bands: int) -> np.ndarray:
    """A first kernel for this many bands; one that was trained on as many bands, not on three colours, is kept."""
    if kernel.shape[1] == 3:
        return bands_from_colours(kernel, num_bands)
    if kernel.shape[1] == num_bands:
        return kernel
    raise ValueError(
        f"The weights' first convolution takes {kernel.shape[1]} channels: neither 3 colours nor {num_bands} bands."
    )


def _check_sizes(state_dict: Mapping[str, np.ndarray], config: CSWinConfig) -> None:
    """Raises ValueError if the weights' network has other sizes than the config's."""
    first, hidden = state_dict.get(FIRST_KERNEL), state_dict.get("stage1.0.mlp.fc1.weight")
    if first is None or hidden is None or first.ndim != 4:
        raise ValueError(
            f"The weights are not a CSWin Transformer's: its authors' code names one {FIRST_KERNEL}, and here are "
            f"{', '.join(list(state_dict)[:3])}, ..."
        )
    blocks = {match.groups() for match in map(BLOCK.match, state_dict) if match}
    stages = sorted({int(stage) for stage, _ in blocks})
    depths = tuple(sum(int(stage) == one for stage, _ in blocks) for one in stages)
    theirs = {"embed_dim": first.shape[0], "depths": depths, "mlp_ratio": hidden.shape[0] / first.shape[0]}
    name, heads = PUBLISHED.get((first.shape[0], depths), ("another network", config.num_heads))
    ours = {size: getattr(config, size) for size in (*theirs, "num_heads")}
    lines = differences(theirs | {"num_heads": heads}, ours)
    if lines:
        raise ValueError(
            f"The weights are those of {name}, not of the config's network (- theirs, + the config's):\n  "
            + "\n  ".join(lines)
            + "\nSet these fields of --config.model to theirs, or take other weights."
        )
