import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.special import erf
from scipy.stats import ks_2samp

from acf_jax.keys import star_keys
from acf_jax.models.acf import ACF, ACFConfig, init_params, predict_per_star
from acf_jax.models.cswin import CSWinConfig

BACKBONE = CSWinConfig(embed_dim=4, depths=(1,), num_heads=(2,), stripe_widths=(1,))
CONFIG = ACFConfig(backbone=BACKBONE, astrometric_features=8, head_widths=(16, 8), dropout_rate=0.2)
SHAPE = (8, 8, 6)


def random_params(model, seed=0):
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: generator.normal(0, 0.5, leaf.shape).astype(leaf.dtype), init_params(model, 0, SHAPE)
    )


@pytest.fixture(scope="module")
def model():
    return ACF(CONFIG)


@pytest.fixture(scope="module")
def params(model):
    return random_params(model)


@pytest.fixture
def features():
    return np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture
def astrometry():
    return np.random.default_rng(3).normal(size=(5, 2)).astype(np.float32)


def predict(model, params, *inputs, **options):
    return model.apply({"params": params}, *inputs, method="predict", **options)


def numpy_gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def numpy_dense(params, name, x):
    return x @ np.asarray(params[name]["kernel"], np.float64) + params[name]["bias"]


def test_the_papers_sizes():
    shapes = jax.eval_shape(
        lambda: ACF().init(jax.random.key(0), jnp.zeros((1, 48, 48, 6)), jnp.zeros((1, 2)), deterministic=True)
    )["params"]
    backbone = shapes.pop("backbone")
    kernels = {name: shape["kernel"].shape for name, shape in shapes.items()}
    assert kernels == {"astrometric": (2, 128), "head_0": (640, 320), "head_1": (320, 160), "head_2": (160, 3)}
    convolutions = {name: part["conv"]["kernel"].shape for name, part in backbone.items() if "conv" in part}
    merges = {f"merge{stage}": (3, 3, width, 2 * width) for stage, width in ((1, 64), (2, 128), (3, 256))}
    assert convolutions == {"patch_embed": (7, 7, 6, 64)} | merges


def test_the_acpfs_head_reads_the_512_features_alone():
    acpf = ACF(ACFConfig(use_parallax=False))
    init = lambda: acpf.init(jax.random.key(0), jnp.zeros((1, 512)), None, True, method="predict")  # noqa: E731
    assert jax.eval_shape(init)["params"]["head_0"]["kernel"].shape == (512, 320)


def test_a_config_s_section_holds_the_backbone_s_fields_beside_the_others():
    section = {"embed_dim": 16, "depths": (1, 2, 2, 1), "targets": ["teff"], "use_parallax": False}
    backbone = CSWinConfig(num_bands=4, embed_dim=16, depths=(1, 2, 2, 1))
    assert ACFConfig.from_sections(section, "griz") == ACFConfig(backbone, ("teff",), use_parallax=False)
    assert set(section) == {"embed_dim", "depths", "targets", "use_parallax"}  # and is left as it was
    with pytest.raises(TypeError, match="dropout"):
        ACFConfig.from_sections({"dropout": 0.2}, "griz")
    with pytest.raises(ValueError, match="stripe_widths"):
        ACFConfig.from_sections({"depths": (1,), "num_heads": (2,)}, "griz")


def test_acpf_has_no_astrometric_branch_and_takes_no_notice_of_the_parallax(features, astrometry):
    model = ACF(ACFConfig(backbone=BACKBONE, use_parallax=False, head_widths=(16, 8)))
    params = random_params(model)
    assert params["head_0"]["kernel"].shape == (4, 16)
    assert set(params) == {"backbone", "head_0", "head_1", "head_2"}
    without = predict(model, params, features, None, deterministic=True)
    np.testing.assert_array_equal(predict(model, params, features, astrometry, deterministic=True), without)


@pytest.mark.parametrize("targets", [("teff",), ("logg", "fe_h"), ("teff", "logg", "fe_h")])
def test_one_output_a_target(targets, features, astrometry):
    model = ACF(ACFConfig(backbone=BACKBONE, targets=targets))
    shapes = jax.eval_shape(lambda: init_params(model, 0, SHAPE))
    out = jax.eval_shape(lambda p: predict(model, p, features, astrometry, deterministic=True), shapes)
    assert out.shape == (5, len(targets))


