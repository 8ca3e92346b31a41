"""Table 1 on a sky drawn here, whose relation between photometry, parallax and parameters is known."""

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from acf_jax.baselines import tree_ensembles
from acf_jax.baselines.tree_ensembles import TREE_ENSEMBLES
from acf_jax.data.prepared import open_dataset, training_batches
from acf_jax.metrics.bootstrap import Estimate
from acf_jax.report.context import Context, Options
from acf_jax.report.section import MissingPieceError
from acf_jax.report.sections.baselines import baselines, tree_studies
from acf_jax.report.sections.baselines.tree_studies import Method, Study
from tests.acf_jax import tiny_dataset
from tests.acf_jax.report.records import record, records
from tests.acf_jax.report.stand_in_context import COEFFICIENTS, StandInDataset, stand_in_network

TARGETS = ("teff", "logg")
N_STARS = {"train": 300, "calibration": 100, "validation": 200}
LABEL_NOISE = {"teff": 60.0, "logg": 0.05}
NETWORK_NOISE = {"teff": 15.0, "logg": 0.02}
TEFF_SLOPES = np.array([-1.2, -1.1, -0.6, -0.35, -0.25, -0.2])
WITHOUT_PREDICTION = 5


def draw_stars(n, seed):
    """Colours give Teff; log g needs the parallax as well."""
    rng = np.random.default_rng(seed)
    true = {"teff": rng.uniform(4500, 7000, n), "logg": rng.uniform(1.5, 4.8, n)}
    parallax, ebmv = 10 ** rng.uniform(-0.5, 1, n), rng.uniform(0, 0.3, n)
    absolute = 4.5 + 2.5 * (true["logg"] - 4.4)
    mag = (absolute - 5 * np.log10(parallax) + 10)[:, None] + np.outer((true["teff"] - 5500) / 600, TEFF_SLOPES)
    mag += np.outer(ebmv, list(COEFFICIENTS.values())) + rng.normal(0, 0.01, (n, 6))
    stars = {f"true_{name}": values for name, values in true.items()}
    stars |= {name: values + LABEL_NOISE[name] * rng.normal(size=n) for name, values in true.items()}
    stars |= {"psf_mag": mag, "ebmv_sfd": ebmv, "parallax": parallax, "parallax_error": np.full(n, 0.01)}
    stars = {name: values.astype(np.float32) for name, values in stars.items()}
    return stars | {"object_id": 1000 * seed + np.arange(n)}


def draw_splits():
    return {split: draw_stars(n, seed) for seed, (split, n) in enumerate(N_STARS.items(), start=1)}


def network_features(stars):
    """What a backbone might make of the stamps: mixtures of log fluxes, with noise."""
    rng = np.random.default_rng(9)
    mag = stars["psf_mag"] - np.outer(stars["ebmv_sfd"], list(COEFFICIENTS.values()))
    noise = np.random.default_rng(stars["object_id"][0]).normal(0, 0.02, (len(mag), 30))
    return (mag @ rng.normal(size=(6, 30)) + noise).astype(np.float32)


@dataclass(frozen=True)
class StandInContext(Context):
    """The network errs by a known amount, and its features are told by the stars."""

    stamps_features: dict = field(default_factory=dict)

    def prediction(self, name=None, split="validation", dataset=None):
        stars, targets = self.stars(split), self.network(name).targets
        noise = np.random.default_rng(len(name or self.name)).normal(size=(len(stars["object_id"]), len(targets)))
        mean = np.stack([stars[f"true_{t}"] for t in targets], 1) + noise * [NETWORK_NOISE[t] for t in targets]
        mean[:WITHOUT_PREDICTION] = np.nan
        return SimpleNamespace(mean=mean)

    def features(self, name=None, split="validation"):
        return self.stamps_features[split]


