"""Against other spectroscopic surveys: the paper's section 5.3 with Figs. 11 and 12.

`context.external` holds, by the survey's name, what `datasets.samples.external.matched_labels` returns for the
positions of the validation split: `row` (m,) into the split, the labels `teff`, `logg`, `fe_h` (m,) with their
quoted errors `e_teff`, ..., `counts` and `is_mock`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import bootstrap_moments
from acf_jax.metrics.residuals import residual_metrics
from acf_jax.plots import external as external_plots
from acf_jax.plots.predictions import ParameterSample
from acf_jax.report.context import Context
from acf_jax.report.quick_markdown import NAMES
from acf_jax.report.section import FigureFile, MissingPieceError, Section, Table, number

PAPER_STD = {"APOGEE DR17": {"logg": 0.13}, "LAMOST LSP3": {"teff": 177.73, "fe_h": 0.22}}
"""Standard deviations that the paper's text gives, in K and dex; the others stand in its figures alone."""

PAPER_N = {"APOGEE DR17": 39_550, "LAMOST LSP3": 65_319}
FIGURE_NAMES = {"APOGEE DR17": "figure_11", "LAMOST LSP3": "figure_12"}


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
    values = {survey: measure(context, matched) for survey, matched in context.external.items()}
    compared = {survey: matched for survey, matched in context.external.items() if len(matched["row"])}
    return Section(
        key="external",
        title="Against other spectroscopic surveys (Sec. 5.3, Figs. 11 and 12)",
        text=_text(context, values),
        tables=(_residual_table(context, values), *_truth_table(context, values), _selection_table(context)),
        figures=tuple(_figure(context, survey, matched) for survey, matched in compared.items()),
        values=values,
    )


def measure(context: Context, matched: Mapping) -> dict:
    """What results.json says of one survey.

    For each target: the residuals' moments (prediction minus the survey's label) with the bootstrap's interval of the
    standard deviation; `label_error`, the root mean square of the survey's quoted errors, and `std_without_it`,
    which is left of the standard deviation when that is subtracted in quadrature. Where the truth is known also
    `truth`: the network's and the survey's own residuals from it, of the same stars.
    """
    stars, rows = context.stars(), np.asarray(matched["row"])
    prediction = context.prediction().mean[rows]
    results = {}
    for i, target in enumerate(context.targets):
        label = np.asarray(matched[target], np.float64)
        m = residual_metrics(prediction[:, i], label).to_dict()
        std = bootstrap_moments(
            prediction[:, i] - label, names=("std",), n_resamples=context.options.n_bootstrap, seed=context.options.seed
        )["std"].to_dict()
        error = _label_error(matched, target, np.isfinite(prediction[:, i]) & np.isfinite(label))
        results[target] = m | {"std_interval": [std["lower"], std["upper"]]}
        results[target] |= {"label_error": error, "std_without_it": _without(m["std"], error)}
        if context.is_mock:
            truth = np.asarray(stars[f"true_{target}"][rows], np.float64)
            results[target]["truth"] = {
                "network": residual_metrics(prediction[:, i], truth).to_dict(),
                "survey": residual_metrics(label, truth).to_dict(),
            }
    return {"n": len(rows), "is_mock": bool(matched["is_mock"]), "counts": dict(matched["counts"]), "results": results}


def _label_error(matched: Mapping, target: str, used: np.ndarray) -> float | None:
    """Root mean square of the errors that the survey quotes for the stars used; None if it quotes none."""
    error = np.asarray(matched.get(f"e_{target}", np.full(len(used), np.nan)), np.float64)[used]
    error = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(error**2))) if error.size else None


def _without(std: float | None, error: float | None) -> float | None:
    """None also where the errors quoted exceed the scatter, so that nothing can be left."""
    if std is None or error is None or error >= std:
        return None
    return float(np.sqrt(std**2 - error**2))


