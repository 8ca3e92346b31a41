"""How precise the networks are: the moments of their residuals, with bootstrap intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple

import numpy as np
from tqdm import tqdm

from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import LEVEL, Estimate, bootstrap_moments
from acf_jax.metrics.residuals import MOMENTS, residual_metrics
from acf_jax.report.context import Context, labels_of, of_network, of_split
from acf_jax.report.quick_markdown import NAMES, REFERENCES
from acf_jax.report.section import Section, Table, percent
from acf_jax.report.words import PREFIXES, enumerated, in_words, references, residuals, with_interval

PAPER = {"teff": {"offset": "-0.15", "std": "95.02"}, "logg": {"std": "0.07"}, "fe_h": {"std": "0.14"}}
"""What the paper prints for its ACF, about GALAH's labels in its own validation split (Sec. 5.1)."""

DEFINITIONS = (
    "A residual is predicted - reference; offset is its mean, std is about the offset (ddof 0), and an outlier lies "
    "further from the median than 3 x 1.4826 MAD, as 0.27 % of a Gaussian do. In brackets: 95 % percentile bootstrap "
    "intervals from {n_resamples:,} resamples of the stars. They tell of the finite number of stars, not of how a "
    "training from another seed would do."
)


def section(context: Context) -> Section:
    """Offset, standard deviation, MAD, RMSE and outliers of every network, with bootstrap intervals."""
    kinds, n_resamples = references(context), context.options.n_bootstrap
    results: dict[str, dict[str, dict]] = {name: {} for name in context.networks}
    jobs = [(name, kind) for name in results for kind in kinds]
    for name, kind in tqdm(jobs, desc="bootstrap", unit="table", disable=not context.options.progress):
        results[name][kind] = _estimates(context, name, kind)
    noise = _label_noise(context)
    return Section(
        key="precision",
        title="How precise",
        text=(
            _verdict(context, results[context.name]),
            *_left_out(context),
            DEFINITIONS.format(n_resamples=n_resamples),
        ),
        tables=tuple(_table(context, kind, results, noise) for kind in kinds),
        values={
            "sample": context.sample(),
            "level": LEVEL,
            "n_resamples": n_resamples,
            "results": {
                name: {kind: _to_values(context, name, kind, of_kind) for kind, of_kind in of_name.items()}
                for name, of_name in results.items()
            },
            "labels_about_truth": {target: _to_dicts(estimates) for target, estimates in noise.items()},
            "paper": PAPER,
        },
    )


def _estimates(context: Context, name: str, kind: str) -> dict[str, dict[str, Estimate]]:
    """{target: {moment: estimate}}; kept on disk, since medians over a thousand resamples take seconds."""
    options = context.options

    def compute() -> dict[str, np.ndarray]:
        of_target = residuals(context, name, kind)
        return {t: np.array([astuple(e) for e in _bootstrap(context, r).values()]) for t, r in of_target.items()}

    what = {
        "reference": kind, "n_samples": options.n_samples, "seed": options.seed, "n_bootstrap": options.n_bootstrap,
        **of_network(context.network(name)), **of_split(context.dataset, "validation"),
    }  # fmt: skip
    return {
        target: {m: Estimate(*row[:4].tolist(), n=int(row[4])) for m, row in zip(MOMENTS, rows, strict=True)}
        for target, rows in context.cached("bootstrap", what, compute).items()
    }


def _bootstrap(context: Context, residual: np.ndarray) -> dict[str, Estimate]:
    return bootstrap_moments(residual, n_resamples=context.options.n_bootstrap, seed=context.options.seed)


def _label_noise(context: Context) -> dict[str, dict[str, Estimate]]:
    """How far the labels themselves are from the truth, where that is known."""
    if not context.is_mock:
        return {}
    labels, truth = (labels_of(context.stars(), context.targets, prefix) for prefix in PREFIXES.values())
    return {target: _bootstrap(context, (labels - truth)[:, i]) for i, target in enumerate(context.targets)}


