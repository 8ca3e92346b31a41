"""The section on the low-quality sample, on networks of known errors and stars whose colours tell their labels."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from acf_jax.baselines import tree_ensembles
from acf_jax.inference.split import SplitPrediction
from acf_jax.report import context as contexts
from acf_jax.report.context import Context, Options, labels_of
from acf_jax.report.section import FigureFile, MissingPieceError
from acf_jax.report.sections.baselines import baselines, tree_studies
from acf_jax.report.sections.baselines.tree_studies import Answer, Method, Study
from acf_jax.report.sections.low_quality import low_quality
from tests.acf_jax.report.records import record, records
from tests.acf_jax.report.stand_in_context import COEFFICIENTS, StandInDataset, stand_in_network

TARGETS = ("teff", "logg", "fe_h")
UNIT_STD = np.array([10.0, 0.02, 0.02])
LABEL_NOISE = np.array([30.0, 0.03, 0.04])
HIGH_STD, AS_IT_IS_STD, TRAINED_STD = 8.0, 14.0, 11.0  # of the networks' errors, in UNIT_STD
CROWDED_FACTOR = 1.5
N_TRAIN, N_CALIBRATION, N_VALIDATION = 300, 150, 500


def draw_stars(n, seed, crowded):
    rng = np.random.default_rng(seed)
    true = {"teff": rng.uniform(4500, 6500, n), "logg": rng.uniform(1.5, 4.8, n), "fe_h": rng.uniform(-1, 0.3, n)}
    mag = 12 + rng.uniform(-1, 2, n)[:, None] - np.outer((true["teff"] - 5500) / 500, [1, 0.9, 0.6, 0.4, 0.3, 0.2])
    mag[:, 1] += 0.5 * true["fe_h"]
    stars = {f"true_{target}": values for target, values in true.items()}
    noise = LABEL_NOISE * rng.normal(size=(n, 3))
    stars |= {target: true[target] + noise[:, i] for i, target in enumerate(TARGETS)}
    stars |= {"psf_mag": mag, "ebmv_sfd": rng.uniform(0, 0.1, n), "parallax": rng.uniform(0.5, 5, n)}
    stars |= {"parallax_error": np.full(n, 0.02), "object_id": np.arange(n) + 10**6 * seed}
    near = np.where(rng.random(n) < 0.6, rng.uniform(3, 14.9, n), np.nan)
    return stars | {"self_dist1": near if crowded else np.full(n, np.nan)}


def make_dataset(folder, config, seed, crowded):
    splits = {
        "train": draw_stars(N_TRAIN, seed, crowded),
        "calibration": draw_stars(N_CALIBRATION, seed + 2, crowded),
        "validation": draw_stars(N_VALIDATION, seed + 1, crowded),
    }
    return StandInDataset(folder / config, splits, config=config, fingerprint=f"{config}-{seed}")


def make_network(dataset, std_by_config, targets=TARGETS):
    network = stand_in_network(targets=targets, fingerprint=dataset.fingerprint)
    network.std_by_config = std_by_config
    return network


def features(self, name=None, split="validation"):
    """What a backbone might make of the stamps: mixtures of magnitudes."""
    return (self.stars(split)["psf_mag"] @ np.random.default_rng(9).normal(size=(6, 20))).astype(np.float32)


def least_squares(context):
    """In place of the studies, which take seconds: a line through the training stars' magnitudes, for every method."""
    tree_studies._check_dataset(context)
    train, stars = context.stars("train"), context.stars()
    design, to_predict = (np.column_stack([s["psf_mag"], np.ones(len(s["psf_mag"]))]) for s in (train, stars))
    answer = to_predict @ np.linalg.lstsq(design, labels_of(train, TARGETS))[0]
    return {
        Study(method, target): Answer(answer[:, i], {"depth": 3}, 7, 1.0 if method == BEST else 2.0)
        for method in tree_studies.methods()
        for i, target in enumerate(TARGETS)
    }


