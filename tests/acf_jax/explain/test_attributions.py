"""Attributions against finite differences, their own axioms and a network whose attributions are known on paper."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acf_jax.data.scaling import InputScaling
from acf_jax.explain import attributions as explain
from acf_jax.inference import mc_dropout
from acf_jax.inference.network import Network
from acf_jax.models.acf import ACF, init_params
from tests.acf_jax import tiny_trained

N_STARS = 5


def tiny_network(**changes) -> Network:
    """A random ACF for stamps of 8 x 8 pixels, with logarithms of parallaxes."""
    model = ACF(dataclasses.replace(tiny_trained.CONFIG, dropout_rate=0.0, **changes))
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: generator.normal(0, 0.3, leaf.shape).astype(leaf.dtype), init_params(model, 0, (8, 8, 6))
    )
    scaling = InputScaling("uvgriz", "linear", (1.0,) * 6, tuple(map(tuple, np.eye(6))), "log", (0, 0), (1, 1))
    return Network(
        model, params, scaling, tiny_trained.SCALING, model.config.targets, "uvgriz", {}, step=1
    )  # fmt: skip


def tiny_stars(n=N_STARS) -> explain.Stars:
    made = tiny_trained.make_stars(n)
    y, x = np.mgrid[:8, :8] - 4
    profile = np.exp(-(x**2 + y**2) / 4)[None, :, :, None]
    return explain.Stars(3 * profile + 0.1 * made["stamps"], made["parallax"], made["parallax_error"])


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def explainer(network):
    return explain.Explainer(network)


def test_answers_are_the_predictions_without_dropout(network, explainer):
    stars = tiny_stars()
    predicted = mc_dropout.predict(network, *stars, np.arange(N_STARS), n_samples=1, progress=False)
    np.testing.assert_allclose(explainer.answers(stars, {"": {}})[""], predicted.mean, rtol=1e-4, atol=1e-3)


def test_a_variant_is_the_answer_to_the_changed_star(explainer):
    stars = tiny_stars()
    factor = np.ones((N_STARS, 6))
    factor[:, 1] = 0.5
    variants = {"dim v": {"band_factor": factor}, "nearer": {"parallax": 2 * stars.parallax}}
    answers = explainer.answers(stars, variants)
    dimmed = stars._replace(stamps=stars.stamps * [1, 0.5, 1, 1, 1, 1])
    nearer = stars._replace(parallax=2 * stars.parallax)
    for name, changed in {"dim v": dimmed, "nearer": nearer}.items():
        np.testing.assert_allclose(answers[name], explainer.answers(changed, {"": {}})[""], rtol=1e-5)
        assert not np.allclose(answers[name], explainer.answers(stars, {"": {}})[""], rtol=1e-4)


def check_response(explainer, bands):
    stars, step_mag = tiny_stars(), 0.02
    response = explain.magnitude_response(explainer.gradient_times_input(stars))
    scale = np.abs(response).max(axis=(0, 2))
    for band in bands:
        change = 10 ** (-0.4 * step_mag * (np.arange(6) == band)) * np.ones((N_STARS, 6))
        answers = explainer.answers(
            stars, {"fainter": {"band_factor": change}, "brighter": {"band_factor": 1 / change}}
        )
        difference = (answers["fainter"] - answers["brighter"]) / (2 * step_mag)
        np.testing.assert_allclose(response[:, :, band] / scale, difference / scale, atol=0.01)


def test_response_to_a_magnitude_is_the_finite_difference(explainer):
    check_response(explainer, range(6))


def test_a_network_that_reads_fluxes_and_predicts_noise_is_asked_for_all_that_depends_on_its_stamps():
    network = tiny_network(growth_curve=True, heteroscedastic=True)
    n_growth = network.model.config.num_scalars - 2
    scaling = dataclasses.replace(
        network.input_scaling, growth_center=(1.0,) * n_growth, growth_scale=(0.5,) * n_growth
    )
    explainer = explain.Explainer(dataclasses.replace(network, input_scaling=scaling))
    assert explainer.answers(tiny_stars(), {"": {}})[""].shape == (N_STARS, 3)
    check_response(explainer, (1, 4))


def test_more_stars_than_a_batch_do_not_meddle_with_each_other(explainer, monkeypatch):
    stars = tiny_stars(explain.STARS_AT_A_TIME + 3)
    together = explainer.gradients(stars)
    assert together.shape == (len(stars.parallax), 3, 8, 8, 6)
    for row in (0, explain.STARS_AT_A_TIME + 2):
        alone = explainer.gradients(stars.take([row]))[0]
        np.testing.assert_allclose(together[row], alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())


@pytest.mark.parametrize("from_empty_sky", [True, False], ids=["empty sky", "mean star"])
def test_integrated_gradients_sum_to_the_difference_of_the_answers(explainer, from_empty_sky):
    stars = tiny_stars()
    baseline = None if from_empty_sky else explain.mean_stamp(stars.stamps[::-1], stars.stamps)
    attributions, missing = explainer.integrated_gradients(stars, baseline, n_steps=128)
    start = stars._replace(stamps=np.zeros_like(stars.stamps) if from_empty_sky else baseline)
    difference = explainer.answers(stars, {"": {}})[""] - explainer.answers(start, {"": {}})[""]
    np.testing.assert_allclose(attributions.sum(axis=(2, 3, 4)) + missing, difference, rtol=1e-6)
    assert (np.abs(missing) < 0.01 * np.abs(difference).max(axis=0)).all()
    # Too few steps are told, not hidden.
    _, missing_more = explainer.integrated_gradients(stars, baseline, n_steps=1)
    assert np.abs(missing_more).max() > 10 * np.abs(missing).max()


def test_a_linear_network_is_explained_by_its_weights(network, monkeypatch):
    weights = np.random.default_rng(3).normal(size=(3, 8, 8, 6))

    def linear(trained, stamps, parallax, parallax_error):
        return jnp.einsum("nyxb,tyxb->nt", stamps, weights, precision="highest") + parallax[:, None]

    monkeypatch.setattr(explain, "outputs", linear)
    explainer, stars = explain.Explainer(network), tiny_stars()
    baseline = explain.mean_stamp(stars.stamps, stars.stamps)
    np.testing.assert_allclose(
        explainer.gradient_times_input(stars), weights * stars.stamps[:, None], rtol=1e-4, atol=1e-6
    )
    attributions, missing = explainer.integrated_gradients(stars, baseline, n_steps=4)
    np.testing.assert_allclose(attributions, weights * (stars.stamps - baseline)[:, None], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(missing, 0, atol=1e-3)


def test_network_without_parallax_is_asked_without(network):
    explainer, stars = explain.Explainer(tiny_network(use_parallax=False)), tiny_stars()
    answers = explainer.answers(stars, {"as it is": {}, "nearer": {"parallax": 2 * stars.parallax}})
    np.testing.assert_array_equal(answers["as it is"], answers["nearer"])


def test_mean_stamp_is_as_bright_as_the_star():
    rng = np.random.default_rng(0)
    stamps = rng.uniform(0, 1, (20, 8, 8, 6)) * 10 ** rng.uniform(0, 3, (20, 1, 1, 1))
    stamps[4] = -1  # noise alone
    own = stamps[:3]
    mean = explain.mean_stamp(stamps, own)
    np.testing.assert_allclose(mean.sum(axis=(1, 2, 3)), own.sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(mean[0] / mean[0].sum(), mean[1] / mean[1].sum())
    # A star a thousand times brighter counts no more than the others.
    shapes = np.delete(stamps, 4, axis=0)
    shapes /= shapes.sum(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(mean[0] / mean[0].sum(), shapes.mean(axis=0))


def test_shares_of_bands_and_of_the_middle():
    attributions = np.zeros((2, 1, 48, 48, 6))
    attributions[0, 0, 24, 24, 1] = -3
    attributions[0, 0, 24, 31, 0] = 1  # 7 px away
    attributions[1, 0, 20, 24, 5] = 2
    np.testing.assert_allclose(explain.band_shares(attributions)[:, 0], [[0.25, 0.75, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])
    np.testing.assert_allclose(explain.share_within(attributions, 6.0)[:, 0], [0.75, 1])
    mean = explain.mean_map(attributions)
    assert mean.sum() == pytest.approx(1)
    assert mean[0, 24, 24, 1] == pytest.approx(0.375)
    assert mean[0, 20, 24, 5] == pytest.approx(0.5)