def _to_dicts(estimates: Mapping[str, Estimate]) -> dict[str, dict]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _to_values(context: Context, name: str, kind: str, of_kind: Mapping[str, Mapping[str, Estimate]]) -> dict:
    """The estimates, how many stars they are of, and how many were left out for want of what."""
    stars, mean = context.stars(), context.prediction(name).mean
    values = {}
    for i, (target, estimates) in enumerate(of_kind.items()):
        counts = residual_metrics(mean[:, i], stars[PREFIXES[kind] + target])
        values[target] = _to_dicts(estimates) | {
            "n": counts.n,
            "n_without_prediction": counts.n_without_prediction,
            "n_without_reference": counts.n_without_reference,
        }
    return values


def _table(context: Context, kind: str, results: Mapping, noise: Mapping) -> Table:
    rows = []
    for target in context.targets:
        estimates = {name: of_name[kind][target] for name, of_name in results.items() if target in of_name[kind]}
        if kind == "truth":
            estimates["the labels themselves"] = noise[target]
        methods = {method: _cells(of_method, LABELS[target]) for method, of_method in estimates.items()}
        if kind == "label" and target in PAPER:
            printed = PAPER[target]
            methods["the paper's ACF, real sky"] = (printed.get("offset", "-"), printed["std"], *["-"] * 4)
        name = f"{NAMES[target]} ({LABELS[target]})"
        rows += [("" if i else name, method, *cells) for i, (method, cells) in enumerate(methods.items())]
    return Table(
        caption=f"Residuals about {REFERENCES[kind]} ({context.sample()}); in brackets 95 % bootstrap intervals.",
        header=("parameter", "method", "offset", "std", "1.4826 MAD", "RMSE", "outliers", "n"),
        rows=tuple(rows),
        n_text=2,
    )


def _cells(estimates: Mapping[str, Estimate], unit: str) -> tuple[str, ...]:
    """The moments with their intervals, in the order of `MOMENTS`, and the number of stars."""
    return (
        with_interval(estimates["offset"], unit, sign="+"),
        *(with_interval(estimates[name], unit) for name in ("std", "mad_std", "rmse")),
        _outlier_cell(estimates["outlier_fraction"]),
        f"{estimates['std'].n:,}",
    )


def _outlier_cell(fraction: Estimate) -> str:
    if np.isnan(fraction.value):
        return "-"
    return f"{percent(fraction.value)} [{100 * fraction.lower:.1f}, {100 * fraction.upper:.1f}]"


def _verdict(context: Context, results: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> str:
    """What the numbers of the network in question say."""
    spread = {
        kind: enumerated(f"{in_words(e['std'].value, t)} in {NAMES[t]}" for t, e in of_kind.items())
        for kind, of_kind in results.items()
    }
    last = references(context)[-1]
    truth = f", and by {spread['truth']} about the injected truth" if last == "truth" else ""
    paper = enumerated(f"{PAPER[t]['std']} {LABELS[t]}" for t in context.targets)
    contest = ": other stars, other labels, so the two are not to be ranked" if context.is_mock else ""
    biased = {t: e["offset"] for t, e in results[last].items() if e["offset"].lower > 0 or e["offset"].upper < 0}
    offsets = "None of its offsets is further from zero than its 95 % interval reaches."
    if biased:
        words = enumerated(f"{NAMES[t]} ({in_words(e.value, t, sign='+')})" for t, e in biased.items())
        offsets = f"Its offset about {REFERENCES[last]} differs from zero by more than its 95 % interval in {words}."
    return (
        f"The residuals of {context.name} scatter by {spread['label']} about the labels{truth} ({context.sample()}). "
        f"The paper prints {paper} about GALAH's labels on the real sky{contest}. {offsets}"
    )


def _left_out(context: Context) -> list[str]:
    """A sentence on the stars without a prediction of the network in question; none if there are none."""
    reasons = Counter(reason for reason in context.prediction().reason if reason is not None)
    if not reasons:
        return []
    words = "; ".join(f"{n:,} ({reason})" for reason, n in reasons.most_common())
    return [f"Left out, because {context.name} has no prediction for them: {words}."]