BEST = Method("CatBoost", "magnitudes + colours", use_parallax=True)
SAVE, ANSWERS = Context.save, tree_studies.answers


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(low_quality, "answers", least_squares)
    monkeypatch.setattr(Context, "features", features)
    monkeypatch.setattr(Context, "save", lambda self, figure, name, caption: FigureFile(name, caption))
    high = make_dataset(tmp_path, "mock", 10, crowded=False)
    low = make_dataset(tmp_path, "mock_low_quality", 20, crowded=True)
    asked = []

    def predict_split(trained, dataset, stars, *, split, n_samples, seed, progress):
        asked.append((trained.sidecar["dataset"]["fingerprint"], dataset.config, split))
        n = len(stars["object_id"])
        std = trained.std_by_config[dataset.config] * UNIT_STD
        crowded = np.nan_to_num(stars["self_dist1"], nan=99)[:, None] < 15
        noise = np.random.default_rng(len(dataset.config)).normal(size=(n, 3))
        mean = np.stack([stars[f"true_{t}"] for t in TARGETS], axis=1)
        mean += noise * std * np.where(crowded, CROWDED_FACTOR, 1.0)
        mean[0] = np.nan
        return SplitPrediction(mean, np.ones((n, 3)), ["a bad stamp", *[None] * (n - 1)])

    monkeypatch.setattr(contexts, "predict_split", predict_split)
    as_it_is = make_network(high, {"mock": HIGH_STD, "mock_low_quality": AS_IT_IS_STD})
    trained = make_network(low, {"mock_low_quality": TRAINED_STD})
    context = Context(
        dataset=high, networks={"ACF": as_it_is}, out_dir=tmp_path / "evaluation", low_quality=low,
        low_quality_networks={TRAINED: trained}, options=Options(n_bootstrap=100, progress=False),
    )  # fmt: skip
    return SimpleNamespace(context=context, high=high, low=low, asked=asked)


AS_IT_IS = "ACF, trained on the high-quality sample"
TRAINED = "ACF (low)"
TREES = "best trees"


def test_networks_trained_on_either_sample_are_told_apart_and_their_errors_found(world):
    section = low_quality.section(world.context)
    assert sorted(world.asked) == sorted(
        [("mock-10", "mock", "validation"), ("mock-10", "mock_low_quality", "validation"),
         ("mock_low_quality-20", "mock_low_quality", "validation")]
    )  # fmt: skip
    for title, std in ((AS_IT_IS, AS_IT_IS_STD), (TRAINED, TRAINED_STD)):
        for i, target in enumerate(TARGETS):
            low = {"method": title, "target": target, "sample": "low-quality", "quantity": "std"}
            for group, factor in (("isolated", 1), ("crowded", CROWDED_FACTOR)):
                r = record(section.values, **low, reference="truth", group=group)
                assert r["value"] == pytest.approx(std * factor * UNIT_STD[i], rel=5 / np.sqrt(2 * r["n"]))
                assert r["error"] == pytest.approx(r["value"] / np.sqrt(2 * r["n"]), rel=0.4)
            label = record(section.values, **low, reference="label", group="isolated")
            expected = np.hypot(std * UNIT_STD[i], LABEL_NOISE[i])
            assert label["value"] == pytest.approx(expected, rel=5 / np.sqrt(2 * label["n"]))


def test_every_star_is_in_one_group_and_used_or_counted(world):
    section = low_quality.section(world.context)
    n = section.values["n"]
    assert n["isolated"] + n["crowded"] == n["all"] == N_VALIDATION
    assert 0.5 < n["crowded"] / n["all"] < 0.7
    low = {"target": "teff", "sample": "low-quality", "reference": "label", "group": "all"}
    assert section.values["n_left_out"] == 1
    assert {m["n"] for m in records(section.values, **low, quantity="std")} == {N_VALIDATION - 1}
    assert any("1 stars for which a network has no prediction are left out" in text for text in section.text)


def test_a_neighbour_at_15_arcsec_crowds_nobody():
    groups = low_quality.crowding(np.array([np.nan, 15.0, 14.99, 0.5]))
    assert groups["isolated"].tolist() == [True, True, False, False]
    assert groups["crowded"].tolist() == [False, False, True, True]


