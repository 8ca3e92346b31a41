"""Table 1: tree ensembles on magnitudes, colours and the image's own features, beside the networks (paper Sec. 5.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acf_jax.baselines.features import IMAGE_FEATURES, INPUTS, PHOTOMETRIC_INPUTS
from acf_jax.baselines.tree_ensembles import TREE_ENSEMBLES
from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import Estimate, std_ratio
from acf_jax.metrics.residuals import residual_metrics
from acf_jax.report.context import Context
from acf_jax.report.quick_markdown import NAMES, REFERENCES
from acf_jax.report.section import Section, Table, number, percent
from acf_jax.report.sections.baselines.tree_studies import Answer, Method, Study, answers, image_components, methods
from acf_jax.report.words import PREFIXES, enumerated, in_words, references

STAMPS = "stamps"  # what a network is given

PAPER = {
    ("CatBoost", "magnitudes + colours"): {True: {"teff": "99.331"}},
    ("ACF", STAMPS): {True: {"teff": "95.02", "logg": "0.07", "fe_h": "0.14"}},
    ("ACPF", STAMPS): {False: {"logg": "0.28"}},
}
"""What the paper's text prints of its Table 1, by use_parallax, about GALAH's labels in its validation split."""

METHOD = (
    "Trees are grown on the training split ({n_train:,} stars); the calibration split ({n_calibration:,} stars) says "
    "when to stop adding them, and which hyperparameters of {n_trials:,} trials of Optuna's tree-structured Parzen "
    "estimator are best, as it chooses the networks' checkpoints. The validation split is looked at once, for these "
    "figures. Magnitudes are dereddened, and absolute (Eq. 17) where the parallax is used, which also enters by its "
    "logarithm and that of its error; colours are those of neighbouring bands; image features are {n_components} "
    "principal components ({explained} of the variance) of the features that the backbone of {network} makes of "
    "the stamps. That backbone has seen the training stars' labels{parallax}, as the paper's had."
)


@dataclass(frozen=True)
class Results:
    """Residuals of every method, about every reference: all of the same stars."""

    residuals: Mapping[str, Mapping[Method, Mapping[str, np.ndarray]]]  # reference -> method -> target -> (n,)
    networks: tuple[Method, ...]  # those of the methods that are networks
    trees: Mapping[Study, Answer]
    n_left_out: int  # stars for which a network has no prediction

    def std(self, reference: str, method: Method, target: str) -> float | None:
        """Standard deviation of the residuals; None for a method that does not predict the target."""
        residual = self.residuals[reference][method].get(target)
        return None if residual is None else float(np.std(residual[np.isfinite(residual)]))

    def best(self, target: str, inputs: Sequence[str], use_parallax: bool) -> Method:
        """The tree ensemble with the smallest scatter on the calibration split, so not chosen by what is reported."""
        candidates = [m for m in methods() if m.inputs in inputs and m.use_parallax == use_parallax]
        return min(candidates, key=lambda method: self.trees[Study(method, target)].calibration_std)


def section(context: Context) -> Section:
    """Table 1, the same about the truth, what the network gains or loses on each input, and a verdict.

    Raises:
        MissingPieceError: if the dataset lacks a split, or what dereddening needs, or is not the networks'.
    """
    results = _results(context)
    kinds = references(context)
    ratios = {kind: _ratios(context, results, kind) for kind in kinds}
    verdict = " ".join(_verdict(context, results, ratios[kinds[-1]], kinds[-1]))
    return Section(
        key="baselines",
        title="Images against magnitudes and colours (Table 1)",
        text=(verdict, *_left_out(results), _method(context)),
        tables=(
            *(_table_1(context, results, kind) for kind in kinds),
            *(_ratio_table(context, results, kind, ratios[kind]) for kind in kinds),
        ),
        values=_values(context, results, ratios),
    )


def _results(context: Context) -> Results:
    """Ask every tree ensemble and every network; keep the stars for which all networks have a prediction."""
    trees = answers(context)
    predictions = {method: {} for method in methods()}
    for study, answer in trees.items():
        predictions[study.method][study.target] = answer.prediction
    networks = {}
    for name, trained in context.networks.items():
        mean, method = context.prediction(name).mean, Method(name, STAMPS, trained.model.config.use_parallax)
        networks[method] = {t: mean[:, i] for i, t in enumerate(trained.targets) if t in context.targets}
    predicted = np.logical_and.reduce([np.isfinite(p) for of in networks.values() for p in of.values()])
    stars = context.stars()
    residuals = {
        kind: {
            method: {target: (p - stars[PREFIXES[kind] + target])[predicted] for target, p in of_method.items()}
            for method, of_method in (predictions | networks).items()
        }
        for kind in references(context)
    }
    return Results(residuals, tuple(networks), trees, int((~predicted).sum()))


def _opponent(results: Results, use_parallax: bool) -> Method | None:
    """The network that the tree ensembles of that side are held against: the first that has what they have."""
    return next((method for method in results.networks if method.use_parallax == use_parallax), None)


def _ratios(context: Context, results: Results, kind: str) -> dict[tuple[bool, str, str], tuple[Method, Estimate]]:
    """{(use_parallax, inputs, target): (the best tree ensemble on them, std of the network / std of that)}."""
    ratios = {}
    for use_parallax in (True, False):
        network = _opponent(results, use_parallax)
        for inputs in INPUTS if network else ():
            for target in results.residuals[kind][network]:
                best = results.best(target, (inputs,), use_parallax)
                ratio = _std_ratio(context, results, kind, target, network, best)
                ratios[use_parallax, inputs, target] = best, ratio
    return ratios


def _std_ratio(context: Context, results: Results, kind: str, target: str, one: Method, other: Method) -> Estimate:
    of_kind, options = results.residuals[kind], context.options
    return std_ratio(
        of_kind[one][target], of_kind[other][target], n_resamples=options.n_bootstrap, seed=options.seed
    )  # fmt: skip


def _table_1(context: Context, results: Results, kind: str) -> Table:
    rows = []
    for inputs in INPUTS:
        for algorithm in TREE_ENSEMBLES:
            sides = {p: Method(algorithm, inputs, p) for p in (False, True)}
            rows.append((algorithm, inputs, *_cells(context, results, kind, sides)))
    for network in results.networks:
        rows.append((network.algorithm, STAMPS, *_cells(context, results, kind, {network.use_parallax: network})))
    if kind == "label":
        rows += list(_paper_rows(context))
    header = [f"{NAMES[t]} ({LABELS[t]}), {side}" for t in context.targets for side in ("no parallax", "parallax")]
    return Table(
        caption=f"Table 1: standard deviation of the residuals about {REFERENCES[kind]}, without and with parallax "
        f"({context.sample()}). Rows of the paper are of the real sky: other stars, other labels.",
        header=("algorithm", "inputs", *header),
        rows=tuple(rows),
        n_text=2,
    )


def _cells(context: Context, results: Results, kind: str, sides: Mapping[bool, Method]) -> Iterator[str]:
    for target in context.targets:
        for use_parallax in (False, True):
            known = use_parallax in sides
            yield number(results.std(kind, sides[use_parallax], target) if known else None, LABELS[target])


def _paper_rows(context: Context) -> Iterator[tuple[str, ...]]:
    for (algorithm, inputs), sides in PAPER.items():
        printed = [sides.get(p, {}).get(target, "-") for target in context.targets for p in (False, True)]
        yield (f"{algorithm} (paper, real sky)", inputs, *printed)


def _ratio_table(context: Context, results: Results, kind: str, ratios: Mapping) -> Table:
    rows = []
    for (use_parallax, inputs, target), (best, ratio) in ratios.items():
        unit, network = LABELS[target], _opponent(results, use_parallax)
        stds = (number(results.std(kind, method, target), unit) for method in (network, best))
        rows.append((
            f"{NAMES[target]} ({unit})", inputs, "yes" if use_parallax else "no", best.algorithm, network.algorithm,
            *stds, _with_interval(ratio), f"{ratio.n:,}",
        ))  # fmt: skip
    rows.sort(key=lambda row: [f"{NAMES[t]} ({LABELS[t]})" for t in context.targets].index(row[0]))
    return Table(
        caption=f"The network against the best tree ensemble on each input, about {REFERENCES[kind]} "
        f"({context.sample()}). The best has the smallest scatter on the calibration split. In brackets: 95 % paired "
        f"bootstrap intervals, {context.options.n_bootstrap:,} resamples; below 1 the network is more precise.",
        header=("parameter", "inputs", "parallax", "best ensemble", "network", "std, network", "std, ensemble",
                "ratio", "n"),
        rows=tuple(rows),
        n_text=5,
    )  # fmt: skip


def _verdict(context: Context, results: Results, ratios: Mapping, kind: str) -> Iterator[str]:
    """Who wins, by how much: about the truth where it is known."""
    use_parallax = any(network.use_parallax for network in results.networks)
    network = _opponent(results, use_parallax)
    side = "with" if use_parallax else "without"
    photometric, images = (
        {target: results.best(target, inputs, use_parallax) for target in context.targets}
        for inputs in (PHOTOMETRIC_INPUTS, (IMAGE_FEATURES,))
    )
    words = enumerated(
        f"{NAMES[t]} {best.algorithm} on {best.inputs} ({in_words(results.std(kind, best, t), t)})"
        for t, best in photometric.items()
    )
    yield (
        f"Of the tree ensembles {side} parallax on magnitudes or colours, the best (by the calibration split) are in "
        f"{words}, about {REFERENCES[kind]} ({context.sample()})."
    )
    compared = {t: _std_ratio(context, results, kind, t, images[t], best) for t, best in photometric.items()}
    yield (
        f"Against these, the same ensembles on the image's features are {_ranked(compared)}. The paper finds images "
        "ahead, by 2 to 14 %."
    )
    compared = {
        t: _std_ratio(context, results, kind, t, network, photometric[t]) for t in results.residuals[kind][network]
    }
    yield f"Against these, {network.algorithm} itself is {_ranked(compared)}."


def _ranked(ratios: Mapping[str, Estimate]) -> str:
    """As in "ahead in Teff (by 5.0 % [2.1, 7.8]) and not to be told apart in log g (+0.3 % [-1.0, 1.5])"."""
    groups: dict[str, list[str]] = {}
    for target, ratio in ratios.items():
        change = [100 * (value - 1) for value in (ratio.value, ratio.lower, ratio.upper)]
        word = "ahead in" if ratio.upper < 1 else "behind in" if ratio.lower > 1 else "not to be told apart in"
        value, lower, upper = (f"{c:+.1f}" for c in change)
        groups.setdefault(word, []).append(f"{NAMES[target]} (scatter {value} % [{lower}, {upper}])")
    return "; ".join(f"{word} {enumerated(names)}" for word, names in groups.items())


def _left_out(results: Results) -> list[str]:
    if not results.n_left_out:
        return []
    return [
        f"{results.n_left_out:,} stars for which a network has no prediction are left out of every row, so that all "
        "are of the same stars."
    ]


def _method(context: Context) -> str:
    components, dataset = image_components(context), context.dataset
    return METHOD.format(
        n_train=dataset.n_examples("train"), n_calibration=dataset.n_examples("calibration"),
        n_trials=context.options.n_trials, n_components=components["train"].shape[1],
        explained=percent(float(components["explained_variance"])), network=context.name,
        parallax=" and its parallaxes" if context.trained.model.config.use_parallax else "",
    )  # fmt: skip


def _with_interval(ratio: Estimate) -> str:
    value, lower, upper = ("-" if x != x else f"{x:.3f}" for x in (ratio.value, ratio.lower, ratio.upper))
    return f"{value} [{lower}, {upper}]"


def _values(context: Context, results: Results, ratios: Mapping[str, Mapping]) -> dict:
    """Every figure of every method, the best hyperparameters, the ratios."""
    rows = []
    for method in results.residuals["label"]:
        studies = {t: results.trees[s] for t in context.targets if (s := Study(method, t)) in results.trees}
        rows.append({
            "algorithm": method.algorithm, "inputs": method.inputs, "use_parallax": method.use_parallax,
            "results": {kind: _moments(of_kind[method]) for kind, of_kind in results.residuals.items()},
            "hyperparameters": {target: answer.parameters for target, answer in studies.items()},
            "calibration_std": {target: answer.calibration_std for target, answer in studies.items()},
        })  # fmt: skip
    compared = {
        kind: [
            {"target": target, "inputs": inputs, "use_parallax": use_parallax, "ensemble": best.algorithm,
             "network": _opponent(results, use_parallax).algorithm, "ratio": ratio.to_dict()}
            for (use_parallax, inputs, target), (best, ratio) in of_kind.items()
        ]
        for kind, of_kind in ratios.items()
    }  # fmt: skip
    paper = [{"algorithm": a, "inputs": i, "use_parallax": p, "std": std} for (a, i), of in PAPER.items()
             for p, std in of.items() if std]  # fmt: skip
    return {
        "sample": context.sample(), "n_trials": context.options.n_trials, "seed": context.options.seed,
        "n_left_out": results.n_left_out, "rows": rows, "ratios": compared, "paper": paper,
    }  # fmt: skip


def _moments(residuals: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """`ResidualMetrics` of every target."""
    zero = {target: np.zeros(len(residual)) for target, residual in residuals.items()}
    return {target: residual_metrics(zero[target], -residual).to_dict() for target, residual in residuals.items()}
