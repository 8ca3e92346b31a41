"""The backbone against the CSWin authors' own code: `tests/golden/README.md` tells how their numbers were made."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acf_jax.cswin import CSWin, CSWinConfig, intermediates
from acf_jax.torch_weights import cswin_params_from_torch, torch_shapes

GOLDEN = Path(__file__).parents[1] / "golden"
STAGES = ("patch_embed", "stage1", "merge1", "stage2", "merge2", "stage3", "merge3", "stage4", "norm")
FLOAT64 = 1e-10
FLOAT32_ROUNDING = 2.0**-24  # of golden values that were stored in float32
OPERATIONS = {
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


def load(name):
    with np.load(GOLDEN / name) as arrays:
        return dict(arrays)


def weights(golden):
    return {
        name: array for name, array in golden.items() if name.split(".")[0] not in ("in", "out", "loss", "gradnorm")
    }


@pytest.fixture(scope="module")
def golden():
    return load("cswin_tiny.npz")


@pytest.fixture(scope="module")
def stamps(golden):
    return golden["in.x"].transpose(0, 2, 3, 1)


def relative_deviation(ours, theirs):
    """Largest difference in units of the reference's largest value."""
    return np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max()


@pytest.fixture(scope="module")
def float64_pass(golden, stamps):
    """Features, named intermediates, loss and gradients in float64, all from one compilation."""
    with jax.enable_x64(True):
        config = CSWinConfig.tiny(dtype="float64", param_dtype="float64")
        params = cswin_params_from_torch(weights(golden), config)

        def loss(params):
            features, state = CSWin(config).apply({"params": params}, stamps, mutable="intermediates")
            return jnp.mean(features**2), (features, state["intermediates"])

        (value, (features, maps)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        return jax.tree.map(np.asarray, {"loss": value, "features": features, "maps": maps, "gradients": gradients})


@pytest.mark.parametrize("stage", STAGES)
def test_stages(golden, float64_pass, stage):
    theirs = golden[f"out.{stage}"]
    assert relative_deviation(float64_pass["maps"][f"{stage}_out"].reshape(theirs.shape), theirs) < FLOAT64


def test_features_and_loss(golden, float64_pass):
    assert relative_deviation(float64_pass["features"], golden["out.features"]) < FLOAT64
    assert float64_pass["loss"] == pytest.approx(float(golden["loss"]), rel=FLOAT64)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_operations_of_the_first_block(float64_pass, stage):
    golden = load("cswin_tiny_ops.npz")
    maps = float64_pass["maps"][f"stage{stage}"]
    compared = 0
    for theirs_name, our_name in OPERATIONS.items():
        theirs = golden.get(f"op.stage{stage}.0.{theirs_name}")
        if theirs is None:
            continue
        if stage == 4 and our_name == "vertical_out":
            our_name = "whole_out"
        ours = maps[our_name][0, :1].reshape(theirs.shape)  # block 0, stamp 0
        assert relative_deviation(ours, theirs) < FLOAT32_ROUNDING, our_name
        compared += 1
    assert compared == (9 if stage == 4 else 10)


def test_every_gradient(golden, float64_pass):
    theirs = cswin_params_from_torch(load("cswin_tiny_grads.npz"), CSWinConfig.tiny(param_dtype="float32"))
    # The keys' bias moves all scores of a query alike, so its gradient is zero but for rounding.
    floor = 1e-12 * float(golden["gradnorm.total"])
    for (path, ours), reference in zip(
        jax.tree_util.tree_leaves_with_path(float64_pass["gradients"]), jax.tree.leaves(theirs), strict=True
    ):
        np.testing.assert_allclose(
            ours, reference, rtol=FLOAT32_ROUNDING, atol=floor, err_msg=jax.tree_util.keystr(path)
        )


def test_gradient_norms_in_float64(golden, float64_pass):
    """The gradients themselves are stored in float32, their norms in float64."""
    floor = 1e-12 * float(golden["gradnorm.total"])
    compared = 0
    for path, gradient in jax.tree_util.tree_leaves_with_path(float64_pass["gradients"]):
        names = torch_shapes(jax.tree_util.keystr(path, simple=True, separator="/"), gradient.shape)
        for block, name in zip(gradient.reshape(len(names), -1), names, strict=True):
            norm = np.sqrt(np.sum(block**2))
            assert norm == pytest.approx(float(golden[f"gradnorm.{name}"]), rel=FLOAT64, abs=floor), name
            compared += 1
    assert compared == len(weights(golden))


def test_float32(golden, stamps):
    config = CSWinConfig.tiny()
    params = cswin_params_from_torch(weights(golden), config)
    maps = jax.jit(lambda params: intermediates(CSWin(config), params, stamps))(params)
    for stage in STAGES:
        theirs = golden[f"out.{stage}"]
        # Ten operations deep, each with sums over tens of terms: some tens of roundings.
        assert relative_deviation(maps[f"{stage}_out"].reshape(theirs.shape), theirs) < 32 * FLOAT32_ROUNDING