def test_prediction_module_follows_its_formula(model, params, features, astrometry):
    """Dropout sits on the input of each of the three dense layers and nowhere else (Eq. 11), GELU between them."""
    out, state = predict(
        model,
        params,
        features,
        astrometry,
        rngs={"dropout": jax.random.key(0)},
        capture_intermediates=lambda module, _: isinstance(module, nn.Dropout),
    )
    dropped = [np.asarray(state["intermediates"][f"dropout_{layer}"]["__call__"][0]) for layer in range(3)]
    astrometric = numpy_gelu(numpy_dense(params, "astrometric", astrometry))
    x = np.concatenate([features, astrometric], axis=-1)
    for layer, masked in enumerate(dropped):
        assert 0 < (masked == 0).mean() < 0.5
        np.testing.assert_allclose(masked, np.where(masked == 0, 0, x / 0.8), rtol=2e-5, atol=1e-6)
        x = numpy_gelu(numpy_dense(params, f"head_{layer}", masked)) if layer < 2 else masked
    np.testing.assert_allclose(out, numpy_dense(params, "head_2", x), rtol=2e-5, atol=1e-5)


def test_there_is_no_other_dropout(model, params, astrometry):
    """In a whole training pass: three layers of it, none of them in the backbone."""
    _, state = jax.eval_shape(
        lambda params: model.apply(
            {"params": params},
            jnp.zeros((5, *SHAPE)),
            astrometry,
            rngs={"dropout": jax.random.key(0)},
            capture_intermediates=lambda module, _: isinstance(module, nn.Dropout),
            mutable="intermediates",
        ),
        params,
    )
    layers = [path[1].key for path, _ in jax.tree_util.tree_leaves_with_path(state) if path[-2].key == "__call__"]
    assert layers == ["dropout_0", "dropout_1", "dropout_2"]


def test_dropout_has_its_rate_and_keeps_the_mean():
    model = ACF(ACFConfig(backbone=BACKBONE, use_parallax=False, head_widths=(), targets=("teff",)))
    params = {"head_0": {"kernel": np.ones((4, 1), np.float32), "bias": np.zeros(1, np.float32)}}
    features = np.ones((4000, 4), np.float32)
    kept = 0.8 * np.asarray(predict(model, params, features, None, rngs={"dropout": jax.random.key(0)})).ravel()
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-6)
    assert kept.mean() == pytest.approx(4 * 0.8, abs=4 * np.sqrt(4 * 0.8 * 0.2 / 4000))
    assert kept.var() == pytest.approx(4 * 0.8 * 0.2, rel=0.1)


