"""How far predicted parameters are from a survey's labels of the same stars: moments, trends, and rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from acf_jax.labels import LABELS, number
from acf_jax.metrics.bootstrap import Draws
from acf_jax.metrics.measurements import Measurement, estimates, moments, without_interval
from acf_jax.metrics.residuals import TrendPoint, running_median
from acf_jax.surveys.known import Survey

HEADER = ("n", "Offset", "Std", "Std, 95 %", "1.4826 MAD", "Quoted error", "Std without it", "Std, paper")
"""Of `table_row`."""

TRENDS_IN_WORDS = (
    "Line and band: median and 68 % of the residuals in windows of equally many stars. Along its own label a residual "
    "falls by the label's errors alone."
)


def figure_name(survey: Survey) -> str:
    """Of the file without its ending: the paper's number where it has the figure."""
    if survey.paper_figure:
        return f"figure_{survey.paper_figure}"
    return "comparison_" + "".join(c if c.isalnum() else "_" for c in survey.name.lower())


def measure(
    labels: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray], draws: Draws, **identity: str
) -> list[Measurement]:
    """Residuals of parameters about a survey's labels: answer minus label.

    For each target: the moments, the standard deviation with its interval; `label_error`, the root mean square of the
    survey's quoted errors, and `std_without_it`, which is left of the standard deviation when that is subtracted in
    quadrature.

    Args:
        labels: the survey's, (m,) by name, with `e_teff`, ...; NaN where unknown.
        answers: by target, (m,) in its unit; NaN for a star without.
        draws: the bootstrap's.
        **identity: what the measurements are of, besides the target.

    Returns:
        the measurements, target by target.
    """
    found = []
    for target, answer in answers.items():
        label, own = np.asarray(labels[target], np.float64), {"target": target, **identity}
        about_labels = moments(np.asarray(answer, np.float64), label, draws, **own)
        std = estimates(about_labels, "quantity")["std"]
        errors = np.asarray(labels[f"e_{target}"], np.float64)
        errors = errors[np.isfinite(errors) & np.isfinite(answer) & np.isfinite(label)]
        error = float(np.sqrt(np.mean(errors**2))) if errors.size else float("nan")
        without = float(np.sqrt(std.value**2 - error**2)) if error < std.value else float("nan")
        for quantity, value in (("label_error", error), ("std_without_it", without)):
            about_labels.append(Measurement(quantity=quantity, estimate=without_interval(value, std.n), **own))
        found += about_labels
    return found


def table_row(found: Iterable[Measurement], survey: Survey, target: str, **wanted: str) -> tuple[str, ...]:
    """The cells under `HEADER` of one target.

    Args:
        found: what `measure` returned.
        survey: with the paper's standard deviations.
        target: the label.
        **wanted: which measurements, where there are several of a target.

    Returns:
        the cells as they are read; a dash for what is unknown.
    """
    r, unit = estimates(found, "quantity", target=target, **wanted), LABELS[target]
    paper = survey.paper_std.get(target)
    return (
        f"{r['std'].n:,}", number(r["offset"].value, unit, "+"), number(r["std"].value, unit),
        f"{number(r['std'].lower, unit)} to {number(r['std'].upper, unit)}".replace("- to -", "-"),
        *(number(r[name].value, unit) for name in ("mad_std", "label_error", "std_without_it")),
        "-" if paper is None else f"{paper:g}",
    )  # fmt: skip


def trends(
    labels: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray], targets: Sequence[str]
) -> dict[str, dict[str, list[TrendPoint]]]:
    """The running median of each target's residual along each of the survey's labels.

    Of a residual along its own label a part is the label's error: a star that it moves to the right it also moves down.

    Args:
        labels: the survey's, (m,) by name.
        answers: by target, (m,).
        targets: whose residuals, and along which labels.

    Returns:
        the points by target and label.
    """
    return {
        target: {along: running_median(answers[target] - labels[target], labels[along]) for along in targets}
        for target in targets
    }


def trend_records(trends: Mapping[str, Mapping[str, Sequence[TrendPoint]]], **identity: str) -> list[dict]:
    """The points of `trends` as JSON types, each with its target and label; `identity` says of what they are."""
    return [
        {**identity, "target": target, "along": along, **asdict(point)}
        for target, of_target in trends.items()
        for along, points in of_target.items()
        for point in points
    ]