def test_the_cost_of_the_sample_is_the_injected_one_within_its_error(world):
    section = low_quality.section(world.context)
    crowded = section.values["n"]["crowded"] / N_VALIDATION
    for title, std in ((AS_IT_IS, AS_IT_IS_STD), (TRAINED, TRAINED_STD)):
        for i, target in enumerate(TARGETS):
            cost = record(section.values, method=title, target=target, reference="truth", quantity="std_difference")
            low = std * np.sqrt(1 - crowded + crowded * CROWDED_FACTOR**2)
            assert cost["value"] == pytest.approx((low - HIGH_STD) * UNIT_STD[i], abs=4 * cost["error"])
            assert cost["error"] == pytest.approx(np.hypot(low, HIGH_STD) * UNIT_STD[i] / np.sqrt(1000), rel=0.5)
            assert cost["against"] == "ACF"
    table = section.tables[3]
    assert table.rows[-1] == ("ACF (paper, real sky)", "stamps", "-", "+9.25", "-", "+0.01", "-", "+0.01")
    assert "low-quality sample, validation split, 500 stars" in table.caption
    cost = record(section.values, method="LightGBM", inputs="colours, parallax", target="teff", reference="label",
                  quantity="std_difference")  # fmt: skip
    best = record(section.values, method="CatBoost", inputs="magnitudes + colours, parallax", target="teff",
                  reference="truth", quantity="std_difference")  # fmt: skip
    words = "The best trees on magnitudes or colours: the standard deviation about the truth exceeds the high-quality "
    assert f"{words}sample's by {best['value']:+.1f} ± {best['error']:.1f} K in Teff" in section.text[0]
    stds = []
    for context in (world.context, low_quality.low_quality_context(world.context)):
        answer = least_squares(context)[Study(Method("LightGBM", "colours", use_parallax=True), "teff")].prediction
        stds.append((answer - context.stars()["teff"])[1:].std())  # the first has no stamp
    assert cost["value"] == pytest.approx(stds[1] - stds[0])
    assert next(row[3] for row in table.rows if row[:2] == ("LightGBM", "colours")).startswith(
        f"{cost['value']:+.1f} ±"
    )


def test_table_2_has_the_papers_sixteen_rows_and_the_networks(world):
    table = low_quality.section(world.context).tables[0]
    methods = [
        (algorithm, inputs)
        for inputs in ("magnitudes", "colours", "magnitudes + colours", "image features")
        for algorithm in ("random forest", "XGBoost", "LightGBM", "CatBoost")
    ]
    ours = [*methods, (TRAINED, "stamps"), (AS_IT_IS, "stamps")]
    assert [row[:2] for row in table.rows] == [*ours, ("ACF (paper, real sky)", "stamps")]
    assert all("-" not in row[2:] for row in table.rows[:16])
    assert table.rows[-1][2:] == ("-", "104.27", "-", "0.08", "-", "0.15")


@pytest.fixture
def with_lightgbm(world, monkeypatch):
    """The real studies, of one algorithm on one input."""
    monkeypatch.setattr(low_quality, "answers", ANSWERS)
    monkeypatch.setattr(tree_ensembles, "MAX_TREES", 15)
    monkeypatch.setattr(tree_studies, "import_libraries", lambda: None)
    for module in (tree_studies, baselines):
        monkeypatch.setattr(module, "TREE_ENSEMBLES", {"LightGBM": tree_ensembles.TREE_ENSEMBLES["LightGBM"]})
        monkeypatch.setattr(module, "INPUTS", ("colours",))
    monkeypatch.setattr(baselines, "PHOTOMETRIC_INPUTS", ("colours",))
    monkeypatch.setattr(baselines, "IMAGE_FEATURES", "colours")
    monkeypatch.setattr(low_quality, "PHOTOMETRIC_INPUTS", ("colours",))
    options = Options(n_trials=1, n_bootstrap=20, progress=False)
    return replace(world.context, options=options)


def colours(stars):
    dereddened = stars["psf_mag"] - np.outer(stars["ebmv_sfd"], list(COEFFICIENTS.values()))
    return -np.diff(dereddened, axis=1)


