"""The network of numbers against NumPy, scikit-learn, and relations that are known."""

import dataclasses

import numpy as np
import pytest
from scipy.special import erf
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from acf_jax.baselines.photometric_network import ColumnScaling, Settings, fit

TARGETS = ("teff", "logg")
SETTINGS = Settings(num_steps=200, batch_size=32, check_every_steps=50, warmup_steps=30, seed=3)
NOISE = np.array([20.0, 0.02])


def draw(n, seed):
    """Columns, and labels that bend with them."""
    rng = np.random.default_rng(seed)
    columns = rng.normal([12.0, 0.5, 3.0], [1.0, 0.2, 5.0], (n, 3))
    bent = np.abs(columns[:, 1] - 0.5) / 0.2
    labels = np.stack([5500 + 600 * bent, 4 + 0.5 * bent - 0.3 * (columns[:, 0] - 12)], axis=1)
    return columns, labels + NOISE * rng.normal(size=labels.shape)


TRAIN, CALIBRATION, STARS = draw(1200, 0), draw(150, 1), draw(200, 2)
IDS = np.arange(200) + 2**40


@pytest.fixture(scope="module")
def network():
    return fit(TRAIN, CALIBRATION, TARGETS, SETTINGS)


def predicted(network, columns=STARS[0], ids=IDS):
    return network.predict(columns, ids, n_samples=10)


def test_it_learns_what_a_linear_fit_cannot(network):
    mean, std = predicted(network)
    linear = LinearRegression().fit(*TRAIN).predict(STARS[0])
    scatter, linear_scatter = ((values - STARS[1]).std(axis=0) for values in (mean, linear))
    assert (scatter < 0.5 * linear_scatter).all()
    assert (std > 0).all()


def test_it_is_the_acfs_head_as_numpy_computes_it(network):
    """Without dropout: a layer where the parallax enters, then two hidden ones and the targets, with GELU between."""
    x = network.columns(STARS[0]).astype(np.float64)
    for name in ("astrometric", "head_0", "head_1", "head_2"):
        layer = network.params[name]
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
        if name != "head_2":
            x = x * (1 + erf(x / np.sqrt(2))) / 2
    assert {name: layer["kernel"].shape for name, layer in network.params.items()} == {
        "astrometric": (3, 128), "head_0": (128, 320), "head_1": (320, 160), "head_2": (160, 2),
    }  # fmt: skip
    mean, std = network.predict(STARS[0], IDS, n_samples=100)
    plain = network.labels.invert(x.astype(np.float32))
    assert (np.abs(mean - plain) < std).mean() > 0.95  # dropout moves the mean by less than its own spread


def test_the_best_checkpoint_is_the_one_of_the_score(network):
    x = network.columns(CALIBRATION[0])
    empty = np.zeros((len(x), 0), np.float32)
    out = network.model.apply({"params": network.params}, empty, x, deterministic=True, method="predict")
    residual = np.asarray(network.labels.invert(np.asarray(out))) - CALIBRATION[1]
    score = np.mean(residual.std(axis=0) / TRAIN[1].std(axis=0))
    assert network.score == pytest.approx(score, rel=1e-4)
    assert network.step in range(50, 201, 50)


def test_a_seed_repeats_itself_and_another_differs(network):
    mean, std = predicted(network)
    again = predicted(fit(TRAIN, CALIBRATION, TARGETS, SETTINGS))
    np.testing.assert_array_equal(again, (mean, std))
    other, _ = predicted(fit(TRAIN, CALIBRATION, TARGETS, dataclasses.replace(SETTINGS, seed=4)))
    assert not np.allclose(other, mean, rtol=1e-4)


def test_a_star_does_not_depend_on_its_company(network):
    mean, _ = predicted(network)
    rows = np.array([150, 3, 77])
    few, _ = predicted(network, STARS[0][rows], IDS[rows])
    np.testing.assert_allclose(few, mean[rows], rtol=1e-5)


def test_stars_without_all_labels_are_left_out_of_training(network):
    columns, labels = (np.concatenate([values, values[:50]]) for values in TRAIN)
    labels[-50:, 1] = np.nan
    again = predicted(fit((columns, labels), CALIBRATION, TARGETS, SETTINGS))
    np.testing.assert_array_equal(again, predicted(network))


def test_numbers_may_be_missing():
    rng = np.random.default_rng(5)
    samples = [(columns[:, :2].copy(), labels) for columns, labels in (TRAIN, CALIBRATION, STARS)]
    for columns, _ in samples:
        columns[rng.random(len(columns)) < 0.2, 0] = np.nan
    network = fit(*samples[:2], TARGETS, SETTINGS)  # of three inputs as before, so that nothing is compiled anew
    mean, _ = predicted(network, samples[2][0])
    assert np.isfinite(mean).all()
    known = np.isfinite(samples[2][0][:, 0])
    scatter = [(mean - STARS[1])[rows, 1].std() for rows in (known, ~known)]
    assert scatter[0] < scatter[1] < 2 * 0.3 + 0.1  # what the missing column tells of log g is 0.3


def test_columns_are_scaled_as_scikit_learn_does():
    columns = TRAIN[0].copy()
    columns[::7, 1] = np.nan
    columns[:, 2] = 4.0
    scaling = ColumnScaling.fit(columns)
    expected = StandardScaler().fit(columns).transform(STARS[0])
    np.testing.assert_allclose(scaling(STARS[0])[:, :3], expected, rtol=1e-4, atol=1e-5)
    gone = STARS[0].copy()
    gone[0] = np.nan
    np.testing.assert_array_equal(scaling(gone)[0], [0, 0, 0, 1])  # only the second had gaps in training
    np.testing.assert_array_equal(scaling(gone)[1:, 3], 0)


def test_no_labelled_star_is_refused():
    nothing = (STARS[0], np.full_like(STARS[1], np.nan))
    with pytest.raises(ValueError, match="None of 200 stars has all labels"):
        fit(TRAIN, nothing, TARGETS, SETTINGS)
