"""The low-quality sample: the paper's section 5.4 with Table 2 and Fig. 13, in words, tables and a figure.

Crowded stars, those with another source within 15 arcsec, are told apart from isolated ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from acf_jax.baselines.gradient_boosting import BASELINES
from acf_jax.data.prepared import PreparedDataset
from acf_jax.labels import LABELS
from acf_jax.plots import predictions as prediction_plots
from acf_jax.report.context import Context, labels_of
from acf_jax.report.quantities import CROWDED_ARCSEC
from acf_jax.report.quick_markdown import NAMES
from acf_jax.report.section import FigureFile, MissingPieceError, Section, Table, number
from acf_jax.report.sections.low_quality import methods as numbers
from acf_jax.report.sections.low_quality.methods import LOW, TREES, Method
from acf_jax.report.words import enumerated

PAPER_DEGRADATION = {"teff": 9.25, "logg": 0.01, "fe_h": 0.01}
"""By how much the paper's standard deviations grow from the high- to the low-quality sample, in K and dex."""

HOW_TO_BUILD = "python -m datasets.build --config mock_low_quality"
HOW_TO_TRAIN = (
    "python train.py --config configs/demo.py --config.dataset.config=mock_low_quality --workdir runs/demo_low_quality"
)
HOW_TO_ASK = "evaluate.py --low-quality runs/demo_low_quality"


def section(context: Context) -> Section:
    """Table 2 and Fig. 13, and what the sample costs.

    Raises:
        MissingPieceError: if there is no low-quality dataset, it has no validation stars, or its networks predict
            other labels.
    """
    dataset = _dataset(context)
    methods = [*numbers.network_methods(context, dataset), *numbers.tree_methods(context, dataset)]
    groups = numbers.crowding(context.stars("validation", dataset)["self_dist1"])
    values = {
        "n": {name: int(chosen.sum()) for name, chosen in groups.items()},
        "n_trained_on": numbers.n_trained_on(context, dataset),
        "results": {method.title: numbers.measured(context, dataset, method, groups) for method in methods},
        "degradation": {method.title: numbers.degradation(context, dataset, method, methods) for method in methods},
        "ratios": numbers.ratios(context, dataset, methods, groups),
    }
    return Section(
        key="low_quality",
        title="The low-quality sample (Sec. 5.4, Table 2, Fig. 13)",
        text=_text(context, dataset, methods, values),
        tables=tuple(_tables(context, dataset, methods, values)),
        figures=(_figure(context, dataset, methods),),
        values=values,
    )


def _dataset(context: Context) -> PreparedDataset:
    if context.low_quality is None:
        raise MissingPieceError(
            f"No low-quality sample was given: `{HOW_TO_BUILD}` prepares one, `{HOW_TO_TRAIN}` trains a network on it, "
            f"and `{HOW_TO_ASK}` evaluates both."
        )
    if not context.low_quality.splits.get("validation"):
        raise MissingPieceError(
            f"The dataset {context.low_quality.config} has no validation stars: `{HOW_TO_BUILD}` prepares a larger one."
        )
    for name, trained in context.low_quality_networks.items():
        if trained.targets != context.targets:
            raise MissingPieceError(
                f"{name}, trained on the low-quality sample, predicts {', '.join(trained.targets)} where "
                f"{context.name} predicts {', '.join(context.targets)}: train it with the same targets."
            )
    return context.low_quality


def _text(context: Context, dataset: PreparedDataset, methods: Sequence[Method], values: Mapping) -> tuple[str, ...]:
    n = values["n"]
    paragraphs = [
        f"The {context.sample('validation', dataset)}, of which {n['crowded']:,} have another source within "
        f"{CROWDED_ARCSEC:g} arcsec (crowded); the other {n['isolated']:,} (isolated) are in this sample "
        "because they lie near the Galactic plane or carry flags."
    ]
    if values["n_trained_on"]:
        paragraphs.append(
            f"{values['n_trained_on']:,} of them are among the stars that {context.name} was trained on, since the two "
            "datasets are not of one sky: its figures as it is flatter it."
        )
    if not context.low_quality_networks:
        paragraphs.append(
            "There is no network trained on this sample, which is what the paper's Table 2 shows: "
            f"`{HOW_TO_TRAIN}` trains one, `{HOW_TO_ASK}` puts it here."
        )
    if not values["ratios"]:
        paragraphs.append(
            "The dataset's metadata has no extinction_coefficients, so there are no trees to compare with."
        )
    reference = "truth" if context.is_mock else "label"
    conclusion = " ".join(_degradation_words(context, methods, values, reference))
    return (conclusion, *paragraphs, *_ratio_words(values, reference))


def _degradation_words(context: Context, methods: Sequence[Method], values: Mapping, reference: str) -> list[str]:
    """A sentence for each network, and for the trees of the same inputs trained on this sample."""
    paper = enumerated(f"+{PAPER_DEGRADATION[t]:g} {LABELS[t]}" for t in context.targets)
    told = [m.title for m in methods if m.name not in BASELINES or (m.name, m.trained_on) == (TREES, LOW)]
    sentences = []
    for title in told:
        costs = values["degradation"][title][reference]
        words = enumerated(f"{_cost(cost, t)} {LABELS[t]} in {NAMES[t]}" for t, cost in costs.items())
        sentences.append(
            f"{title}: the standard deviation about the {reference} exceeds the high-quality sample's by {words}."
        )
    paper = f"The paper's ACF, trained on its {LOW} sample: by {paper}, about the real sky's labels."
    return [f"On the {LOW} sample ({context.sample('validation', context.low_quality)}):", *sentences, paper]


