"""Stars unlike the training set are told, others are not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import LedoitWolf

from acf_jax.calibration.training_domain import MIN_STARS, QUANTILE, Ellipsoid, TrainingDomain, light_profile
from tests.acf_jax import tiny_dataset

N_FEATURES, N_BANDS = 5, 6
LABELS = {
    "label_min": {"teff": 4000.0, "fe_h": -2.5},
    "label_max": {"teff": 8000.0, "fe_h": 0.5},
    "error_limits": {"teff": 200.0, "fe_h": 0.3},
}
MIXING = np.random.default_rng(9).normal(size=(N_FEATURES, N_FEATURES)) * np.array([100, 10, 1, 0.1, 0.01])


def make_features(n, seed):
    """Gaussian, correlated, of very different scales."""
    return np.random.default_rng(seed).normal(size=(n, N_FEATURES)) @ MIXING + 7


def make_stamps(n, seed):
    return tiny_dataset.make_stars(n, seed)["stamp"]


@pytest.fixture(scope="module")
def domain():
    train, held_out = (make_features(2_000, 1), make_stamps(400, 1)), (make_features(1_000, 2), make_stamps(400, 2))
    # The two need not be the same stars' here, but as many.
    profiles = [np.resize(light_profile(stamps), (len(f), 3 * N_BANDS)) for f, stamps in (train, held_out)]
    return TrainingDomain.fit(train[0], profiles[0], held_out[0], profiles[1], **LABELS)


def test_distances_are_those_of_another_implementation():
    points, others = make_features(500, 1), make_features(50, 2) * 3
    scale, ellipsoid = points.std(axis=0), Ellipsoid.fit(points)
    reference = LedoitWolf().fit(points / scale).mahalanobis(others / scale) ** 0.5
    np.testing.assert_allclose(ellipsoid.distance(others), reference, rtol=1e-3)


def test_squared_distances_of_gaussian_points_follow_chi_squared():
    squares = Ellipsoid.fit(make_features(20_000, 1)).distance(make_features(5_000, 2)).astype(np.float64) ** 2
    assert stats.kstest(squares, stats.chi2(N_FEATURES).cdf).pvalue > 0.01


@given(st.lists(st.floats(1e-3, 1e3), min_size=N_FEATURES, max_size=N_FEATURES), st.floats(-100, 100))
def test_units_and_origin_of_the_features_do_not_matter(units, origin):
    points, others = make_features(200, 1), make_features(20, 2)
    plain = Ellipsoid.fit(points).distance(others)
    changed = Ellipsoid.fit((points + origin) * units).distance((others + origin) * units)
    np.testing.assert_allclose(changed, plain, rtol=1e-2)


def test_a_feature_that_never_varies_does_no_harm():
    points = np.concatenate([make_features(300, 1), np.full((300, 1), 3.0)], axis=1)
    ellipsoid = Ellipsoid.fit(points)
    assert np.isfinite(ellipsoid.distance(points)).all()
    rounding, foreign = points[0].copy(), points[0].copy()
    rounding[-1] += 1e-6
    foreign[-1] += 1e4
    near, far, there = ellipsoid.distance(np.stack([rounding, foreign, points[0]]))
    assert near == pytest.approx(there, rel=1e-3)
    assert far > 100 * there


def test_new_stars_of_the_training_set_s_kind_are_rarely_flagged(domain):
    distance = domain.distance(make_features(2_000, 3), np.resize(make_stamps(500, 3), (2_000, 48, 48, N_BANDS)))
    assert 0.001 <= (distance > 1).mean() <= 3 * (1 - QUANTILE)


@pytest.mark.parametrize("n_held_out", [MIN_STARS, 500])
def test_the_threshold_keeps_its_promise_on_average(n_held_out):
    rates = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sets = [rng.normal(size=(n, d)) for n in (200, n_held_out) for d in (3, 3)]
        domain = TrainingDomain.fit(*sets, **LABELS)
        new = [part.distance(rng.normal(size=(2_000, 3))) for part in (domain.features, domain.profiles)]
        rates.append((np.maximum(*new) > 1).mean())
    # With 50 stars the largest of them is the threshold: one new star in 51 exceeds it.
    expected = max(1 - QUANTILE, 1 / (n_held_out + 1))
    assert 0.6 * expected <= np.mean(rates) <= 1.4 * expected


STRANGE = {
    "a band five times too bright": lambda stamps: stamps * np.where(np.arange(N_BANDS) == 2, 5, 1),
    "a band of zeros": lambda stamps: stamps * (np.arange(N_BANDS) != 3),
    "a hundred times too bright": lambda stamps: 100 * stamps,
    "ten thousand times too faint": lambda stamps: stamps / 10_000,
    "the other sign": lambda stamps: -stamps,
    "nothing but noise": lambda stamps: np.random.default_rng(5).normal(size=stamps.shape),
    "zeros": np.zeros_like,
    "light where the sky should be": lambda stamps: stamps + 20,
    "a star beside the centre": lambda stamps: np.roll(stamps, (6, 8), axis=(1, 2)),
}


@pytest.mark.parametrize("what", STRANGE)
def test_strange_stamps_are_told_even_if_the_features_look_right(domain, what):
    stamps = STRANGE[what](make_stamps(100, 4))
    assert (domain.distance(np.resize(domain.features.center, (100, N_FEATURES)), stamps) > 1).mean() > 0.9


def test_strange_features_are_told_even_if_the_stamps_look_right(domain):
    stamps, features = make_stamps(100, 4), make_features(100, 4)
    strange = 7 + (features - 7)[:, ::-1]
    assert (domain.distance(features, stamps) > 1).mean() <= 0.05
    assert (domain.distance(strange, stamps) > 1).mean() > 0.9


def test_what_is_not_finite_has_no_distance_and_harms_no_other_star(domain):
    stamps, features = make_stamps(5, 4).astype(np.float32), make_features(5, 4)
    whole = domain.distance(features, stamps)
    stamps[1, 0, 0, 0], stamps[2, 24, 24, 3], features[3, 1] = np.nan, np.inf, np.nan
    distance = domain.distance(features, stamps)
    assert np.isnan(distance).tolist() == [False, True, True, True, False]
    np.testing.assert_array_equal(distance[[0, 4]], whole[[0, 4]])
    assert distance.dtype == np.float32


def test_a_star_s_distance_does_not_depend_on_its_batch(domain):
    stamps, features = make_stamps(20, 4), make_features(20, 4)
    alone = np.concatenate([domain.distance(features[i : i + 1], stamps[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(alone, domain.distance(features, stamps), rtol=1e-5)
    assert domain.distance(features[:0], stamps[:0]).shape == (0,)


def test_light_profiles_are_brightness_colours_concentration_and_sky():
    flux = np.array([0.0, 1.0, -5.0, 1e4, 100.0, 0.1])
    light = np.arcsinh(flux)
    profile = light_profile(np.broadcast_to(flux, (2, 48, 48, N_BANDS)))
    np.testing.assert_allclose(profile[0], [light.mean(), *np.diff(light), *np.zeros(6), *light], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(profile[0], profile[1])
    core = np.zeros((1, 48, 48, 1))
    core[0, 24, 24] = 13.0  # of the 13 pixels within 2 of the centre
    np.testing.assert_allclose(light_profile(core)[0], [np.arcsinh(1.0), -np.arcsinh(1.0), 0], rtol=1e-6)


def test_a_domain_survives_numpy_s_files_without_pickling(domain, tmp_path):
    np.savez(tmp_path / "domain.npz", **domain.to_arrays())
    with np.load(tmp_path / "domain.npz", allow_pickle=False) as stored:
        again = TrainingDomain.from_arrays(stored)
    stamps, features = make_stamps(20, 4), make_features(20, 4)
    np.testing.assert_array_equal(again.distance(features, stamps), domain.distance(features, stamps))
    assert again.summary() == domain.summary() == json.loads(json.dumps(domain.summary()))
    for name, values in LABELS.items():
        assert getattr(again, name) == values


@pytest.mark.usefixtures("unchecked")
def test_arrays_whose_shapes_disagree_are_refused(domain):
    arrays = domain.to_arrays()
    with pytest.raises(ValueError, match=r"must be \(d,\) and \(d, d\)"):
        TrainingDomain.from_arrays(arrays | {"features_center": np.zeros(3)})
    with pytest.raises(ValueError, match="longer than"):
        TrainingDomain.from_arrays(arrays | {"label_min": np.zeros(3)})


@pytest.mark.usefixtures("unchecked")
def test_another_network_s_features_and_stamps_are_refused(domain):
    features, stamps = make_features(3, 1), make_stamps(3, 1)
    for wrong in ((features[:, 1:], stamps), (features, stamps[..., 1:]), (features, stamps[0])):
        with pytest.raises(ValueError, match="another network's"):
            domain.distance(*wrong)


def test_too_few_stars_and_stars_that_are_not_finite_are_refused():
    sets = [np.random.default_rng(0).normal(size=(MIN_STARS, 3)) for _ in range(4)]
    with pytest.raises(ValueError, match="49 held-out stars are too few"):
        TrainingDomain.fit(*sets[:2], *(points[1:] for points in sets[2:]), **LABELS)
    sets[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        TrainingDomain.fit(*sets, **LABELS)
