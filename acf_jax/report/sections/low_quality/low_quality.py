"""The low-quality sample: the paper's section 5.4 with Table 2 and Fig. 13, in words, tables and a figure.

Table 2 is Table 1 on that sample, by the same code: networks and trees are trained anew on its training split, tuned on
its calibration split and judged on its validation split. Beside them stands the network in question as it is. Crowded
stars, those with another source within 15 arcsec, are told apart from isolated ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from acf_jax.baselines.features import PHOTOMETRIC_INPUTS
from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import bootstrap_moments
from acf_jax.metrics.measurements import Measurement, distinct, estimates, moments, select, to_dicts, without_interval
from acf_jax.plots.predictions import PAGE_IN, ParameterSample, draw_figure_8, for_print
from acf_jax.report.context import Context, labels_of
from acf_jax.report.quantities import CROWDED_ARCSEC, is_crowded
from acf_jax.report.residuals import references
from acf_jax.report.section import FigureFile, MissingPieceError, Section, Table
from acf_jax.report.sections.baselines import baselines
from acf_jax.report.sections.baselines.baselines import STAMPS, Comparison
from acf_jax.report.sections.baselines.tree_studies import Method, answers
from acf_jax.report.words import NAMES, REFERENCES, enumerated, low_quality_way, with_error, with_unit

HIGH, LOW = "high-quality", "low-quality"
TREES = "best trees"  # on magnitudes, colours or both, by the calibration split

PAPER_DEGRADATION = {"teff": 9.25, "logg": 0.01, "fe_h": 0.01}
"""By how much the paper's standard deviations grow from the high- to the low-quality sample, in K and dex."""

PAPER = {("ACF", STAMPS): {True: {"teff": "104.27", "logg": "0.08", "fe_h": "0.15"}}}
"""Of the paper's Table 2: those of its Table 1 and the growth that its text prints."""


def section(context: Context) -> Section:
    """Table 2 and Fig. 13, and what the sample costs.

    Raises:
        MissingPieceError: if there is no low-quality dataset, or its networks predict other labels.
    """
    low = low_quality_context(context)
    results, why_no_trees = _compared(low)
    groups = crowding(low.stars()["self_dist1"])
    found = [*_moments(results, groups), *_high_quality_stds(context)]
    found += [*_costs(context, results, found), *_ratios(results, groups)]
    values = {
        "n": {name: int(chosen.sum()) for name, chosen in groups.items()},
        "n_trained_on": n_trained_on(context),
        "n_left_out": int(np.sum(~results.predicted)),
        "n_trials": context.options.n_trials,
        "studies": baselines.study_values(results),
        "measurements": to_dicts(found),
    }
    return Section(
        key="low_quality",
        title="The low-quality sample (Sec. 5.4, Table 2, Fig. 13)",
        text=(
            _cost_words(results, found),
            *_explanations(context, values),
            *(_tree_words(results, found) if results.trees else [f"There are no trees here. {why_no_trees}"]),
        ),
        tables=tuple(_tables(results, found)),
        figures=(_figure(low),),
        values=values,
    )


def low_quality_context(context: Context) -> Context:
    """The evaluation of that sample: its networks first, then the network in question as it is.

    Raises:
        MissingPieceError: if there is no low-quality dataset, or its networks predict other labels.
    """
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
    as_it_is = f"{context.name}, trained on the {HIGH} sample"
    networks = {**context.low_quality_networks, as_it_is: context.trained}
    return dataclasses.replace(context, dataset=context.low_quality, networks=networks)


def crowding(self_dist1_arcsec: np.ndarray) -> dict[str, np.ndarray]:
    """Which stars (n,) are in each group, by the distance to the nearest other source; NaN if there is none."""
    crowded = is_crowded({"self_dist1": self_dist1_arcsec})
    return {"all": np.ones(len(crowded), bool), "isolated": ~crowded, "crowded": crowded}


def n_trained_on(context: Context) -> int:
    """How many of the stars to predict the network in question was trained on: none, if the samples are one sky's."""
    predicted = context.stars("validation", context.low_quality)["object_id"]
    return int(np.isin(predicted, context.stars("train")["object_id"]).sum())


