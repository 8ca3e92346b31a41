"""How precise the networks are: the moments of their residuals, with bootstrap intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import product

import numpy as np
from tqdm import tqdm

from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import LEVEL, Estimate, bootstrap_moments
from acf_jax.metrics.measurements import COUNTS, Measurement, distinct, estimates, from_metrics, select, to_dicts
from acf_jax.metrics.residuals import MOMENTS, residual_metrics
from acf_jax.report.context import Context, labels_of, network_facts, split_facts
from acf_jax.report.residuals import PREFIXES, references, residuals
from acf_jax.report.section import Section, Table, percent
from acf_jax.report.words import NAMES, REFERENCES, enumerated, in_words, with_interval, with_unit
from acf_jax.running import bar_options

LABELS_THEMSELVES = "the labels themselves"  # as a method that answers for the truth

PAPER = {"teff": {"offset": "-0.15", "std": "95.02"}, "logg": {"std": "0.07"}, "fe_h": {"std": "0.14"}}
"""What the paper prints for its ACF, about GALAH's labels in its own validation split (Sec. 4.1)."""

DEFINITIONS = (
    "A residual is predicted - reference; offset is its mean, std is about the offset (ddof 0), and an outlier lies "
    "further from the median than 3 x 1.4826 MAD, as 0.27 % of a Gaussian do. In brackets: 95 % percentile bootstrap "
    "intervals from {n_resamples:,} resamples of the stars. They tell of the finite number of stars, not of how a "
    "training from another seed would do."
)


def section(context: Context) -> Section:
    """Offset, standard deviation, MAD, RMSE and outliers of every network, with bootstrap intervals."""
    found: list[Measurement] = []
    jobs = list(product(context.networks, references(context)))
    for name, reference in tqdm(jobs, desc="bootstrap", unit="table", **bar_options(context.options.progress)):
        found += _moments(context, name, reference)
    found += _label_noise(context)
    return Section(
        key="precision",
        title="How precise",
        text=(
            _verdict(context, found),
            *_left_out(context),
            DEFINITIONS.format(n_resamples=context.options.n_bootstrap),
        ),
        tables=tuple(_table(context, reference, found) for reference in references(context)),
        values={
            "sample": context.sample(),
            "level": LEVEL,
            "n_resamples": context.options.n_bootstrap,
            "measurements": to_dicts([*found, *_counts(context)]),
            "paper": PAPER,
        },
    )


def _moments(context: Context, name: str, reference: str) -> list[Measurement]:
    """A network's moments for each target; kept on disk, since medians over a thousand resamples take seconds."""
    options = context.options

    def compute() -> dict[str, np.ndarray]:
        estimates = {t: bootstrap_moments(r, context.resamples) for t, r in residuals(context, name, reference).items()}
        return {target: np.array([astuple(e) for e in moments.values()]) for target, moments in estimates.items()}

    what = {
        "reference": reference, "n_samples": options.n_samples, "seed": options.seed,
        "n_bootstrap": options.n_bootstrap, **network_facts(context.network(name)),
        **split_facts(context.dataset, "validation"),
    }  # fmt: skip
    return [
        Measurement(name, target, reference, moment, Estimate(value, lower, upper, error, int(n)))
        for target, rows in context.cached("bootstrap", what, compute).items()
        for moment, (value, lower, upper, error, n) in zip(MOMENTS, rows.tolist(), strict=True)
    ]


def _label_noise(context: Context) -> list[Measurement]:
    """How far the labels themselves are from the truth, where that is known."""
    if not context.is_mock:
        return []
    labels, truth = (labels_of(context.stars(), context.targets, prefix) for prefix in PREFIXES.values())
    return [
        Measurement(LABELS_THEMSELVES, target, "truth", moment, estimate)
        for i, target in enumerate(context.targets)
        for moment, estimate in bootstrap_moments((labels - truth)[:, i], context.resamples).items()
    ]


