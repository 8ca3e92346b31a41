"""The section on the low-quality sample, on networks of known errors and stars whose colours tell their labels."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from acf_jax.baselines.gradient_boosting import BASELINES, PhotometricBaselines
from acf_jax.inference.split import SplitPrediction
from acf_jax.report import context as contexts
from acf_jax.report.context import Context, Options
from acf_jax.report.section import FigureFile, MissingPieceError
from acf_jax.report.sections.low_quality import low_quality, methods
from tests.acf_jax.report.records import record, records
from tests.acf_jax.report.stand_in_context import StandInDataset

TARGETS = ("teff", "logg", "fe_h")
UNIT_STD = np.array([10.0, 0.02, 0.02])
LABEL_NOISE = np.array([30.0, 0.03, 0.04])
HIGH_STD, AS_IT_IS_STD, TRAINED_STD = 8.0, 14.0, 11.0  # of the networks' errors, in UNIT_STD
CROWDED_FACTOR = 1.5
N_TRAIN, N_VALIDATION = 300, 500


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
        "validation": draw_stars(N_VALIDATION, seed + 1, crowded),
    }
    return StandInDataset(folder / config, splits, config=config, fingerprint=f"{config}-{seed}")


def make_network(dataset, std_by_config, targets=TARGETS):
    sidecar = {"config": {"seed": 0}, "dataset": {"fingerprint": dataset.fingerprint}}
    return SimpleNamespace(targets=targets, bands="uvgriz", step=10, sidecar=sidecar, std_by_config=std_by_config)


def least_squares(self, train, stars, targets):
    """In place of the trees, which take seconds: a line through the training stars' magnitudes."""
    design, to_predict = (np.column_stack([s["psf_mag"], np.ones(len(s["psf_mag"]))]) for s in (train, stars))
    labels = np.stack([train[target] for target in targets], axis=1)
    answer = to_predict @ np.linalg.lstsq(design, labels, rcond=None)[0]
    return dict.fromkeys(BASELINES, answer)


SAVE, PREDICT = Context.save, PhotometricBaselines.predict


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(PhotometricBaselines, "predict", least_squares)
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
        low_quality_networks={"ACF": trained}, options=Options(n_bootstrap=100, progress=False),
    )  # fmt: skip
    return SimpleNamespace(context=context, high=high, low=low, asked=asked)


def without(world, **changes):
    return Context(**{field: getattr(world.context, field) for field in Context.__dataclass_fields__} | changes)


AS_IT_IS = "ACF, trained on the high-quality sample"
TRAINED = "ACF, trained on the low-quality sample"
TREES = "gradient boosting, trained on the low-quality sample"


def test_two_networks_of_one_name_are_told_apart_and_their_errors_found(world):
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
    counted = record(section.values, **low, method=AS_IT_IS, quantity="n_without_prediction")
    assert (counted["n"], counted["value"]) == (N_VALIDATION - 1, 1)
    trees = record(section.values, **low, method=TREES, quantity="std")
    assert trees["n"] == N_VALIDATION  # trees need no stamp


def test_a_neighbour_at_15_arcsec_crowds_nobody():
    groups = methods.crowding(np.array([np.nan, 15.0, 14.99, 0.5]))
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
            assert cost["against"] == AS_IT_IS
    table = section.tables[-1]
    assert table.rows[-1] == ("ACF, paper, real sky", "low-quality", "label", "+9.25", "+0.01", "+0.01")
    assert "low-quality sample, validation split, 500 stars" in table.caption


def test_the_trees_read_no_validation_label(world, monkeypatch):
    monkeypatch.setattr(PhotometricBaselines, "predict", PREDICT)
    world.context.trained.targets = ("teff",)
    before = methods.tree_methods(world.context, world.low)
    for dataset in (world.high, world.low):
        dataset.fingerprint += "-poisoned"  # nothing is taken from the caches
        for target in TARGETS:
            dataset.split_arrays["validation"][target] = np.full(N_VALIDATION, 1e6)
            dataset.split_arrays["validation"][f"true_{target}"] = np.full(N_VALIDATION, -1e6)
    after = methods.tree_methods(world.context, world.low)
    assert [m.title for m in after] == [
        f"{name}, trained on the {sample} sample"
        for sample in ("low-quality", "high-quality")
        for name in ("gradient boosting", "gradient boosting, no parallax")
    ]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.low, other.low)


