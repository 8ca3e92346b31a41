import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acf_jax.models.cswin import CSWinConfig
from acf_jax.models.torch_weights import (
    cswin_params_from_torch,
    parameter_shapes,
    torch_from_cswin_params,
    torch_state_shapes,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "cswin_tiny.npz"
CONFIG = CSWinConfig(embed_dim=4, depths=(2, 1), num_heads=(2, 2), stripe_widths=(2, 2))


@pytest.fixture
def state_dict():
    generator, shapes = np.random.default_rng(0), torch_state_shapes(CONFIG, 8)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_layouts(state_dict):
    """Each kind of layer computes with its Flax weights what the formula of PyTorch's layer says."""
    params = cswin_params_from_torch(state_dict, CONFIG, 8)
    dense, conv, depthwise = (
        state_dict[f"{name}.weight"] for name in ("stage1.1.qkv", "merge1.conv", "stage1.1.attns.1.get_v")
    )
    np.testing.assert_array_equal(params["stage1"]["qkv"]["kernel"][1], dense.T)
    ours = params["merge1"]["conv"]["kernel"]
    assert all(
        ours[y, x, i, o] == conv[o, i, y, x] for o in range(8) for i in range(4) for y in range(3) for x in range(3)
    )
    ours = params["stage1"]["horizontal"]["lepe"]["kernel"][1]
    assert all(ours[y, x, 0, c] == depthwise[c, 0, y, x] for c in range(2) for y in range(3) for x in range(3))
    np.testing.assert_array_equal(params["stage1"]["norm2"]["scale"][0], state_dict["stage1.0.norm2.weight"])
    np.testing.assert_array_equal(params["patch_embed"]["norm"]["bias"], state_dict["stage1_conv_embed.2.bias"])


def test_every_array_finds_its_place(state_dict):
    params = cswin_params_from_torch(state_dict, CONFIG, 8)
    placed = np.sort(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)]))
    np.testing.assert_array_equal(placed, np.sort(np.concatenate([a.ravel() for a in state_dict.values()])))


def test_what_does_not_fit_is_listed(state_dict):
    del state_dict["norm.bias"]
    state_dict["head.weight"] = np.zeros((10, 8))
    state_dict["stage1.0.proj.weight"] = np.zeros((4, 5))
    with pytest.raises(ValueError, match="does not fit") as caught:
        cswin_params_from_torch(state_dict, CONFIG, 8)
    assert str(caught.value).splitlines()[1:] == [
        "- head.weight (10, 8)",
        "+ norm.bias (8,)",
        "+ stage1.0.proj.weight (4, 4)",
        "- stage1.0.proj.weight (4, 5)",
    ]


def assert_bits_equal(given, expected):
    assert given.keys() == expected.keys()
    for name, array in expected.items():
        assert given[name].dtype == array.dtype
        assert given[name].shape == array.shape
        assert given[name].tobytes() == array.tobytes(), name
        assert given[name].flags.c_contiguous


def test_the_authors_weights_go_there_and_back():
    names = torch_state_shapes(CSWinConfig.tiny())
    with np.load(GOLDEN) as golden:
        state_dict = {name: golden[name] for name in names}
        others = {name.split(".")[0] for name in golden.files if name not in state_dict}
    assert others == {"in", "out", "loss", "gradnorm"}
    params = cswin_params_from_torch(state_dict, CSWinConfig.tiny())
    assert_bits_equal(torch_from_cswin_params(params, CSWinConfig.tiny()), state_dict)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_parameters_go_there_and_back_in_their_own_dtype(dtype):
    config, generator, params = dataclasses.replace(CONFIG, param_dtype=dtype), np.random.default_rng(1), {}
    with jax.enable_x64(True):
        for path, leaf in parameter_shapes(config, 8).items():
            *modules, name = path.split("/")
            place = params
            for module in modules:
                place = place.setdefault(module, {})
            place[name] = jnp.asarray(generator.normal(size=leaf.shape), dtype)
        back = cswin_params_from_torch(torch_from_cswin_params(params, config, 8), config, 8)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    for given, expected in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
        assert given.dtype == expected.dtype == dtype
        np.testing.assert_array_equal(given, expected)


def authors_shapes(bands, width, depths):
    """The names and shapes of the authors' network, written down from its layers."""
    dense = {"norm1": (), "qkv": (3, 1), "proj": (1, 1), "norm2": (), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    shapes = {
        "stage1_conv_embed.0.weight": (width, bands, 7, 7),
        "stage1_conv_embed.0.bias": (width,),
        "stage1_conv_embed.2.weight": (width,),
        "stage1_conv_embed.2.bias": (width,),
    }
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            prefix = f"stage{stage}.{block}."
            for name, factors in dense.items():
                shapes[f"{prefix}{name}.weight"] = tuple(factor * width for factor in factors) or (width,)
                shapes[f"{prefix}{name}.bias"] = (factors[0] * width if factors else width,)
            branches = 1 if stage == len(depths) else 2
            for branch in range(branches):
                shapes[f"{prefix}attns.{branch}.get_v.weight"] = (width // branches, 1, 3, 3)
                shapes[f"{prefix}attns.{branch}.get_v.bias"] = (width // branches,)
        if stage < len(depths):
            shapes[f"merge{stage}.conv.weight"] = (2 * width, width, 3, 3)
            width *= 2
            shapes |= {f"merge{stage}.{name}": (width,) for name in ("conv.bias", "norm.weight", "norm.bias")}
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}


def test_names_and_shapes_at_full_size():
    expected = authors_shapes(bands=6, width=64, depths=(2, 4, 32, 2))
    assert torch_state_shapes(CSWinConfig()) == expected
    assert len(expected) == 654
    assert sum(np.prod(shape, dtype=int) for shape in expected.values()) == 34_139_712


def test_parameters_that_do_not_fit_are_listed(state_dict):
    params = cswin_params_from_torch(state_dict, CONFIG, 8)
    del params["norm"]["bias"]
    params["head"] = {"kernel": np.zeros((8, 10))}
    params["stage1"]["proj"]["kernel"] = np.zeros((2, 4, 5))
    with pytest.raises(ValueError, match="parameters do not fit") as caught:
        torch_from_cswin_params(params, CONFIG, 8)
    assert str(caught.value).splitlines()[1:] == [
        "- head/kernel (8, 10)",
        "+ norm/bias (8,)",
        "+ stage1/proj/kernel (2, 4, 4)",
        "- stage1/proj/kernel (2, 4, 5)",
    ]