def test_dropout_acts_unless_it_is_switched_off(model, params, features, astrometry):
    with pytest.raises(Exception, match="dropout"):
        predict(model, params, features, astrometry)
    first, again, other = (
        predict(model, params, features, astrometry, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_calling_is_encoding_then_predicting(model, params, astrometry):
    stamps = np.random.default_rng(4).normal(size=(5, *SHAPE)).astype(np.float32)
    keys = {"dropout": jax.random.key(0)}
    whole = jax.jit(lambda p: model.apply({"params": p}, stamps, astrometry, rngs=keys))(params)
    features = jax.jit(lambda p: model.apply({"params": p}, stamps, method="encode"))(params)
    np.testing.assert_allclose(predict(model, params, features, astrometry, rngs=keys), whole, rtol=1e-5, atol=1e-6)


def test_per_star_keys_give_each_star_its_own_pass(model, params, features, astrometry):
    keys = star_keys(jax.random.key(7), np.array([[0, 1], [0, 2], [1, 1], [1, 2], [5, 5]], np.uint32))
    together = predict_per_star(model, params, features, astrometry, keys)
    for star in range(5):
        row = slice(star, star + 1)
        alone = predict(model, params, features[row], astrometry[row], rngs={"dropout": keys[star]})
        np.testing.assert_allclose(together[row], alone, rtol=1e-5, atol=1e-5)


def test_an_acf_without_astrometry_is_refused(model, params, features):
    with pytest.raises(ValueError, match="reads 2 scalars a star"):
        predict(model, params, features, None, deterministic=True)


@pytest.mark.parametrize(
    ("changes", "sentence"), [({"targets": ()}, "targets is empty"), ({"dropout_rate": 1}, "below 1")]
)
def test_impossible_configs_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ACFConfig(**changes)


@pytest.fixture(scope="module")
def initial_parameters():
    """By `init_params` and by Flax's own initialisation, of a network with every kind of layer."""
    backbone = CSWinConfig(embed_dim=32, depths=(2, 1), num_heads=(2, 2), stripe_widths=(2, 2))
    model = ACF(ACFConfig(backbone=backbone))
    inputs = (jnp.zeros((1, *SHAPE)), jnp.zeros((1, 2)), True)
    flax = jax.jit(lambda key: model.init(key, *inputs)["params"])(jax.random.key(1))
    trees = {"init_params": init_params(model, 1, SHAPE), "flax": flax}
    return {
        which: {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for which, tree in trees.items()
    }


@pytest.mark.parametrize("which", ["init_params", "flax"])
def test_initial_parameters(initial_parameters, which):
    """Kernels of every shape, the depthwise one too, from one truncated normal; biases 0; LayerNorms 1 and 0."""
    kernels = 0
    for name, leaf in initial_parameters[which].items():
        if not name.endswith("kernel"):
            np.testing.assert_array_equal(leaf, name.endswith("scale"), err_msg=name)
            continue
        kernels += 1
        # What is left of a normal distribution cut at two standard deviations has a kurtosis of 2.37.
        assert leaf.std() == pytest.approx(0.02, rel=5 * np.sqrt((2.37 - 1) / 4 / leaf.size)), name
        assert leaf.mean() == pytest.approx(0, abs=5 * 0.02 / np.sqrt(leaf.size)), name
        assert 0.03 < np.abs(leaf).max() <= 2 * 0.02 / 0.8796, name
    assert kernels == 2 + 6 + 5 + 4  # patch embedding and merge; stage 1; stage 2, of one branch; the ACF's own


def test_init_params_is_flaxs_initialisation(initial_parameters):
    """The same tree and the same distributions."""
    ours, flax = initial_parameters["init_params"], initial_parameters["flax"]
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in ours.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in flax.items()
    }
    for name in ours:
        if name.endswith("kernel"):
            assert ks_2samp(np.ravel(ours[name]), np.ravel(flax[name])).pvalue > 1e-4, name


def test_initial_parameters_follow_the_seed(model):
    def flat(seed):
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(init_params(model, seed, SHAPE))])

    np.testing.assert_array_equal(flat(0), flat(0))
    assert (flat(0) != flat(1)).sum() > 500


# Beyond the paper.


def test_a_heteroscedastic_head_gives_positive_variances_after_the_values(features, astrometry):
    model = ACF(ACFConfig(backbone=BACKBONE, astrometric_features=8, head_widths=(16, 8), heteroscedastic=True))
    params = random_params(model)
    assert params["head_2"]["kernel"].shape == (8, 6)
    out = predict(model, params, 1e3 * features, astrometry, deterministic=True)
    assert out.shape == (5, 6)
    assert (out[:, 3:] > 0).all()
    assert np.isfinite(np.log(out[:, 3:])).all()  # however wild the features
    plain = ACF(ACFConfig(backbone=BACKBONE, astrometric_features=8, head_widths=(16, 8)))
    last = jax.tree.map(lambda leaf: leaf[..., :3], params["head_2"])
    values = predict(plain, {**params, "head_2": last}, 1e3 * features, astrometry, deterministic=True)
    np.testing.assert_allclose(out[:, :3], values, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize(("use_parallax", "n_scalars"), [(True, 2 + 3 * 11 + 6), (False, 3 * 11)])
def test_the_growth_curve_is_read_beside_the_parallax(use_parallax, n_scalars):
    model = ACF(ACFConfig(backbone=BACKBONE, growth_curve=True, use_parallax=use_parallax))
    assert jax.eval_shape(lambda: init_params(model, 0, SHAPE))["astrometric"]["kernel"].shape == (n_scalars, 128)