def test_the_verdict_says_who_is_ahead(world):
    bad = make_network(world.low, {"mock_low_quality": 2000.0})
    bad.step = 11
    section = low_quality.section(without(world, low_quality_networks={"ACF": bad}))
    sentence = next(words for words in section.text if words.startswith(f"{TRAINED}, all stars"))
    assert any("over that of gradient boosting on magnitudes, colours and parallax" in words for words in section.text)
    assert sentence.endswith("behind in Teff, log g and [Fe/H].")
    good = make_network(world.low, {"mock_low_quality": 0.1})
    good.step = 12
    section = low_quality.section(without(world, low_quality_networks={"ACF": good}))
    sentence = next(words for words in section.text if words.startswith(f"{TRAINED}, crowded stars"))
    assert sentence.endswith("ahead in Teff, log g and [Fe/H].")


def test_tables_and_figure_name_their_sample(world, monkeypatch):
    monkeypatch.setattr(Context, "save", SAVE)
    section = low_quality.section(world.context)
    assert [table.caption.split(";")[0] for table in section.tables[:4]] == [
        "Table 2: offsets and standard deviations against the labels",
        "Standard deviations of isolated and crowded stars against the labels",
        "Table 2: offsets and standard deviations against the injected truth",
        "Standard deviations of isolated and crowded stars against the injected truth",
    ]
    for captioned in (*section.tables, *section.figures):
        assert "mock sky, low-quality sample, validation split, 500 stars" in captioned.caption
    own = {"method": TRAINED, "target": "teff", "reference": "label", "group": "all"}
    std, offset = (record(section.values, **own, quantity=name) for name in ("std", "offset"))
    row = next(row for row in section.tables[0].rows if row[:2] == ("ACF", "low-quality"))
    assert row[2:5] == ("499", f"{offset['value']:+.1f}", f"{std['value']:.1f} ± {std['error']:.1f}")
    assert TRAINED in section.figures[0].caption
    assert (world.context.out_dir / "figures/figure_13.png").exists()
    assert (world.context.out_dir / "figures/figure_13.pdf").exists()
    json.dumps(section.values, allow_nan=False)


def test_without_a_network_of_the_sample_the_one_in_question_stands_alone(world):
    section = low_quality.section(without(world, low_quality_networks={}))
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
    labels = methods.labels_of

    def predict_split(trained, dataset, stars, **options):
        mean = labels(stars, TARGETS) + trained.std_by_config[dataset.config] * UNIT_STD
        return SplitPrediction(mean, np.ones_like(mean), [None] * len(mean))

    contexts.predict_split = predict_split  # the fixture's monkeypatch puts the real one back
    section = low_quality.section(world.context)
    assert {m["method"] for m in section.values["measurements"]} == {AS_IT_IS, TRAINED}
    assert {m["reference"] for m in section.values["measurements"]} == {"label"}
    assert not records(section.values, quantity="std_ratio")
    assert any("no trees to compare with" in paragraph for paragraph in section.text)
    assert "smss_stamps/real_low_quality, validation split, 500 stars" in section.tables[0].caption


def test_a_sample_may_have_no_crowded_star(world):
    for stars in world.low.split_arrays.values():
        stars["self_dist1"] = np.full(len(stars["object_id"]), np.nan)
    section = low_quality.section(world.context)
    assert section.values["n"]["crowded"] == 0
    json.dumps(section.values, allow_nan=False)
    assert not any("crowded stars:" in paragraph for paragraph in section.text)


def test_stars_that_the_network_was_trained_on_are_confessed(world):
    assert methods.n_trained_on(world.context, world.low) == 0
    world.low.split_arrays["validation"]["object_id"][:7] = world.high.split_arrays["train"]["object_id"][:7]
    world.low.fingerprint += "-mixed"
    section = low_quality.section(world.context)
    assert section.values["n_trained_on"] == 7
    assert any(paragraph.startswith("7 of them are among the stars") for paragraph in section.text)


def test_what_is_missing_is_said_with_how_to_get_it(world):
    with pytest.raises(MissingPieceError, match=r"--config mock_low_quality`.*train\.py.*`--low-quality"):
        low_quality.section(without(world, low_quality=None))
    other = make_network(world.low, {}, targets=("teff",))
    with pytest.raises(MissingPieceError, match="predicts teff where ACF predicts teff, logg, fe_h"):
        low_quality.section(without(world, low_quality_networks={"ACF": other}))
