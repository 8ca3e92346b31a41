"""Residuals in bins, on networks whose trends were put in."""

import json
import re

import numpy as np
import pytest

from acf_jax.report.quantities import is_crowded
from acf_jax.report.section import Section
from acf_jax.report.sections import precision_bins
from tests.acf_jax.report.stand_in_context import draw_stars, make_context, stand_in_network, truth, without_truth

SPREAD = np.array([80.0, 0.08, 0.1])


def section_about(stars, answers, folder, **changes):
    return precision_bins.bins_section(make_context(folder, stars, {"ACF": answers}, **changes))


def bins_in(section, **wanted):
    return [b for b in section.values["bins"] if all(b[name] == value for name, value in wanted.items())]


def noisy(stars, scale=1.0):
    return truth(stars) + np.random.default_rng(3).normal(size=(len(stars["teff"]), 3)) * SPREAD * scale


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """log g's offset runs with g; crowded stars scatter thrice as much."""
    stars = draw_stars(3_000)
    stars["self_dist1"][:600] = 8
    answers = noisy(stars, np.where(is_crowded(stars), 3.0, 1.0)[:, None])
    answers[:, 1] += 0.1 * (stars["psf_mag"][:, 2] - 12.5)
    folder = tmp_path_factory.mktemp("bins")
    return section_about(stars, answers, folder)


def test_an_injected_trend_with_magnitude_is_found(made):
    bins = bins_in(made, reference="truth", binned_by="g_mag", target="logg")
    for b in bins:
        expected = 0.1 * (b["median_x"] - 12.5)
        assert b["offset"]["value"] == pytest.approx(expected, abs=5 * b["offset"]["error"])
    offsets = [b["offset"]["value"] for b in bins]
    assert offsets[-1] - offsets[0] == pytest.approx(0.3, abs=0.05)
    assert bins[0]["bin"] == "11.0 to 11.5"


def test_crowded_stars_are_told_from_isolated_ones(made):
    isolated, crowded = bins_in(made, reference="truth", binned_by="crowded", target="teff")
    assert (isolated["n"], crowded["n"]) == (2_400, 600)
    assert crowded["std"]["value"] / isolated["std"]["value"] == pytest.approx(3, rel=0.1)
    assert made.values["n_crowded"] == 600
    assert [row[1] for row in made.tables[0].rows[-2:]] == ["isolated", "crowded"]
    assert "A crowded star has a neighbour within 15 arcsec." in made.text[-1]
    assert "No star of this sample" not in " ".join(made.text)


def test_every_star_is_in_a_bin_or_counted(tmp_path):
    stars = draw_stars(200)
    answers = noisy(stars)
    answers[:4] = np.nan
    stars["ebmv_sfd"][4] = np.nan
    section = section_about(stars, answers, tmp_path)
    for counted in section.values["n_in_no_bin"]:
        n_left_out = counted.pop("n")
        assert n_left_out == (5 if counted["binned_by"] == "ebmv_sfd" else 4)
        assert sum(b["n"] for b in bins_in(section, **counted)) + n_left_out == 200


def test_perfect_predictions_are_biased_about_labels_in_bins_of_labels_but_not_about_the_truth(tmp_path):
    stars = draw_stars(3_000)
    section = section_about(stars, truth(stars), tmp_path)
    about_labels, about_truth = (
        bins_in(section, reference=reference, binned_by="teff", target="teff") for reference in ("label", "truth")
    )
    assert about_labels[0]["offset"]["value"] > 20  # below 4,500 K, where no star is but for its label's error
    assert about_labels[-1]["offset"]["value"] < -20
    assert all(b["offset"]["value"] in (0, None) for b in about_truth)
    assert "the highest bin holds stars whose label erred upwards" in section.text[-1]


def test_tables_print_bins_of_enough_stars_and_dashes_for_others(made):
    for table, kind in zip(made.tables, ("label", "truth"), strict=True):
        assert "mock sky, validation split, 3,000 stars" in table.caption
        assert table.header[:5] == ("quantity", "bin", "n", "Teff offset (K)", "Teff std (K)")
        for row, b in zip(table.rows, bins_in(made, reference=kind, target="teff"), strict=True):
            assert row[1:3] == (b["bin"], f"{b['n']:,}")
            if b["n"] < 10:
                assert row[3:5] == ("-", "-")
            else:
                assert row[4] == f"{b['std']['value']:.1f} ± {b['std']['error']:.1f}"


def test_the_worst_bins_are_named(tmp_path):
    stars = draw_stars()
    answers = truth(stars) + np.where(np.arange(len(stars["teff"])) % 2, 1, -1)[:, None] * SPREAD
    hot = stars["true_teff"] > 6_000
    answers[hot, 0] += 300
    sentence = section_about(stars, answers, tmp_path).text[0]
    assert sentence.startswith("About the injected truth, in bins of 50 stars or more, Teff is furthest off at ")
    (offset,) = re.findall(r"Teff is furthest off at true Teff 6,000 to 6,500 \((\+[0-9.]+) ±", sentence)
    assert float(offset) == pytest.approx(300, abs=5)


def test_an_isolated_sample_says_so(tmp_path):
    stars = draw_stars(300)
    section = section_about(without_truth(stars), noisy(stars), tmp_path)
    assert "No star of this sample has a neighbour within 15 arcsec" in section.text[-1]
    assert "crowded" not in {b["binned_by"] for b in section.values["bins"]}
    assert len(section.tables) == 1
    assert "truth" not in " ".join(section.text) + section.figures[0].caption


def test_the_figure_of_one_parameter_is_saved_and_names_network_and_sample(tmp_path):
    stars = draw_stars(300)
    networks = {"ACF of log g": stand_in_network(targets=("logg",))}
    context = make_context(tmp_path, stars, {"ACF of log g": noisy(stars)[:, 1:2]}, networks, draws=True)
    (figure,) = precision_bins.bins_section(context).figures
    assert figure.caption.startswith("ACF of log g (mock sky, validation split, 300 stars).")
    assert (context.out_dir / f"figures/{figure.name}.png").read_bytes().startswith(b"\x89PNG")
    assert (context.out_dir / f"figures/{figure.name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_section_survives_json(made):
    text = json.dumps(made.to_dict(), allow_nan=False)
    assert Section.from_dict(json.loads(text)) == made


def test_a_handful_of_stars_has_a_section(tmp_path):
    stars = draw_stars(3)
    section = section_about(stars, noisy(stars), tmp_path)
    json.dumps(section.to_dict(), allow_nan=False)
    assert {row[3] for row in section.tables[0].rows} == {"-"}
