"""The section on uncertainty, on stand-in predictions whose errors are known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.inference.split import SplitPrediction
from acf_jax.report.quantities import Quantity
from acf_jax.report.section import FigureFile
from acf_jax.report.sections.uncertainty import coverage_goal, label_density, uncertainty
from acf_jax.report.sections.uncertainty.methods import CONFORMAL, MC, NOISE_HEAD, SCALED
from tests.acf_jax.report.records import by_quantity, record, records

TARGETS = ("teff", "logg", "fe_h")
SCALE = np.array([100.0, 0.1, 0.1])
N_STARS = {"train": 3000, "calibration": 1500, "validation": 4000}
FEW = {"train": 300, "calibration": 200, "validation": 300}
OVERCONFIDENCE = 2.0  # residuals about the truth are this many MC standard deviations
LABEL_NOISE = 0.5  # of SCALE


class StandInContext(SimpleNamespace):
    """A Context without a network: predictions are the truth with errors, whose size falls with the label density."""

    def __init__(self, *, splits=N_STARS, mock=True, noise_head=False, stored=None, spoilt=()):
        drawn = {name: draw(n, seed) for seed, (name, n) in enumerate(splits.items())}
        predictions = {name: predict(stars, noise_head, seed) for seed, (name, stars) in enumerate(drawn.items())}
        for row in spoilt:
            predictions["validation"].mean[row] = predictions["validation"].std[row] = np.nan
        super().__init__(
            drawn=drawn, predictions=predictions, name="ACF", targets=TARGETS, is_mock=mock, saved={},
            trained=SimpleNamespace(error_calibration=stored),
            dataset=SimpleNamespace(splits=dict(splits), bands="uvgriz", config="mock"),
        )  # fmt: skip

    def stars(self, split="validation"):
        return self.drawn[split]

    def prediction(self, name=None, split="validation"):
        return self.predictions[split]

    def sample(self, split="validation"):
        return f"stand-in sky, {split} split"

    def save(self, figure, name, caption):
        self.saved[name] = figure
        return FigureFile(name, caption)


def draw(n, seed):
    rng = np.random.default_rng(seed)
    true = {
        "teff": rng.normal(5500, 500, n),
        "logg": np.clip(rng.normal(4, 0.8, n), 1.5, 5),
        "fe_h": np.clip(rng.normal(-0.1, 0.3, n), -1, 0.5),
    }
    stars = {f"true_{name}": values for name, values in true.items()}
    stars |= {t: true[t] + LABEL_NOISE * s * rng.normal(size=n) for t, s in zip(TARGETS, SCALE, strict=True)}
    stars |= {"psf_mag": rng.uniform(12, 14.5, (n, 6)), "ebmv_sfd": rng.uniform(0, 0.2, n)}
    return stars | {
        "parallax": rng.uniform(0.5, 5, n), "parallax_error": np.full(n, 0.02), "self_dist1": np.full(n, np.nan)
    }  # fmt: skip


def predict(stars, noise_head, seed):
    rng = np.random.default_rng(100 + seed)
    truth = np.stack([stars[f"true_{t}"] for t in TARGETS], axis=1)
    centre, width = np.array([5500, 4, -0.1]), np.array([500, 0.8, 0.3])
    std = SCALE * (1 + 0.3 * ((truth - centre) / width) ** 2)  # grows where labels are few
    mean = truth + OVERCONFIDENCE * std * rng.normal(size=truth.shape)
    noise_std = 1.8 * std if noise_head else None
    return SplitPrediction(mean, std, [None] * len(truth), noise_std)


@pytest.fixture(scope="module")
def made():
    context = StandInContext(spoilt=(3, 700))
    section = uncertainty.section(context)
    for figure in context.saved.values():
        figure.canvas.draw()
    return SimpleNamespace(context=context, section=section)


def test_coverage_is_the_injected_one(made):
    values = made.section.values
    for target in TARGETS:
        expected = 1 - 2 * stats.norm.sf(1 / OVERCONFIDENCE)
        own = {"target": target, "method": MC}
        covered = record(values, **own, reference="truth", quantity="coverage_68")["value"]
        assert covered == pytest.approx(expected, abs=0.03)
        for method in (SCALED, CONFORMAL):
            label, truth = (
                by_quantity(values, target=target, method=method, reference=reference)
                for reference in ("label", "truth")
            )
            assert label["coverage_68"] == pytest.approx(0.6827, abs=0.04)
            assert label["coverage_90"] == pytest.approx(0.90, abs=0.03)
            assert truth["coverage_68"] >= label["coverage_68"]
            if method == SCALED:
                assert label["nll"] < record(values, **own, reference="label", quantity="nll")["value"]
            else:
                assert label["crps"] is None


def test_stars_left_out_are_counted(made):
    assert {m["n"] for m in records(made.section.values, method=MC, reference="label")} == {3998}
    assert any("Left out for want of a label or a prediction: 2 for Teff" in text for text in made.section.text)


def test_the_verdicts_are_in_words(made):
    goal, growth = made.section.text[:2]
    assert "The goal for conformal intervals" in goal
    assert "chance would put" in goal
    assert "The worst bin: " in goal
    assert "as the paper says, in every parameter" in growth
    assert all(found["holds"] for found in made.section.values["label_density"])


def goal_of(section, method, level):
    """Of the temperature."""
    (found,) = [v for v in section.values["goal"] if (v["method"], v["target"], v["level"]) == (method, "teff", level)]
    return found


def test_the_goal_counts_bins_of_500_stars_or_more(made):
    verdict = goal_of(made.section, MC, 0.6827)
    assert verdict["is_met"] is False
    assert verdict["n_bins_beyond"] == verdict["n_bins"] > 5  # overconfident everywhere
    assert verdict["worst_bin"]["n"] >= 500
    calibrated = goal_of(made.section, CONFORMAL, 0.90)
    assert calibrated["n_bins"] == verdict["n_bins"]
    assert calibrated["n_bins_beyond"] < verdict["n_bins"] / 2


def test_every_caption_names_its_sample(made):
    captions = [each.caption for each in (*made.section.tables, *made.section.figures)]
    assert len(captions) == 10
    assert all("stand-in sky, validation split" in caption for caption in captions)


def test_values_are_json_and_hold_the_calibration(made):
    stored = json.loads(json.dumps(made.section.to_dict(), allow_nan=False))
    again = ErrorCalibration.from_dict(stored["values"]["error_calibration"])
    assert again.targets == TARGETS
    assert [p.n_stars for p in again.parameters] == [1500] * 3


def test_figures_show_both_and_their_labels(made):
    saved = made.context.saved
    assert set(saved) == {f"uncertainty_{what}" for what in ("pit", "reliability", "sparsification", "error", "bins")}
    assert [axes.get_title() for axes in saved["uncertainty_pit"].axes][:2] == [f"Teff, {MC}", f"log g, {MC}"]
    assert len(saved["uncertainty_pit"].axes) == 6
    names = [text.get_text() for text in saved["uncertainty_reliability"].legends[0].get_texts()]
    assert names == [MC, SCALED, CONFORMAL]
    labels = [axes.get_xlabel() for axes in saved["uncertainty_bins"].axes[:5]]
    assert labels == ["predicted Teff (K)", "label Teff (K)", "g (mag)", "E(B-V) (mag)", "parallax S/N"]


def test_a_noise_head_stands_beside_and_is_calibrated_with():
    context = StandInContext(noise_head=True, splits=FEW)
    section = uncertainty.section(context)
    found = records(section.values, target="logg", reference="label", quantity="coverage_68")
    assert [m["method"] for m in found] == [MC, NOISE_HEAD, SCALED, CONFORMAL]
    assert found[1]["value"] > found[0]["value"]
    assert all(p["noise_factor"] is not None for p in section.values["error_calibration"]["parameters"])


def test_the_stored_calibration_is_used():
    stars, prediction = draw(300, 50), predict(draw(300, 50), False, 50)
    labels = np.stack([stars[t] for t in TARGETS], axis=1)
    stored = ErrorCalibration.fit(prediction.mean, prediction.std, None, labels, TARGETS)
    section = uncertainty.section(StandInContext(stored=stored, splits=FEW))
    assert ErrorCalibration.from_dict(section.values["error_calibration"]) == stored
    assert any("stored with the checkpoint" in text for text in section.text)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"train": 300, "validation": 600}, "no `calibration` split"),
        (
            {"train": 300, "calibration": 40, "validation": 600},
            "40 stars with a label and prediction of teff are too few",
        ),
    ],
)
def test_without_a_calibration_the_papers_uncertainty_is_still_judged(splits, words):
    context = StandInContext(splits=splits, mock=False)
    section = uncertainty.section(context)
    assert {(m["reference"], m["method"]) for m in section.values["measurements"]} == {("label", MC)}
    assert any(words in text for text in section.text)
    assert section.values["error_calibration"] is None
    assert "goal" not in section.text[0]
    assert len(context.saved["uncertainty_pit"].axes) == 3


def test_few_stars_have_no_bin_to_judge():
    section = uncertainty.section(StandInContext(splits={"train": 100, "calibration": 60, "validation": 90}))
    assert "No bin holds 500 stars" in section.text[0]
    assert goal_of(section, CONFORMAL, 0.6827)["worst_bin"] is None


@pytest.mark.parametrize("n_calibration", [None, 1000])
def test_chance_is_that_of_simulated_exact_intervals(n_calibration):
    rng, n, level, beyond = np.random.default_rng(60), 500, 0.6827, []
    for _ in range(4000):
        bound = level
        if n_calibration is not None:  # scores are uniform: a bound covers its own value
            bound = np.sort(rng.random(n_calibration))[int(np.ceil((n_calibration + 1) * level)) - 1]
        beyond.append(abs(np.mean(rng.random(n) <= bound) - level) > 0.03)
    found = coverage_goal.beyond_by_chance(n, level, 0.03, n_calibration)
    assert found == pytest.approx(np.mean(beyond), abs=4 * np.sqrt(found / 4000))


def test_the_worst_bin_is_found_and_small_ones_are_not_judged():
    rng = np.random.default_rng(61)
    x = np.repeat([0.5, 1.5, 2.5], [1000, 600, 400])
    covered = np.concatenate(
        [rng.permutation(np.arange(n) < fraction * n) for n, fraction in ((1000, 0.9), (600, 0.8))]
    )
    covered = np.concatenate([covered, np.zeros(400)]).astype(float)
    quantity = Quantity("x", "distance", "kpc", x, np.arange(4.0))
    verdict = coverage_goal.judge(covered, 0.9, [quantity], [], None)
    assert [each.bin.n for each in verdict.known_bins] == [1000, 600]
    worst = coverage_goal.worst(verdict.known_bins)
    assert (worst.where, round(worst.deviation, 6)) == ("distance 1 to 2 kpc", -0.1)
    assert [each.bin.n for each in verdict.beyond] == [600]
    assert verdict.label_bins == ()


def test_label_density_is_spearmans():
    rng = np.random.default_rng(62)
    train, label = 5 - rng.exponential(1.0, 5000), rng.uniform(1, 5, 3000)
    std = 0.05 * (6 - label)
    found = label_density.label_density("logg", train, label, std)
    assert (found.rho, found.p_value) == (pytest.approx(-1), pytest.approx(0, abs=1e-6))
    assert found.holds
    assert found.std_at_ends == pytest.approx((0.05 * 4.75, 0.05 * 1.25), rel=0.05)
    assert found.n_train.sum() == np.sum((train >= 1) & (train < 5))  # bins without held-out stars are left out
    opposite = label_density.label_density("logg", train, label, 1 / std)
    assert not opposite.holds
    assert opposite.rho == pytest.approx(1)


def test_label_density_of_too_few_bins_is_unknown():
    found = label_density.label_density("teff", np.full(10, 5100.0), np.full(20, 5100.0), np.ones(20))
    assert np.isnan(found.rho)
    assert not found.holds
    json.dumps(found.to_dict(), allow_nan=False)
