"""Against other spectroscopic surveys: the paper's section 5.3 with Figs. 11 and 12.

`context.external` holds, by the survey's name, what `datasets.samples.external.matched_labels` returns for the
positions of the validation split: `row` (m,) into the split, the labels `teff`, `logg`, `fe_h` (m,) with their
quoted errors `e_teff`, ..., `counts` and `is_mock`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.figure import Figure

from acf_jax.labels import LABELS
from acf_jax.metrics.measurements import (
    Measurement,
    estimates,
    from_metrics,
    moments,
    select,
    to_dicts,
    without_interval,
)  # fmt: skip
from acf_jax.metrics.residuals import residual_metrics
from acf_jax.plots import external as external_plots
from acf_jax.plots.predictions import ParameterSample
from acf_jax.report.context import Context
from acf_jax.report.section import FigureFile, MissingPieceError, Section, Table, number
from acf_jax.report.words import NAMES, in_words, with_unit

PAPER_STD = {"APOGEE DR17": {"logg": 0.13}, "LAMOST LSP3": {"teff": 177.73, "fe_h": 0.22}}
"""Standard deviations that the paper's text gives, in K and dex; the others stand in its figures alone."""

PAPER_N = {"APOGEE DR17": 39_550, "LAMOST LSP3": 65_319}
FIGURES = {"APOGEE DR17": 11, "LAMOST LSP3": 12}


def section(context: Context) -> Section:
    """Figs. 11 and 12 and what they show in numbers.

    Raises:
        MissingPieceError: if no survey's table was given.
    """
    if not context.external:
        raise MissingPieceError(
            "No table of another survey was given: `evaluate.py --apogee FILE` (allStar-dr17-synspec_rev1.fits) and "
            "`evaluate.py --lamost FILE` (LAMOST LSP3) compare with its labels."
        )
    found = [m for matched in context.external.values() for m in measure(context, matched)]
    compared = {survey: matched for survey, matched in context.external.items() if len(matched["row"])}
    return Section(
        key="external",
        title="Against other spectroscopic surveys (Sec. 5.3, Figs. 11 and 12)",
        text=_text(context, found),
        tables=(_residual_table(context, found), *_truth_table(context, found), _selection_table(context)),
        figures=tuple(_figure(context, survey, matched) for survey, matched in compared.items()),
        values={
            "surveys": [
                {"survey": survey, "n": len(matched["row"]), "is_mock": bool(matched["is_mock"]),
                 "counts": dict(matched["counts"])}
                for survey, matched in context.external.items()
            ],
            "measurements": to_dicts(found),
        },
    )  # fmt: skip


def measure(context: Context, matched: Mapping) -> list[Measurement]:
    """Residuals of the network about one survey's labels, in the sample of that name.

    For each target: the moments (prediction minus the survey's label), the standard deviation with its interval;
    `label_error`, the root mean square of the survey's quoted errors, and `std_without_it`, which is left of the
    standard deviation when that is subtracted in quadrature. Where the truth is known also the network's and the
    survey's own moments about it, of the same stars.
    """
    stars, rows = context.stars(), np.asarray(matched["row"])
    prediction = context.prediction().mean[rows]
    survey, found = matched["survey"], []
    for i, target in enumerate(context.targets):
        label, answer = np.asarray(matched[target], np.float64), prediction[:, i]
        own = {"method": context.name, "target": target, "reference": survey, "sample": survey}
        about_labels = moments(answer, label, context.resamples, **own)
        std = estimates(about_labels, "quantity")["std"]
        error = _label_error(matched, target, np.isfinite(answer) & np.isfinite(label))
        for quantity, value in (("label_error", error), ("std_without_it", _without(std.value, error))):
            about_labels.append(Measurement(quantity=quantity, estimate=without_interval(value, std.n), **own))
        found += about_labels
        if context.is_mock:
            truth = np.asarray(stars[f"true_{target}"][rows], np.float64)
            for method, values in ((context.name, answer), (survey, label)):
                found += from_metrics(residual_metrics(values, truth), **own | {"method": method, "reference": "truth"})
    return found


def _label_error(matched: Mapping, target: str, used: np.ndarray) -> float:
    """Root mean square of the errors that the survey quotes for the stars used; NaN if it quotes none."""
    error = np.asarray(matched.get(f"e_{target}", np.full(len(used), np.nan)), np.float64)[used]
    error = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(error**2))) if error.size else float("nan")


def _without(std: float, error: float) -> float:
    """NaN also where the errors quoted exceed the scatter, so that nothing can be left."""
    return float(np.sqrt(std**2 - error**2)) if error < std else float("nan")


def _text(context: Context, found: Sequence[Measurement]) -> tuple[str, ...]:
    paragraphs = [
        f"{context.name} against labels that it was not trained on and that another survey measured. The stars are "
        f"those of the {context.sample()} that the survey's table has within 1 arcsec; cuts as the paper's."
    ]
    mocks = [survey for survey, matched in context.external.items() if matched["is_mock"]]
    if mocks:
        paragraphs.append(
            f"{' and '.join(mocks)}: a mock stands in, made from the mock sky's truth with a noise, zero points, a "
            "selection and flags of its own; the figures say nothing about the real survey."
        )
    if any(np.isfinite(m.estimate.value) for m in select(found, quantity="label_error")):
        paragraphs.append(
            "The scatter holds the survey's own errors. The root mean square of those that it quotes is subtracted in "
            "quadrature in the column `without it`; a dash where none is quoted or where they exceed the scatter."
        )
    return (*paragraphs, *(_verdict(context, survey, found) for survey in context.external))


