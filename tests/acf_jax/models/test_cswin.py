import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acf_jax.models import cswin
from acf_jax.models.cswin import Block, CSWin, CSWinConfig, StripeAttention, gelu, weight_init
from benchmarks.flops import multiply_adds

SMALL = CSWinConfig(embed_dim=4, depths=(2, 1), num_heads=(2, 2), stripe_widths=(2, 2))


def random_params(model, *inputs, seed=0, scale=0.3):
    """Parameters of order `scale` everywhere, so that nothing hides behind zeros and ones."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(0, scale, leaf.shape), leaf.dtype), shapes)


def apply(model, params, stamps, **options):
    """A compiled forward pass; operation by operation it would take longer to compile."""
    return jax.jit(lambda params, stamps: model.apply({"params": params}, stamps, **options))(params, stamps)


@pytest.fixture(scope="module")
def stamps():
    return np.random.default_rng(1).normal(size=(3, 16, 16, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def reference(stamps):
    """Parameters of the small network, and its features and named maps."""
    params = random_params(CSWin(SMALL), stamps)
    features, state = apply(CSWin(SMALL), params, stamps, mutable="intermediates")
    return params, features, state["intermediates"]


def test_parameter_count_of_the_paper():
    """34,139,712 for the backbone at the paper's shapes, as the authors' code has it."""
    shapes = jax.eval_shape(CSWin().init, jax.random.key(0), jnp.zeros((1, 48, 48, 6)))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 34_139_712
    assert shapes["stage3"]["qkv"]["kernel"].shape == (32, 256, 768)
    features = jax.eval_shape(CSWin().apply, {"params": shapes}, jnp.zeros((7, 48, 48, 6)))
    assert features.shape == (7, 512) == (7, CSWinConfig().num_features)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depths": (1, 1, 1)}, "num_heads = .* one entry a stage"),
        ({"embed_dim": 18}, r"Stage 2 has 36 channels \(embed_dim 18\), which 8 heads don't divide"),
        ({"num_heads": (2, 1, 8, 16)}, "Stage 2 has 1 heads; it needs an even number"),
    ],
)
def test_contradicting_sizes_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        CSWinConfig.tiny(**{"num_heads": (2, 8, 8, 16), **changes})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 48, 48, 5), "6 bands"),
        ((48, 48, 6), "6 bands"),
        ((1, 46, 48, 6), "46 pixels is not divisible by stage 2's stride, 4"),
        ((1, 32, 32, 6), "32 pixels gives stage 3 a map of 4 tokens, which stripes of width 3 don't divide"),
        ((1, 48, 64, 6), "64 pixels gives stage 3 a map of 8 tokens, which stripes of width 3 don't divide"),
    ],
)
def test_stamps_that_do_not_fit_are_refused(shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(CSWin(CSWinConfig.tiny()).init, jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((32, 32), {"depths": (1, 2, 2, 1), "num_heads": (2, 4, 8, 16), "stripe_widths": (1, 2, 2, 2)}),
        ((96, 96), {"depths": (1, 1, 1, 1), "num_heads": (2, 4, 8, 16), "stripe_widths": (1, 2, 3, 3)}),
        ((48, 48), {"depths": (1, 3, 1), "num_heads": (2, 4, 8), "stripe_widths": (2, 3, 3)}),
        ((48, 96), {"depths": (5, 1), "num_heads": (2, 4), "stripe_widths": (3, 3)}),
        ((8, 24), {"depths": (1,), "num_heads": (1,), "stripe_widths": (1,)}),
    ],
)
def test_other_stamp_sizes_and_depths(shape, sizes):
    config = CSWinConfig(embed_dim=16, **sizes)
    stamps = jnp.zeros((2, *shape, 6))
    options = {"mutable": ["params", "intermediates"]}
    features, state = jax.eval_shape(lambda: CSWin(config).init_with_output(jax.random.key(0), stamps, **options))
    n_stages = len(config.depths)
    assert features.shape == (2, config.num_features) == (2, 16 * 2 ** (n_stages - 1))
    for stage, depth in enumerate(config.depths, start=1):
        map_shape = (2, shape[0] // 2**stage, shape[1] // 2**stage, 16 * 2 ** (stage - 1))
        assert state["intermediates"][f"stage{stage}_out"].shape == map_shape
        assert state["intermediates"][f"stage{stage}"]["out"].shape == (depth, *map_shape)
        branches = {"whole"} if stage == n_stages else {"vertical", "horizontal"}
        assert branches < state["params"][f"stage{stage}"].keys()


def test_gelu_is_exact():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    np.testing.assert_allclose(gelu(jnp.asarray(x)), jax.nn.gelu(x, approximate=False), atol=6 * 2**-24, rtol=1e-6)


@pytest.mark.parametrize("direction", ["vertical", "horizontal"])
def test_a_token_reaches_its_own_stripe_alone(direction):
    """Moving one token of q, k and v, wherever it is, changes every token of its stripe and none of any other."""
    height, width = (6, 2) if direction == "vertical" else (2, 6)
    model = StripeAttention(SMALL, 2, height, width)
    qkv = np.random.default_rng(2).normal(size=(3, 6, 6, 4)).astype(np.float32)
    params = random_params(model, *qkv[:, None])
    attend = jax.jit(lambda qkv: model.apply({"params": params}, *qkv.swapaxes(0, 1)))
    moved = np.eye(36, dtype=np.float32).reshape(36, 1, 6, 6, 1)  # each token in turn
    changed = np.abs(attend(qkv + moved) - attend(qkv + 0 * moved)).max(axis=-1) > 0
    row, column = np.indices((6, 6))
    stripe = (column if direction == "vertical" else row) // 2
    np.testing.assert_array_equal(changed.reshape(6, 6, 6, 6), stripe[:, :, None, None] == stripe)


def test_each_half_of_the_channels_has_its_direction(stamps):
    """A row is as far as the second half of a block's attention sees, a column as far as the first half does."""
    block = Block(SMALL, num_heads=2, stripe_width=1, whole_map=False, deterministic=True)
    x = stamps[:1, :6, :6, :4]
    rate = jnp.zeros(())
    params = random_params(block, x, rate)

    @jax.jit
    def attention(x):
        _, state = block.apply({"params": params}, x, rate, mutable="intermediates")
        return state["intermediates"]["vertical_out"], state["intermediates"]["horizontal_out"]

    moved = x.copy()
    moved[0, 3, 2, 0] += 1
    vertical, horizontal = (
        np.abs(new - old).max(axis=(0, 3)) > 0 for new, old in zip(attention(moved), attention(x), strict=True)
    )
    np.testing.assert_array_equal(vertical, np.broadcast_to(np.arange(6) == 2, (6, 6)))
    np.testing.assert_array_equal(horizontal, np.broadcast_to(np.arange(6) == 3, (6, 6)).T)


