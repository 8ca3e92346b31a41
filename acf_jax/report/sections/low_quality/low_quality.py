"""The low-quality sample: the paper's section 5.4 with Table 2 and Fig. 13, in words, tables and a figure.

Crowded stars, those with another source within 15 arcsec, are told apart from isolated ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from acf_jax.baselines.gradient_boosting import BASELINES
from acf_jax.data.prepared import PreparedDataset
from acf_jax.labels import LABELS
from acf_jax.metrics.measurements import Measurement, distinct, estimates, select, to_dicts
from acf_jax.plots.predictions import PAGE_IN, ParameterSample, draw_figure_8, for_print
from acf_jax.report.context import Context, labels_of
from acf_jax.report.quantities import CROWDED_ARCSEC
from acf_jax.report.residuals import references
from acf_jax.report.section import FigureFile, MissingPieceError, Section, Table, number
from acf_jax.report.sections.low_quality import methods
from acf_jax.report.sections.low_quality.methods import LOW, TREES, Method
from acf_jax.report.words import NAMES, REFERENCES, enumerated, low_quality_way, with_error, with_unit

PAPER_DEGRADATION = {"teff": 9.25, "logg": 0.01, "fe_h": 0.01}
"""By how much the paper's standard deviations grow from the high- to the low-quality sample, in K and dex."""


def section(context: Context) -> Section:
    """Table 2 and Fig. 13, and what the sample costs.

    Raises:
        MissingPieceError: if there is no low-quality dataset, or its networks predict other labels.
    """
    dataset = _dataset(context)
    answering = [*methods.network_methods(context, dataset), *methods.tree_methods(context, dataset)]
    found = methods.measure(context, dataset, answering)
    groups = methods.crowding(context.stars("validation", dataset)["self_dist1"])
    values = {
        "n": {name: int(chosen.sum()) for name, chosen in groups.items()},
        "n_trained_on": methods.n_trained_on(context, dataset),
        "measurements": to_dicts(found),
    }
    return Section(
        key="low_quality",
        title="The low-quality sample (Sec. 5.4, Table 2, Fig. 13)",
        text=(
            _cost_words(context, answering, found),
            *_explanations(context, values, found),
            *_ratio_words(found, references(context)[-1]),
        ),
        tables=tuple(_tables(context, dataset, answering, found)),
        figures=(_figure(context, dataset, answering),),
        values=values,
    )


def _dataset(context: Context) -> PreparedDataset:
    if context.low_quality is None:
        prepare, train, ask = low_quality_way(context.is_mock)
        raise MissingPieceError(
            f"No low-quality sample was given. To prepare one: {prepare}; {train} trains a network on it, and {ask} "
            "evaluates both."
        )
    for name, trained in context.low_quality_networks.items():
        if trained.targets != context.targets:
            raise MissingPieceError(
                f"{name}, trained on the low-quality sample, predicts {', '.join(trained.targets)} where "
                f"{context.name} predicts {', '.join(context.targets)}: train it with the same targets."
            )
    return context.low_quality


def _explanations(context: Context, values: Mapping, found: Sequence[Measurement]) -> list[str]:
    n, sample = values["n"], context.sample("validation", context.low_quality)
    paragraphs = [
        f"The {sample}, of which {n['crowded']:,} have another source within "
        f"{CROWDED_ARCSEC:g} arcsec (crowded); the other {n['isolated']:,} (isolated) are in this sample "
        "because they lie near the Galactic plane or carry flags."
    ]
    if values["n_trained_on"]:
        paragraphs.append(
            f"{values['n_trained_on']:,} of them are among the stars that {context.name} was trained on, since the two "
            "datasets are not of one sky: its figures as it is flatter it."
        )
    if not context.low_quality_networks:
        _, train, ask = low_quality_way(context.is_mock)
        paragraphs.append(
            "There is no network trained on this sample, which is what the paper's Table 2 shows: "
            f"{train} trains one, {ask} puts it here."
        )
    if not select(found, quantity="std_ratio"):
        paragraphs.append(
            "The dataset's metadata has no extinction_coefficients, so there are no trees to compare with."
        )
    return paragraphs


def _cost_words(context: Context, answering: Sequence[Method], found: Sequence[Measurement]) -> str:
    """A sentence for each network, and for the trees of the same inputs trained on this sample."""
    paper = enumerated(f"+{PAPER_DEGRADATION[t]:g} {LABELS[t]}" for t in context.targets)
    told = [m.title for m in answering if m.name not in BASELINES or (m.name, m.trained_on) == (TREES, LOW)]
    sentences, reference = [], references(context)[-1]
    for title in told:
        costs = estimates(found, "target", method=title, reference=reference, quantity="std_difference")
        words = enumerated(f"{with_error(cost, t, '+')} {LABELS[t]} in {NAMES[t]}" for t, cost in costs.items())
        sentences.append(
            f"{title}: the standard deviation about the {reference} exceeds the high-quality sample's by {words}."
        )
    paper = f"The paper's ACF, trained on its {LOW} sample: by {paper}, about the real sky's labels."
    sample = context.sample("validation", context.low_quality)
    return " ".join([f"On the {LOW} sample ({sample}):", *sentences, paper])


