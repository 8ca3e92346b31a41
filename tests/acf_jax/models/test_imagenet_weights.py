import functools

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.special import softmax

from acf_jax.models.cswin import CSWin, CSWinConfig, intermediates
from acf_jax.models.imagenet_weights import adapt_imagenet_state_dict, backbone_params_from_file, bands_from_colours
from acf_jax.models.torch_files import WeightsFileError
from acf_jax.models.torch_weights import cswin_params_from_torch, torch_state_shapes
from tests.acf_jax.models.torch_save import SavedTensor, zip_bytes

SIZES = {"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 4), "stripe_widths": (2, 2)}
DOUBLE = {"dtype": "float64", "param_dtype": "float64"}
STAMP_SIZE = 16  # maps of 8 and 4 tokens a side


def make_weights(num_channels=3, **sizes):
    """Random weights of a network on so many channels, with a classifier."""
    shapes = torch_state_shapes(CSWinConfig(num_bands=num_channels, **SIZES | sizes), STAMP_SIZE)
    shapes |= {"head.weight": (10, 16), "head.bias": (10,)}
    generator = np.random.default_rng(0)
    return {name: generator.normal(0, 0.3, shape) for name, shape in shapes.items()}


def test_only_the_classifier_and_the_first_convolution_change():
    weights = make_weights()
    adapted = adapt_imagenet_state_dict(weights, CSWinConfig(**SIZES), STAMP_SIZE)
    assert weights.keys() - adapted.keys() == {"head.weight", "head.bias"}
    changed = [name for name, array in adapted.items() if not np.array_equal(array, weights[name])]
    assert changed == ["stage1_conv_embed.0.weight"]
    cswin_params_from_torch(adapted, CSWinConfig(**SIZES), STAMP_SIZE)


@pytest.mark.parametrize("num_bands", [1, 2, 3, 4, 5, 6, 7])
def test_every_kernel_is_given_away_completely_and_in_the_order_of_wavelength(num_bands):
    kernel = np.random.default_rng(0).normal(size=(8, 3, 7, 7))
    bands = bands_from_colours(kernel, num_bands)
    np.testing.assert_allclose(bands.sum(axis=1), kernel.sum(axis=1), rtol=0, atol=1e-14)
    mirrored = bands_from_colours(kernel[:, ::-1], num_bands)
    np.testing.assert_allclose(mirrored[:, ::-1], bands, rtol=0, atol=1e-14)


def test_shares_of_six_bands():
    red, green, blue = np.random.default_rng(0).normal(size=(3, 8, 7, 7)).astype(np.float32)
    kernel = np.stack([red, green, blue], axis=1)
    halves = np.stack([blue, blue, green, green, red, red], axis=1) / 2
    np.testing.assert_array_equal(bands_from_colours(kernel, 6), halves, strict=True)
    np.testing.assert_array_equal(bands_from_colours(kernel, 3), kernel[:, ::-1], strict=True)


def without_classifier(weights):
    return {name: array for name, array in weights.items() if not name.startswith("head.")}


def features(config, state_dict, stamps):
    params = cswin_params_from_torch(state_dict, config, STAMP_SIZE)
    return np.asarray(jax.jit(CSWin(config).apply)({"params": params}, stamps))


def test_a_grey_image_is_seen_as_before():
    """Any pattern, equal in all bands: the network on six bands gives the features of the one on three colours."""
    weights = make_weights()
    colours, bands = (CSWinConfig(num_bands=number, **SIZES, **DOUBLE) for number in (3, 6))
    pattern = np.random.default_rng(1).normal(size=(2, STAMP_SIZE, STAMP_SIZE, 1))
    with jax.enable_x64(True):
        before = features(colours, without_classifier(weights), pattern.repeat(3, axis=-1))
        adapted = adapt_imagenet_state_dict(weights, bands, STAMP_SIZE)
        after = features(bands, adapted, pattern.repeat(6, axis=-1))
    assert np.std(before) > 0.1
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-12)