def _compared(context: Context) -> tuple[Comparison, str]:
    """Networks and trees of a sample; without trees, and why, if its dataset is not made for them."""
    try:
        return baselines.compare(context, answers(context)), ""
    except MissingPieceError as error:
        return baselines.compare(context, {}), str(error)


def _moments(results: Comparison, groups: Mapping[str, np.ndarray]) -> Iterator[Measurement]:
    """Of every method on all stars; by crowding of the networks and, as `TREES`, of the best on photometry."""
    low = results.context
    for (group, chosen), reference, target in product(groups.items(), references(low), low.targets):
        residuals = results.among(chosen).residuals
        shown = [(m.algorithm, m) for m in (results.methods if group == "all" else results.networks)]
        if results.trees:
            shown.append((TREES, _best(results, target)))
        for name, method in shown:
            residual = residuals[method, target, reference]
            yield from moments(
                residual, np.zeros(len(residual)), low.resamples, method=name, target=target, reference=reference,
                sample=LOW, group=group, inputs=method.all_inputs,
            )  # fmt: skip


def _best(results: Comparison, target: str) -> Method:
    """The trees that `TREES` stands for."""
    return results.best(target, PHOTOMETRIC_INPUTS, results.leading.use_parallax)


def _high_quality_stds(context: Context) -> Iterator[Measurement]:
    """Table 1's, with their errors."""
    for (method, target, reference), residual in _compared(context)[0].residuals.items():
        std = bootstrap_moments(residual, context.resamples, ("std",))["std"]
        yield Measurement(method.algorithm, target, reference, "std", std, sample=HIGH, inputs=method.all_inputs)


def _costs(context: Context, results: Comparison, found: Sequence[Measurement]) -> Iterator[Measurement]:
    """What the sample costs: a method's standard deviation less that of its like on the high-quality sample.

    Its like is trained, tuned and tested there: the same ensemble on the same inputs, and of the networks that of the
    same name, or the first that is given the same. The samples share no star, so the errors of the two add in
    quadrature.
    """
    there = {(m.method, m.inputs, m.target, m.reference): m for m in select(found, sample=HIGH)}
    for m in select(found, sample=LOW, group="all", quantity="std"):
        keys = [(name, m.inputs, m.target, m.reference) for name in (m.method, *context.networks)]
        like = next((there[key] for key in keys if key in there), None)
        if like is not None:
            error = float(np.hypot(m.estimate.error, like.estimate.error))
            cost = without_interval(m.estimate.value - like.estimate.value, m.estimate.n)
            cost = dataclasses.replace(cost, error=error)
            yield dataclasses.replace(m, quantity="std_difference", estimate=cost, against=like.method)


def _ratios(results: Comparison, groups: Mapping[str, np.ndarray]) -> Iterator[Measurement]:
    """Each network's standard deviation in units of that of the best trees on photometry; none without trees."""
    low, networks = results.context, results.networks if results.trees else ()
    for network, reference, target in product(networks, references(low), low.targets):
        rival = results.best(target, PHOTOMETRIC_INPUTS, network.use_parallax)
        for group, chosen in groups.items():
            contest = results.among(chosen).contest(network, rival, target, reference)
            yield contest.measurement(sample=LOW, group=group)


def _cost_words(results: Comparison, found: Sequence[Measurement]) -> str:
    """A sentence for each network, and one for the best trees."""
    low = results.context
    reference, sentences = references(low)[-1], []
    costs = {(m.method, m.inputs, m.target): m.estimate
             for m in select(found, reference=reference, quantity="std_difference")}  # fmt: skip
    answering = {network.algorithm: dict.fromkeys(low.targets, network) for network in results.networks}
    if results.trees:
        answering[f"The {TREES} on magnitudes or colours"] = {t: _best(results, t) for t in low.targets}
    for title, methods in answering.items():
        own = {t: costs.get((method.algorithm, method.all_inputs, t)) for t, method in methods.items()}
        if any(own.values()):
            words = enumerated(f"{with_error(c, t, '+')} {LABELS[t]} in {NAMES[t]}" for t, c in own.items() if c)
            sentences.append(
                f"{title}: the standard deviation about the {reference} exceeds the high-quality sample's by {words}."
            )
    paper = enumerated(f"+{PAPER_DEGRADATION[t]:g} {LABELS[t]}" for t in low.targets)
    paper = f"The paper's ACF, trained on its {LOW} sample: by {paper}, about the real sky's labels."
    return " ".join([f"On the {LOW} sample ({low.sample()}):", *sentences, paper])