def _counts(context: Context) -> Iterator[Measurement]:
    """How many stars were left out for want of what."""
    stars = context.stars()
    for name, reference in product(context.networks, references(context)):
        mean = context.prediction(name).mean
        for i, target in enumerate(context.network(name).targets):
            metrics = residual_metrics(mean[:, i], stars[PREFIXES[reference] + target])
            measured = from_metrics(metrics, method=name, target=target, reference=reference)
            yield from (m for m in measured if m.quantity in COUNTS)


def _table(context: Context, reference: str, found: Sequence[Measurement]) -> Table:
    rows = []
    for target in context.targets:
        about = select(found, target=target, reference=reference)
        methods = {
            method: _cells(estimates(about, "quantity", method=method), LABELS[target])
            for method in distinct(about, "method")
        }
        if reference == "label" and target in PAPER:
            printed = PAPER[target]
            methods["the paper's ACF, real sky"] = (printed.get("offset", "-"), printed["std"], *["-"] * 4)
        rows += [("" if i else with_unit(target), method, *cells) for i, (method, cells) in enumerate(methods.items())]
    return Table(
        caption=f"Residuals about {REFERENCES[reference]} ({context.sample()}); in brackets 95 % bootstrap intervals.",
        header=("parameter", "method", "offset", "std", "1.4826 MAD", "RMSE", "outliers", "n"),
        rows=tuple(rows),
        n_text=2,
    )


def _cells(moments: Mapping[str, Estimate], unit: str) -> tuple[str, ...]:
    """The moments with their intervals, in the order of `MOMENTS`, and the number of stars."""
    return (
        with_interval(moments["offset"], unit, sign="+"),
        *(with_interval(moments[name], unit) for name in ("std", "mad_std", "rmse")),
        _outlier_cell(moments["outlier_fraction"]),
        f"{moments['std'].n:,}",
    )


def _outlier_cell(fraction: Estimate) -> str:
    if np.isnan(fraction.value):
        return "-"
    return f"{percent(fraction.value)} [{100 * fraction.lower:.1f}, {100 * fraction.upper:.1f}]"


def _verdict(context: Context, found: Sequence[Measurement]) -> str:
    """What the numbers of the network in question say."""
    own = select(found, method=context.name)
    spread = {
        reference: enumerated(
            f"{in_words(std.value, target)} in {NAMES[target]}"
            for target, std in estimates(own, "target", reference=reference, quantity="std").items()
        )
        for reference in references(context)
    }
    last = references(context)[-1]
    truth = f", and by {spread['truth']} about the injected truth" if last == "truth" else ""
    paper = enumerated(f"{PAPER[t]['std']} {LABELS[t]}" for t in context.targets)
    contest = ": other stars, other labels, so the two are not to be ranked" if context.is_mock else ""
    offsets = estimates(own, "target", reference=last, quantity="offset")
    biased = {target: offset for target, offset in offsets.items() if offset.lower > 0 or offset.upper < 0}
    bias = "None of its offsets is further from zero than its 95 % interval reaches."
    if biased:
        words = enumerated(f"{NAMES[t]} ({in_words(offset.value, t, sign='+')})" for t, offset in biased.items())
        bias = f"Its offset about {REFERENCES[last]} differs from zero by more than its 95 % interval in {words}."
    return (
        f"The residuals of {context.name} scatter by {spread['label']} about the labels{truth} ({context.sample()}). "
        f"The paper prints {paper} about GALAH's labels on the real sky{contest}. {bias}"
    )


def _left_out(context: Context) -> list[str]:
    """A sentence on the stars without a prediction of the network in question; none if there are none."""
    reasons = Counter(reason for reason in context.prediction().reason if reason is not None)
    if not reasons:
        return []
    words = "; ".join(f"{n:,} ({reason})" for reason, n in reasons.most_common())
    return [f"Left out, because {context.name} has no prediction for them: {words}."]