def test_table_2s_trees_are_grown_tuned_and_judged_on_the_low_quality_sample(world, with_lightgbm):
    section = low_quality.section(with_lightgbm)
    splits, cells = world.low.split_arrays, section.tables[0].rows[0]
    assert cells[:2] == ("LightGBM", "colours")
    for i, target in enumerate(TARGETS):
        train, calibration = (
            tree_ensembles.Labelled(colours(splits[split]), splits[split][target]) for split in ("train", "calibration")
        )
        start = tree_ensembles.TREE_ENSEMBLES["LightGBM"].start  # the only trial
        fitted = tree_ensembles.fit("LightGBM", start, train, calibration)
        residual = fitted(colours(splits["validation"])) - splits["validation"][target]
        expected = residual[1:].std()  # of the first star no network has a prediction
        assert cells[2 + 2 * i] == f"{expected:.1f}" if target == "teff" else f"{expected:.3f}"
        of_study = {"target": target, "use_parallax": False}
        (study,) = (s for s in section.values["studies"] if s.items() >= of_study.items())
        scored = np.std(fitted(calibration.features) - calibration.labels)
        assert (study["calibration_std"], study["n_trees"]) == (pytest.approx(scored), fitted.n_trees)


@pytest.mark.parametrize("start_is_better_on", ["train", "calibration", "validation"])
def test_a_study_takes_what_is_best_on_the_calibration_stars(with_lightgbm, monkeypatch, start_is_better_on):
    """Two trials: the one it starts with is worse everywhere but on one split, so only of calibration should it win."""
    low = low_quality.low_quality_context(replace(with_lightgbm, options=Options(n_trials=2, progress=False)))
    split_of = {low.dataset.n_examples(split): split for split in ("train", "calibration", "validation")}
    start = dict(tree_ensembles.TREE_ENSEMBLES["LightGBM"].start)

    def fit(name, parameters, train, stopping, seed):
        def predict(features):
            split = split_of[len(features)]
            better = (parameters == start) == (split == start_is_better_on)
            return np.resize([-1.0, 1.0], len(features)) * (1e3 if better else 1e6)

        return tree_ensembles.Fitted(predict, 1)

    monkeypatch.setattr(tree_studies, "fit", fit)
    chosen = [answer.parameters == start for answer in tree_studies.answers(low).values()]
    assert chosen == [start_is_better_on == "calibration"] * 2 * len(TARGETS)


def test_the_verdict_says_who_is_ahead(world):
    bad = make_network(world.low, {"mock_low_quality": 2000.0})
    bad.step = 11
    section = low_quality.section(replace(world.context, low_quality_networks={TRAINED: bad}))
    sentence = next(words for words in section.text if words.startswith(f"{TRAINED}, all stars"))
    assert sentence.count("scatter +") == 3
    assert sentence.startswith(f"{TRAINED}, all stars: behind in Teff (scatter +")
    assert not any(word in sentence for word in ("ahead", "told apart"))
    good = make_network(world.low, {"mock_low_quality": 0.1})
    good.step = 12
    section = low_quality.section(replace(world.context, low_quality_networks={TRAINED: good}))
    sentence = next(words for words in section.text if words.startswith(f"{TRAINED}, crowded stars"))
    assert sentence.startswith(f"{TRAINED}, crowded stars: ahead in Teff (scatter -")
    assert "behind" not in sentence
    assert "told apart" not in sentence
    assert any("the best (by the stars that tune them) are in Teff CatBoost on magnitudes + colours" in words
               for words in section.text)  # fmt: skip
    best = record(section.values, method=TREES, target="teff", reference="truth", group="crowded", quantity="std")
    ratio = record(section.values, method=TRAINED, target="teff", reference="truth", group="crowded",
                   quantity="std_ratio")  # fmt: skip
    network = record(section.values, method=TRAINED, target="teff", reference="truth", group="crowded", quantity="std")
    assert ratio["value"] == pytest.approx(network["value"] / best["value"])
    assert ratio["against"] == "CatBoost on magnitudes + colours, parallax"


