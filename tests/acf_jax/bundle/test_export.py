import jax
import numpy as np
import pytest

from acf_jax.bundle.export import PLATFORMS, export_prediction
from acf_jax.inference import mc_dropout
from acf_jax.inference.loading import load
from acf_jax.keys import split_ids
from tests.acf_jax.bundle.tiny_bundle import N_SAMPLES, SIZE_PX, make_run, make_stars

N_STARS = 6


def answers(exported, stars, seed=3):
    inputs = (stars[name] for name in ("stamps", "parallax", "parallax_error"))
    ids = split_ids(stars["object_id"])
    return [np.asarray(values) for values in exported.call(*inputs, ids, np.uint32(seed))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return load(make_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def exported(trained):
    return jax.export.deserialize(bytearray(export_prediction(trained, N_SAMPLES, SIZE_PX)))


@pytest.fixture(scope="module")
def stars():
    return make_stars(N_STARS)


def assert_same(trained, exported, stars, seed=3):
    """Means and standard deviations to rounding, in units of the Monte Carlo scatter."""
    expected = mc_dropout.predict(trained, **stars, n_samples=N_SAMPLES, seed=seed, batch_size=N_STARS)
    mean, std, *noise_std = answers(exported, stars, seed)
    np.testing.assert_allclose((mean - expected.mean) / expected.std, 0, atol=1e-3)
    np.testing.assert_allclose(std, expected.std, rtol=1e-3)
    return expected, noise_std


def test_samples_have_the_keys_of_mc_dropout(trained, exported, stars):
    assert_same(trained, exported, stars)
    assert exported.platforms == PLATFORMS


def test_the_largest_seed_and_id_are_taken_whole(trained, exported, stars):
    assert_same(trained, exported, stars | {"object_id": np.arange(N_STARS) - 3}, seed=2**32 - 1)
    few, many = (answers(exported, stars | {"object_id": ids})[0] for ids in (np.arange(6), 2**40 + np.arange(6)))
    assert (few != many).all()


def test_a_star_does_not_depend_on_the_others(exported, stars):
    alone = answers(exported, {name: values[2:3] for name, values in stars.items()})
    together = answers(exported, stars)
    for one, all_ in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], all_[2], rtol=1e-4)


def test_a_star_that_is_not_finite_has_no_answer_and_harms_no_other(exported, stars):
    bad = {name: values.copy() for name, values in stars.items()}
    bad["stamps"][1, 3, 4, 2], bad["parallax_error"][4] = np.inf, np.nan
    for expected, values in zip(answers(exported, stars), answers(exported, bad), strict=True):
        assert np.isnan(values[[1, 4]]).all()
        np.testing.assert_allclose(np.delete(values, [1, 4], axis=0), np.delete(expected, [1, 4], axis=0), rtol=1e-4)


def test_other_networks_are_exported_too(tmp_path, stars):
    changes = {"use_parallax": False, "targets": ("logg",), "heteroscedastic": True, "growth_curve": True}
    trained = load(make_run(tmp_path, **{f"model__{name}": value for name, value in changes.items()}))
    exported = jax.export.deserialize(bytearray(export_prediction(trained, N_SAMPLES, SIZE_PX)))
    expected, (noise_std,) = assert_same(trained, exported, stars)
    np.testing.assert_allclose(noise_std, expected.noise_std, rtol=1e-3)
