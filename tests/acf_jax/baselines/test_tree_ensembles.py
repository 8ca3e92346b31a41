"""The four algorithms against relations that are known, and against what no fit may do."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import optuna
import pytest

from acf_jax.baselines import tree_ensembles
from acf_jax.baselines.tree_ensembles import TREE_ENSEMBLES, Labelled, fingerprint, fit

NOISE = 0.1
every_algorithm = pytest.mark.parametrize("name", TREE_ENSEMBLES)
every_boosting = pytest.mark.parametrize("name", ["XGBoost", "LightGBM", "CatBoost"])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(tree_ensembles, "MAX_TREES", 100)
    monkeypatch.setattr(tree_ensembles, "FOREST_TREES", (10, 20))
    forest = TREE_ENSEMBLES["random forest"]
    few = replace(forest, start={**forest.start, "n_estimators": 20})
    monkeypatch.setitem(TREE_ENSEMBLES, "random forest", few)


def draw(n, seed):
    rng = np.random.default_rng(seed)
    features = rng.uniform(-1, 1, (n, 4))
    return Labelled(features, relation(features) + NOISE * rng.normal(size=n))


def relation(features):
    """A step, a line and a product; the last column means nothing."""
    return np.where(features[:, 0] > 0.2, 1.0, -1.0) + 2 * features[:, 1] + features[:, 0] * features[:, 2]


TRAIN, STOPPING, TEST = draw(600, 1), draw(200, 2), draw(400, 3)


def start_fit(name, train=TRAIN, stopping=STOPPING, seed=0):
    return fit(name, TREE_ENSEMBLES[name].start, train, stopping, seed)


@every_algorithm
def test_recovers_a_relation(name):
    error = start_fit(name)(TEST.features) - relation(TEST.features)
    assert relation(TEST.features).std() > 1.5
    assert error.std() < 0.3


@every_algorithm
def test_units_do_not_matter(name):
    in_kelvin = [Labelled(s.features, 5500 + 600 * s.labels) for s in (TRAIN, STOPPING)]
    difference = (start_fit(name, *in_kelvin)(TEST.features) - 5500) / 600 - start_fit(name)(TEST.features)
    assert difference.std() < 0.3 * NOISE  # not 0: rounding decides between splits that are equally good


@every_algorithm
def test_features_may_be_missing(name):
    rng = np.random.default_rng(4)

    def with_gaps(sample):
        features = np.where(rng.random(sample.features.shape) < 0.05, np.nan, sample.features)
        features[:, 3] = np.nan  # a column that nobody has
        return Labelled(features, sample.labels)

    predict = start_fit(name, with_gaps(TRAIN), with_gaps(STOPPING))
    prediction = predict(with_gaps(TEST).features)
    assert np.isfinite(prediction).all()
    assert (prediction - relation(TEST.features)).std() < 0.6


def test_the_forest_fills_gaps_with_medians_of_the_training_stars():
    predict = start_fit("random forest")
    gaps, filled = TEST.features.copy(), TEST.features.copy()
    gaps[:, 1], filled[:, 1] = np.nan, np.median(TRAIN.features[:, 1])
    np.testing.assert_array_equal(predict(gaps), predict(filled))


@every_algorithm
def test_the_same_fit_twice_and_beside_others(name):
    alone = start_fit(name)(TEST.features)
    with ThreadPoolExecutor(4) as threads:
        beside = list(threads.map(lambda other: start_fit(other)(TEST.features), [name, *TREE_ENSEMBLES, name]))
    np.testing.assert_array_equal(beside[0], alone)
    np.testing.assert_array_equal(beside[-1], alone)
    assert (start_fit(name, seed=1)(TEST.features) != alone).any()


@every_algorithm
def test_a_star_does_not_depend_on_its_company(name):
    predict = start_fit(name)
    assert predict(TEST.features[7:8])[0] == predict(TEST.features)[7]


@every_boosting
def test_trees_are_added_while_the_stopping_stars_gain(name):
    noise = Labelled(STOPPING.features, np.random.default_rng(5).normal(size=200))
    stopped = start_fit(name, stopping=noise)(TEST.features)
    assert stopped.std() < 0.5 * start_fit(name)(TEST.features).std()


@every_boosting
def test_more_trees_than_it_has_gain_the_stopping_stars_nothing(name, monkeypatch):
    """The number of trees is the best of all numbers, found here by growing each."""
    monkeypatch.setattr(tree_ensembles, "MAX_TREES", 20)
    monkeypatch.setattr(tree_ensembles, "EARLY_STOPPING_ROUNDS", 20)
    stopping = Labelled(STOPPING.features, 0.5 * STOPPING.labels)  # what half of the trees would say
    fitted, errors = start_fit(name, stopping=stopping), []
    for n_trees in range(1, 21):
        monkeypatch.setattr(tree_ensembles, "MAX_TREES", n_trees)
        grown = start_fit(name, stopping=stopping)
        errors.append(np.sqrt(np.mean((grown(STOPPING.features) - stopping.labels) ** 2)))
    assert 1 < fitted.n_trees == np.argmin(errors) + 1 < 20


def test_the_search_says_how_many_trees_a_forest_has():
    parameters = {**TREE_ENSEMBLES["random forest"].start, "n_estimators": 13}
    assert fit("random forest", parameters, TRAIN, STOPPING).n_trees == 13


def test_the_forest_does_not_look_at_the_stopping_stars():
    other = Labelled(STOPPING.features + 1, STOPPING.labels[::-1])
    np.testing.assert_array_equal(
        start_fit("random forest", stopping=other)(TEST.features), start_fit("random forest")(TEST.features)
    )


@every_algorithm
def test_labels_that_are_all_equal(name):
    constant = [Labelled(s.features, np.full(len(s.labels), 4.5)) for s in (TRAIN, STOPPING)]
    np.testing.assert_allclose(start_fit(name, *constant)(TEST.features), 4.5, rtol=1e-6)


@every_algorithm
def test_the_search_starts_inside_its_own_bounds(name):
    ensemble = TREE_ENSEMBLES[name]
    assert ensemble.suggest(optuna.trial.FixedTrial(dict(ensemble.start))) == ensemble.start


@every_algorithm
def test_any_suggestion_can_be_fitted(name):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    few = Labelled(TRAIN.features[:100], TRAIN.labels[:100])
    for _ in range(4):
        parameters = TREE_ENSEMBLES[name].suggest(study.ask())
        assert np.isfinite(fit(name, parameters, few, STOPPING)(TEST.features)).all()


def test_the_fingerprint_knows_all_that_a_study_depends_on(monkeypatch):
    def changed(sample, **arrays):
        return Labelled(arrays.get("features", sample.features), arrays.get("labels", sample.labels))

    digests = [
        fingerprint("XGBoost", TRAIN, STOPPING, 0),
        fingerprint("LightGBM", TRAIN, STOPPING, 0),
        fingerprint("XGBoost", TRAIN, STOPPING, 1),
        fingerprint("XGBoost", STOPPING, TRAIN, 0),
        fingerprint("XGBoost", changed(TRAIN, labels=TRAIN.labels + 1e-9), STOPPING, 0),
        fingerprint("XGBoost", changed(TRAIN, features=TRAIN.features[:, ::-1]), STOPPING, 0),
        fingerprint("XGBoost", TRAIN, changed(STOPPING, labels=STOPPING.labels[::-1]), 0),
    ]
    digests.append(fingerprint("random forest", TRAIN, STOPPING, 0))
    monkeypatch.setattr(tree_ensembles, "FOREST_TREES", (10, 21))
    digests.append(fingerprint("random forest", TRAIN, STOPPING, 0))
    assert len(set(digests)) == len(digests)
    assert fingerprint("XGBoost", TRAIN, STOPPING, 0) == digests[0]


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (np.zeros((3, 2)), np.array([1.0, np.nan, 2.0]), "needs a finite label"),
        (np.zeros((0, 2)), np.zeros(0), "one star at least"),
        (np.zeros((3, 2)), np.zeros(4), "not of the same stars"),
        (np.zeros(3), np.zeros(3), "not of the same stars"),
    ],
)
def test_stars_to_learn_from_need_labels(features, labels, words):
    with pytest.raises(ValueError, match=words):
        Labelled(features, labels)
