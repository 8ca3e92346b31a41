"""The sections of the paper's figures, on stars drawn at random and networks whose errors are known."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from scipy import stats

from acf_jax.plots.predictions import ParameterSample
from acf_jax.report.section import MissingPieceError, Section
from acf_jax.report.sections import sample
from tests.acf_jax.report.records import record
from tests.acf_jax.report.stand_in_context import (
    TARGETS,
    StandInDataset,
    draw_stars,
    make_context,
    stand_in_network,
    truth,
    without_truth,
)

N = {"train": 700, "calibration": 100, "validation": 200}


@pytest.fixture
def splits():
    return {split: draw_stars(n, seed) for seed, (split, n) in enumerate(N.items())}


def context_of(folder, splits, answers=None, **options):
    """A context of these splits; by default a network that knows the truth, and one of 0.3 dex more noise."""
    validation = splits["validation"]
    answers = {"ACF": truth(validation)} if answers is None else answers
    context = make_context(folder, validation, answers, **options)
    dataset = StandInDataset(folder, splits, config=context.dataset.config, fingerprint=f"{folder}")
    return dataclasses.replace(context, dataset=dataset)


def as_json(section: Section) -> dict:
    """What results.json and the report get, which has no NaN."""
    stored = json.loads(json.dumps(section.to_dict(), allow_nan=False))
    assert Section.from_dict(stored).values == stored["values"]
    return stored["values"]


# Figs. 1 and 6.


def test_the_sample_is_told_with_both_splits_in_every_caption(tmp_path, splits):
    section = sample.sample_section(context_of(tmp_path, splits))
    assert [figure.name for figure in section.figures] == ["figure_1", "figure_6"]
    for figure in section.figures:
        assert "mock sky, train split, 700 stars (black), and validation split, 200 stars (vermilion)" in figure.caption
    assert as_json(section)["n"] == N
    assert "the calibration split, 100 stars, which the figures leave out" in " ".join(section.text)


def test_splits_drawn_alike_are_called_alike(tmp_path, splits):
    section = sample.sample_section(context_of(tmp_path, splits))
    tests = as_json(section)["kolmogorov_smirnov"]
    for name in (*TARGETS, "parallax"):
        expected = stats.ks_2samp(splits["train"][name], splits["validation"][name], method="asymp")
        assert tests[name]["statistic"] == pytest.approx(expected.statistic)
        assert tests[name]["p_value"] == pytest.approx(expected.pvalue)
    assert "are alike" in section.text[0]


def test_a_split_of_other_stars_is_found_out(tmp_path, splits):
    splits["validation"]["logg"] += 0.5
    section = sample.sample_section(context_of(tmp_path, splits))
    assert "are not alike" in section.text[0]
    assert "finds log g to differ most" in section.text[0]


def test_ranges_and_near_stars_are_counted(tmp_path, splits):
    splits["train"]["teff"][:2] = 3456.0, np.nan
    both = np.concatenate([splits[name]["parallax"] for name in ("train", "validation")])
    section = sample.sample_section(context_of(tmp_path, splits))
    assert "Teff from 3,456 to" in section.text[1]
    assert as_json(section)["fraction_nearer_than_5_mas"] == pytest.approx(np.mean(both < 5))
    assert as_json(section)["kolmogorov_smirnov"]["teff"]["n_train"] == 699


def test_stars_without_a_parallax_are_counted_out_of_figure_6(tmp_path, splits):
    splits["train"]["parallax"][:3] = np.nan, -0.2, 0.0
    caption = sample.sample_section(context_of(tmp_path, splits)).figures[1].caption
    assert caption.endswith("3 stars without a positive parallax are left out.")


def test_of_a_real_sky_and_two_splits(tmp_path, splits):
    two = {name: without_truth(splits[name]) for name in ("train", "validation")}
    answers = {"ACF": truth(splits["validation"])}
    section = sample.sample_section(context_of(tmp_path, two, answers))
    assert "smss_stamps/high_quality, train split, 700 stars" in section.figures[0].caption
    assert "calibration" not in " ".join(section.text)


# Fig. 8, and residuals against g.


def test_figure_8_and_residuals_against_g(tmp_path, splits):
    stars = splits["validation"]
    section = sample.regression_section(context_of(tmp_path, splits))
    assert [figure.name for figure in section.figures] == ["figure_8", "residuals_against_g"]
    assert all("ACF, mock sky, validation split, 200 stars" in figure.caption for figure in section.figures)
    values = as_json(section)
    for target in TARGETS:
        residual = stars[f"true_{target}"] - stars[target]
        assert record(values, target=target, quantity="offset")["value"] == pytest.approx(residual.mean())
        assert record(values, target=target, quantity="std")["value"] == pytest.approx(residual.std())
        assert sum(b["n"] for b in values["by_g"] if b["target"] == target) == 200
    offset = record(values, target="logg", quantity="offset")["value"]
    assert f"in log g {offset:+.3f} dex" in section.text[0]


def test_a_network_that_runs_with_magnitude_is_found_out(tmp_path, splits):
    stars = splits["validation"]
    g_mag = stars["psf_mag"][:, 2]
    running = truth(stars) - 0.05 * (g_mag - 12)[:, None] * np.array([0, 1, 0])
    section = sample.regression_section(context_of(tmp_path, splits, {"ACF": running}))
    slopes = {fit["target"]: fit for fit in as_json(section)["trend_per_mag"]}
    assert abs(slopes["logg"]["slope"] + 0.05) < 3 * slopes["logg"]["error"]
    assert slopes["logg"]["slope"] < -5 * slopes["logg"]["error"]
    assert abs(slopes["fe_h"]["slope"]) < 4 * slopes["fe_h"]["error"]
    words = re.search(r"log g by -(\d\.\d{3}) ± (\d\.\d{3}) dex a magnitude", section.text[1])
    assert float(words[1]) == pytest.approx(-slopes["logg"]["slope"], abs=6e-4)


def test_trend_is_the_line_that_was_put_in():
    rng = np.random.default_rng(3)
    x = rng.uniform(11, 14, 4000)
    y = 0.3 * x + rng.normal(0, 0.2, 4000)
    y[:5], x[5:9] = np.nan, np.nan
    fit = sample.trend(x, y)
    assert fit["n"] == 3991
    assert abs(fit["slope"] - 0.3) < 4 * fit["error"]
    assert fit["error"] == pytest.approx(0.2 / (np.nanstd(x) * np.sqrt(3991)), rel=0.05)
    assert sample.trend(np.ones(5), np.arange(5.0)) == {"n": 5, "slope": None, "error": None}


def test_stars_without_a_prediction_are_counted_in_the_caption(tmp_path, splits):
    mean = truth(splits["validation"])
    mean[:4] = np.nan
    section = sample.regression_section(context_of(tmp_path, splits, {"ACF": mean}))
    assert "4 stars without a prediction are not shown." in section.figures[0].caption
    assert record(as_json(section), target="teff", quantity="std")["n"] == 196
    assert "(196 stars)" in section.text[0]


def test_a_network_without_any_prediction_still_has_its_section(tmp_path, splits):
    mean = np.full((200, 3), np.nan)
    section = sample.regression_section(context_of(tmp_path, splits, {"ACF": mean}))
    assert record(as_json(section), target="logg", quantity="std")["value"] is None
    assert "too few stars" in section.text[1]


# Fig. 9.


def test_uncertainty_stands_beside_the_papers(tmp_path, splits):
    section = sample.uncertainty_section(context_of(tmp_path, splits))
    assert [figure.name for figure in section.figures] == ["figure_9"]
    (table,) = section.tables
    assert "mock sky, validation split, 200 stars" in table.caption
    assert [row[4] for row in table.rows] == ["23", "-", "258", "< 0.1", "0.22", "0.03", "0.4"]
    logg = splits["validation"]["logg"]
    assert table.rows[3][2] == str(np.sum(logg > 3))
    assert table.rows[3][3] == "1.000"  # the stand-in's
    assert table.rows[2][2:4] == ("0", "-")  # no star above 8,000 K
    assert as_json(section)["median_uncertainty"][2]["median"] is None


def test_ranges_of_uncertainty_hold_their_stars():
    label = np.array([5249.0, 5250.0, 5251.0, 5750.0, 5751.0, 8000.0, 8001.0, np.nan, 5400.0])
    std = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, np.nan])
    near, _, hot = sample.uncertainty_rows(ParameterSample("teff", "K", label, label, std))
    assert (near["n"], near["median"]) == (2, 3.5)
    assert (hot["n"], hot["median"]) == (1, 7.0)


# Fig. 10.


def test_figure_10_is_of_the_network_without_parallax(tmp_path, splits):
    stars = splits["validation"]
    blind = truth(stars) + np.random.default_rng(4).normal(size=(200, 3)) * [0, 0.4, 0]
    section = sample.no_parallax_section(context_of(tmp_path, splits, {"ACF": truth(stars), "ACPF": blind}))
    assert [figure.name for figure in section.figures] == ["figure_10"]
    assert section.figures[0].caption.startswith("As Fig. 10 of the paper")
    assert "ACPF, mock sky, validation split, 200 stars" in section.figures[0].caption
    std = record(as_json(section), target="logg", quantity="std")["value"]
    assert std == pytest.approx((blind[:, 1] - stars["logg"]).std())


def test_without_such_a_network_the_section_says_how_to_get_one(tmp_path, splits):
    with pytest.raises(MissingPieceError, match=r"no network without parallax: .*use_parallax=False.*--acpf"):
        sample.no_parallax_section(context_of(tmp_path, splits))


# The files.


def test_figures_are_written_as_png_and_pdf(tmp_path, splits):
    context = context_of(tmp_path, splits, draws=True)
    section = sample.sample_section(context)
    for figure in section.figures:
        assert (context.out_dir / "figures" / f"{figure.name}.png").read_bytes().startswith(b"\x89PNG")
        assert (context.out_dir / "figures" / f"{figure.name}.pdf").read_bytes().startswith(b"%PDF")


def test_a_network_of_one_parameter_has_its_figures(tmp_path, splits):
    stars = splits["validation"]
    answers = {"ACF": truth(stars)[:, 1:2]}
    networks = {"ACF": stand_in_network(targets=("logg",))}
    context = context_of(tmp_path, splits, answers, networks=networks)
    assert {m["target"] for m in as_json(sample.regression_section(context))["measurements"]} == {"logg"}
    assert len(sample.uncertainty_section(context).tables[0].rows) == 2