def make_context(folder, splits, *, n_trials=1, networks=None, fingerprint="f" * 64):
    dataset = StandInDataset(folder, splits, fingerprint=fingerprint)
    if networks is None:
        networks = {"ACF": stand_in_network(targets=TARGETS, fingerprint=fingerprint)}
    return StandInContext(
        dataset=dataset, networks=networks, out_dir=folder / "evaluation",
        options=Options(n_trials=n_trials, n_bootstrap=100, progress=False),
        stamps_features={split: network_features(stars) for split, stars in splits.items()},
    )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_ensembles, "MAX_TREES", 30)
        patch.setattr(tree_ensembles, "FOREST_TREES", (4, 8))
        forest = TREE_ENSEMBLES["random forest"]
        few = replace(forest, start={**forest.start, "n_estimators": 6})
        patch.setitem(TREE_ENSEMBLES, "random forest", few)
        yield


@pytest.fixture
def few_methods(monkeypatch):
    """One algorithm on two inputs, where the others would only repeat the same."""
    for module in (tree_studies, baselines):
        monkeypatch.setattr(module, "TREE_ENSEMBLES", {"LightGBM": TREE_ENSEMBLES["LightGBM"]})
        monkeypatch.setattr(module, "INPUTS", ("magnitudes + colours", "image features"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The whole section, with both networks."""
    networks = {"ACF": stand_in_network(targets=TARGETS), "ACPF": stand_in_network(targets=TARGETS, use_parallax=False)}
    context = make_context(tmp_path_factory.mktemp("table_1"), draw_splits(), networks=networks)
    return SimpleNamespace(context=context, section=baselines.section(context), answers=tree_studies.answers(context))


def test_table_1_has_the_papers_rows(evaluated):
    labels, truth, *_ = evaluated.section.tables
    assert labels.header == (
        "algorithm", "inputs", "Teff (K), no parallax", "Teff (K), parallax", "log g (dex), no parallax",
        "log g (dex), parallax",
    )  # fmt: skip
    methods = [
        (algorithm, inputs)
        for inputs in ("magnitudes", "colours", "magnitudes + colours", "image features")
        for algorithm in ("random forest", "XGBoost", "LightGBM", "CatBoost")
    ]
    methods += [("ACF", "stamps"), ("ACPF", "stamps")]
    assert [row[:2] for row in truth.rows] == methods
    assert [row[:2] for row in labels.rows[:-3]] == methods
    assert labels.rows[-2] == ("ACF (paper, real sky)", "stamps", "-", "95.02", "-", "0.07")
    assert all("mock sky, validation split, 200 stars" in table.caption for table in evaluated.section.tables)


def test_cells_are_the_scatter_of_a_fit_done_here(evaluated):
    train, calibration, stars = (evaluated.context.stars(split) for split in N_STARS)

    def colours(stars):
        mag = stars["psf_mag"] - np.outer(stars["ebmv_sfd"], list(COEFFICIENTS.values()))
        return np.column_stack([-np.diff(mag, axis=1), np.log10(stars["parallax"]), np.log10(stars["parallax_error"])])

    parameters = TREE_ENSEMBLES["CatBoost"].start  # the only trial
    samples = (tree_ensembles.Labelled(colours(s), s["teff"].astype(float)) for s in (train, calibration))
    residual = tree_ensembles.fit("CatBoost", parameters, *samples)(colours(stars)) - stars["teff"]
    row = next(row for row in evaluated.section.tables[0].rows if row[:2] == ("CatBoost", "colours"))
    assert float(row[3]) == pytest.approx(residual[WITHOUT_PREDICTION:].std(), rel=0.01)


def test_networks_stand_on_their_own_side(evaluated):
    rows = {row[0]: row for row in evaluated.section.tables[1].rows}
    n = N_STARS["validation"] - WITHOUT_PREDICTION
    assert rows["ACF"][2] == rows["ACF"][4] == rows["ACPF"][3] == rows["ACPF"][5] == "-"
    for cell in (rows["ACF"][3], rows["ACPF"][2]):
        assert float(cell) == pytest.approx(NETWORK_NOISE["teff"], rel=4 / np.sqrt(2 * n))


def test_the_parallax_tells_log_g(evaluated):
    found = records(evaluated.section.values, target="logg", reference="truth", quantity="std")
    std = {(m["method"], m["inputs"]): m["value"] for m in found}
    for algorithm in TREE_ENSEMBLES:
        for inputs in ("magnitudes", "magnitudes + colours", "image features"):
            assert std[algorithm, f"{inputs}, parallax"] < 0.75 * std[algorithm, f"{inputs}, no parallax"]


def test_stars_without_a_prediction_are_left_out_of_every_row_and_counted(evaluated):
    values = evaluated.section.values
    assert values["n_left_out"] == WITHOUT_PREDICTION
    assert {m["n"] for m in values["measurements"]} == {N_STARS["validation"] - WITHOUT_PREDICTION}
    assert any(text.startswith("5 stars for which a network has no prediction") for text in evaluated.section.text)


def test_values_hold_everything_as_json(evaluated):
    values = evaluated.section.values
    json.dumps(values, allow_nan=False)
    assert len(records(values, reference="label", target="teff", quantity="std")) == 34
    assert len(values["studies"]) == 32 * len(TARGETS)
    study = values["studies"][0]
    assert (study["target"], study["hyperparameters"]) == ("teff", TREE_ENSEMBLES[study["algorithm"]].start)
    assert study["calibration_std"] > LABEL_NOISE["teff"] / 2
    assert {s["n_trees"] for s in values["studies"] if s["algorithm"] == "random forest"} == {6}
    assert all(1 <= s["n_trees"] <= 30 for s in values["studies"])
    assert {m["target"] for m in records(values, reference="truth", quantity="std_ratio")} == set(TARGETS)
    assert {"algorithm": "CatBoost", "inputs": "magnitudes + colours", "use_parallax": True,
            "std": {"teff": "99.331"}} in values["paper"]  # fmt: skip


def test_the_verdict_names_who_is_ahead(evaluated):
    values, verdict = evaluated.section.values, evaluated.section.text[0]
    first, last = verdict.split("Against these, the same ensembles")
    assert "about the injected truth (mock sky, validation split, 200 stars)" in first
    best = evaluated.answers
    photometric = [s for s in best if s.target == "logg" and s.method.use_parallax and "image" not in s.method.inputs]
    winner = min(photometric, key=lambda study: best[study].calibration_std).method
    assert f"log g {winner.algorithm} on {winner.inputs} (" in first
    # 15 K and 0.02 dex are far less than small ensembles of 300 stars can do.
    assert "Against these, ACF itself is ahead in Teff (scatter -" in last
    ratio = record(
        values, method="ACF", target="logg", reference="truth", quantity="std_ratio",
        against=f"{winner.algorithm} on {winner.all_inputs}",
    )  # fmt: skip
    assert ratio["upper"] < 1
    assert f"log g (scatter {100 * (ratio['value'] - 1):+.1f} %" in last


@pytest.mark.parametrize(
    ("n_trials", "words"),
    [
        (1, "set to usual values"),
        (5, "random search (5 trials a study: usual values, then 4 drawn at random"),
        (6, "Parzen estimator (6 trials a study: usual values, then 4 drawn at random, and 1 where it expects a gain"),
    ],
)  # fmt: skip
def test_the_text_calls_the_search_what_it_is(evaluated, n_trials, words):
    context = replace(evaluated.context, options=replace(evaluated.context.options, n_trials=n_trials))
    text = baselines.method_words(baselines.compare(context, evaluated.answers))
    assert words in text
    assert ("random search" in text) == (n_trials == 5)
    assert ("Bayesian optimisation with" in text) == (n_trials == 6)


def test_ranks_need_an_interval_that_excludes_equality():
    ratios = {
        "teff": Estimate(0.9, 0.85, 0.95, 0.02, 100),
        "logg": Estimate(1.2, 1.1, 1.3, 0.05, 100),
        "fe_h": Estimate(0.99, 0.97, 1.02, 0.01, 100),
    }
    assert baselines.ranked(ratios) == (
        "ahead in Teff (scatter -10.0 % [-15.0, -5.0]); behind in log g (scatter +20.0 % [+10.0, +30.0]); "
        "not to be told apart in [Fe/H] (scatter -1.0 % [-3.0, +2.0])"
    )


def test_validation_labels_change_no_prediction(evaluated, tmp_path, few_methods):
    splits = draw_splits()
    for name in (*TARGETS, *(f"true_{target}" for target in TARGETS)):
        splits["validation"][name] = np.full(N_STARS["validation"], np.nan, np.float32)
    poisoned = tree_studies.answers(make_context(tmp_path, splits))
    assert len(poisoned) == 8
    for study, answer in poisoned.items():
        np.testing.assert_array_equal(answer.prediction, evaluated.answers[study].prediction)
        assert answer.calibration_std == evaluated.answers[study].calibration_std


def test_components_and_standardisation_see_the_training_stars_alone(evaluated, tmp_path):
    context = make_context(tmp_path, draw_splits())
    for split in ("calibration", "validation"):
        context.stamps_features[split][1:] = 1e6 * np.random.default_rng(0).normal(size=(N_STARS[split] - 1, 30))
    poisoned, clean = (tree_studies.image_components(c, "teff") for c in (context, evaluated.context))
    np.testing.assert_array_equal(poisoned["train"], clean["train"])
    for split in ("calibration", "validation"):
        np.testing.assert_allclose(poisoned[split][0], clean[split][0], rtol=1e-9)


def labels_fitted(context, monkeypatch):
    """The labels that each fit of the studies grows on and stops by."""
    fits = []

    def spy(name, parameters, train, stopping, seed):
        fits.append((train.labels, stopping.labels))
        return tree_ensembles.Fitted(lambda features: np.zeros(len(features)), 0)

    monkeypatch.setattr(tree_studies, "fit", spy)
    tree_studies.answers(context)
    return fits


def test_image_features_are_those_of_the_labels_own_network(tmp_path):
    members, found = [], []
    for target, num_features in (("teff", 18), ("logg", 12)):
        config = SimpleNamespace(num_features=num_features)
        members.append(SimpleNamespace(targets=(target,), model=SimpleNamespace(config=config)))
    for seed in (0, 1):
        context = make_context(tmp_path / str(seed), draw_splits())
        context.trained.members = tuple(members)
        for features in context.stamps_features.values():  # those of Teff's network differ
            features[:, :18] = np.random.default_rng(seed).normal(size=(len(features), 18))
        components = {target: tree_studies.image_components(context, target) for target in ("teff", "logg")}
        found.append({target: of_target["train"] for target, of_target in components.items()})
        tables = tree_studies._split_tables(context, "train", components)
        for target, of_target in found[-1].items():
            np.testing.assert_array_equal(tables["image features", False, target], of_target)
    np.testing.assert_array_equal(found[0]["logg"], found[1]["logg"])
    assert not np.array_equal(found[0]["teff"], found[1]["teff"])
    assert found[0]["logg"].shape[1] == 12  # all that there are


def test_trees_grow_on_training_stars_and_stop_on_calibration_stars(tmp_path, few_methods, monkeypatch):
    context = make_context(tmp_path, draw_splits(), n_trials=2)
    fits = labels_fitted(context, monkeypatch)
    assert len(fits) == 8 * 3
    for train, stopping in fits:
        target = "teff" if train.mean() > 100 else "logg"
        np.testing.assert_array_equal(train, context.stars("train")[target])
        np.testing.assert_array_equal(stopping, context.stars("calibration")[target])


def test_the_splits_are_the_networks_to_the_star(tmp_path, monkeypatch):
    splits = {split: draw_stars(n, seed) for seed, (split, n) in enumerate({"train": 30, "calibration": 6}.items())}
    dataset = open_dataset(tiny_dataset.write(tmp_path, splits))
    batches, trained_on = training_batches(dataset.examples("train", ("object_id",)), batch_size=10, seed=0), set()
    for _ in range(3):  # an epoch
        trained_on |= set(next(batches)["object_id"].tolist())
    context = make_context(tmp_path, draw_splits())
    ids = replace(context, dataset=dataset).stars("train")["object_id"]
    assert set(ids.tolist()) == trained_on
    assert len(ids) == 30


@pytest.mark.usefixtures("few_methods")
class TestInterruption:
    def test_what_is_done_is_not_done_again(self, tmp_path, monkeypatch):
        context = make_context(tmp_path, draw_splits())
        first = tree_studies.answers(context)
        monkeypatch.setattr(tree_studies, "fit", None)
        again = tree_studies.answers(context)
        for study, answer in first.items():
            np.testing.assert_array_equal(again[study].prediction, answer.prediction)
            assert again[study].parameters == answer.parameters

    def test_interrupted_and_resumed_is_uninterrupted(self, tmp_path, monkeypatch):
        whole = tree_studies.answers(make_context(tmp_path / "whole", draw_splits(), n_trials=2))
        context, calls = make_context(tmp_path / "interrupted", draw_splits(), n_trials=2), []

        def interrupted(*args):
            calls.append(args)
            if len(calls) > 15:
                raise KeyboardInterrupt
            return tree_ensembles.fit(*args)

        with monkeypatch.context() as patch:
            patch.setattr(tree_studies, "fit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                tree_studies.answers(context)
        resumed = tree_studies.answers(context)
        for study, answer in whole.items():
            np.testing.assert_array_equal(resumed[study].prediction, answer.prediction)
            assert resumed[study].parameters == answer.parameters


def test_labels_and_magnitudes_may_be_missing(tmp_path, few_methods):
    splits = draw_splits()
    for stars in splits.values():
        stars["psf_mag"][::9, 2] = stars["parallax"][::7] = stars["teff"][::5] = np.nan
    context = make_context(tmp_path, splits)
    section = baselines.section(context)
    json.dumps(section.values, allow_nan=False)
    n_validation = N_STARS["validation"] - WITHOUT_PREDICTION
    assert {m["n"] for m in records(section.values, target="teff", reference="truth")} == {n_validation}
    labelled = records(section.values, target="teff", reference="label")
    assert {m["n"] for m in labelled} == {n_validation - 39}  # every fifth, but the first of the first five


@pytest.mark.parametrize("lack", ["validation", "extinction_coefficients"])
def test_what_a_dataset_lacks_is_said(tmp_path, lack):
    context = make_context(tmp_path, draw_splits())
    context.dataset.splits.pop(lack, None)
    context.dataset.metadata = {key: value for key, value in context.dataset.metadata.items() if key != lack}
    with pytest.raises(MissingPieceError, match=rf"{lack}.*lacks: prepare it anew \(`python -m datasets.build"):
        tree_studies.answers(context)


def test_without_a_calibration_split_some_training_stars_tune_and_grow_no_trees(tmp_path, few_methods, monkeypatch):
    context = make_context(tmp_path, draw_splits(), n_trials=2)
    del context.dataset.splits["calibration"]
    for train, stopping in labels_fitted(context, monkeypatch):
        both = np.concatenate([train, stopping])
        labels = context.stars("train")["teff" if train.mean() > 100 else "logg"]
        np.testing.assert_array_equal(np.sort(both), np.sort(labels))  # each star has one of the two tasks
        assert len(stopping) == len(labels) // 8 + (len(labels) % 8 > 0)


def test_a_star_in_two_splits_is_refused(tmp_path):
    splits = draw_splits()
    splits["validation"]["object_id"][3] = splits["train"]["object_id"][8]
    with pytest.raises(MissingPieceError, match="1 stars, 1008 among them, are in the train split and in the valid"):
        baselines.section(make_context(tmp_path, splits))


def test_too_few_labels_are_refused(tmp_path):
    splits = draw_splits()
    splits["calibration"]["logg"][4:] = np.nan
    with pytest.raises(MissingPieceError, match="4 stars of the calibration split have a label logg"):
        tree_studies.answers(make_context(tmp_path, splits))


def test_every_study_has_a_name_of_its_own(evaluated):
    assert len(evaluated.answers) == 32 * len(TARGETS)
    assert Study(Method("CatBoost", "image features", use_parallax=False), "logg") in evaluated.answers