def _explanations(context: Context, values: Mapping) -> list[str]:
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
    return paragraphs


def _tree_words(results: Comparison, found: Sequence[Measurement]) -> Iterator[str]:
    """Who wins, on which stars, and how the trees came about."""
    low = results.context
    yield baselines.verdict(results, "The paper finds images ahead here too.")
    yield (
        "By crowding, the networks' standard deviation against that of the best trees on magnitudes, colours or both, "
        "on the same stars with 95 % intervals; less scatter means that the images are ahead:"
    )
    compared = select(found, quantity="std_ratio", reference=references(low)[-1])
    for title, group in product(distinct(compared, "method"), distinct(compared, "group")):
        ratios = estimates(compared, "target", method=title, group=group)
        if not any(np.isnan(ratio.lower) for ratio in ratios.values()):
            yield f"{title}, {group} stars: {baselines.ranked(ratios)}."
    yield from baselines.left_out(results)
    yield (
        "The paper splits the low-quality stars anew and trains the network on them; so do we, and the trees likewise, "
        f"none of which has seen a {HIGH} star. {baselines.method_words(results)}"
    )


def _tables(results: Comparison, found: Sequence[Measurement]) -> Iterator[Table]:
    low = results.context
    for reference in references(low):
        where, about = f"about {REFERENCES[reference]} ({low.sample()})", select(found, reference=reference)
        yield baselines.table_of_stds(results, reference, "Table 2", PAPER)
        if results.trees:
            yield baselines.table_of_ratios(results, reference)
        yield _crowding_table(about, where, low.targets)
        yield _cost_table(results, about, where)


def _cost_table(results: Comparison, found: Sequence[Measurement], where: str) -> Table:
    costs = {(m.method, m.inputs, m.target): m.estimate for m in select(found, quantity="std_difference")}

    def cell(method: Method, target: str) -> str:
        cost = costs.get((method.algorithm, method.all_inputs, target))
        return "-" if cost is None else with_error(cost, target, "+")

    printed = [
        f"+{PAPER_DEGRADATION[t]:g}" if side else "-" for t, side in product(results.context.targets, (False, True))
    ]
    caption = (
        "By how much the standard deviation exceeds that of the same method trained and tested on the high-quality "
        f"sample, {where}. The paper's row is of the real sky's labels."
    )
    return baselines.table_by_side(results, caption, cell, [("ACF (paper, real sky)", STAMPS, *printed)])


def _crowding_table(about: Sequence[Measurement], where: str, targets: Sequence[str]) -> Table:
    rows, stds = [], select(about, quantity="std", sample=LOW)
    for group, method in product(("isolated", "crowded"), distinct(select(stds, group="crowded"), "method")):
        own = estimates(stds, "target", method=method, group=group)
        n = min(std.n for std in own.values())
        rows.append((group, method, f"{n:,}", *(with_error(std, t) for t, std in own.items())))
    caption = f"Standard deviations of isolated and crowded stars {where}. Trees: on magnitudes, colours or both."
    return Table(caption, ("Stars", "Method", "n", *map(with_unit, targets)), tuple(rows), n_text=2)


def _figure(low: Context) -> FigureFile:
    """Of the network trained on the sample, as in the paper; of the one in question if there is none."""
    labels, answer = labels_of(low.stars(), low.targets), low.prediction().mean
    samples = [ParameterSample(t, LABELS[t], labels[:, i], answer[:, i]) for i, t in enumerate(low.targets)]
    figure = for_print(PAGE_IN, 3.1, lambda figure: draw_figure_8(figure, samples, f"{low.name}, {low.sample()}"))
    return low.save(
        figure,
        "figure_13",
        f"Predictions of {low.name} against the labels, and the residuals below; {low.sample()}. As the paper's Fig. "
        "13.",
    )