@pytest.fixture(scope="module")
def features_and_gradients(stamps):
    """A function of the model, in float64, under the same parameters for all models of SMALL's sizes."""
    config = dataclasses.replace(SMALL, dtype="float64", param_dtype="float64")
    with jax.enable_x64(True):
        params = random_params(CSWin(config), stamps)

    def evaluate(remat):
        def loss(params):
            features = CSWin(dataclasses.replace(config, remat=remat)).apply({"params": params}, stamps)
            return jnp.sum(features**3), features

        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, jax.jit(jax.grad(loss, has_aux=True))(params))

    return evaluate


@pytest.fixture(scope="module")
def unrolled(features_and_gradients):
    return features_and_gradients(remat="nothing")


@pytest.mark.parametrize(("unrolled_depth", "remat"), [(1, "dots"), (2, "blocks")])
def test_scanning_and_rematerialising_change_nothing(
    features_and_gradients, unrolled, monkeypatch, unrolled_depth, remat
):
    """The first stage's two blocks in a loop, and computed again in the backward pass: the same but for rounding."""
    assert cswin.UNROLLED_DEPTH >= 2  # so that `unrolled` is
    monkeypatch.setattr(cswin, "UNROLLED_DEPTH", unrolled_depth)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13 * np.abs(theirs).max()),
        features_and_gradients(remat),
        unrolled,
    )


