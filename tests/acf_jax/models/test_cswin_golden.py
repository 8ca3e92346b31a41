"""The backbone against the CSWin authors' own code: `tests/golden/README.md` tells how their numbers were made.

The comparison itself is `tests/golden/comparison.py`; `python -m tests.golden` prints what is asserted here.
"""

import functools
import json

import jax
import numpy as np
import pytest
from flax import linen as nn

from acf_jax.models import cswin
from acf_jax.models.cswin import CSWinConfig, LePE, StripeAttention
from acf_jax.models.stripes import image_from_stripes, stripes_from_image
from tests.golden import __main__ as command
from tests.golden import comparison
from tests.golden.comparison import KINDS, beyond_tolerance, deviations, kind_of, measured, tolerance

PRECISIONS = ["float64", "float32", "mixed", pytest.param("bfloat16", marks=pytest.mark.slow)]


def of_kind(quantities, kind):
    return {name: value for name, value in quantities.items() if kind_of(name) == kind}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_within_what_the_precision_explains(precision, kind):
    compared = of_kind(measured(precision), kind)
    assert len(compared) == {"operation": 39, "map": 9, "gradient": 112}.get(kind, 1)
    assert beyond_tolerance(compared, precision) == {}


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_tolerances_are_no_wider_than_the_rounding_needs(precision):
    """A tenth of each would be too little, so that no fault as small as ten roundings slips through."""
    for kind in ("operation", "map", "gradient"):
        compared = of_kind(measured(precision), kind)
        assert max(compared[name] / tolerance(name, precision) for name in compared) > 0.1, kind


def test_every_element_of_every_gradient():
    """Relative to itself, not to its array's largest: zero by construction is the gradient of the keys' biases, which
    move all scores of a query alike, and of LePE's weights that meet only padding where stripes are one token wide."""
    gradients = of_kind(comparison.our_quantities("float64"), "gradient")
    golden = comparison.golden_quantities()
    floor = 1e-12 * golden["gradient norms"][-1]  # the whole gradient's norm
    for name, ours in gradients.items():
        np.testing.assert_allclose(ours, golden[name], rtol=comparison.STORED_ROUNDOFF, atol=floor, err_msg=name)


def test_the_command_prints_what_is_tested(capsys):
    assert command.main(["--precision", "float64", "--json"]) == 0
    *printed, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["deviations"] == {"float64": measured("float64")}
    assert json.loads(last)["passed"]
    row = next(line for line in printed if line.startswith("features ")).split()
    assert [float(number) for number in row[1:]] == pytest.approx([measured("float64")["features"], 1e-10], rel=0.06)


def test_the_command_fails_where_a_deviation_is_beyond_its_tolerance(monkeypatch, capsys):
    deviating = measured("float64") | {"map stage2": 2e-10, "loss": float("nan")}
    monkeypatch.setattr(comparison, "measured", lambda precision: deviating)
    assert command.main(["--precision", "float64"]) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Beyond")]
    assert faults == [f"Beyond its tolerance in float64: {name}." for name in ("map stage2", "loss")]


class TestSilentDeviations:
    """What an implementation easily has otherwise, without any error: would the golden values tell?

    `size` is how far each moves the features (relative L2), within a factor of two. Those that change the code, not the
    weights, need a compilation each: hence slow.
    """

    @staticmethod
    def assert_caught(quantities, size):
        golden = comparison.golden_quantities()["features"]
        moved = np.linalg.norm(quantities["features"] - golden) / np.linalg.norm(golden)
        assert size / 2 < moved < size * 2
        assert "features" in beyond_tolerance(deviations(quantities), "float64")
        assert moved > tolerance("features", "float32")

    @staticmethod
    def params_with(change):
        """The golden parameters, each leaf replaced by `change(its path, it)`."""
        params = comparison.golden_params("float64")
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: change(jax.tree_util.keystr(path, simple=True, separator="/"), leaf), params
        )

    def test_lepe_without_bias(self):
        params = self.params_with(lambda path, leaf: 0 * leaf if path.endswith("lepe/bias") else leaf)
        self.assert_caught(comparison.our_quantities("float64", params), 0.26)

    def test_scores_scaled_by_the_branchs_width(self):
        """Queries times the root of (a head's width / its branch's), in the weights that make them."""

        def change(path, leaf):
            if "/qkv/" not in path:
                return leaf
            stage, channels = int(path[len("stage")]) - 1, leaf.shape[-1] // 3
            n_heads = CSWinConfig.tiny().num_heads[stage] // (1 if stage == 3 else 2)  # of a branch
            return np.concatenate([leaf[..., :channels] * n_heads**-0.5, leaf[..., channels:]], axis=-1)

        self.assert_caught(comparison.our_quantities("float64", self.params_with(change)), 0.19)

    def test_lepe_of_one_branch_in_the_other(self):
        params = comparison.golden_params("float64")
        for stage in ("stage1", "stage2", "stage3"):
            branches = params[stage]
            branches["vertical"], branches["horizontal"] = branches["horizontal"], branches["vertical"]
        self.assert_caught(comparison.our_quantities("float64", params), 1)

    def test_pool_before_norm(self):
        quantities = comparison.our_quantities("float64")
        norm = comparison.golden_params("float64")["norm"]
        pooled = quantities["map stage4"].mean(axis=1)
        centred = pooled - pooled.mean(axis=-1, keepdims=True)
        normalised = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + cswin.LAYER_NORM_EPSILON)
        self.assert_caught({"features": normalised * norm["scale"] + norm["bias"]}, 0.20)

    @pytest.mark.slow
    def test_layer_norm_epsilon_of_flax(self, monkeypatch):
        monkeypatch.setattr(cswin, "LAYER_NORM_EPSILON", 1e-6)
        self.assert_caught(comparison.forward_pass("float64"), 4e-6)

    @pytest.mark.slow
    def test_tanh_gelu(self, monkeypatch):
        monkeypatch.setattr(cswin, "gelu", functools.partial(nn.gelu, approximate=True))
        self.assert_caught(comparison.forward_pass("float64"), 1e-4)

    @pytest.mark.slow
    def test_same_padding(self, monkeypatch):
        def conv(config, features, size, name):
            dtypes = {"dtype": config.dtype, "param_dtype": config.param_dtype}
            return nn.Conv(features, (size, size), strides=2, padding="SAME", name=name, **dtypes)

        monkeypatch.setattr(cswin, "StridedConv", conv)
        self.assert_caught(comparison.forward_pass("float64"), 0.6)

    @pytest.mark.slow
    def test_lepe_over_the_whole_map(self, monkeypatch):
        class WholeMapLePE(LePE):
            @nn.compact
            def __call__(self, v):
                n_stripes, height, width = v.shape[1:4]
                size = max(height, width)  # of the map: stripes are as long as it is, in one direction or both
                assert n_stripes * height * width == size**2
                whole = super().__call__(image_from_stripes(v, size, size)[:, None])
                return stripes_from_image(whole[:, 0], height, width)

        monkeypatch.setattr(cswin, "LePE", WholeMapLePE)
        self.assert_caught(comparison.forward_pass("float64"), 0.44)

    @pytest.mark.slow
    def test_directions_of_the_branches_swapped(self, monkeypatch):
        def turned(config, num_heads, stripe_height, stripe_width, name):
            return StripeAttention(config, num_heads, stripe_width, stripe_height, name=name)

        monkeypatch.setattr(cswin, "StripeAttention", turned)
        self.assert_caught(comparison.forward_pass("float64"), 0.47)