def two_branches(qkv, kernels, biases, heads):
    """Both halves of the channels of (height, width, 3 channels) attending over the whole map, each with its LePE."""
    (height, width, channels), half = qkv[..., : qkv.shape[-1] // 3].shape, qkv.shape[-1] // 6
    outputs = []
    for branch, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        q, k, v = (part[..., branch * half :][..., :half] for part in np.split(qkv, 3, axis=-1))
        padded = np.pad(v, ((1, 1), (1, 1), (0, 0)))
        places = [(y, x) for y in range(3) for x in range(3)]
        lepe = bias + sum(padded[y : y + height, x : x + width] * kernel[:, 0, y, x] for y, x in places)
        attended = []
        for head in np.split(np.arange(half), heads // 2):
            queries, keys, values = (part.reshape(-1, half)[:, head] for part in (q, k, v))
            attended.append(softmax(queries @ keys.T / len(head) ** 0.5, axis=-1) @ values)
        outputs.append(np.concatenate(attended, axis=-1).reshape(height, width, half) + lepe)
    return np.concatenate(outputs, axis=-1).reshape(height, width, channels)


def test_two_branches_on_a_map_as_small_as_their_stripes_are_a_single_one():
    """The last stage of weights with two branches, computed as two in NumPy, is our single branch."""
    two = make_weights(depths=(1, 1, 1), num_heads=(2, 4, 4), stripe_widths=(2, 2, 2))
    weights = {name: array for name, array in two.items() if not name.startswith(("merge2", "stage3"))}
    weights |= {name: np.ones(16) for name in ("norm.weight", "norm.bias")}
    config = CSWinConfig(num_bands=3, **SIZES, **DOUBLE)
    branches = [[weights[f"stage2.0.attns.{i}.get_v.{kind}"] for i in (0, 1)] for kind in ("weight", "bias")]
    stamps = np.random.default_rng(2).normal(size=(1, STAMP_SIZE, STAMP_SIZE, 3))
    with jax.enable_x64(True):
        adapted = adapt_imagenet_state_dict(weights, config, STAMP_SIZE)
        params = cswin_params_from_torch(adapted, config, STAMP_SIZE)
        maps = jax.tree.map(
            np.asarray, jax.jit(functools.partial(intermediates, CSWin(config)))(params, stamps)["stage2"]
        )
    qkv, ours = maps["qkv_out"][0][0], maps["whole_out"][0][0]
    assert qkv.shape == (4, 4, 48)
    np.testing.assert_allclose(two_branches(qkv, *branches, heads=4), ours, rtol=0, atol=1e-12)


def test_branches_are_joined_and_parted_as_the_network_needs():
    """A stage whose map is as small as its stripes has a single branch, as the last one has."""
    two, single = (CSWinConfig(num_bands=4, **SIZES | {"stripe_widths": (width, 2)}) for width in (2, 8))
    weights = make_weights(num_channels=4)
    joined = adapt_imagenet_state_dict(weights, single, STAMP_SIZE)
    cswin_params_from_torch(joined, single, STAMP_SIZE)
    parts = [weights[f"stage1.0.attns.{branch}.get_v.weight"] for branch in (0, 1)]
    np.testing.assert_array_equal(joined["stage1.0.attns.0.get_v.weight"], np.concatenate(parts))
    parted = adapt_imagenet_state_dict(joined, two, STAMP_SIZE)
    assert parted.keys() == without_classifier(weights).keys()
    for name, array in parted.items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)


def published(embed_dim, depths, num_heads):
    """As many names and shapes of a published network as tell its sizes; no numbers."""
    config = CSWinConfig(num_bands=3, embed_dim=embed_dim, depths=depths, num_heads=num_heads, stripe_widths=(1,) * 4)
    return config, {
        name: np.broadcast_to(np.float32(0), shape) for name, shape in torch_state_shapes(config, 32).items()
    }


def test_the_other_published_sizes_are_refused_by_what_differs():
    base_config, base = published(96, (2, 4, 32, 2), (4, 8, 16, 32))
    with pytest.raises(ValueError, match="those of CSWin-B, not of the config's network") as caught:
        adapt_imagenet_state_dict(base, CSWinConfig())
    assert [line.strip() for line in str(caught.value).splitlines()[1:-1]] == [
        "- embed_dim: 96",
        "+ embed_dim: 64",
        "- num_heads: (4, 8, 16, 32)",
        "+ num_heads: (2, 4, 8, 16)",
    ]
    adapted = adapt_imagenet_state_dict(base, base_config, 32)
    assert {name: array.shape for name, array in adapted.items()} == torch_state_shapes(base_config, 32)
    # Heads do not show in any shape.
    with pytest.raises(ValueError, match=r"(?s)CSWin-B.*- num_heads: \(4, 8, 16, 32\)\n  \+ num_heads: \(2, 8, 16, 32"):
        adapt_imagenet_state_dict(base, CSWinConfig(embed_dim=96, num_heads=(2, 8, 16, 32)))


def test_weights_of_something_else_are_refused():
    config = CSWinConfig(**SIZES)
    with pytest.raises(ValueError, match=r"not a CSWin Transformer's: .* here are layer1\.weight"):
        adapt_imagenet_state_dict({"layer1.weight": np.zeros(3)}, config, STAMP_SIZE)
    with pytest.raises(ValueError, match="5 channels: neither 3 colours nor 6 bands"):
        adapt_imagenet_state_dict(make_weights(num_channels=5), config, STAMP_SIZE)
    wider = {"stage1.0.mlp.fc1.weight": np.zeros((24, 8))}
    with pytest.raises(ValueError, match=r"(?s)another network.*- mlp_ratio: 3.0\n  \+ mlp_ratio: 4"):
        adapt_imagenet_state_dict(make_weights() | wider, config, STAMP_SIZE)
    odd = {"stage2.0.extra": np.zeros(2)}
    with pytest.raises(ValueError, match=r"does not fit .*\n- stage2\.0\.extra \(2,\)$"):
        cswin_params_from_torch(adapt_imagenet_state_dict(make_weights() | odd, config, STAMP_SIZE), config, STAMP_SIZE)


def test_both_kinds_of_file_give_the_same_parameters(tmp_path):
    weights = {name: array.astype(np.float32) for name, array in make_weights().items()}
    config, safe, torch = CSWinConfig(**SIZES), tmp_path / "a.safetensors", tmp_path / "a.pth"
    save_file(weights, safe)
    torch.write_bytes(zip_bytes({"state_dict_ema": {name: SavedTensor(array) for name, array in weights.items()}}))
    params = backbone_params_from_file(safe, config, STAMP_SIZE)
    jax.tree.map(np.testing.assert_array_equal, backbone_params_from_file(torch, config, STAMP_SIZE), params)
    np.testing.assert_array_equal(params["stage2"]["fc1"]["kernel"][0], weights["stage2.0.mlp.fc1.weight"].T)
    weights["merge1.norm.bias"][3] = np.nan
    save_file(weights, safe)
    with pytest.raises(ValueError, match=r"a\.safetensors has values of merge1\.norm\.bias that are not finite"):
        backbone_params_from_file(safe, config, STAMP_SIZE)
    with pytest.raises(WeightsFileError, match=r"b\.pth is not there"):
        backbone_params_from_file(tmp_path / "b.pth", config, STAMP_SIZE)
