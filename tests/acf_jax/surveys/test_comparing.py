"""Trends of residuals, and quoted errors; the moments are looked at where sections and catalogues use them."""

from itertools import pairwise

import numpy as np

from acf_jax.metrics.bootstrap import Draws
from acf_jax.metrics.measurements import estimates
from acf_jax.metrics.residuals import running_median
from acf_jax.surveys.comparing import figure_name, measure, table_row, trends
from acf_jax.surveys.known import SURVEYS, survey_named


def test_a_running_median_follows_the_trend_that_was_put_in():
    rng = np.random.default_rng(0)
    x = rng.uniform(4000, 7000, 20_000)
    residual = 0.05 * (x - 5500) + 80 * rng.normal(size=x.size)
    residual[:40], x[40:70] = 1e9, np.nan  # outliers, and stars at no place
    residual[70:100] = np.nan
    points = running_median(residual, x)
    assert len(points) == 12
    assert all(a.x < b.x for a, b in pairwise(points))
    for point in points:
        assert abs(point.median - 0.05 * (point.x - 5500)) < 5 * 1.25 * 85 / np.sqrt(point.n)
        assert 155 < point.upper - point.lower < 180  # 68 %: +-80, and the trend within a window
    half = (20_000 - 60) // 13
    assert {point.n for point in points[:-1]} == {2 * half}
    assert sum(point.n for point in points[::2]) <= 19_940 < sum(point.n for point in points)


def test_windows_hold_enough_stars_and_there_are_none_of_too_few():
    values = np.arange(200.0)
    points = running_median(values, values)
    assert [p.n for p in points[:-1]] == [30] * (len(points) - 1)
    assert points[0].median == points[0].x == 14.5
    assert points[-1].n >= 30
    assert np.isclose(points[-1].x + points[-1].n / 2, 199.5)  # to the last star
    assert len(running_median(values[:30], values[:30])) == 1
    assert running_median(values[:29], values[:29]) == []


def test_quoted_errors_count_for_the_stars_that_are_compared():
    labels = {"teff": np.array([5000.0, 5000, np.nan, 5000]), "e_teff": np.array([30.0, 30, 900, 900])}
    answers = {"teff": np.array([4950.0, 5050, 5000, np.nan])}
    found = measure(labels, answers, Draws(50), method="a", reference="b")
    values = {quantity: e.value for quantity, e in estimates(found, "quantity").items()}
    assert (values["std"], values["label_error"], values["std_without_it"]) == (50, 30, 40)
    cells = table_row(found, SURVEYS["lamost"], "teff")
    assert (cells[:3], cells[4:]) == (("2", "+0.0", "50.0"), ("74.1", "30.0", "40.0", "177.73"))


def test_trends_are_of_the_answer_minus_the_label_along_the_label():
    labels = {"teff": np.linspace(4000, 8000, 100), "logg": np.linspace(5, 1, 100)}
    answers = {"teff": labels["teff"] + 100, "logg": labels["logg"] - 0.1 * (labels["logg"] > 3)}
    found = trends(labels, answers, ["teff", "logg"])
    assert {round(point.median, 6) for along in ("teff", "logg") for point in found["teff"][along]} == {100}
    first, last = found["logg"]["logg"][0], found["logg"]["logg"][-1]
    assert (first.x < 3, round(first.median, 6), last.x > 3, round(last.median, 6)) == (True, 0, True, -0.1)


def test_figures_have_the_papers_numbers():
    assert [figure_name(SURVEYS[key]) for key in SURVEYS] == ["figure_11", "figure_12", "comparison_galah__dr3"]
    assert figure_name(survey_named("table", "S-PLUS 82")) == "comparison_s_plus_82"
