"""Tree ensembles on magnitudes, colours and the image's own features, beside the networks (paper Sec. 5.2): Table 1.

Table 2 is the same on another sample, by the same functions (sections/low_quality).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np

from acf_jax.baselines.features import IMAGE_FEATURES, INPUTS, PHOTOMETRIC_INPUTS
from acf_jax.baselines.tree_ensembles import TREE_ENSEMBLES
from acf_jax.baselines.tuning import N_RANDOM_TRIALS
from acf_jax.labels import LABELS, number
from acf_jax.metrics.bootstrap import Estimate, std_ratio
from acf_jax.metrics.measurements import Measurement, from_metrics, to_dicts, without_interval
from acf_jax.metrics.residuals import residual_metrics
from acf_jax.report.context import Context
from acf_jax.report.residuals import PREFIXES, references
from acf_jax.report.section import Section, Table, percent
from acf_jax.report.sections.baselines.tree_studies import (
    CALIBRATION,
    TRAIN,
    TUNES_EVERY,
    Answer,
    Method,
    Study,
    answers,
    image_components,
    methods,
    roles,
)
from acf_jax.report.words import NAMES, REFERENCES, enumerated, in_words, ratio, with_unit

STAMPS = "stamps"  # what a network is given

PAPER = {
    ("CatBoost", "magnitudes + colours"): {True: {"teff": "99.331"}},
    ("ACF", STAMPS): {True: {"teff": "95.02", "logg": "0.07", "fe_h": "0.14"}},
    ("ACPF", STAMPS): {False: {"logg": "0.28"}},
}
"""What the paper's text prints of its Table 1, by use_parallax, about GALAH's labels in its validation split."""

METHOD = (
    "Each ensemble is tuned and fitted for each label and input anew, all on this sample: trees are grown on the "
    "training split ({n_train:,} stars); {tuning} says when to stop adding them "
    "to a boosted ensemble (a forest's number is among its hyperparameters), and which hyperparameters have the "
    "smallest scatter. They are sought by {search}. The validation split is "
    "looked at once, for these figures. Magnitudes are dereddened, and absolute (Eq. 17) where the parallax is used, "
    "which also enters by its logarithm and that of its error; colours are those of neighbouring bands; image features "
    "are {n_components} principal components ({explained} of the variance) of the features that the backbone of "
    "{network} makes of the stamps{of_label}. That backbone was trained on stars' labels{parallax}, as the paper's was."
)


@dataclass(frozen=True)
class Contest:
    """One method beside another, on the same stars."""

    method: Method
    rival: Method
    target: str
    reference: str
    ratio: Estimate  # std of the method / std of the rival

    def measurement(self, **identity: str) -> Measurement:
        """As a record; `identity` says of which stars."""
        return Measurement(
            self.method.algorithm, self.target, self.reference, "std_ratio", self.ratio,
            inputs=self.method.all_inputs, against=f"{self.rival.algorithm} on {self.rival.all_inputs}", **identity,
        )  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Residuals of every method, about every reference: all of the same stars."""

    context: Context
    residuals: Mapping[tuple[Method, str, str], np.ndarray]  # (n,) by method, target and reference
    networks: tuple[Method, ...]  # those of the methods that are networks
    trees: Mapping[Study, Answer]
    predicted: np.ndarray  # (n_validation,) whether every network has a prediction

    @property
    def methods(self) -> list[Method]:
        """Ensembles in the tables' order, then networks."""
        trees = [Method(a, i, p) for i, a, p in product(INPUTS, TREE_ENSEMBLES, (False, True))] if self.trees else []
        return [*trees, *self.networks]

    def among(self, chosen: np.ndarray) -> Comparison:
        """The same for those of the validation stars, (n_validation,) bool."""
        residuals = {key: residual[chosen[self.predicted]] for key, residual in self.residuals.items()}
        return replace(self, residuals=residuals)

    def std(self, method: Method, target: str, reference: str) -> float | None:
        """Standard deviation of the residuals; None for a method that does not predict the target.

        Args:
            method: ensemble or network.
            target: what it predicts.
            reference: what the residuals are about.

        Returns:
            in the target's unit.
        """
        residual = self.residuals.get((method, target, reference))
        return None if residual is None else float(np.std(residual[np.isfinite(residual)]))

    def best(self, target: str, inputs: Sequence[str], use_parallax: bool) -> Method:
        """The trees with the smallest scatter on the stars that tune them, so not chosen by what is reported.

        Args:
            target: that they predict.
            inputs: to choose from.
            use_parallax: the side.

        Returns:
            the method.
        """
        candidates = [m for m in methods() if m.inputs in inputs and m.use_parallax == use_parallax]
        return min(candidates, key=lambda method: self.trees[Study(method, target)].calibration_std)

    def network(self, use_parallax: bool) -> Method | None:
        """That which the tree ensembles of that side are held against: the first that has what they have."""
        return next((method for method in self.networks if method.use_parallax == use_parallax), None)

    @property
    def leading(self) -> Method:
        """The network that verdicts are about: the first with parallax, or the first."""
        return self.network(True) or self.networks[0]

    def contest(self, method: Method, rival: Method, target: str, reference: str) -> Contest:
        """The scatter of one method in units of the rival's, on the same stars.

        Args:
            method: ensemble or network.
            rival: another.
            target: that both predict.
            reference: what the residuals are about.

        Returns:
            the ratio, without interval with fewer than two stars.
        """
        ours, theirs = (self.residuals[m, target, reference] for m in (method, rival))
        n = int(np.isfinite(ours - theirs).sum())
        ratio = std_ratio(ours, theirs, self.context.resamples) if n > 1 else without_interval(None, n)
        return Contest(method, rival, target, reference, ratio)