def test_rematerialising_computes_more(reference, stamps):
    """Nothing, the attention's products, all products but the last of a block are computed a second time."""

    def cost(remat):
        model = CSWin(dataclasses.replace(SMALL, remat=remat))
        return multiply_adds(jax.grad(lambda params: model.apply({"params": params}, stamps).sum()), reference[0])

    assert cost("nothing") < cost("dots") < cost("blocks")
    with pytest.raises(ValueError, match=r"remat = 'all' must be one of nothing, dots, blocks\."):
        dataclasses.replace(SMALL, remat="all")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-5), ("bfloat16", 0.1)])
def test_dtypes_are_honoured(reference, stamps, dtype, tolerance):
    reference_params, expected, _ = reference
    with jax.enable_x64(dtype == "float64"):
        model = CSWin(CSWinConfig(**{**vars(SMALL), "dtype": dtype, "param_dtype": dtype}))
        params = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(stamps))["params"]
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {dtype}
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), reference_params)
        options = {"mutable": "intermediates"}
        features, state = apply(model, params, stamps, **options)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((features, state))} == {dtype}
        np.testing.assert_allclose(features.astype("float32"), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("std", [0.02, 0.1])
@pytest.mark.parametrize("shape", [(1000, 50), (3, 3, 10, 500), (3, 3, 1, 5000)])
def test_weight_initialisation(shape, std):
    """The asked standard deviation whatever the fan-in, cut where a normal distribution has two of its own."""
    weights = np.asarray(weight_init(std)(jax.random.key(0), shape, jnp.float32))
    assert weights.std() == pytest.approx(std, rel=0.02)
    assert weights.mean() == pytest.approx(0, abs=4 * std / np.sqrt(weights.size))
    assert np.abs(weights).max() == pytest.approx(2 * std / 0.8796, rel=1e-2)


def test_the_papers_weights_have_a_standard_deviation_of_002():
    assert CSWinConfig().weight_std == 0.02


class TestDropPath:
    config = CSWinConfig(**{**vars(SMALL), "drop_path_rate": 0.5})

    def branch(self, rate, n_stamps=4000):
        """Ones after `drop_path` in a block, one a stamp."""
        block = Block(self.config, num_heads=2, stripe_width=1, whole_map=False, deterministic=False)
        x = jnp.ones((n_stamps, 1, 1, 1))
        return np.ravel(
            block.apply({}, x, jnp.asarray(rate), method="drop_path", rngs={"drop_path": jax.random.key(0)})
        )

    def test_whole_stamps_are_dropped_and_the_mean_stays(self):
        dropped = self.branch(0.25)
        assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
        assert dropped.mean() == pytest.approx(1, abs=4 * np.sqrt(0.25 / 0.75 / 4000))

    def test_the_first_block_never_drops(self):
        assert (self.branch(0.0) == 1).all()

    def test_rates_grow_linearly_over_all_blocks(self):
        rates = CSWinConfig(drop_path_rate=0.39).drop_path_rates
        assert [len(stage) for stage in rates] == [2, 4, 32, 2]
        np.testing.assert_allclose(np.concatenate(rates), 0.01 * np.arange(40), atol=1e-7)

    def test_each_block_has_its_own_rate(self, reference, stamps):
        """0, nearly 0.5 and nearly 1 in three blocks: the first always acts, the last never does."""
        params, _, full = reference
        model = CSWin(CSWinConfig(**{**vars(SMALL), "drop_path_rate": 0.999_999}))
        options = {"deterministic": False, "mutable": "intermediates", "rngs": {"drop_path": jax.random.key(0)}}
        drawn = apply(model, params, stamps, **options)[1]["intermediates"]
        np.testing.assert_allclose(drawn["stage1"]["out"][0], full["stage1"]["out"][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(drawn["stage2_out"], drawn["merge1_out"])

    def test_prediction_drops_nothing(self, reference, stamps):
        params, expected, _ = reference
        np.testing.assert_allclose(apply(CSWin(self.config), params, stamps), expected, rtol=1e-4, atol=1e-5)

    def test_without_it_training_is_prediction(self, reference, stamps):
        """Nothing else in the backbone is stochastic: it asks for no key, and its features are the same."""
        params, expected, _ = reference
        features = apply(CSWin(SMALL), params, stamps, deterministic=False)
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)

    def test_both_branches_of_each_block_have_a_draw_of_their_own(self):
        """Blocks whose attention adds 1 and whose MLP adds 16 wherever they are not dropped, for many stamps."""
        config = dataclasses.replace(SMALL, depths=(3, 1), drop_path_rate=0.75)
        rates, stamps = np.array([0, 0.25, 0.5]), np.ones((1000, 8, 8, 6), np.float32)
        params = random_params(CSWin(config), stamps[:1])
        for name, added in (("proj", 1), ("fc2", 16)):
            layer = params["stage1"][name]
            params["stage1"][name] = {"kernel": 0 * layer["kernel"], "bias": jnp.full_like(layer["bias"], added)}
        options = {"deterministic": False, "mutable": "intermediates", "rngs": {"drop_path": jax.random.key(0)}}
        maps = apply(CSWin(config), params, stamps, **options)[1]["intermediates"]
        before = np.concatenate([maps["patch_embed_out"][None], maps["stage1"]["out"][:-1]])
        added = np.asarray(maps["stage1"]["out"] - before)  # (blocks, stamps, height, width, channels)
        np.testing.assert_allclose(added, added.mean(axis=(2, 3, 4), keepdims=True) + 0 * added, atol=1e-4)
        kept = np.round(added[:, :, 0, 0, 0] * (1 - rates)[:, None]).astype(int)
        np.testing.assert_allclose(added[:, :, 0, 0, 0] * (1 - rates)[:, None], kept, atol=1e-4)
        draws = np.stack([kept % 16, kept // 16], axis=1)  # (blocks, branches, stamps), 1 where kept
        assert draws.max() == 1
        assert (draws[0] == 1).all()
        deviation = draws.mean(axis=-1) - (1 - rates)[:, None]
        assert np.abs(deviation / np.sqrt(rates * (1 - rates) / 1000 + 1e-12)[:, None]).max() < 4
        correlation = np.corrcoef(draws[1:].reshape(4, 1000)) - np.eye(4)
        assert np.abs(correlation).max() < 4 / np.sqrt(1000)


def test_attention_pooling_appends_a_mean_of_learned_weights(stamps, reference):
    """With equal scores it is the mean again; otherwise the softmax of the scores, written out in NumPy."""
    params, mean, maps = reference
    config = dataclasses.replace(SMALL, pooling="mean_attention")
    tokens = np.asarray(maps["norm_out"][0] if isinstance(maps["norm_out"], tuple) else maps["norm_out"], np.float64)
    tokens = tokens.reshape(len(stamps), -1, config.num_features // 2)
    kernel = np.random.default_rng(5).normal(size=(tokens.shape[-1], 1)).astype(np.float32)
    scores = np.exp(tokens @ kernel)
    expected = (tokens * scores / scores.sum(axis=1, keepdims=True)).sum(axis=1)
    pooled = apply(CSWin(config), {**params, "pool": {"kernel": kernel}}, stamps)
    assert pooled.shape == (len(stamps), config.num_features)
    np.testing.assert_allclose(pooled, np.concatenate([mean, expected], axis=1), rtol=1e-4, atol=1e-4)
    equal = apply(CSWin(config), {**params, "pool": {"kernel": 0 * kernel}}, stamps)
    np.testing.assert_allclose(equal, np.concatenate([mean, mean], axis=1), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="pooling = 'max' must be one of mean, mean_attention"):
        dataclasses.replace(SMALL, pooling="max")
