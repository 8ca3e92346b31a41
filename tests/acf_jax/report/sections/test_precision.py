"""The tables of precision, on networks whose offset and scatter were put in."""

import json

import numpy as np
import pytest

from acf_jax.report.section import Section
from acf_jax.report.sections import precision
from tests.acf_jax.report.records import by_quantity, record, records
from tests.acf_jax.report.stand_in_context import (
    LABEL_NOISE,
    N_STARS,
    TARGETS,
    draw_stars,
    make_context,
    stand_in_network,
    truth,
    without_truth,
)

SPREAD = {"teff": 100.0, "logg": 0.10, "fe_h": 0.15}
OFFSET = {"teff": 30.0, "logg": 0.0, "fe_h": -0.05}


def answers_about(stars, seed=5):
    """Of a network with exactly these moments about the truth."""
    noise = np.random.default_rng(seed).normal(size=(len(stars["object_id"]), 3))
    noise = (noise - noise.mean(axis=0)) / noise.std(axis=0)
    return truth(stars) + noise * list(SPREAD.values()) + list(OFFSET.values())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    stars = draw_stars()
    answers = {"ACF": answers_about(stars), "ACPF": truth(stars) + 2 * (answers_about(stars, 6) - truth(stars))}
    context = make_context(tmp_path_factory.mktemp("precision"), stars, answers)
    return context, precision.section(context)


def test_moments_are_the_injected_ones_and_inside_their_intervals(made):
    values = made[1].values
    for target in TARGETS:
        own = {"method": "ACF", "target": target}
        about_truth = {m["quantity"]: m for m in records(values, **own, reference="truth")}
        assert about_truth["offset"]["value"] == pytest.approx(OFFSET[target], abs=1e-9)
        assert about_truth["std"]["value"] == pytest.approx(SPREAD[target])
        assert about_truth["rmse"]["value"] == pytest.approx(np.hypot(SPREAD[target], OFFSET[target]))
        assert about_truth["mad_std"]["value"] == pytest.approx(SPREAD[target], rel=0.1)
        about_labels = record(values, **own, reference="label", quantity="std")
        assert about_labels["value"] == pytest.approx(np.hypot(SPREAD[target], LABEL_NOISE[target]), rel=0.1)
        for moment in ("offset", "std", "mad_std", "rmse", "outlier_fraction"):
            m = about_truth[moment]
            assert m["lower"] < m["value"] < m["upper"]
            assert m["n"] == N_STARS
        assert about_truth["std"]["error"] == pytest.approx(SPREAD[target] / np.sqrt(2 * N_STARS), rel=0.2)
        other = record(values, method="ACPF", target=target, reference="truth", quantity="std")
        assert other["value"] == pytest.approx(2 * SPREAD[target])
        assert (about_truth["n_without_prediction"]["value"], about_truth["n_without_reference"]["value"]) == (0, 0)
        noise = record(values, method="the labels themselves", target=target, quantity="std")
        assert noise["value"] == pytest.approx(LABEL_NOISE[target], rel=0.1)


def test_tables_hold_the_values_beside_the_papers(made):
    about_labels, about_truth = made[1].tables
    for table, reference in ((about_labels, "label"), (about_truth, "truth")):
        assert "mock sky, validation split, 1,500 stars" in table.caption
        teff = {m["quantity"]: m for m in records(made[1].values, method="ACF", target="teff", reference=reference)}
        cells = dict(zip(table.header, table.rows[0], strict=True))
        assert (cells["parameter"], cells["method"], cells["n"]) == ("Teff (K)", "ACF", "1,500")
        std, outliers = teff["std"], teff["outlier_fraction"]
        assert cells["std"] == f"{std['value']:.1f} [{std['lower']:.1f}, {std['upper']:.1f}]"
        assert cells["outliers"].startswith(f"{100 * outliers['value']:.1f} % [")
        assert cells["offset"].startswith("+")
    methods = [row[1] for row in about_labels.rows]
    assert methods == ["ACF", "ACPF", "the paper's ACF, real sky"] * 3
    assert about_labels.rows[2][2:4] == ("-0.15", "95.02")
    assert [row[3] for row in about_labels.rows[5::3]] == ["0.07", "0.14"]
    assert [row[1] for row in about_truth.rows] == ["ACF", "ACPF", "the labels themselves"] * 3