def section(context: Context) -> Section:
    """Table 1, the same about the truth, what the network gains or loses on each input, and a verdict.

    Raises:
        MissingPieceError: if the dataset lacks a split, or what dereddening needs.
    """
    results = compare(context, answers(context))
    paper = "The paper finds images ahead, by 2 to 14 %."
    return Section(
        key="baselines",
        title="Images against magnitudes and colours (Table 1)",
        text=(verdict(results, paper), *left_out(results), method_words(results)),
        tables=(
            *(table_of_stds(results, r, "Table 1", PAPER) for r in references(context)),
            *(table_of_ratios(results, r) for r in references(context)),
        ),
        values=_values(results),
    )


def compare(context: Context, trees: Mapping[Study, Answer]) -> Comparison:
    """The tree ensembles and every network, on the validation stars for which all networks have a prediction.

    Args:
        context: the evaluation, of the sample to compare on.
        trees: from `answers` of the same context; may be none.

    Returns:
        the residuals of all.
    """
    predictions = {(study.method, study.target): answer.prediction for study, answer in trees.items()}
    networks: dict[tuple[Method, str], np.ndarray] = {}
    for name, trained in context.networks.items():
        mean, method = context.prediction(name).mean, Method(name, STAMPS, trained.model.config.use_parallax)
        networks |= {(method, t): mean[:, i] for i, t in enumerate(trained.targets) if t in context.targets}
    predicted = np.logical_and.reduce([np.isfinite(prediction) for prediction in networks.values()])
    stars = context.stars()
    residuals = {
        (method, target, reference): (prediction - stars[PREFIXES[reference] + target])[predicted]
        for reference in references(context)
        for (method, target), prediction in (predictions | networks).items()
    }
    names = tuple(dict.fromkeys(method for method, _ in networks))
    return Comparison(context, residuals, names, trees, predicted)


def contests(results: Comparison, reference: str) -> Iterator[Contest]:
    """The network of each side against the best tree ensemble on each input, parameter by parameter."""
    for target, use_parallax, inputs in product(results.context.targets, (True, False), INPUTS):
        network = results.network(use_parallax)
        if network is not None and (network, target, reference) in results.residuals:
            best = results.best(target, (inputs,), use_parallax)
            yield results.contest(network, best, target, reference)


