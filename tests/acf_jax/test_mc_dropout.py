import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from acf_jax import mc_dropout
from acf_jax.acf import ACF, ACFConfig, init_params
from acf_jax.cswin import CSWinConfig
from acf_jax.labels import LabelScaling
from acf_jax.mc_dropout import head_samples, predict, sample_keys, split_ids, star_key

N_STARS = 8
OPTIONS = {"n_samples": 8, "batch_size": 8}  # in nearly all tests, so that they share their compilations
CONFIG = ACFConfig(
    backbone=CSWinConfig(embed_dim=4, depths=(1,), num_heads=(2,), stripe_widths=(1,)),
    astrometric_features=8,
    head_widths=(16, 8),
)
SCALING = LabelScaling(CONFIG.targets, mean=(5500.0, 4.0, -0.3), std=(900.0, 0.6, 0.4))
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}  # of float32, through three layers of order one


class Unscaled:
    """Stamps and parallaxes as they are; logarithms where a parallax is not positive are not finite."""

    def stamps(self, stamps):
        return stamps

    def astrometry(self, parallax, parallax_error):
        with np.errstate(invalid="ignore"):
            return np.stack([np.log10(parallax), parallax_error], axis=-1).astype(np.float32)


def trained_model(**changes):
    model = ACF(dataclasses.replace(CONFIG, **changes))
    generator = np.random.default_rng(0)
    shapes = init_params(model, 0, (8, 8, 6))
    params = jax.tree.map(lambda leaf: generator.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    return SimpleNamespace(
        model=model,
        params=params,
        input_scaling=Unscaled(),
        label_scaling=SCALING,
        targets=model.config.targets,
        bands="uvgriz",
    )


@pytest.fixture(scope="module")
def trained():
    return trained_model()


@pytest.fixture(scope="module")
def stars():
    generator = np.random.default_rng(1)
    return {
        "stamps": generator.normal(size=(N_STARS, 8, 8, 6)).astype(np.float32),
        "parallax": generator.uniform(0.5, 5, N_STARS).astype(np.float32),
        "parallax_error": generator.uniform(0.01, 0.05, N_STARS).astype(np.float32),
        "object_id": generator.integers(0, 2**62, N_STARS),
    }


@pytest.fixture(scope="module")
def head_inputs(trained, stars):
    encode = jax.jit(lambda stamps: trained.model.apply({"params": trained.params}, stamps, method="encode"))
    return (
        encode(stars["stamps"]),
        Unscaled().astrometry(stars["parallax"], stars["parallax_error"]),
        stars["object_id"],
    )


def take(stars, rows):
    return {name: values[rows] for name, values in stars.items()}


def test_ids_keep_all_their_64_bits():
    ids = np.array([0, 1, 2**32, 2**32 + 1, 2**63 - 1, -1], np.int64)
    halves = split_ids(ids)
    assert halves.dtype == np.uint32
    np.testing.assert_array_equal((halves[:, 0].astype(np.uint64) << np.uint64(32)) + halves[:, 1], ids.view(np.uint64))
    keys = {tuple(jax.random.key_data(star_key(jax.random.key(0), id_)).tolist()) for id_ in ids}
    assert len(keys) == len(ids)


def test_samples_equal_naive_full_passes(trained, stars, head_inputs):
    """T passes of the whole network, one star and one key at a time."""
    model, params = trained.model, trained.params
    astrometry = head_inputs[1]

    @jax.jit
    def full_pass(stamp, astrometry, key):
        return model.apply({"params": params}, stamp[None], astrometry[None], rngs={"dropout": key})[0]

    samples = head_samples(model, params, *head_inputs, 4, seed=3)
    for row, object_id in enumerate(stars["object_id"]):
        keys = sample_keys(star_key(jax.random.key(3), object_id), np.arange(4))
        for sample in range(4):
            naive = full_pass(stars["stamps"][row], astrometry[row], keys[sample])
            np.testing.assert_allclose(samples[sample, row], naive, **ROUNDING)


def test_the_first_samples_of_many_are_those_of_few(trained, head_inputs):
    n_chunks = mc_dropout.SAMPLES_AT_A_TIME
    few, more, many = (
        head_samples(trained.model, trained.params, *head_inputs, n_samples) for n_samples in (8, 16, 2 * n_chunks + 1)
    )
    np.testing.assert_array_equal(few, more[:8])
    np.testing.assert_array_equal(more, many[:16])
    assert many.shape == (2 * n_chunks + 1, N_STARS, 3)
    assert len(np.unique(np.asarray(many)[:, 0, 0])) > n_chunks  # chunks do not repeat each other


def test_a_star_has_its_samples_in_any_company(trained, stars):
    everyone = predict(trained, **stars, **OPTIONS, samples=True)
    rows = np.array([5, 2])
    pair = predict(trained, **take(stars, rows), **OPTIONS, samples=True)
    np.testing.assert_allclose(pair.samples, everyone.samples[:, rows], **ROUNDING)
    np.testing.assert_allclose(pair.mean, everyone.mean[rows], **ROUNDING)
    batches = predict(trained, **stars, n_samples=8, batch_size=3, samples=True)
    np.testing.assert_allclose(batches.samples, everyone.samples, **ROUNDING)


def test_masks_are_independent_over_stars_samples_and_seeds(trained, head_inputs):
    """The same star under other ids: the deviations from the mean are uncorrelated within the noise."""
    n_samples, n_twins = 400, 3
    features, astrometry = (np.repeat(x[:1], n_twins, axis=0) for x in head_inputs[:2])
    ids = np.array([1, 2, 2**32 + 1])
    a, b = (
        np.asarray(head_samples(trained.model, trained.params, features, astrometry, ids, n_samples, seed))
        for seed in (0, 1)
    )
    series = np.concatenate([a, b], axis=1)[:, :, 0].T  # (twins of both seeds, samples)
    correlation = np.corrcoef(series) - np.eye(2 * n_twins)
    assert np.abs(correlation).max() < 5 / np.sqrt(n_samples)
    successive = [np.corrcoef(one[1:], one[:-1])[0, 1] for one in series]
    assert np.abs(successive).max() < 5 / np.sqrt(n_samples)


def test_moments_are_numpys_with_ddof_0(trained, stars):
    for n_samples in (1, 2 * mc_dropout.SAMPLES_AT_A_TIME + 3):
        prediction = predict(trained, **stars, n_samples=n_samples, batch_size=8, samples=True)
        assert prediction.samples.shape == (n_samples, N_STARS, 3)
        physical = prediction.samples.astype(np.float64)
        scale = np.array(SCALING.std)
        np.testing.assert_allclose(prediction.mean / scale, physical.mean(axis=0) / scale, **ROUNDING)
        np.testing.assert_allclose(prediction.std / scale, physical.std(axis=0, ddof=0) / scale, **ROUNDING)


def test_no_dropout_no_variance(stars):
    prediction = predict(trained_model(dropout_rate=0.0), **stars, **OPTIONS)
    np.testing.assert_allclose(prediction.std / SCALING.std, 0, atol=1e-6)


def test_predictions_are_in_physical_units(trained, stars, head_inputs):
    prediction = predict(trained, **stars, **OPTIONS, seed=5)
    assert prediction.targets == ("teff", "logg", "fe_h")
    assert prediction.units == ("K", "dex", "dex")
    samples = np.asarray(head_samples(trained.model, trained.params, *head_inputs, 8, seed=5))
    np.testing.assert_allclose(prediction.mean, SCALING.invert(samples.mean(axis=0)), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(prediction.std, samples.std(axis=0) * SCALING.std, rtol=1e-4, atol=1e-4)


def test_an_acpf_needs_no_parallax(stars):
    acpf = trained_model(use_parallax=False)
    without = predict(acpf, stars["stamps"], None, None, stars["object_id"], **OPTIONS)
    np.testing.assert_array_equal(predict(acpf, **stars, **OPTIONS).mean, without.mean)


def test_bad_stars_are_reported_and_harm_no_others(trained, stars, caplog):
    bad = {name: values.copy() for name, values in stars.items()}
    bad["stamps"][1, 3, 3, 0] = np.nan
    bad["parallax"][4] = -1
    prediction = predict(trained, **bad, **OPTIONS, samples=True)
    np.testing.assert_array_equal(np.flatnonzero(~prediction.finite), [1, 4])
    assert "2 of 8 stars" in caplog.text
    good = predict(trained, **stars, **OPTIONS, samples=True)
    for values, expected in [(prediction.mean, good.mean), (prediction.std, good.std)]:
        assert np.isnan(values[[1, 4]]).all()
        np.testing.assert_array_equal(values[prediction.finite], expected[prediction.finite])
    assert np.isnan(prediction.samples[:, [1, 4]]).all()


def test_no_stars_no_predictions(trained, stars):
    prediction = predict(trained, **take(stars, slice(0)), n_samples=4, samples=True)
    assert prediction.mean.shape == prediction.std.shape == (0, 3)
    assert prediction.samples.shape == (4, 0, 3)


def test_one_compilation_serves_any_number_of_stars_and_samples(trained, stars):
    predict(trained, **take(stars, slice(1)), **OPTIONS)
    compiled = mc_dropout._encode._cache_size(), mc_dropout._head_moments._cache_size()
    for n_stars, n_samples in [(3, 8), (5, 4), (8, 50)]:
        predict(trained, **take(stars, slice(n_stars)), n_samples=n_samples, batch_size=8)
    assert (mc_dropout._encode._cache_size(), mc_dropout._head_moments._cache_size()) == compiled


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stamps": np.zeros((N_STARS, 8, 8, 5), np.float32)}, "5 bands; the model has uvgriz"),
        ({"stamps": np.zeros((8, 8, 6), np.float32)}, r"\(n, height, width, bands\)"),
        ({"parallax": np.ones(3)}, r"parallax has shape \(3,\); 8 stamps need \(8,\)"),
        ({"parallax_error": None}, "give parallax_error"),
        ({"object_id": np.arange(9)}, "object_id has shape"),
        ({"n_samples": 0}, "n_samples = 0 must be at least 1"),
    ],
)
def test_inputs_that_disagree_are_refused(trained, stars, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        predict(trained, **{**stars, **changes})
