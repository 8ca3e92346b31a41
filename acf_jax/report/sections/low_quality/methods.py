"""Who answers for the low-quality sample, and how well: the numbers behind the paper's Table 2.

The paper trains the same network anew on that sample. Beside that one stands the network in question as it is, and
beside both gradient boosting on catalogue magnitudes, colours and parallax, trained on either sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acf_jax.baselines.gradient_boosting import BASELINES, PHOTOMETRY_FIELDS, photometric_baselines
from acf_jax.data.prepared import PreparedDataset
from acf_jax.metrics.bootstrap import Estimate, bootstrap_moments, std_ratio
from acf_jax.metrics.residuals import finite_or_none, residual_metrics
from acf_jax.report.context import Context, labels_of, of_split
from acf_jax.report.quantities import is_crowded

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
        train = context.stars("train", source)
        answers = photometric_baselines(
            train, stars, targets, source.bands, coefficients, seed=options.seed, progress=options.progress
        )
        return {name: np.stack([answer[target] for target in targets], axis=1) for name, answer in answers.items()}

    what = {
        "train": of_split(source, "train"), "seed": options.seed, "targets": list(targets),
        "stars": [of_split(dataset, "validation"), of_split(context.dataset, "validation")],
    }  # fmt: skip
    return context.cached("low_quality_trees", what, compute)


def references(context: Context) -> dict[str, str]:
    """What to compare with, and the prefix of its fields: the labels, and on the mock sky the truth."""
    return {"label": "", "truth": "true_"} if context.is_mock else {"label": ""}


def _residual(context: Context, dataset: PreparedDataset, answer: np.ndarray, prefix: str) -> np.ndarray:
    """Of a validation split's stars, (n, n_targets)."""
    return answer - labels_of(context.stars("validation", dataset), context.targets, prefix)


def _std(context: Context, residual: np.ndarray) -> Estimate:
    options = context.options
    return bootstrap_moments(residual, names=("std",), n_resamples=options.n_bootstrap, seed=options.seed)["std"]


def measured(context: Context, dataset: PreparedDataset, method: Method, groups: Mapping) -> dict:
    """Moments by reference, group and target; the standard deviation's error is the bootstrap's."""
    stars, results = context.stars("validation", dataset), {}
    for name, prefix in references(context).items():
        reference = labels_of(stars, context.targets, prefix)
        results[name] = {
            group: {
                target: residual_metrics(method.low[chosen, i], reference[chosen, i]).to_dict()
                | {"std_error": _std(context, (method.low - reference)[chosen, i]).to_dict()["error"]}
                for i, target in enumerate(context.targets)
            }
            for group, chosen in groups.items()
        }
    return results


def degradation(context: Context, dataset: PreparedDataset, method: Method, methods: Sequence[Method]) -> dict:
    """What the sample costs: a method's standard deviation less that of its like on the high-quality sample.

    Its like has the same name and is trained and tested on the high-quality sample; for a network of another name it is
    the one in question. The samples share no star, so the errors of the two add in quadrature.
    """
    trained_high = {m.name: m for m in methods if m.high is not None}
    like = trained_high.get(method.name, methods[0])
    costs = {}
    for name, prefix in references(context).items():
        low = _residual(context, dataset, method.low, prefix)
        high = _residual(context, context.dataset, like.high, prefix)
        costs[name] = {}
        for i, target in enumerate(context.targets):
            here, there = _std(context, low[:, i]), _std(context, high[:, i])
            cost = {"value": here.value - there.value, "error": float(np.hypot(here.error, there.error))}
            costs[name][target] = finite_or_none(cost | {"high_quality_std": there.value}) | {"like": like.title}
    return costs


def _ratio(context: Context, ours: np.ndarray, theirs: np.ndarray) -> dict:
    """The ratio of two standard deviations with its paired interval; None with fewer than two stars."""
    n = int(np.sum(np.isfinite(ours) & np.isfinite(theirs)))
    if n < 2:
        return dict.fromkeys(("value", "lower", "upper", "error")) | {"n": n}
    options = context.options
    return std_ratio(ours, theirs, n_resamples=options.n_bootstrap, seed=options.seed).to_dict()


def ratios(context: Context, dataset: PreparedDataset, methods: Sequence[Method], groups: Mapping) -> dict:
    """Each network's standard deviation in units of that of the trees of the same training sample, on the same stars.

    By network, reference, group and target, with the paired bootstrap's interval; empty without trees.
    """
    trees = {method.trained_on: method for method in methods if method.name == TREES}
    networks = [method for method in methods if method.name not in BASELINES and method.trained_on in trees]
    values: dict[str, dict] = {}
    for method in networks:
        values[method.title] = {}
        for name, prefix in references(context).items():
            ours, theirs = (
                _residual(context, dataset, m.low, prefix) for m in (method, trees[method.trained_on])
            )  # fmt: skip
            values[method.title][name] = {
                group: {
                    target: _ratio(context, ours[chosen, i], theirs[chosen, i])
                    for i, target in enumerate(context.targets)
                }
                for group, chosen in groups.items()
            }
    return values


def n_trained_on(context: Context, dataset: PreparedDataset) -> int:
    """How many of the stars to predict the network in question was trained on: none, if the samples are one sky's."""
    predicted = context.stars("validation", dataset)["object_id"]
    return int(np.isin(predicted, context.stars("train")["object_id"]).sum())