def table_of_stds(results: Comparison, reference: str, title: str, paper: Mapping) -> Table:
    """Table 1, or 2: every method's standard deviation.

    Args:
        results: of the methods.
        reference: what the residuals are about.
        title: of the table.
        paper: as `PAPER`; its rows are added about the labels.

    Returns:
        a row for each algorithm and input, and for each network.
    """
    context, printed = results.context, paper if reference == "label" else {}
    return table_by_side(
        results,
        f"{title}: standard deviation of the residuals about {REFERENCES[reference]}, without and with parallax "
        f"({context.sample()}). Rows of the paper are of the real sky: other stars, other labels.",
        lambda method, target: number(results.std(method, target, reference), LABELS[target]),
        [
            (f"{algorithm} (paper, real sky)", inputs,
             *(sides.get(side, {}).get(target, "-") for target, side in product(context.targets, (False, True))))
            for (algorithm, inputs), sides in printed.items()
        ],
    )  # fmt: skip


def table_by_side(
    results: Comparison,
    caption: str,
    cell: Callable[[Method, str], str],
    more: Sequence[tuple[str, ...]] = (),
) -> Table:
    """A row for each algorithm and input, and for each network; columns without and with parallax of each label.

    Args:
        results: of the methods.
        caption: of the table.
        cell: what to say of a method and target.
        more: rows at the end.

    Returns:
        the table, with a dash on the side that a network does not have.
    """
    sides = list(product(results.context.targets, (False, True)))
    rows = [
        (algorithm, inputs, *(
            cell(method, target) if (method := Method(algorithm, inputs, side)) in results.methods else "-"
            for target, side in sides
        ))
        for algorithm, inputs in dict.fromkeys((m.algorithm, m.inputs) for m in results.methods)
    ]  # fmt: skip
    header = [f"{with_unit(target)}, {'parallax' if side else 'no parallax'}" for target, side in sides]
    return Table(caption, ("algorithm", "inputs", *header), (*rows, *more), n_text=2)


def table_of_ratios(results: Comparison, reference: str) -> Table:
    """The networks against the best ensemble on each input, a row for each label, side and input."""
    rows, context = [], results.context
    for c in contests(results, reference):
        stds = (number(results.std(method, c.target, reference), LABELS[c.target]) for method in (c.method, c.rival))
        rows.append((
            with_unit(c.target), c.rival.inputs, "yes" if c.rival.use_parallax else "no", c.rival.algorithm,
            c.method.algorithm, *stds, ratio(c.ratio, decimals=3), f"{c.ratio.n:,}",
        ))  # fmt: skip
    return Table(
        caption=f"The network against the best tree ensemble on each input, about {REFERENCES[reference]} "
        f"({context.sample()}). The best has the smallest scatter on the stars that tune it. In brackets: 95 % paired "
        f"bootstrap intervals, {context.options.n_bootstrap:,} resamples; below 1 the network is more precise.",
        header=("parameter", "inputs", "parallax", "best ensemble", "network", "std, network", "std, ensemble",
                "ratio", "n"),
        rows=tuple(rows),
        n_text=5,
    )  # fmt: skip


def verdict(results: Comparison, paper: str) -> str:
    """Who wins, by how much, about the truth where it is known; `paper` is what the paper finds."""
    context, network = results.context, results.leading
    reference = references(context)[-1]
    side = "with" if network.use_parallax else "without"
    photometric, images = (
        {target: results.best(target, inputs, network.use_parallax) for target in context.targets}
        for inputs in (PHOTOMETRIC_INPUTS, (IMAGE_FEATURES,))
    )
    words = enumerated(
        f"{NAMES[t]} {best.algorithm} on {best.inputs} ({in_words(results.std(best, t, reference), t)})"
        for t, best in photometric.items()
    )
    features = {t: results.contest(images[t], best, t, reference).ratio for t, best in photometric.items()}
    own = {
        t: results.contest(network, best, t, reference).ratio
        for t, best in photometric.items()
        if (network, t, reference) in results.residuals
    }
    return (
        f"Of the tree ensembles {side} parallax on magnitudes or colours, the best (by the stars that tune them) are "
        f"in {words}, about {REFERENCES[reference]} ({context.sample()}). Against these, the same ensembles on the "
        f"image's features are {ranked(features)}. {paper} Against these, {network.algorithm} itself is {ranked(own)}."
    )


