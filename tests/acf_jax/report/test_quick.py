"""The evaluation from checkpoint to files, on a stand-in network whose errors are known."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest

from acf_jax.inference import split
from acf_jax.inference.mc_dropout import Prediction
from acf_jax.report import context as context_module
from acf_jax.report import opening, quick
from acf_jax.report import quick_markdown as report
from acf_jax.report.context import Context, Options
from tests.acf_jax.report.stand_in_context import COEFFICIENTS, StandInDataset

TARGETS = ("teff", "logg", "fe_h")
UNITS = {"teff": "K", "logg": "dex", "fe_h": "dex"}
LABEL_NOISE = {"teff": 60.0, "logg": 0.05, "fe_h": 0.06}
NETWORK_NOISE = {"teff": 100.0, "logg": 0.10, "fe_h": 0.15}
NETWORK_OFFSET = {"teff": 30.0, "logg": -0.02, "fe_h": 0.0}
N_STARS = {"train": 300, "validation": 700}
BAD_STAMP, BAD_PARALLAX = 5, 600


def draw_stars(n, seed):
    """Stars whose colours follow Teff and [Fe/H], with noisy labels, truth and stamps that say nothing."""
    rng = np.random.default_rng(seed)
    true = {"teff": rng.uniform(4500, 6500, n), "logg": rng.uniform(1.5, 4.8, n), "fe_h": rng.uniform(-1, 0.3, n)}
    mag = 12 + rng.uniform(-1, 2, n)[:, None] - np.outer((true["teff"] - 5500) / 500, [1, 0.9, 0.6, 0.4, 0.3, 0.2])
    mag[:, 1] += 0.5 * true["fe_h"]
    stars = {f"true_{t}": values for t, values in true.items()}
    stars |= {t: values + LABEL_NOISE[t] * rng.normal(size=n) for t, values in true.items()}
    stars |= {"psf_mag": mag, "ebmv_sfd": rng.uniform(0, 0.1, n), "parallax": rng.uniform(0.5, 5, n)}
    stars = {name: values.astype(np.float32) for name, values in stars.items()}
    stars |= {"parallax_error": np.full(n, 0.02, np.float32), "stamp": np.zeros((n, 4, 4, 6), np.float32)}
    stars |= {"object_id": np.arange(n) + seed * 10**9 + 2**40, "source_id": np.arange(n) + 2**62}
    return stars | {"ra": rng.uniform(0, 360, n), "dec": rng.uniform(-90, 0, n)}


def make_world(folder, monkeypatch):
    """A stand-in network and dataset behind the functions that would open real ones."""
    splits = {name: draw_stars(n, seed) for seed, (name, n) in enumerate(N_STARS.items())}
    validation = splits["validation"]
    validation["stamp"][BAD_STAMP, 2, 2, 3] = np.nan
    validation["parallax"][BAD_PARALLAX] = np.nan
    noise = np.random.default_rng(9).normal(size=(N_STARS["validation"], 3))
    row_of = {object_id: row for row, object_id in enumerate(validation["object_id"].tolist())}
    metadata = {"units": {"ra": "deg", "dec": "deg"}, "extinction_coefficients": COEFFICIENTS}
    dataset = StandInDataset(folder / "data/smss_stamps/mock/1.0.0", splits, metadata=metadata)
    recorded = {
        "name": "smss_stamps", "config": "mock", "version": "1.0.0", "fingerprint": "f" * 64,
        "folder": str(dataset.folder),
    }  # fmt: skip
    trained = SimpleNamespace(
        name="ACF", model=SimpleNamespace(config=SimpleNamespace(use_parallax=True, growth_curve=False)),
        targets=TARGETS, bands="uvgriz", step=1234,
        sidecar={"dataset": recorded, "code_version": "0.1.0", "config": {}},
    )  # fmt: skip

    def predict(trained, stamps, parallax, parallax_error, object_id, *, n_samples, seed, progress):
        rows = [row_of[i] for i in object_id.tolist()]
        std = np.array([NETWORK_NOISE[t] for t in TARGETS], np.float32)
        mean = np.stack([validation[f"true_{t}"][rows] + NETWORK_OFFSET[t] for t in TARGETS], axis=1)
        mean = mean + noise[rows] * std
        std = np.broadcast_to(std, mean.shape).copy()
        finite = np.isfinite(stamps).all(axis=(1, 2, 3)) & np.isfinite(parallax)
        mean[~finite] = std[~finite] = np.nan
        return Prediction(mean, std, TARGETS, tuple(UNITS.values()), finite)

    opened = []
    monkeypatch.setattr(quick, "load", lambda folder: trained)
    monkeypatch.setattr(opening, "open_dataset", lambda folder: opened.append(Path(folder)) or dataset)
    monkeypatch.setattr(split.mc_dropout, "predict", predict)
    return SimpleNamespace(trained=trained, dataset=dataset, validation=validation, run=folder / "run", opened=opened)


@pytest.fixture
def world(tmp_path, monkeypatch):
    return make_world(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = make_world(tmp_path_factory.mktemp("evaluated"), monkeypatch)
        world.metrics = quick.evaluate(world.run, progress=False)
    world.out = world.run / "evaluation"
    return world


def test_results_find_the_injected_offset_and_scatter(evaluated):
    network = evaluated.metrics["results"]["ACF"]
    for target in TARGETS:
        truth, label = network["truth"][target], network["label"][target]
        expected = NETWORK_NOISE[target]
        assert truth["n"] == label["n"] == N_STARS["validation"] - 2
        assert truth["n_without_prediction"] == 2
        assert truth["offset"] == pytest.approx(NETWORK_OFFSET[target], abs=5 * expected / np.sqrt(698))
        assert truth["std"] == pytest.approx(expected, rel=5 / np.sqrt(2 * 698))
        assert label["std"] == pytest.approx(np.hypot(expected, LABEL_NOISE[target]), rel=5 / np.sqrt(2 * 698))
        assert truth["coverage_68"] > label["coverage_68"]
    assert network["truth"]["fe_h"]["coverage_68"] == pytest.approx(0.6827, abs=5 * np.sqrt(0.22 / 698))


def test_baselines_stand_beside_the_network(evaluated):
    results = evaluated.metrics["results"]
    assert list(results) == ["ACF", "gradient boosting", "gradient boosting, no parallax"]
    for method in list(results)[1:]:
        assert results[method]["truth"]["teff"]["std"] < 200  # the labels' own spread is 580 K
        assert results[method]["label"]["teff"]["n"] == N_STARS["validation"]  # trees need no parallax
        assert results[method]["label"]["teff"]["coverage_68"] is None


def test_the_baselines_read_no_validation_label(world):
    world.trained.targets = ("teff",)
    context = Context(world.dataset, {"ACF": world.trained}, world.run, Options(progress=False))
    first = quick.predict_baselines(context)
    for name in (*TARGETS, *(f"true_{target}" for target in TARGETS)):
        context.stars()[name][:] = np.nan
    for name, predicted in quick.predict_baselines(context).items():
        np.testing.assert_array_equal(predicted, first[name])


def test_metrics_json_says_how_it_came_about(evaluated):
    stored = json.loads((evaluated.out / "metrics.json").read_text())
    assert stored == evaluated.metrics
    assert stored["sample"] == "mock sky, validation split"
    assert (stored["n_stars"], stored["n_without_prediction"]) == (700, 2)
    assert stored["checkpoint"] == {"folder": str(evaluated.run), "step": 1234}
    assert stored["dataset"]["fingerprint"] == "f" * 64
    assert stored["mc_dropout"] == {"n_samples": 100, "seed": 0}
    assert stored["units"] == UNITS
    assert sum(b["n"] for b in stored["residuals_by_g"]["logg"]) == 698


def test_every_table_says_mock_sky(evaluated):
    text = (evaluated.out / "metrics.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == 4
    assert all("mock sky, validation split" in line for line in headings)
    assert "fingerprint ffffffffffff" in text
    assert "2 stars have no prediction" in text
    assert "judged by" not in text, "of a network that was chosen by other stars"
    network = evaluated.metrics["results"]["ACF"]["label"]["teff"]
    row = next(line for line in text.splitlines() if line.startswith("| Teff (K)"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "Teff (K)", "ACF", f"{network['offset']:+.1f}", f"{network['std']:.1f}", f"{network['mad_std']:.1f}",
        f"{network['rmse']:.1f}", f"{100 * network['coverage_68']:.1f} %", f"{100 * network['coverage_95']:.1f} %",
        "698",
    ]  # fmt: skip


def test_predictions_hold_every_star_with_units_and_reasons(evaluated):
    table = pyarrow.parquet.read_table(evaluated.out / "predictions.parquet")
    stars = evaluated.validation
    np.testing.assert_array_equal(table["object_id"].to_numpy(), stars["object_id"])
    np.testing.assert_array_equal(table["source_id"].to_numpy(), stars["source_id"])
    np.testing.assert_array_equal(table["ra"].to_numpy(), stars["ra"])
    np.testing.assert_array_equal(table["g_psf"].to_numpy(), stars["psf_mag"][:, 2])
    np.testing.assert_array_equal(table["logg"].to_numpy(), stars["logg"])
    np.testing.assert_array_equal(table["true_logg"].to_numpy(), stars["true_logg"])
    reasons = table["reason"].to_pylist()
    assert {i: r for i, r in enumerate(reasons) if r} == {
        BAD_STAMP: "stamp holds a pixel that is not a number",
        BAD_PARALLAX: "parallax or its error unusable",
    }
    predicted = np.isfinite(table["teff_predicted"].to_numpy())
    np.testing.assert_array_equal(np.flatnonzero(~predicted), [BAD_STAMP, BAD_PARALLAX])
    residual = (table["teff_predicted"].to_numpy() - table["teff"].to_numpy())[predicted]
    assert residual.std() == pytest.approx(evaluated.metrics["results"]["ACF"]["label"]["teff"]["std"], rel=1e-5)
    units = {field.name: field.metadata.get(b"unit", b"").decode() for field in table.schema}
    assert units == {
        "object_id": "", "source_id": "", "ra": "deg", "dec": "deg", "g_psf": "mag", "reason": "",
        **{name: unit for t, unit in UNITS.items() for name in (t, f"{t}_predicted", f"{t}_std", f"true_{t}")},
    }  # fmt: skip
    assert json.loads(table.schema.metadata[b"acf_jax"])["checkpoint"]["step"] == 1234


def test_figures_are_written(evaluated):
    for name in ("figure_8", "figure_9", "residuals_vs_g"):
        assert (evaluated.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_of_one_target_on_real_stars(world, monkeypatch):
    for arrays in world.dataset.split_arrays.values():
        for target in TARGETS:
            del arrays[f"true_{target}"]
    world.dataset.fields = tuple(world.dataset.split_arrays["train"])
    world.dataset.config = world.trained.sidecar["dataset"]["config"] = "galah"
    world.trained.targets = ("teff",)
    world.trained.sidecar["checkpoint_chosen_by"] = "validation"

    def predict(trained, stamps, *args, **kwargs):
        return Prediction(*np.ones((2, len(stamps), 1)), ("teff",), ("K",), np.ones(len(stamps), bool))

    monkeypatch.setattr(split.mc_dropout, "predict", predict)
    metrics = quick.evaluate(world.run, out_dir=world.run / "elsewhere", baselines=False, progress=False)
    assert metrics["sample"] == "smss_stamps/galah, validation split"
    assert metrics["mock"] is False
    assert metrics["results"] == {"ACF": {"label": {"teff": metrics["results"]["ACF"]["label"]["teff"]}, "truth": {}}}
    text = (world.run / "elsewhere/metrics.md").read_text()
    assert "mock" not in text
    assert "truth" not in text
    assert "the checkpoint was chosen by the validation stars that it is judged by here" in text
    assert "its errors are not calibrated" in text
    assert not (world.run / "elsewhere/residuals_vs_g.png").exists()


def test_the_dataset_is_sought_where_training_had_it_or_where_told(world):
    opening.open_same_dataset(world.trained)
    opening.open_same_dataset(world.trained, "/other")
    assert world.opened == [world.dataset.folder, Path("/other/smss_stamps/mock/1.0.0")]


def test_another_dataset_is_refused(world):
    world.dataset.fingerprint = "a" * 64
    with pytest.raises(opening.EvaluationError, match=r"fingerprint aaaaaaaaaaaa, .* trained on ffffffffffff"):
        opening.open_same_dataset(world.trained)


def test_other_bands_are_refused(world):
    world.trained.bands = "griz"
    with pytest.raises(opening.EvaluationError, match="have bands uvgriz, the network was trained on griz"):
        opening.open_same_dataset(world.trained)


def test_no_validation_stars_are_refused(world):
    world.dataset.splits = {"train": 10}
    with pytest.raises(opening.EvaluationError, match="no validation stars"):
        opening.open_same_dataset(world.trained)


def test_baselines_need_the_extinction_coefficients(world):
    del world.dataset.metadata["extinction_coefficients"]
    with pytest.raises(opening.EvaluationError, match=r"no extinction_coefficients.*--no-baselines"):
        quick.evaluate(world.run, progress=False)


@pytest.mark.parametrize(
    ("network", "network_std", "words"),
    [
        ("ACF", {"teff": 90, "logg": 0.2, "fe_h": 0.2}, "still ahead in log g and \\[Fe/H\\]"),
        ("ACF", {"teff": 90, "logg": 0.09, "fe_h": None}, "still ahead in \\[Fe/H\\]"),
        ("ACF", {"teff": 90, "logg": 0.09, "fe_h": 0.09}, "look at figure_8.png"),
        ("ACPF", {"teff": 90, "logg": 0.2, "fe_h": 0.09}, "look at figure_8.png"),  # its rival has no parallax either
    ],
)
@pytest.mark.parametrize(
    ("config", "commands"),
    [
        ("mock", ("python -m datasets.build --config mock_large", "configs/mock.py")),
        ("low_quality", ("python -m datasets.build --config high_quality --galah", "configs/acf.py")),
        ("high_quality", ("python train.py --config configs/acf.py",)),
    ],
)
def test_the_next_step_depends_on_who_is_ahead_and_on_the_sky(network, network_std, words, config, commands):
    def result(**std):
        return {"label": {t: {"std": 0.0} for t in TARGETS}, "truth": {t: {"std": s} for t, s in std.items()}}

    metrics = {
        "network": network,
        "mock": config == "mock",
        "dataset": {"config": config},
        "results": {
            network: result(**network_std),
            "gradient boosting": result(teff=100, logg=0.1, fe_h=0.1),
            "gradient boosting, no parallax": result(teff=100, logg=0.3, fe_h=0.1),
        },
    }
    sentence = report.next_step(metrics)
    assert re.search(words, sentence)
    assert sentence.startswith("Next: ")
    assert all(command in sentence for command in commands)
    assert ("mock" in sentence) == (config == "mock")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_prediction_is_kept_until_the_code_changes(world, monkeypatch):
    asked, predict = [], split.mc_dropout.predict

    def counted(*args, **kwargs):
        asked.append(args)
        return predict(*args, **kwargs)

    monkeypatch.setattr(split.mc_dropout, "predict", counted)
    n_asked = []
    for code in ("a", "a", "b"):
        monkeypatch.setattr(context_module, "code_digest", lambda code=code: code)
        quick.evaluate(world.run, baselines=False, progress=False)
        n_asked.append(len(asked))
    assert 0 < n_asked[0] == n_asked[1] < n_asked[2]


def test_evaluating_twice_writes_the_same(world):
    contents = []
    for _ in range(2):
        quick.evaluate(world.run, baselines=False, progress=False)
        contents.append({path.name: path.read_bytes() for path in (world.run / "evaluation").glob("*.*")})
        shutil.rmtree(world.run / "evaluation")
    assert contents[0] == contents[1]
    assert len(contents[0]) == 6
