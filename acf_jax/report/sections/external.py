"""Against other spectroscopic surveys: the paper's section 5.3 with Figs. 11 and 12, of the validation stars.

`context.external` holds, by the survey's name, what `acf_jax.surveys.matching.match` returns for the validation split;
`python -m acf_jax.catalogue compare` does the same for a whole catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from acf_jax.labels import LABELS, number
from acf_jax.metrics.measurements import Measurement, estimates, from_metrics, select, to_dicts
from acf_jax.metrics.residuals import residual_metrics
from acf_jax.plots import external as external_plots
from acf_jax.report.context import Context
from acf_jax.report.section import FigureFile, MissingPieceError, Section, Table
from acf_jax.report.words import NAMES, in_words, with_unit
from acf_jax.surveys import comparing
from acf_jax.surveys.matching import Matched


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
    compared = [matched for matched in context.external.values() if len(matched)]
    return Section(
        key="external",
        title="Against other spectroscopic surveys (Sec. 5.3, Figs. 11 and 12)",
        text=_text(context, found),
        tables=(_residual_table(context, found), *_truth_table(context, found), _selection_table(context)),
        figures=tuple(figure for matched in compared for figure in _figures(context, matched)),
        values={
            "surveys": [
                {"survey": survey, "n": len(matched), "is_mock": matched.is_mock, "counts": dict(matched.counts)}
                for survey, matched in context.external.items()
            ],
            "trends": [
                record
                for matched in compared
                for record in comparing.trend_records(_trends(context, matched), survey=matched.survey.name)
            ],
            "measurements": to_dicts(found),
        },
    )  # fmt: skip


def measure(context: Context, matched: Matched) -> list[Measurement]:
    """Residuals of the network about one survey's labels, in the sample of that name: see `comparing.measure`.

    Where the truth is known also the network's and the survey's own moments about it, of the same stars.
    """
    answers, survey = _answers(context, matched), matched.survey.name
    own = {"reference": survey, "sample": survey}
    found = comparing.measure(matched.labels, answers, context.resamples, method=context.name, **own)
    for target, answer in answers.items() if context.is_mock else ():
        truth = np.asarray(context.stars()[f"true_{target}"][matched.row], np.float64)
        for method, values in ((context.name, answer), (survey, matched.labels[target])):
            about_truth = {"method": method, "target": target, "reference": "truth", "sample": survey}
            found += from_metrics(residual_metrics(values, truth), **about_truth)
    return found


def _answers(context: Context, matched: Matched) -> dict[str, np.ndarray]:
    mean = context.prediction().mean[matched.row]
    return {target: mean[:, i] for i, target in enumerate(context.targets)}


def _trends(context: Context, matched: Matched):
    return comparing.trends(matched.labels, _answers(context, matched), context.targets)


def _text(context: Context, found: Sequence[Measurement]) -> tuple[str, ...]:
    paragraphs = [
        f"{context.name} against labels that it was not trained on and that another survey measured. The stars are "
        f"those of the {context.sample()} that the survey's table has, by Gaia's id or, where one has none, within "
        "1 arcsec; cuts as the paper's."
    ]
    mocks = [survey for survey, matched in context.external.items() if matched.is_mock]
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
    n = len(context.external[survey])
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
    surveys = [matched.survey for matched in context.external.values()]
    rows = [
        (survey.name, with_unit(target), *comparing.table_row(found, survey, target, reference=survey.name))
        for survey, target in product(surveys, context.targets)
    ]
    paper_n = ", ".join(f"{survey.paper_n:,} stars of {survey.name}" for survey in surveys if survey.paper_n)
    return Table(
        caption=f"{context.name} minus the survey's labels; stars of the {context.sample()}"
        + (f" (paper's column: real sky, {paper_n})." if paper_n else "."),
        header=("Survey", "Parameter", *comparing.HEADER),
        rows=tuple(rows),
        n_text=2,
    )


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
        for step, count in matched.counts.items()
    ]
    return Table(
        caption=f"What became of each survey's entries on the way to the stars compared; {context.sample()}.",
        header=("Survey", "Step", "Number"),
        rows=tuple(rows),
        n_text=2,
    )


def _figures(context: Context, matched: Matched) -> tuple[FigureFile, FigureFile]:
    survey, name = matched.survey, comparing.figure_name(matched.survey)
    comparison, along = external_plots.draw(
        matched.labels, _answers(context, matched), _trends(context, matched), survey.name
    )
    what = f"the labels of {survey.name}{' (mock)' if matched.is_mock else ''}: "
    what += f"{len(matched):,} stars of the {context.sample()}."
    paper = f" As the paper's Fig. {survey.paper_figure}." if survey.paper_figure else ""
    return (
        context.save(
            comparison,
            name,
            f"{context.name}'s predictions against {what} Dashed: one to one; colour: density of stars.{paper}",
        ),
        context.save(along, f"{name}_trends", f"{context.name}'s residuals along {what} {comparing.TRENDS_IN_WORDS}"),
    )