def _verdict(context: Context, survey: str, found: Sequence[Measurement]) -> str:
    n = len(context.external[survey]["row"])
    if not n:
        return f"{survey} has none of the stars that pass its cuts."
    own = select(found, sample=survey, method=context.name)
    stds = estimates(own, "target", reference=survey, quantity="std")
    scatter = ", ".join(f"{in_words(std.value, t)} in {NAMES[t]}" for t, std in stds.items())
    sentence = f"{survey}, {n:,} stars: standard deviation {scatter}."
    true_stds = estimates(own, "target", reference="truth", quantity="std")
    without_error = estimates(own, "target", reference=survey, quantity="std_without_it")
    checks = [
        f"{number(without_error[t].value, LABELS[t])} against {in_words(std.value, t)} in {NAMES[t]}"
        for t, std in true_stds.items()
        if np.isfinite(without_error[t].value)
    ]
    if checks:
        sentence += f" Without the quoted errors, beside the network's scatter about the truth: {', '.join(checks)}."
    return sentence


def _residual_table(context: Context, found: Sequence[Measurement]) -> Table:
    rows = []
    for survey, target in product(context.external, context.targets):
        r, unit = estimates(found, "quantity", sample=survey, reference=survey, target=target), LABELS[target]
        paper = PAPER_STD.get(survey, {}).get(target)
        rows.append((
            survey, with_unit(target), f"{r['std'].n:,}", number(r["offset"].value, unit, "+"),
            number(r["std"].value, unit), f"{number(r['std'].lower, unit)} to {number(r['std'].upper, unit)}",
            *(number(r[name].value, unit) for name in ("mad_std", "label_error", "std_without_it")),
            "-" if paper is None else f"{paper:g}",
        ))  # fmt: skip
    paper_n = ", ".join(f"{PAPER_N[survey]:,} stars of {survey}" for survey in context.external if survey in PAPER_N)
    return Table(
        caption=f"{context.name} minus the survey's labels; stars of the {context.sample()}"
        + (f" (paper's column: real sky, {paper_n})." if paper_n else "."),
        header=("Survey", "Parameter", "n", "Offset", "Std", "Std, 95 %", "1.4826 MAD", "Quoted error",
                "Std without it", "Std, paper"),
        rows=tuple(rows),
        n_text=2,
    )  # fmt: skip


def _truth_table(context: Context, found: Sequence[Measurement]) -> list[Table]:
    if not context.is_mock:
        return []
    rows = []
    for survey, target in product(context.external, context.targets):
        about_truth, cells = select(found, sample=survey, reference="truth", target=target), []
        for method in (context.name, survey):
            m, unit = estimates(about_truth, "quantity", method=method), LABELS[target]
            cells += [number(m["offset"].value, unit, "+"), number(m["std"].value, unit)]
        rows.append((survey, with_unit(target), f"{about_truth[0].estimate.n:,}", *cells))
    return [
        Table(
            caption=f"The same stars against the injected truth: {context.name}, and the survey's labels themselves; "
            f"stars of the {context.sample()}.",
            header=("Survey", "Parameter", "n", f"{context.name} offset", f"{context.name} std", "Survey offset",
                    "Survey std"),
            rows=tuple(rows),
            n_text=2,
        )
    ]  # fmt: skip


def _selection_table(context: Context) -> Table:
    rows = [
        (survey, step, f"{count:,}")
        for survey, matched in context.external.items()
        for step, count in matched["counts"].items()
    ]
    return Table(
        caption=f"What became of each survey's entries on the way to the stars compared; {context.sample()}.",
        header=("Survey", "Step", "Number"),
        rows=tuple(rows),
        n_text=2,
    )


def _figure(context: Context, survey: str, matched: Mapping) -> FigureFile:
    rows, prediction = matched["row"], context.prediction().mean
    samples = [
        ParameterSample(target, LABELS[target], np.asarray(matched[target], np.float64), prediction[rows, i])
        for i, target in enumerate(context.targets)
    ]
    figure = Figure(figsize=external_plots.FIGURE_INCHES, layout="constrained")
    external_plots.draw_comparison(figure, samples, survey)
    name, paper = "external_" + "".join(c if c.isalnum() else "_" for c in survey.lower()), ""
    if survey in FIGURES:
        name, paper = f"figure_{FIGURES[survey]}", f" As the paper's Fig. {FIGURES[survey]}."
    made = " (mock)" if matched["is_mock"] else ""
    return context.save(
        figure,
        name,
        f"{context.name}'s predictions against the labels of {survey}{made}: {len(rows):,} stars of the "
        f"{context.sample()}. Dashed: one to one; colour: density of stars.{paper}",
    )