def test_the_verdict_names_the_biased_parameters_and_no_others(made):
    verdict = made[1].text[0]
    assert verdict.startswith("The residuals of ACF scatter by ")
    assert "(mock sky, validation split, 1,500 stars)" in verdict
    assert "100.0 K in Teff, 0.100 dex in log g and 0.150 dex in [Fe/H] about the injected truth" in verdict
    assert "in Teff (+30.0 K) and [Fe/H] (-0.050 dex)." in verdict
    assert "not to be ranked" in verdict


def test_an_unbiased_network_is_called_so(tmp_path):
    stars = draw_stars()
    answers = answers_about(stars) - list(OFFSET.values())
    assert "None of its offsets is" in precision.section(make_context(tmp_path, stars, {"ACF": answers})).text[0]


def test_the_section_survives_json(made):
    section = made[1]
    text = json.dumps(section.to_dict(), allow_nan=False)
    assert Section.from_dict(json.loads(text)) == section


def test_the_cache_answers_the_second_time_and_only_to_the_same_question(made, monkeypatch):
    context, first = made
    before = set((context.out_dir / "cache").iterdir())
    assert precision.section(context) == first
    assert set((context.out_dir / "cache").iterdir()) == before
    other = make_context(context.out_dir.parent, context.stars(), context.answers, seed=1)
    assert precision.section(other).values["measurements"] != first.values["measurements"]


def test_stars_without_a_prediction_are_counted_with_their_reason(tmp_path):
    stars, answers = draw_stars(), answers_about(draw_stars())
    answers[[3, 70]] = np.nan
    stars["logg"][100] = np.nan
    section = precision.section(make_context(tmp_path, stars, {"ACF": answers}))
    counts = {}
    for target in TARGETS:
        found = by_quantity(section.values, target=target, method="ACF", reference="label")
        counts[target] = tuple(found[name] for name in ("n", "n_without_prediction", "n_without_reference"))
    assert counts == {"teff": (1498, 2, 0), "logg": (1497, 2, 1), "fe_h": (1498, 2, 0)}
    assert section.text[1] == (
        "Left out, because ACF has no prediction for them: 2 (stamp holds a pixel that is not a number)."
    )
    assert [row[-1] for row in section.tables[0].rows if row[1] == "ACF"] == ["1,498", "1,497", "1,498"]


def test_a_real_sky_has_no_truth(tmp_path):
    stars = draw_stars()
    section = precision.section(make_context(tmp_path, without_truth(stars), {"ACF": answers_about(stars)}))
    assert len(section.tables) == 1
    assert "smss_stamps/high_quality, validation split" in section.tables[0].caption
    assert "truth" not in " ".join(section.text)
    assert {m["method"] for m in section.values["measurements"]} == {"ACF"}


def test_a_network_of_one_parameter_stands_beside_one_of_three(tmp_path):
    stars = draw_stars()
    answers = answers_about(stars)
    networks = {"ACF": stand_in_network(), "ACF of log g": stand_in_network(targets=("logg",), seed=1)}
    context = make_context(tmp_path, stars, {"ACF": answers, "ACF of log g": answers[:, 1:2]}, networks)
    methods = [row[1] for row in precision.section(context).tables[1].rows]
    assert methods == ["ACF", "the labels themselves", "ACF", "ACF of log g", "the labels themselves", "ACF",
                       "the labels themselves"]  # fmt: skip


def test_no_prediction_at_all_leaves_dashes(tmp_path):
    stars = draw_stars(30)
    section = precision.section(make_context(tmp_path, stars, {"ACF": np.full((30, 3), np.nan)}))
    json.dumps(section.to_dict(), allow_nan=False)
    assert section.tables[1].rows[0][2:] == ("-", "-", "-", "-", "-", "0")
