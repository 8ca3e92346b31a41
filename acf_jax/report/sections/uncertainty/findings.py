"""All that the section on uncertainty tells, before it is put in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.metrics.uncertainty import UncertaintyMetrics, inside
from acf_jax.report.context import Context, labels_of
from acf_jax.report.sections.uncertainty.coverage_goal import GOAL_LEVELS, Verdict, judge, known_and_label_quantities
from acf_jax.report.sections.uncertainty.label_density import LabelDensity, label_density
from acf_jax.report.sections.uncertainty.methods import CONFORMAL, SCALED, Method, measure, methods

REFERENCES = {"label": "", "truth": "true_"}
"""What coverage is counted about, and how its fields begin."""


@dataclass(frozen=True)
class Findings:
    """Numbers of every method, parameter and reference."""

    methods: Sequence[Method]
    metrics: Mapping[str, Mapping[str, Mapping[str, UncertaintyMetrics]]]  # by reference, target, method
    verdicts: Mapping[str, Mapping[str, Mapping[str, Verdict]]]  # by method, target, level; about the labels
    density: Mapping[str, LabelDensity]  # by target; of the paper's uncertainty
    calibration: ErrorCalibration | None

    def to_dict(self) -> dict:
        """As JSON types."""
        return {
            "results": _to_dicts(self.metrics),
            "goal": _to_dicts(self.verdicts),
            "label_density": _to_dicts(self.density),
            "error_calibration": None if self.calibration is None else self.calibration.to_dict(),
        }


def find(context: Context, calibration: ErrorCalibration | None) -> Findings:
    """Measure the uncertainties of the network in question on the validation split."""
    stars, targets, prediction = context.stars(), context.targets, context.prediction()
    compared = methods(prediction, calibration)
    references = {
        name: labels_of(stars, targets, prefix) for name, prefix in REFERENCES.items() if not prefix or context.is_mock
    }
    metrics = {
        reference: {
            target: {method.name: measure(method, prediction.mean, values, i) for method in compared}
            for i, target in enumerate(targets)
        }
        for reference, values in references.items()
    }
    train = context.stars("train")
    density = {
        target: label_density(target, train[target], stars[target], prediction.std[:, i])
        for i, target in enumerate(targets)
    }
    return Findings(compared, metrics, _judge_all(context, compared, calibration), density, calibration)


def _judge_all(context: Context, compared: Sequence[Method], calibration: ErrorCalibration | None) -> dict:
    """Verdicts by method, target and level."""
    labels = labels_of(context.stars(), context.targets)
    known, in_labels = known_and_label_quantities(context, context.prediction().mean)

    def verdict(method: Method, level: float, i: int) -> Verdict:
        lower, upper = (bound[:, i] for bound in method.interval(level))
        n_fitted = calibration.parameters[i].n_stars if method.name in (SCALED, CONFORMAL) else None
        return judge(inside(lower, upper, labels[:, i]), level, known, in_labels, n_fitted)

    return {
        method.name: {
            target: {name: verdict(method, level, i) for name, level in GOAL_LEVELS.items()}
            for i, target in enumerate(context.targets)
        }
        for method in compared
    }


def _to_dicts(values):
    return {name: _to_dicts(value) for name, value in values.items()} if isinstance(values, dict) else values.to_dict()