def _text(context: Context, values: Mapping) -> tuple[str, ...]:
    paragraphs = [
        f"{context.name} against labels that it was not trained on and that another survey measured. The stars are "
        f"those of the {context.sample()} that the survey's table has within 1 arcsec; cuts as the paper's."
    ]
    mocks = [survey for survey, v in values.items() if v["is_mock"]]
    if mocks:
        paragraphs.append(
            f"{' and '.join(mocks)}: a mock stands in, made from the mock sky's truth with a noise, zero points, a "
            "selection and flags of its own; the figures say nothing about the real survey."
        )
    if any(r["label_error"] is not None for v in values.values() for r in v["results"].values()):
        paragraphs.append(
            "The scatter holds the survey's own errors. The root mean square of those that it quotes is subtracted in "
            "quadrature in the column `without it`; a dash where none is quoted or where they exceed the scatter."
        )
    return (*paragraphs, *(sentence for survey, v in values.items() for sentence in _verdict(survey, v)))


def _verdict(survey: str, values: Mapping) -> list[str]:
    if not values["n"]:
        return [f"{survey} has none of the stars that pass its cuts."]
    scatter = ", ".join(
        f"{number(r['std'], LABELS[t])} {LABELS[t]} in {NAMES[t]}" for t, r in values["results"].items()
    )
    sentence = f"{survey}, {values['n']:,} stars: standard deviation {scatter}."
    checks = [
        f"{number(r['std_without_it'], LABELS[t])} against {number(r['truth']['network']['std'], LABELS[t])} "
        f"{LABELS[t]} in {NAMES[t]}"
        for t, r in values["results"].items()
        if "truth" in r and r["std_without_it"] is not None
    ]
    if checks:
        sentence += f" Without the quoted errors, beside the network's scatter about the truth: {', '.join(checks)}."
    return [sentence]


def _residual_table(context: Context, values: Mapping) -> Table:
    rows = []
    for survey, v in values.items():
        for target, r in v["results"].items():
            unit, (lower, upper) = LABELS[target], r["std_interval"]
            paper = PAPER_STD.get(survey, {}).get(target)
            rows.append(
                (
                    survey, f"{NAMES[target]} ({unit})", f"{r['n']:,}", number(r["offset"], unit, "+"),
                    number(r["std"], unit), f"{number(lower, unit)} to {number(upper, unit)}",
                    number(r["mad_std"], unit), number(r["label_error"], unit), number(r["std_without_it"], unit),
                    "-" if paper is None else f"{paper:g}",
                )
            )  # fmt: skip
    paper_n = ", ".join(f"{PAPER_N[survey]:,} stars of {survey}" for survey in values if survey in PAPER_N)
    return Table(
        caption=f"{context.name} minus the survey's labels; stars of the {context.sample()}"
        + (f" (paper's column: real sky, {paper_n})." if paper_n else "."),
        header=("Survey", "Parameter", "n", "Offset", "Std", "Std, 95 %", "1.4826 MAD", "Quoted error",
                "Std without it", "Std, paper"),
        rows=tuple(rows),
        n_text=2,
    )  # fmt: skip


def _truth_table(context: Context, values: Mapping) -> list[Table]:
    if not context.is_mock:
        return []
    rows = []
    for survey, v in values.items():
        for target, r in v["results"].items():
            unit, network, labels = LABELS[target], r["truth"]["network"], r["truth"]["survey"]
            cells = [
                number(m[name], unit, sign) for m in (network, labels) for name, sign in (("offset", "+"), ("std", ""))
            ]
            rows.append((survey, f"{NAMES[target]} ({unit})", f"{network['n']:,}", *cells))
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
    paper = {"APOGEE DR17": " As the paper's Fig. 11.", "LAMOST LSP3": " As the paper's Fig. 12."}.get(survey, "")
    made = " (mock)" if matched["is_mock"] else ""
    return context.save(
        figure,
        FIGURE_NAMES.get(survey, "external_" + "".join(c if c.isalnum() else "_" for c in survey.lower())),
        f"{context.name}'s predictions against the labels of {survey}{made}: {len(rows):,} stars of the "
        f"{context.sample()}. Dashed: one to one; colour: density of stars.{paper}",
    )
