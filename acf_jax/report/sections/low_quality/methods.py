"""Who answers for the low-quality sample, and how well: the numbers behind the paper's Table 2.

The paper trains the same network anew on that sample. Beside that one stands the network in question as it is, and
beside both gradient boosting on catalogue magnitudes, colours and parallax, trained on either sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from acf_jax.baselines.gradient_boosting import BASELINES, PHOTOMETRY_FIELDS, PhotometricBaselines
from acf_jax.data.prepared import PreparedDataset
from acf_jax.metrics.bootstrap import Estimate, bootstrap_moments, std_ratio
from acf_jax.metrics.measurements import Measurement, estimates, moments, select, without_interval
from acf_jax.report.context import Context, labels_of, split_facts
from acf_jax.report.quantities import is_crowded
from acf_jax.report.residuals import PREFIXES, references

TREES = next(iter(BASELINES))  # those with parallax, as the network has it
HIGH, LOW = "high-quality", "low-quality"


@dataclass(frozen=True)
class Method:
    """A network or trees, of one training sample, and the predictions."""

    name: str
    trained_on: str  # HIGH or LOW
    low: np.ndarray  # (n_low, n_targets), for the low-quality validation split
    high: np.ndarray | None  # (n_high, n_targets), for the high-quality one; None if trained on LOW

    @property
    def title(self) -> str:
        """Name and training sample in one."""
        return f"{self.name}, trained on the {self.trained_on} sample"


def crowding(self_dist1_arcsec: np.ndarray) -> dict[str, np.ndarray]:
    """Which stars (n,) are in each group, by the distance to the nearest other source; NaN if there is none."""
    crowded = is_crowded({"self_dist1": self_dist1_arcsec})
    return {"all": np.ones(len(crowded), bool), "isolated": ~crowded, "crowded": crowded}


def network_methods(context: Context, dataset: PreparedDataset) -> list[Method]:
    """The network in question as it is, then those trained on the low-quality sample."""
    as_it_is = context.prediction(None, "validation", dataset).mean
    methods = [Method(context.name, HIGH, as_it_is, context.prediction().mean)]
    # The samples' networks go by the same names, so each is asked in a context where it is the only one of its name.
    for name, trained in context.low_quality_networks.items():
        alone = dataclasses.replace(context, networks={name: trained})
        methods.append(Method(name, LOW, alone.prediction(None, "validation", dataset).mean, None))
    return methods


def tree_methods(context: Context, dataset: PreparedDataset) -> list[Method]:
    """Gradient boosting trained on either sample; none if the dataset does not say how to deredden."""
    coefficients = dataset.metadata.get("extinction_coefficients")
    if coefficients is None:
        return []
    low, high = context.stars("validation", dataset), context.stars("validation")
    both = {field: np.concatenate([low[field], high[field]]) for field in PHOTOMETRY_FIELDS}
    n_low, methods = len(low["psf_mag"]), []
    for trained_on, source in ((LOW, dataset), (HIGH, context.dataset)):
        predictions = _fitted(context, source, dataset, both, coefficients)
        for name in BASELINES:
            answer = predictions[name]
            methods.append(Method(name, trained_on, answer[:n_low], answer[n_low:] if trained_on == HIGH else None))
    return methods


def _fitted(context: Context, source: PreparedDataset, dataset: PreparedDataset, stars: Mapping, coefficients) -> dict:
    """Predictions (n, n_targets) of each baseline for `stars`, fitted to the training split of `source`."""
    options, targets = context.options, context.targets

    def compute() -> dict[str, np.ndarray]:
        baselines = PhotometricBaselines(source.bands, coefficients, options.seed, options.progress)
        return baselines.predict(context.stars("train", source), stars, targets)

    what = {
        "train": split_facts(source, "train"), "seed": options.seed, "targets": list(targets),
        "stars": [split_facts(dataset, "validation"), split_facts(context.dataset, "validation")],
    }  # fmt: skip
    return context.cached("low_quality_trees", what, compute)


def measure(context: Context, dataset: PreparedDataset, methods: Sequence[Method]) -> list[Measurement]:
    """Every method's moments by group of stars, what the sample costs it, and each network beside the trees.

    Args:
        context: the evaluation.
        dataset: the low-quality sample.
        methods: the network in question first.

    Returns:
        moments of both samples; as `std_difference` each method's standard deviation less that of its like on the
        high-quality sample; as `std_ratio` that of each network in units of the trees' of the same training sample.
    """
    groups = crowding(context.stars("validation", dataset)["self_dist1"])
    found = [m for method in methods for m in _moments(context, dataset, method, groups)]
    for method in methods:
        if method.high is not None:
            found += _high_quality_stds(context, method.title, method.high)
    return [*found, *_costs(methods, found), *_ratios(context, dataset, methods, groups)]


def _moments(
    context: Context, dataset: PreparedDataset, method: Method, groups: Mapping[str, np.ndarray]
) -> Iterator[Measurement]:
    stars = context.stars("validation", dataset)
    for reference, (group, chosen) in product(references(context), groups.items()):
        values = labels_of(stars, context.targets, PREFIXES[reference])[chosen]
        for i, target in enumerate(context.targets):
            yield from moments(
                method.low[chosen, i], values[:, i], context.resamples, method=method.title, target=target,
                reference=reference, sample=LOW, group=group,
            )  # fmt: skip


def _high_quality_stds(context: Context, method: str, answer: np.ndarray) -> Iterator[Measurement]:
    for reference in references(context):
        residual = _residual(context, context.dataset, answer, reference)
        for i, target in enumerate(context.targets):
            std = bootstrap_moments(residual[:, i], context.resamples, ("std",))["std"]
            yield Measurement(method, target, reference, "std", std, sample=HIGH)


def _costs(methods: Sequence[Method], found: Sequence[Measurement]) -> Iterator[Measurement]:
    """What the sample costs: a method's standard deviation less that of its like on the high-quality sample.

    Its like has the same name and is trained and tested on the high-quality sample; for a network of another name it is
    the one in question. The samples share no star, so the errors of the two add in quadrature.
    """
    trained_high = {m.name: m for m in methods if m.high is not None}
    for method in methods:
        like = trained_high.get(method.name, methods[0])
        for m in select(found, method=method.title, sample=LOW, group="all", quantity="std"):
            here = m.estimate
            there = estimates(found, "target", method=like.title, sample=HIGH, reference=m.reference)[m.target]
            error = float(np.hypot(here.error, there.error))
            cost = dataclasses.replace(without_interval(here.value - there.value, here.n), error=error)
            yield dataclasses.replace(m, quantity="std_difference", estimate=cost, against=like.title)


def _ratios(
    context: Context, dataset: PreparedDataset, methods: Sequence[Method], groups: Mapping[str, np.ndarray]
) -> Iterator[Measurement]:
    """Each network's standard deviation in units of the trees', on the same stars; none without trees."""
    trees = {method.trained_on: method for method in methods if method.name == TREES}
    networks = [method for method in methods if method.name not in BASELINES and method.trained_on in trees]
    for method, reference in product(networks, references(context)):
        rival = trees[method.trained_on]
        ours, theirs = (_residual(context, dataset, m.low, reference) for m in (method, rival))
        for (group, chosen), (i, target) in product(groups.items(), enumerate(context.targets)):
            ratio = _ratio(context, ours[chosen, i], theirs[chosen, i])
            yield Measurement(
                method.title, target, reference, "std_ratio", ratio, sample=LOW, group=group, against=rival.title
            )


def _residual(context: Context, dataset: PreparedDataset, answer: np.ndarray, reference: str) -> np.ndarray:
    """Of a validation split's stars, (n, n_targets)."""
    return answer - labels_of(context.stars("validation", dataset), context.targets, PREFIXES[reference])


def _ratio(context: Context, ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """The ratio of two standard deviations with its paired interval; NaN with fewer than two stars."""
    n = int(np.sum(np.isfinite(ours) & np.isfinite(theirs)))
    return without_interval(None, n) if n < 2 else std_ratio(ours, theirs, context.resamples)


def n_trained_on(context: Context, dataset: PreparedDataset) -> int:
    """How many of the stars to predict the network in question was trained on: none, if the samples are one sky's."""
    predicted = context.stars("validation", dataset)["object_id"]
    return int(np.isin(predicted, context.stars("train")["object_id"]).sum())
