import io
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import tqdm

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.inference import mc_dropout
from acf_jax.inference.mc_dropout import head_moments, head_samples, predict
from acf_jax.keys import sample_keys, split_ids, star_keys
from acf_jax.models.acf import ACF, ACFConfig
from tests.acf_jax import tiny_trained
from tests.acf_jax.tiny_trained import CONFIG, SCALING, Unscaled, make_stars, trained_model

ROOT = Path(__file__).parents[3]
N_STARS = 8
CHUNK = mc_dropout.SAMPLES_AT_A_TIME_ON_CPU
OPTIONS = {"n_samples": 8, "batch_size": 8}  # in nearly all tests, so that they share their compilations
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}  # of float32, through three layers of order one


@pytest.fixture(scope="module")
def trained():
    return trained_model()


@pytest.fixture(scope="module")
def stars():
    return make_stars(N_STARS)


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


def run_script(name, *arguments, **environment):
    """The JSON that a script of this folder prints."""
    command = [sys.executable, f"tests/acf_jax/{name}.py", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": "."} | environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Keys.


def test_ids_keep_all_their_64_bits():
    ids = np.array([0, 1, 2**32, 2**32 + 1, 2**63 - 1, -1], np.int64)
    halves = split_ids(ids)
    assert halves.dtype == np.uint32
    np.testing.assert_array_equal((halves[:, 0].astype(np.uint64) << np.uint64(32)) + halves[:, 1], ids.view(np.uint64))
    of_stars = star_keys(jax.random.key(0), halves)
    keys = {tuple(jax.random.key_data(key).tolist()) for key in of_stars}
    assert len(keys) == len(ids)


# Samples.


def test_samples_equal_naive_full_passes(trained, stars, head_inputs):
    """T passes of the whole network, one star and one key at a time, from more than one chunk of samples."""
    model, params = trained.model, trained.params
    astrometry, n_samples = head_inputs[1], CHUNK + 2

    @jax.jit
    def full_pass(stamp, astrometry, key):
        return model.apply({"params": params}, stamp[None], astrometry[None], rngs={"dropout": key})[0]

    samples = head_samples(model, params, *head_inputs, n_samples, seed=3)
    for row, key in enumerate(star_keys(jax.random.key(3), split_ids(stars["object_id"]))):
        keys = sample_keys(key, np.arange(n_samples))
        for sample in range(n_samples):
            naive = full_pass(stars["stamps"][row], astrometry[row], keys[sample])
            np.testing.assert_allclose(samples[sample, row], naive, **ROUNDING)


def test_the_first_samples_of_many_are_those_of_few(trained, head_inputs):
    few, more, many = (
        head_samples(trained.model, trained.params, *head_inputs, n_samples) for n_samples in (8, 16, 2 * CHUNK + 1)
    )
    np.testing.assert_array_equal(few, more[:8])
    np.testing.assert_array_equal(more, many[:16])
    assert many.shape == (2 * CHUNK + 1, N_STARS, 3)
    assert len(np.unique(np.asarray(many)[:, 0, 0])) > CHUNK  # chunks do not repeat each other


def test_a_star_has_its_samples_among_many_stars(trained, monkeypatch):
    """In parts of eight stars of which the last overlaps the one before, and all at once."""
    inputs = tiny_trained.make_head_inputs(21)
    whole = head_samples(trained.model, trained.params, *inputs, 8)
    monkeypatch.setattr(mc_dropout, "STARS_AT_A_TIME", 8)
    np.testing.assert_allclose(head_samples(trained.model, trained.params, *inputs, 8), whole, **ROUNDING)
    mean, std = head_moments(trained.model, trained.params, *inputs, 8)
    np.testing.assert_allclose(mean, np.mean(whole, axis=0), **ROUNDING)
    np.testing.assert_allclose(std, np.std(whole, axis=0), **ROUNDING)


def test_a_star_has_its_samples_in_any_company(trained, stars):
    everyone = predict(trained, **stars, **OPTIONS, samples=True)
    rows = np.array([5, 2])
    pair = predict(trained, **take(stars, rows), **OPTIONS, samples=True)
    np.testing.assert_allclose(pair.samples, everyone.samples[:, rows], **ROUNDING)
    np.testing.assert_allclose(pair.mean, everyone.mean[rows], **ROUNDING)
    batches = predict(trained, **stars, n_samples=8, batch_size=3, samples=True)
    np.testing.assert_allclose(batches.samples, everyone.samples, **ROUNDING)


def test_samples_do_not_depend_on_the_number_of_devices():
    """Stars on four devices in one array, and the last one's stars alone, against all on one."""
    here = tiny_trained.samples_over_devices(N_STARS, CHUNK + 2)
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    there = run_script("tiny_trained", N_STARS, CHUNK + 2, XLA_FLAGS=flags)
    assert (here["n_devices"], there["n_devices"]) == (1, 4)
    expected = np.array(here["together"])
    assert expected.std() > 0.1
    np.testing.assert_allclose(there["together"], expected, **ROUNDING)
    np.testing.assert_allclose(there["last_shard"], expected[:, -N_STARS // 4 :], **ROUNDING)


def test_masks_are_independent_and_keep_what_they_should():
    """A head of one layer, the identity, on features of 1: its samples are masks / keep probability.

    The scalar product of two standardised masks, over the root of their length, has mean 0 and variance 1 if they are
    independent, and is about 8, that root, if they are equal.
    """
    n_stars, n_samples, width, keep = 40, 50, 64, 0.8
    n_masks = n_stars * n_samples
    model = ACF(ACFConfig(CONFIG.backbone, targets=tuple(map(str, range(width))), use_parallax=False, head_widths=()))
    params = {"head_0": {"kernel": np.eye(width, dtype=np.float32), "bias": np.zeros(width, np.float32)}}
    ids = np.arange(n_stars) + 2**32 * (np.arange(n_stars) % 2)
    samples = head_samples(model, params, np.ones((n_stars, width), np.float32), None, ids, n_samples)
    masks = keep * np.asarray(samples, np.float64)
    np.testing.assert_allclose(masks, np.round(masks), atol=1e-6)
    sigma = np.sqrt(keep * (1 - keep))
    assert masks.mean() == pytest.approx(keep, abs=5 * sigma / np.sqrt(masks.size))
    for kept, axes in enumerate([(1, 2), (0, 2), (0, 1)]):  # no sample, star or unit has a probability of its own
        error = sigma / np.sqrt(masks.size / masks.shape[kept])
        assert np.abs(masks.mean(axis=axes) - keep).max() < 5 * error
    assert len(np.unique(masks.reshape(n_masks, width), axis=0)) == n_masks  # equal by chance: 2e-11 a pair
    products = np.einsum("tiu,sju->tisj", *2 * [(masks - keep) / sigma]) / np.sqrt(width)
    same_star = products.transpose(1, 3, 0, 2)[np.eye(n_stars, dtype=bool)][:, ~np.eye(n_samples, dtype=bool)]
    same_sample = products.transpose(0, 2, 1, 3)[np.eye(n_samples, dtype=bool)][:, ~np.eye(n_stars, dtype=bool)]
    others = products.reshape(n_masks, n_masks)[~np.eye(n_masks, dtype=bool)]
    for pairs in (same_star, same_sample, others):
        assert abs(pairs.mean()) < 5 / np.sqrt(pairs.size / 2)  # each pair is there twice
        # A mask's own squares, 0.25 or 4 with variance 2.25, vary more than those of its products.
        assert np.mean(pairs**2) == pytest.approx(1, abs=5 * np.sqrt(4 * 2.25 / width / n_masks))


def test_seeds_draw_different_samples(trained, head_inputs):
    """The deviations of one star's samples from their mean are uncorrelated within the noise."""
    n_samples = 400
    star = [values[:1] for values in head_inputs]
    a, b = (np.ravel(head_samples(trained.model, trained.params, *star, n_samples, s)[..., 0]) for s in (0, 1))
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(n_samples)
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 5 / np.sqrt(n_samples)


# Moments.


@pytest.mark.parametrize("n_samples", [1, 8, CHUNK, 2 * CHUNK + 3])
def test_moments_are_numpys_with_ddof_0(trained, head_inputs, n_samples):
    samples = np.asarray(head_samples(trained.model, trained.params, *head_inputs, n_samples), np.float64)
    assert samples.shape == (n_samples, N_STARS, 3)
    mean, std = head_moments(trained.model, trained.params, *head_inputs, n_samples)
    np.testing.assert_allclose(mean, samples.mean(axis=0), **ROUNDING)
    np.testing.assert_allclose(std, samples.std(axis=0, ddof=0), **ROUNDING)
    if n_samples == 1:
        np.testing.assert_array_equal(mean, samples[0])
        np.testing.assert_array_equal(std, 0)


def test_moments_lose_no_digits_far_from_zero(trained, head_inputs):
    """Samples about 10,000 with a scatter of order one: a mean of squares in float32 would err by more than that."""
    params = {**trained.params, "head_2": {**trained.params["head_2"], "bias": np.full(3, 1e4, np.float32)}}
    samples = np.asarray(head_samples(trained.model, params, *head_inputs, 100), np.float64)
    mean, std = head_moments(trained.model, params, *head_inputs, 100)
    np.testing.assert_allclose(mean, samples.mean(axis=0), rtol=2e-7)
    np.testing.assert_allclose(std, samples.std(axis=0), rtol=1e-3)  # the mean's last digit is 1e-3
    assert 0.1 < samples.std(axis=0).min()


def test_no_dropout_no_variance(stars):
    prediction = predict(trained_model(dropout_rate=0.0), **stars, n_samples=2 * CHUNK + 3, batch_size=8, samples=True)
    np.testing.assert_array_equal(prediction.std, 0)
    np.testing.assert_array_equal(prediction.samples, np.broadcast_to(prediction.mean, prediction.samples.shape))


def test_half_precision_stays_in_the_backbone(trained, head_inputs):
    """Samples of a bfloat16 network are float32, and those of its rounded features."""
    features, *rest = head_inputs
    features = features.astype("bfloat16")
    half = trained_model(backbone=CONFIG.backbone.__class__(**{**vars(CONFIG.backbone), "dtype": "bfloat16"})).model
    samples = head_samples(half, trained.params, features, *rest, 8)
    assert samples.dtype == np.float32
    expected = head_samples(trained.model, trained.params, features.astype(np.float32), *rest, 8)
    np.testing.assert_array_equal(samples, expected)


def test_memory_is_bounded_for_any_number_of_samples_and_stars():
    """Measured in a process of its own, with the paper's widths: the whole of either case would take over 300 MB.

    That is three arrays as large as the first layer's input, of 640 float32 a pass.
    """
    many_samples, many_stars = "130,400", "5200,10"
    raised = run_script("peak_memory", "130,10", many_samples, many_stars, XLA_FLAGS="")
    whole_mb = 3 * 4 * 640 * 130 * 400 / 2**20
    assert whole_mb > 300
    assert raised["130,10"] < whole_mb  # with the compilation
    assert raised[many_samples] < whole_mb / 2
    assert raised[many_stars] < whole_mb / 2


# Predictions.


def test_predictions_are_in_physical_units(trained, stars, head_inputs):
    prediction = predict(trained, **stars, **OPTIONS, seed=5, samples=True)
    assert prediction.targets == ("teff", "logg", "fe_h")
    assert prediction.units == ("K", "dex", "dex")
    np.testing.assert_array_equal(prediction.object_id, stars["object_id"])
    samples = np.asarray(head_samples(trained.model, trained.params, *head_inputs, 8, seed=5))
    tolerance = {"rtol": 1e-5, "atol": 1e-4}
    np.testing.assert_allclose(prediction.mean, SCALING.invert(samples.mean(axis=0)), **tolerance)
    np.testing.assert_allclose(prediction.std, samples.std(axis=0) * SCALING.std, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(prediction.samples, SCALING.invert(samples), **tolerance)
    without = predict(trained, **stars, **OPTIONS, seed=5)
    assert without.samples is None
    np.testing.assert_array_equal(without.mean, prediction.mean)
    np.testing.assert_array_equal(without.std, prediction.std)


def test_the_constant_term_stands_apart(trained, stars):
    tau_inverse = [50.0**2, 0.1**2, 0.0]
    prediction = predict(trained, **stars, **OPTIONS, tau_inverse=tau_inverse)
    without = predict(trained, **stars, **OPTIONS)
    np.testing.assert_array_equal(prediction.std, without.std)
    np.testing.assert_allclose(prediction.predictive_std, np.sqrt(without.std**2 + np.array(tau_inverse)), rtol=1e-6)
    assert without.tau_inverse is without.predictive_std is None


def test_an_acpf_needs_no_parallax(stars):
    acpf = trained_model(use_parallax=False)
    without = predict(acpf, stars["stamps"], None, None, stars["object_id"], **OPTIONS)
    np.testing.assert_array_equal(predict(acpf, **stars, **OPTIONS).mean, without.mean)


def test_bad_stars_are_reported_and_harm_no_others(trained, stars, caplog):
    bad = {name: values.astype(np.float64) if name != "object_id" else values for name, values in stars.items()}
    bad["stamps"][1, 3, 3, 0] = np.nan
    bad["stamps"][6, 0, 0, 5] = 1e300  # no float32
    bad["parallax"][4] = -1
    bad["parallax_error"] = np.ma.masked_array(bad["parallax_error"], mask=np.arange(N_STARS) == 7)
    prediction = predict(trained, **bad, **OPTIONS, samples=True)
    np.testing.assert_array_equal(np.flatnonzero(~prediction.finite), [1, 4, 6, 7])
    assert "4 of 8 stars" in caplog.text
    good = predict(trained, **stars, **OPTIONS, samples=True)
    for values, expected in [(prediction.mean, good.mean), (prediction.std, good.std)]:
        assert np.isnan(values[[1, 4, 6, 7]]).all()
        np.testing.assert_array_equal(values[prediction.finite], expected[prediction.finite])
    assert np.isnan(prediction.samples[:, [1, 4, 6, 7]]).all()
    np.testing.assert_array_equal(prediction.samples[:, prediction.finite], good.samples[:, prediction.finite])


def test_any_arrays_of_numbers_will_do(trained, stars):
    expected = predict(trained, **stars, **OPTIONS)
    lists = predict(trained, **{name: values.tolist() for name, values in stars.items()}, **OPTIONS)
    jax_arrays = {name: jax.numpy.asarray(stars[name]) for name in ("stamps", "parallax", "parallax_error")}
    from_jax = predict(trained, **jax_arrays, object_id=stars["object_id"].astype(np.uint64), **OPTIONS)
    for prediction in (lists, from_jax):
        np.testing.assert_array_equal(prediction.mean, expected.mean)
    single = predict(trained, stars["stamps"][3][None], *([stars[name][3]] for name in list(stars)[1:]), **OPTIONS)
    np.testing.assert_allclose(single.mean, expected.mean[3:4], rtol=1e-5)


def test_no_stars_no_predictions(trained, stars):
    prediction = predict(trained, **take(stars, slice(0)), n_samples=4, samples=True)
    assert prediction.mean.shape == prediction.std.shape == (0, 3)
    assert prediction.samples.shape == (4, 0, 3)
    inputs = (np.zeros((0, 4)), np.zeros((0, 2)), np.zeros(0, np.int64), 4)
    assert head_samples(trained.model, trained.params, *inputs).shape == (4, 0, 3)
    assert [len(moment) for moment in head_moments(trained.model, trained.params, *inputs)] == [0, 0]


def test_one_compilation_serves_any_number_of_stars_and_samples(trained, stars):
    compiled = (mc_dropout.encode, mc_dropout._draw, mc_dropout._merge)
    predict(trained, **take(stars, slice(1)), **OPTIONS)
    before = [function._cache_size() for function in compiled]
    for n_stars, n_samples in [(3, 8), (5, 4), (8, 50)]:
        predict(trained, **take(stars, slice(n_stars)), n_samples=n_samples, batch_size=8)
    assert [function._cache_size() for function in compiled] == before


def test_a_batch_is_launched_before_the_one_before_is_fetched(trained, stars, monkeypatch):
    events = []

    def spy(name, function):
        return lambda *args: events.append(name) or function(*args)

    monkeypatch.setattr(mc_dropout, "launch", spy("launch", mc_dropout.launch))
    monkeypatch.setattr(mc_dropout.jax, "device_get", spy("fetch", jax.device_get))
    predict(trained, **stars, n_samples=8, batch_size=2)
    assert events == ["launch", *["launch", "fetch"] * 3, "fetch"]


def test_long_predictions_show_their_progress(trained, stars, monkeypatch):
    def shown(after_s, **options):
        screen = io.StringIO()
        monkeypatch.setattr(mc_dropout, "PROGRESS_AFTER_S", after_s)
        monkeypatch.setattr(mc_dropout, "tqdm", partial(tqdm.tqdm, file=screen, **options))
        predict(trained, **stars, n_samples=8, batch_size=3)
        return screen.getvalue()

    assert "predicting: 100%" in shown(0, disable=False)
    assert "8/8" in shown(0, disable=False)
    assert shown(3600, disable=False) == ""
    assert shown(0) == ""  # TQDM_DISABLE is set for all tests
    assert mc_dropout.progress_bar(8, shown=False).disable


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stamps": np.zeros((N_STARS, 8, 8, 5), np.float32)}, "5 bands; the model has uvgriz"),
        ({"stamps": np.zeros((8, 8, 6))}, r"\(n, height, width, bands\), not \(8, 8, 6\); .* stamp\[None\]"),
        ({"stamps": np.zeros((N_STARS, 9, 9, 6))}, "A stamp of 9 pixels is not divisible"),
        ({"stamps": [[1.0, 2.0], [3.0]]}, "stamps: rows of unequal length"),
        ({"stamps": None}, "stamps has dtype object; give an array of numbers"),
        ({"parallax": ["2.1"] * N_STARS}, "parallax has dtype <U3; give an array of numbers"),
        ({"parallax": np.ones(3)}, r"parallax has shape \(3,\); 8 stamps need \(8,\)"),
        ({"parallax_error": None}, "give parallax_error"),
        ({"object_id": np.arange(9)}, "object_id has shape"),
        ({"object_id": np.arange(8.0)}, "object_id has dtype float64; give integers"),
        ({"object_id": np.ma.masked_equal(np.arange(8), 3)}, "object_id has masked entries"),
        ({"n_samples": 0}, "n_samples = 0 must be a whole number and at least 1"),
        ({"batch_size": 2.5}, "batch_size = 2.5 must be a whole number"),
        ({"tau_inverse": [1.0]}, "one variance for each of teff, logg, fe_h"),
        ({"tau_inverse": [1.0, -1.0, 1.0]}, "one variance for each of teff, logg, fe_h"),
    ],
)
def test_inputs_that_disagree_are_refused(trained, stars, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        predict(trained, **{**stars, **changes})


# A head that predicts its noise, too.


def test_the_noise_is_the_root_of_the_mean_variance_in_physical_units():
    trained, stars = trained_model(heteroscedastic=True), make_stars(N_STARS)
    prediction = predict(trained, **stars, **OPTIONS, samples=True)
    assert prediction.samples.shape == (8, N_STARS, 3)
    np.testing.assert_allclose(prediction.mean, prediction.samples.mean(axis=0), rtol=1e-4, atol=1e-3)
    features = trained.model.apply({"params": trained.params}, stars["stamps"], method="encode")
    scalars = Unscaled().astrometry(stars["parallax"], stars["parallax_error"])
    outputs = np.asarray(head_samples(trained.model, trained.params, features, scalars, stars["object_id"], 8))
    expected = np.sqrt(outputs[:, :, 3:].mean(axis=0)) * SCALING.std
    np.testing.assert_allclose(prediction.noise_std, expected, rtol=1e-4)
    assert set(prediction.columns()) >= {"teff_noise_std", "teff_std"}
    assert predict(trained_model(), **stars, **OPTIONS).noise_std is None


def test_a_calibrated_network_predicts_calibrated_errors():
    trained, stars = trained_model(), make_stars(N_STARS)
    with pytest.raises(ValueError, match="not calibrated"):
        predict(trained, **stars, **OPTIONS).interval(0.9)
    rng = np.random.default_rng(0)
    mean, std = rng.normal(SCALING.mean, SCALING.std, (300, 3)), np.tile(SCALING.std, (300, 1))
    labels = mean + rng.normal(0, 2 * std)
    trained.error_calibration = ErrorCalibration.fit(mean, std, None, labels, trained.targets)
    stars["parallax"][3] = np.nan
    prediction = predict(trained, **stars, **OPTIONS)
    good = np.arange(N_STARS) != 3
    assert (prediction.calibrated_std[good] > 0).all()
    assert np.isnan(prediction.calibrated_std[3]).all()
    lower, upper = prediction.interval(0.9)
    assert ((lower < prediction.mean) & (prediction.mean < upper))[good].all()
    np.testing.assert_array_equal(prediction.columns()["logg_calibrated_std"], prediction.calibrated_std[:, 1])