def _cost(cost: Mapping, target: str) -> str:
    unit = LABELS[target]
    return f"{number(cost['value'], unit, '+')} ± {number(cost['error'], unit)}"


def _ratio_words(values: Mapping, reference: str) -> list[str]:
    """A verdict for each network: in what it is ahead of the trees, and whether crowding changes that."""
    sentences = []
    for title, by_reference in values["ratios"].items():
        for group, ratios in by_reference[reference].items():
            if any(r["lower"] is None for r in ratios.values()):
                continue
            words = enumerated(
                f"{r['value']:.2f} ({r['lower']:.2f} to {r['upper']:.2f}) in {NAMES[t]}" for t, r in ratios.items()
            )
            ahead = [NAMES[t] for t, r in ratios.items() if r["upper"] < 1]
            behind = [NAMES[t] for t, r in ratios.items() if r["lower"] > 1]
            verdict = [f"{place} in {enumerated(t)}" for place, t in (("ahead", ahead), ("behind", behind)) if t]
            sentences.append(f"{title}, {group} stars: {words}; {', '.join(verdict) or 'neither is ahead'}.")
    if not sentences:
        return []
    meaning = (
        f"The network's standard deviation about the {reference} over that of {TREES} on magnitudes, colours and "
        "parallax, trained on the same sample, on the same stars, with 95 % intervals; below 1 the images are ahead:"
    )
    return [meaning, *sentences]


def _tables(context: Context, dataset: PreparedDataset, methods: Sequence[Method], values: Mapping) -> list[Table]:
    tables = []
    for reference in numbers.references(context):
        against = "the labels" if reference == "label" else "the injected truth"
        where = f"against {against}; {context.sample('validation', dataset)}."
        tables += [
            _std_table(context, methods, values, reference, f"Table 2: offsets and standard deviations {where}"),
            _crowding_table(
                context, methods, values, reference, f"Standard deviations of isolated and crowded stars {where}"
            ),
        ]
    caption = (
        "By how much the standard deviation exceeds that of the same method trained and tested on the high-quality "
        f"sample; {context.sample('validation', dataset)}, against the {context.sample()}."
    )
    return [*tables, _degradation_table(context, methods, values, caption)]


def _std_table(context: Context, methods: Sequence[Method], values: Mapping, reference: str, caption: str) -> Table:
    rows = []
    for method in methods:
        by_target = values["results"][method.title][reference]["all"]
        cells = [c for t, r in by_target.items() for c in (number(r["offset"], LABELS[t], "+"), _with_error(r, t))]
        rows.append((method.name, method.trained_on, f"{min(r['n'] for r in by_target.values()):,}", *cells))
    names = [f"{NAMES[t]} {what} ({LABELS[t]})" for t in context.targets for what in ("offset", "std")]
    return Table(caption, ("Method", "Trained on", "n", *names), tuple(rows), n_text=2)


def _crowding_table(
    context: Context, methods: Sequence[Method], values: Mapping, reference: str, caption: str
) -> Table:
    rows = []
    for group in ("isolated", "crowded"):
        for method in methods:
            by_target = values["results"][method.title][reference][group]
            cells = [_with_error(r, t) for t, r in by_target.items()]
            rows.append((group, method.name, method.trained_on, f"{min(r['n'] for r in by_target.values()):,}", *cells))
    names = [f"{NAMES[t]} std ({LABELS[t]})" for t in context.targets]
    return Table(caption, ("Stars", "Method", "Trained on", "n", *names), tuple(rows), n_text=3)


def _degradation_table(context: Context, methods: Sequence[Method], values: Mapping, caption: str) -> Table:
    rows = []
    for method in methods:
        for reference, by_target in values["degradation"][method.title].items():
            cells = [_cost(cost, target) for target, cost in by_target.items()]
            rows.append((method.name, method.trained_on, reference, *cells))
    rows.append(("ACF, paper, real sky", LOW, "label", *(f"+{PAPER_DEGRADATION[t]:g}" for t in context.targets)))
    names = [f"{NAMES[t]} ({LABELS[t]})" for t in context.targets]
    return Table(caption, ("Method", "Trained on", "Against", *names), tuple(rows), n_text=3)


def _with_error(result: Mapping, target: str) -> str:
    unit = LABELS[target]
    return f"{number(result['std'], unit)} ± {number(result['std_error'], unit)}"


def _figure(context: Context, dataset: PreparedDataset, methods: Sequence[Method]) -> FigureFile:
    """Of the network trained on the sample, as in the paper; of the one in question if there is none."""
    networks = [method for method in methods if method.name not in BASELINES]
    shown = next((method for method in networks if method.trained_on == LOW), networks[0])
    labels = labels_of(context.stars("validation", dataset), context.targets)
    samples = [
        prediction_plots.ParameterSample(target, LABELS[target], labels[:, i], shown.low[:, i])
        for i, target in enumerate(context.targets)
    ]
    sample = context.sample("validation", dataset)
    figure = prediction_plots.for_print(
        prediction_plots.PAGE_IN,
        3.1,
        lambda figure: prediction_plots.draw_figure_8(figure, samples, f"{shown.name}, {sample}"),
    )
    return context.save(
        figure,
        "figure_13",
        f"Predictions of {shown.title} against the labels, and the residuals below; {sample}. As the paper's Fig. 13.",
    )
