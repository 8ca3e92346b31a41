"""With and without parallax, on pairs of networks whose scatters were put in."""

import json

import numpy as np
import pytest

from acf_jax.report.section import MissingPieceError, Section
from acf_jax.report.sections import parallax
from tests.acf_jax.report.records import records
from tests.acf_jax.report.stand_in_context import (
    TARGETS,
    draw_stars,
    make_context,
    stand_in_network,
    truth,
    without_truth,
)

SPREAD = np.array([80.0, 0.08, 0.1])


def pair(stars, ratios):
    """Answers of an ACF, and of an ACPF that scatters by these factors more about the truth."""
    n = len(stars["object_id"])
    rng = np.random.default_rng(4)
    noise = {name: rng.normal(size=(n, 3)) * SPREAD for name in ("ACF", "ACPF")}
    common = rng.normal(size=(n, 3)) * SPREAD
    noise = {name: own + common for name, own in noise.items()}
    noise = {name: (own - own.mean(0)) / own.std(0) * SPREAD for name, own in noise.items()}
    return {"ACF": truth(stars) + noise["ACF"], "ACPF": truth(stars) + noise["ACPF"] * ratios}


def section_of(folder, ratios, **changes):
    stars = draw_stars()
    return parallax.section(make_context(folder, stars, pair(stars, ratios), **changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return section_of(tmp_path_factory.mktemp("parallax"), [1.1, 4.0, 1.1])


def test_ratios_are_the_injected_ones(made):
    for target, spread, ratio in zip(TARGETS, SPREAD, (1.1, 4.0, 1.1), strict=True):
        with_parallax, without, found = records(made.values, target=target, reference="truth")
        assert (with_parallax["method"], without["method"], found["method"]) == ("ACF", "ACPF", "ACPF")
        assert (found["quantity"], found["against"]) == ("std_ratio", "ACF")
        assert with_parallax["value"] == pytest.approx(spread)
        assert without["value"] == pytest.approx(ratio * spread)
        assert found["value"] == pytest.approx(ratio)
        assert found["lower"] < ratio < found["upper"]
        # Errors that both share narrow the ratio's interval: unpaired, it would be sqrt(1 / n) = 2.6 %.
        assert found["error"] / ratio < 0.024


def test_the_table_sets_the_papers_figures_beside(made):
    about_labels, about_truth = made.tables
    assert about_labels.header[-3:] == ("paper, ACF", "paper, ACPF", "paper, ratio")
    assert [row[-3:] for row in about_labels.rows] == [
        ("95.02", "-", "about 1.11"), ("0.07", "0.28", "4.0"), ("0.14", "-", "about 1.11"),
    ]  # fmt: skip
    assert about_truth.header == ("parameter", "std, ACF", "std, ACPF", "ratio", "n")
    assert about_truth.rows[1][0] == "log g (dex)"
    assert about_truth.rows[1][3].startswith("4.00 [")
    assert all("mock sky, validation split, 1,500 stars" in table.caption for table in made.tables)


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([1.1, 4.0, 1.1], "claim holds here"),
        ([1.1, 1.11, 1.05], "intervals overlap"),
        ([1.3, 1.0, 1.1], "does not hold here"),
    ],
)
def test_the_verdict_follows_the_numbers(tmp_path, ratios, words):
    verdict = section_of(tmp_path, ratios).text[0]
    assert words in verdict
    assert f"{ratios[1]:.2f} [" in verdict
    assert "about the injected truth" in verdict


def test_both_are_judged_on_the_stars_that_both_have(tmp_path):
    stars = draw_stars()
    answers = pair(stars, [1.0, 4.0, 1.0])
    answers["ACF"][:5], answers["ACPF"][3:8] = np.nan, np.nan
    answers["ACF"][6, 1] = 1e3  # not in the ACPF's, so of no consequence
    values = parallax.section(make_context(tmp_path, stars, answers)).values
    with_parallax, without, ratio = records(values, target="logg", reference="truth")
    assert [m["n"] for m in (with_parallax, without, ratio)] == [1_492] * 3
    assert ratio["value"] == pytest.approx(without["value"] / with_parallax["value"])
    assert with_parallax["value"] == pytest.approx(0.08, rel=0.01)


def test_trainings_that_differ_only_in_the_parallax_are_called_alike(made):
    assert made.values["config_differences"] == []
    assert "with the same settings and seed but for the parallax" in made.text[1]


def test_trainings_that_differ_otherwise_are_told(tmp_path):
    networks = {
        "ACF": stand_in_network(seed=1),
        "ACPF": stand_in_network(use_parallax=False, seed=2, optimizer={"learning_rate": 0.5}),
    }
    section = section_of(tmp_path, [1, 4, 1], networks=networks)
    assert section.values["config_differences"] == ["optimizer.learning_rate: not set, 0.5", "seed: 1, 2"]
    assert "not alike" in section.text[1]
    assert "seed: 1, 2" in section.text[1]


def test_another_network_in_question_leaves_the_comparison_to_the_acf(tmp_path):
    stars = draw_stars()
    answers = pair(stars, [1, 4, 1])
    answers = {"ACF-growth": truth(stars) + SPREAD * 9} | answers
    context = make_context(tmp_path, stars, answers)
    assert context.name == "ACF-growth"
    assert parallax.section(context).values["with"] == "ACF"


def test_a_missing_acpf_is_told_with_how_to_get_it(tmp_path):
    stars = draw_stars(50)
    with pytest.raises(MissingPieceError, match=r"use_parallax=False --workdir runs/demo_acpf`.*`--acpf"):
        parallax.section(make_context(tmp_path, stars, {"ACF": truth(stars)}))


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        ({"ACF": {}, "ACPF": {}}, "was trained with the parallax"),
        ({"ACPF": {"use_parallax": False}}, "Both networks go without the parallax"),
    ],
)
def test_networks_that_cannot_be_compared_are_refused(tmp_path, networks, words):
    stars = draw_stars(50)
    networks = {name: stand_in_network(**settings) for name, settings in networks.items()}
    context = make_context(tmp_path, stars, dict.fromkeys(networks, truth(stars)), networks)
    with pytest.raises(MissingPieceError, match=words):
        parallax.section(context)


def test_a_real_sky_has_one_table(tmp_path):
    stars = draw_stars()
    section = parallax.section(make_context(tmp_path, without_truth(stars), pair(stars, [1, 4, 1])))
    assert len(section.tables) == 1
    assert "about the labels" in section.text[0]


def test_the_section_survives_json(made):
    assert Section.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made
