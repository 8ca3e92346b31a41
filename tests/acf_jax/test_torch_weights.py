import jax
import numpy as np
import pytest

from acf_jax.cswin import CSWinConfig
from acf_jax.torch_weights import cswin_params_from_torch, parameter_shapes, torch_shapes

CONFIG = CSWinConfig(embed_dim=4, depths=(2, 1), num_heads=(2, 2), stripe_widths=(2, 2))


@pytest.fixture
def state_dict():
    generator = np.random.default_rng(0)
    shapes = {}
    for path, leaf in parameter_shapes(CONFIG, 8).items():
        shapes |= torch_shapes(path, leaf.shape)
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
