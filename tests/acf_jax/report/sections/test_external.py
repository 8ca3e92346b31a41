"""The section on other surveys, on a network and surveys whose errors are known."""

import dataclasses
import json

import numpy as np
import pytest

from acf_jax.report.section import MissingPieceError
from acf_jax.report.sections import external
from acf_jax.surveys.known import SURVEYS
from acf_jax.surveys.matching import Matched
from tests.acf_jax.report.records import by_quantity, record
from tests.acf_jax.report.stand_in_context import TARGETS, draw_stars, make_context, truth, without_truth

NETWORK_STD = {"teff": 90.0, "logg": 0.12, "fe_h": 0.15}
SURVEY_STD = {"teff": 120.0, "logg": 0.2, "fe_h": 0.1}
SURVEY_OFFSET = {"teff": 60.0, "logg": -0.1, "fe_h": 0.05}
WITHOUT_PREDICTION, WITHOUT_LOGG = 4, 7  # rows of the survey's stars


def make_matched(stars, rows, *, survey="apogee", is_mock=True, quoted=1.0, seed=1):
    rng = np.random.default_rng(seed)
    labels = {}
    for target in TARGETS:
        noise = SURVEY_STD[target] * rng.normal(size=len(rows))
        labels[target] = stars[f"true_{target}"][rows] + SURVEY_OFFSET[target] + noise
        labels[f"e_{target}"] = np.full(len(rows), quoted * SURVEY_STD[target])
    if len(rows):
        labels["logg"][WITHOUT_LOGG] = np.nan
    counts = {"entries in the table": 12_345, "stars matched": len(rows)}
    return Matched(SURVEYS[survey], is_mock, rows, labels, {}, counts)


@pytest.fixture
def world(tmp_path):
    stars = draw_stars()
    rows = np.sort(np.random.default_rng(2).permutation(1500)[:900])
    noise = np.random.default_rng(3).normal(size=(1500, 3)) * list(NETWORK_STD.values())
    answer = truth(stars) + noise
    answer[rows[WITHOUT_PREDICTION]] = np.nan
    context = make_context(tmp_path, stars, {"ACF": answer})
    context.external["APOGEE DR17"] = make_matched(stars, rows)
    return context


def test_scatter_and_offset_are_those_injected_with_the_surveys_own_errors(world):
    values = external.section(world).values
    for target in TARGETS:
        r = by_quantity(values, target=target, reference="APOGEE DR17")
        expected = np.hypot(NETWORK_STD[target], SURVEY_STD[target])
        tolerance = 5 / np.sqrt(2 * 900)
        assert r["std"] == pytest.approx(expected, rel=tolerance)
        assert r["offset"] == pytest.approx(-SURVEY_OFFSET[target], abs=5 * expected / 30)
        assert r["label_error"] == pytest.approx(SURVEY_STD[target])
        assert r["std_without_it"] == pytest.approx(
            NETWORK_STD[target], rel=tolerance * (expected / NETWORK_STD[target]) ** 2
        )
        std = record(values, target=target, reference="APOGEE DR17", quantity="std")
        assert std["lower"] < std["value"] < std["upper"]
        network, survey = (
            by_quantity(values, target=target, reference="truth", method=method) for method in ("ACF", "APOGEE DR17")
        )
        assert network["std"] == pytest.approx(NETWORK_STD[target], rel=tolerance)
        assert survey["std"] == pytest.approx(SURVEY_STD[target], rel=tolerance)
        assert survey["offset"] == pytest.approx(SURVEY_OFFSET[target], abs=5 * SURVEY_STD[target] / 30)


def test_every_star_is_used_or_counted(world):
    values = external.section(world).values
    for target in TARGETS:
        r = by_quantity(values, target=target, reference="APOGEE DR17")
        assert r["n_without_prediction"] == 1
        assert r["n_without_reference"] == (target == "logg")
        assert r["n"] + r["n_without_prediction"] + r["n_without_reference"] == 900