def ranked(ratios: Mapping[str, Estimate]) -> str:
    """As in "ahead in Teff (scatter -5.0 % [-7.8, -2.1]) and not to be told apart in log g (+0.3 % [-1.0, 1.5])"."""
    groups: dict[str, list[str]] = {}
    for target, scatter in ratios.items():
        change = [100 * (value - 1) for value in (scatter.value, scatter.lower, scatter.upper)]
        word = "ahead in" if scatter.upper < 1 else "behind in" if scatter.lower > 1 else "not to be told apart in"
        value, lower, upper = (f"{c:+.1f}" for c in change)
        groups.setdefault(word, []).append(f"{NAMES[target]} (scatter {value} % [{lower}, {upper}])")
    return "; ".join(f"{word} {enumerated(names)}" for word, names in groups.items())


def left_out(results: Comparison) -> list[str]:
    """How many stars are in no row, in a sentence; none if all are."""
    n_left_out = int(np.sum(~results.predicted))
    if not n_left_out:
        return []
    return [
        f"{n_left_out:,} stars for which a network has no prediction are left out of every row, so that all "
        "are of the same stars."
    ]


def method_words(results: Comparison) -> str:
    """How the tree ensembles are trained and tuned, and on which stars."""
    context = results.context
    components = [image_components(context, target) for target in context.targets]
    explained = dict.fromkeys(percent(float(part["explained_variance"])) for part in components)
    tunes, rows = roles(context)[CALIBRATION]
    n_tune = f"({len(rows):,} stars)"
    tuning = f"every {TUNES_EVERY}th training star {n_tune}, which grows no trees, for lack of a calibration split,"
    if tunes == CALIBRATION:
        tuning = f"the calibration split {n_tune}, which chooses the networks' checkpoints,"
    return METHOD.format(
        n_train=len(roles(context)[TRAIN][1]), tuning=tuning,
        search=_search_words(context.options.n_trials), n_components=components[0][TRAIN].shape[1],
        explained=", ".join(explained), network=context.name,
        of_label=" (each label's own network)" if context.trained.members else "",
        parallax=" and their parallaxes" if results.networks[0].use_parallax else "",
    )  # fmt: skip


def _search_words(n_trials: int) -> str:
    """What a study of so many trials is."""
    if n_trials == 1:
        return "nothing, but set to usual values (one trial a study)"
    trials = f"{n_trials} trials a study: usual values, then {min(n_trials, N_RANDOM_TRIALS) - 1} drawn at random"
    if n_trials <= N_RANDOM_TRIALS:
        return f"random search ({trials}; Bayesian optimisation takes more than {N_RANDOM_TRIALS} `--trials`)"
    return (
        f"Bayesian optimisation with Optuna's tree-structured Parzen estimator ({trials}, and "
        f"{n_trials - N_RANDOM_TRIALS} where it expects a gain from those before)"
    )


def study_values(results: Comparison) -> list[dict]:
    """What each study came to, as JSON types."""
    return [
        asdict(study.method) | {"target": study.target, "hyperparameters": answer.parameters,
                                "n_trees": answer.n_trees, "calibration_std": answer.calibration_std}
        for study, answer in results.trees.items()
    ]  # fmt: skip


def _values(results: Comparison) -> dict:
    """Every figure of every method, the best hyperparameters, the ratios."""
    measurements, context = [], results.context
    for (method, target, reference), residual in results.residuals.items():
        identity = {"target": target, "reference": reference, "inputs": method.all_inputs}
        metrics = residual_metrics(residual, np.zeros(len(residual)))
        measurements += from_metrics(metrics, method=method.algorithm, **identity)
    ratios = [c.measurement() for reference in references(context) for c in contests(results, reference)]
    paper = [{"algorithm": a, "inputs": i, "use_parallax": p, "std": std} for (a, i), sides in PAPER.items()
             for p, std in sides.items()]  # fmt: skip
    return {
        "sample": context.sample(), "n_trials": context.options.n_trials, "seed": context.options.seed,
        "n_left_out": int(np.sum(~results.predicted)), "studies": study_values(results),
        "measurements": to_dicts([*measurements, *ratios]), "paper": paper,
    }  # fmt: skip