def test_tables_and_figure_name_their_sample(world, monkeypatch):
    monkeypatch.setattr(Context, "save", SAVE)
    section = low_quality.section(world.context)
    assert [table.caption.split(" (mock")[0] for table in section.tables[:4]] == [
        "Table 2: standard deviation of the residuals about the labels, without and with parallax",
        "The network against the best tree ensemble on each input, about the labels",
        "Standard deviations of isolated and crowded stars about the labels",
        "By how much the standard deviation exceeds that of the same method trained and tested on the high-quality "
        "sample, about the labels",
    ]
    for captioned in (*section.tables, *section.figures):
        assert "mock sky, low-quality sample, validation split, 500 stars" in captioned.caption
    std = record(section.values, method=TRAINED, target="teff", reference="label", group="all", quantity="std")
    row = next(row for row in section.tables[0].rows if row[:2] == (TRAINED, "stamps"))
    assert row[2:4] == ("-", f"{std['value']:.1f}")
    assert f"Predictions of {TRAINED} against" in section.figures[0].caption
    assert (world.context.out_dir / "figures/figure_13.png").exists()
    assert (world.context.out_dir / "figures/figure_13.pdf").exists()
    json.dumps(section.values, allow_nan=False)


def test_without_a_network_of_the_sample_the_one_in_question_stands_alone(world):
    section = low_quality.section(replace(world.context, low_quality_networks={}))
    assert not records(section.values, method=TRAINED)
    assert any("--workdir runs/demo_low_quality" in paragraph for paragraph in section.text)
    assert AS_IT_IS in section.figures[0].caption


def test_a_real_sky_without_extinction_coefficients_has_networks_and_labels_alone(world):
    for dataset in (world.high, world.low):
        dataset.metadata = {}
        dataset.config = dataset.config.replace("mock", "real")
        dataset.fields = tuple(name for name in dataset.fields if not name.startswith("true_"))
    for network in (*world.context.networks.values(), *world.context.low_quality_networks.values()):
        network.std_by_config = {name.replace("mock", "real"): std for name, std in network.std_by_config.items()}

    def predict_split(trained, dataset, stars, **options):
        mean = labels_of(stars, TARGETS) + trained.std_by_config[dataset.config] * UNIT_STD
        return SplitPrediction(mean, np.ones_like(mean), [None] * len(mean))

    contexts.predict_split = predict_split  # the fixture's monkeypatch puts the real one back
    section = low_quality.section(world.context)
    assert {m["method"] for m in records(section.values, sample="low-quality")} == {AS_IT_IS, TRAINED}
    assert {m["reference"] for m in section.values["measurements"]} == {"label"}
    assert not records(section.values, quantity="std_ratio")
    assert any("There are no trees here. The tree ensembles need extinction_coeff" in text for text in section.text)
    assert [row[0] for row in section.tables[0].rows] == [TRAINED, AS_IT_IS, "ACF (paper, real sky)"]
    assert "smss_stamps/real_low_quality, validation split, 500 stars" in section.tables[0].caption


def test_a_sample_may_have_no_crowded_star(world):
    for stars in world.low.split_arrays.values():
        stars["self_dist1"] = np.full(len(stars["object_id"]), np.nan)
    section = low_quality.section(world.context)
    assert section.values["n"]["crowded"] == 0
    json.dumps(section.values, allow_nan=False)
    assert not any("crowded stars:" in paragraph for paragraph in section.text)


def test_stars_that_the_network_was_trained_on_are_confessed(world):
    assert low_quality.n_trained_on(world.context) == 0
    world.low.split_arrays["validation"]["object_id"][:7] = world.high.split_arrays["train"]["object_id"][:7]
    world.low.fingerprint += "-mixed"
    section = low_quality.section(world.context)
    assert section.values["n_trained_on"] == 7
    assert any(paragraph.startswith("7 of them are among the stars") for paragraph in section.text)


def test_what_is_missing_is_said_with_how_to_get_it(world):
    with pytest.raises(MissingPieceError, match=r"--config mock_low_quality`.*train\.py.*`--low-quality"):
        low_quality.section(replace(world.context, low_quality=None))
    other = make_network(world.low, {}, targets=("teff",))
    with pytest.raises(MissingPieceError, match="predicts teff where ACF predicts teff, logg, fe_h"):
        low_quality.section(replace(world.context, low_quality_networks={TRAINED: other}))
