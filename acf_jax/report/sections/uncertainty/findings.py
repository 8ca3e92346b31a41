"""All that the section on uncertainty tells, before it is put in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.metrics.measurements import Measurement, from_metrics, to_dicts
from acf_jax.metrics.uncertainty import inside
from acf_jax.report.context import Context, labels_of
from acf_jax.report.residuals import PREFIXES, references
from acf_jax.report.sections.uncertainty.coverage_goal import GOAL_LEVELS, Verdict, judge, known_and_label_quantities
from acf_jax.report.sections.uncertainty.label_density import LabelDensity, label_density
from acf_jax.report.sections.uncertainty.methods import CONFORMAL, SCALED, Method, measure, methods


@dataclass(frozen=True)
class Findings:
    """Numbers of every method, parameter and reference."""

    methods: Sequence[Method]
    measurements: Sequence[Measurement]  # of every method, parameter and reference
    verdicts: Sequence[Verdict]  # by method, parameter and level; about the labels
    density: Mapping[str, LabelDensity]  # by target; of the paper's uncertainty
    calibration: ErrorCalibration | None

    def to_dict(self) -> dict:
        """As JSON types."""
        return {
            "measurements": to_dicts(self.measurements),
            "goal": [verdict.to_dict() for verdict in self.verdicts],
            "label_density": [{"target": target} | each.to_dict() for target, each in self.density.items()],
            "error_calibration": None if self.calibration is None else self.calibration.to_dict(),
        }


def find(context: Context, calibration: ErrorCalibration | None) -> Findings:
    """Measure the uncertainties of the network in question on the validation split."""
    stars, targets, prediction = context.stars(), context.targets, context.prediction()
    compared = methods(prediction, calibration)
    found: list[Measurement] = []
    for reference, (i, target), method in product(references(context), enumerate(targets), compared):
        values = labels_of(stars, targets, PREFIXES[reference])
        metrics = measure(method, prediction.mean, values, i)
        found += from_metrics(metrics, method=method.name, target=target, reference=reference)
    train = context.stars("train")
    density = {
        target: label_density(target, train[target], stars[target], prediction.std[:, i])
        for i, target in enumerate(targets)
    }
    return Findings(compared, found, _judge_all(context, compared, calibration), density, calibration)


def _judge_all(context: Context, compared: Sequence[Method], calibration: ErrorCalibration | None) -> list[Verdict]:
    """Every method's intervals of every target at every level of the goal."""
    labels = labels_of(context.stars(), context.targets)
    known, in_labels = known_and_label_quantities(context, context.prediction().mean)

    verdicts = []
    for method, (i, target), level in product(compared, enumerate(context.targets), GOAL_LEVELS.values()):
        lower, upper = (bound[:, i] for bound in method.interval(level))
        n_fitted = calibration.parameters[i].n_stars if calibration and method.name in (SCALED, CONFORMAL) else None
        verdict = judge(inside(lower, upper, labels[:, i]), level, known, in_labels, n_fitted)
        verdicts.append(replace(verdict, method=method.name, target=target))
    return verdicts