def _ratio_words(found: Sequence[Measurement], reference: str) -> list[str]:
    """A verdict for each network: in what it is ahead of the trees, and whether crowding changes that."""
    sentences, compared = [], select(found, quantity="std_ratio", reference=reference)
    for title, group in product(distinct(compared, "method"), distinct(compared, "group")):
        ratios = estimates(compared, "target", method=title, group=group)
        if any(np.isnan(ratio.lower) for ratio in ratios.values()):
            continue
        words = enumerated(
            f"{ratio.value:.2f} ({ratio.lower:.2f} to {ratio.upper:.2f}) in {NAMES[t]}" for t, ratio in ratios.items()
        )
        ahead = [NAMES[t] for t, ratio in ratios.items() if ratio.upper < 1]
        behind = [NAMES[t] for t, ratio in ratios.items() if ratio.lower > 1]
        verdict = [f"{place} in {enumerated(t)}" for place, t in (("ahead", ahead), ("behind", behind)) if t]
        sentences.append(f"{title}, {group} stars: {words}; {', '.join(verdict) or 'neither is ahead'}.")
    if not sentences:
        return []
    meaning = (
        f"The network's standard deviation about the {reference} over that of {TREES} on magnitudes, colours and "
        "parallax, trained on the same sample, on the same stars, with 95 % intervals; below 1 the images are ahead:"
    )
    return [meaning, *sentences]


def _tables(
    context: Context, dataset: PreparedDataset, answering: Sequence[Method], found: Sequence[Measurement]
) -> list[Table]:
    tables = []
    for reference in references(context):
        where = f"against {REFERENCES[reference]}; {context.sample('validation', dataset)}."
        about = select(found, reference=reference, sample=LOW)
        tables += [_std_table(answering, about, where), _crowding_table(answering, about, where)]
    caption = (
        "By how much the standard deviation exceeds that of the same method trained and tested on the high-quality "
        f"sample; {context.sample('validation', dataset)}, against the {context.sample()}."
    )
    return [*tables, _cost_table(context, answering, found, caption)]


def _std_table(answering: Sequence[Method], about: Sequence[Measurement], where: str) -> Table:
    rows, targets = [], distinct(about, "target")
    for method in answering:
        own = select(about, method=method.title, group="all")
        stds, offsets = (estimates(own, "target", quantity=quantity) for quantity in ("std", "offset"))
        cells = [c for t in targets for c in (number(offsets[t].value, LABELS[t], "+"), with_error(stds[t], t))]
        rows.append((method.name, method.trained_on, f"{min(std.n for std in stds.values()):,}", *cells))
    names = [f"{NAMES[t]} {what} ({LABELS[t]})" for t in targets for what in ("offset", "std")]
    caption = f"Table 2: offsets and standard deviations {where}"
    return Table(caption, ("Method", "Trained on", "n", *names), tuple(rows), n_text=2)


def _crowding_table(answering: Sequence[Method], about: Sequence[Measurement], where: str) -> Table:
    rows, targets = [], distinct(about, "target")
    for group, method in product(("isolated", "crowded"), answering):
        stds = estimates(about, "target", method=method.title, group=group, quantity="std")
        cells = [with_error(std, target) for target, std in stds.items()]
        rows.append((group, method.name, method.trained_on, f"{min(std.n for std in stds.values()):,}", *cells))
    names = [f"{NAMES[t]} std ({LABELS[t]})" for t in targets]
    caption = f"Standard deviations of isolated and crowded stars {where}"
    return Table(caption, ("Stars", "Method", "Trained on", "n", *names), tuple(rows), n_text=3)


def _cost_table(context: Context, answering: Sequence[Method], found: Sequence[Measurement], caption: str) -> Table:
    rows = []
    for method, reference in product(answering, references(context)):
        costs = estimates(found, "target", method=method.title, reference=reference, quantity="std_difference")
        cells = [with_error(cost, target, "+") for target, cost in costs.items()]
        rows.append((method.name, method.trained_on, reference, *cells))
    rows.append(("ACF, paper, real sky", LOW, "label", *(f"+{PAPER_DEGRADATION[t]:g}" for t in context.targets)))
    header = ("Method", "Trained on", "Against", *map(with_unit, context.targets))
    return Table(caption, header, tuple(rows), n_text=3)


def _figure(context: Context, dataset: PreparedDataset, answering: Sequence[Method]) -> FigureFile:
    """Of the network trained on the sample, as in the paper; of the one in question if there is none."""
    networks = [method for method in answering if method.name not in BASELINES]
    shown = next((method for method in networks if method.trained_on == LOW), networks[0])
    labels = labels_of(context.stars("validation", dataset), context.targets)
    samples = [
        ParameterSample(target, LABELS[target], labels[:, i], shown.low[:, i])
        for i, target in enumerate(context.targets)
    ]
    sample = context.sample("validation", dataset)
    figure = for_print(PAGE_IN, 3.1, lambda figure: draw_figure_8(figure, samples, f"{shown.name}, {sample}"))
    return context.save(
        figure,
        "figure_13",
        f"Predictions of {shown.title} against the labels, and the residuals below; {sample}. As the paper's Fig. 13.",
    )