def test_tables_show_the_papers_figures_and_every_caption_its_sample(world):
    external.section(dataclasses.replace(world, draws=True))
    for name in ("figure_11", "figure_11_trends"):
        assert (world.out_dir / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (world.out_dir / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    world.external["LAMOST LSP3"] = make_matched(world.stars(), world.external["APOGEE DR17"].row, survey="lamost")
    section = external.section(world)
    residuals, against_truth, selection = section.tables
    paper = {row[:2]: row[-1] for row in residuals.rows}
    assert paper == {
        ("APOGEE DR17", "Teff (K)"): "-", ("APOGEE DR17", "log g (dex)"): "0.13", ("APOGEE DR17", "[Fe/H] (dex)"): "-",
        ("LAMOST LSP3", "Teff (K)"): "177.73", ("LAMOST LSP3", "log g (dex)"): "-",
        ("LAMOST LSP3", "[Fe/H] (dex)"): "0.22",
    }  # fmt: skip
    r = by_quantity(section.values, sample="APOGEE DR17", reference="APOGEE DR17", target="teff")
    assert residuals.rows[0][2:5] == ("899", f"{r['offset']:+.1f}", f"{r['std']:.1f}")
    assert ("APOGEE DR17", "entries in the table", "12,345") in selection.rows
    assert len(against_truth.rows) == 6
    for captioned in (*section.tables, *section.figures):
        assert "mock sky, validation split, 1,500 stars" in captioned.caption
    assert [figure.name for figure in section.figures] == [
        "figure_11", "figure_11_trends", "figure_12", "figure_12_trends"
    ]  # fmt: skip
    trend = [
        p for p in section.values["trends"] if (p["survey"], p["target"], p["along"]) == ("LAMOST LSP3", "teff", "logg")
    ]
    assert len(trend) == 12
    assert all(abs(p["median"] + SURVEY_OFFSET["teff"]) < 5 * 1.25 * 150 / np.sqrt(p["n"]) for p in trend)


def test_a_mock_survey_is_called_one(world):
    section = external.section(world)
    assert any("a mock stands in" in paragraph for paragraph in section.text)
    assert "APOGEE DR17 (mock)" in section.figures[0].caption
    world.external["APOGEE DR17"] = dataclasses.replace(world.external["APOGEE DR17"], is_mock=False)
    section = external.section(world)
    assert not any("mock stands in" in paragraph for paragraph in section.text)
    assert "(mock)" not in section.figures[0].caption


def test_a_real_sky_has_no_table_of_the_truth(tmp_path):
    stars = draw_stars()
    context = make_context(tmp_path, without_truth(stars), {"ACF": truth(stars)})
    context.external["APOGEE DR17"] = make_matched(stars, np.arange(300), is_mock=False)
    section = external.section(context)
    assert len(section.tables) == 2
    assert {m["reference"] for m in section.values["measurements"]} == {"APOGEE DR17"}
    assert "mock" not in " ".join([*section.text, *(t.caption for t in section.tables)])


def test_errors_that_are_not_quoted_or_exceed_the_scatter_are_not_subtracted(world):
    rows = world.external["APOGEE DR17"].row
    world.external["APOGEE DR17"] = make_matched(world.stars(), rows, quoted=np.nan)
    section = external.section(world)
    assert record(section.values, target="teff", quantity="label_error")["value"] is None
    assert section.tables[0].rows[0][7:9] == ("-", "-")
    assert not any("quadrature" in paragraph for paragraph in section.text)
    world.external["APOGEE DR17"] = make_matched(world.stars(), rows, quoted=9.0)
    values = external.section(world).values
    assert record(values, target="teff", quantity="label_error")["value"] == 1080
    assert record(values, target="teff", quantity="std_without_it")["value"] is None


def test_a_survey_without_common_stars_has_a_sentence_and_no_figure(world):
    world.external["LAMOST LSP3"] = make_matched(world.stars(), np.zeros(0, np.int64), survey="lamost")
    section = external.section(world)
    assert [figure.name for figure in section.figures] == ["figure_11", "figure_11_trends"]
    assert "LAMOST LSP3 has none of the stars" in section.text[-1]
    json.dumps(section.values, allow_nan=False)


def test_without_a_table_the_section_says_how_to_give_one(world):
    world.external.clear()
    with pytest.raises(MissingPieceError, match=r"--apogee FILE.*--lamost FILE"):
        external.section(world)
