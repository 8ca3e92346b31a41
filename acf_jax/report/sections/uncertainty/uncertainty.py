"""How far the network's uncertainties can be trusted: as the paper gives them, and calibrated on held-out stars."""

from __future__ import annotations

from collections.abc import Mapping

from acf_jax.metrics.measurements import estimates, select
from acf_jax.report.context import Context
from acf_jax.report.section import Section, percent
from acf_jax.report.sections.uncertainty import figures, tables
from acf_jax.report.sections.uncertainty.coverage_goal import (
    BIN_TOLERANCE,
    MIN_STARS,
    OVERALL_TOLERANCE,
    Verdict,
    worst,
)
from acf_jax.report.sections.uncertainty.findings import Findings, find
from acf_jax.report.sections.uncertainty.label_density import LabelDensity
from acf_jax.report.sections.uncertainty.methods import CONFORMAL, MC, error_calibration
from acf_jax.report.words import NAMES

DEFINITIONS = (
    "Coverage is the fraction of stars whose central interval holds the reference. CRPS (continuous ranked "
    "probability score) and NLL (negative log-likelihood, nats) are the less the better; so is sharpness, among "
    "calibrated uncertainties: the root mean predicted variance. Conformal intervals are no distribution and have no "
    "CRPS and NLL; their sharpness is of the half-width at 68.27 %. AUSE is the area between the sparsification curve "
    "and the oracle's: 0 if the stars are in the order of their errors."
)
ABOUT_LABELS = (
    "Calibrated uncertainties are those of labels, whose noise they contain: about the truth they are too wide."
)
LABEL_BINS = (
    "Bins in the label itself are no part of the goal: a star's label is unknown when its interval is made, and "
    "regression towards the mean biases the predictions at both its ends."
)


def section(context: Context) -> Section:
    """Every kind of uncertainty, its coverage and scores, and whether the goal is met."""
    calibration, origin = error_calibration(context)
    found = find(context, calibration)
    return Section(
        key="uncertainty",
        title="How trustworthy the uncertainties are",
        text=(
            " ".join((_plain(found), *_goal(found))),
            _growth(found.density),
            " ".join((origin, *_left_out(found), *([ABOUT_LABELS] if context.is_mock and calibration else []))),
            f"{DEFINITIONS} {LABEL_BINS}",
        ),
        tables=tables.all_tables(context, found),
        figures=figures.save_all(context, found.methods),
        values={"sample": context.sample(), "network": context.name, **found.to_dict()},
    )


def _plain(found: Findings) -> str:
    """How the paper's uncertainty does."""
    covered = _monte_carlo(found, "coverage_68")
    each = ", ".join(f"{percent(value)} for {name}" for name, value in covered.items())
    return f"Monte Carlo dropout alone, the paper's uncertainty, covers of the labels, at a nominal 68.27 %: {each}."


def _goal(found: Findings) -> list[str]:
    """Whether the conformal intervals meet the goal, beside what chance would do; nothing without them."""
    verdicts = select(found.verdicts, method=CONFORMAL)
    if not verdicts:
        return []
    n_overall = sum(abs(v.deviation) <= OVERALL_TOLERANCE for v in verdicts)
    bins = [each for v in verdicts for each in v.known_bins]
    n_beyond, by_chance = sum(len(v.beyond) for v in verdicts), sum(v.n_beyond_by_chance for v in verdicts)
    met = "is met" if all(v.is_met for v in verdicts) else "is not met"
    return [
        f"The goal for conformal intervals, 68.27 and 90 % within {100 * OVERALL_TOLERANCE:.0f} percentage point "
        f"overall and within {100 * BIN_TOLERANCE:.0f} in every bin of {MIN_STARS} stars or more, {met}: {n_overall} "
        f"of {len(verdicts)} coverages are within it overall, where chance would leave "
        f"{sum(1 - v.overall_by_chance for v in verdicts):.1f} if the intervals were exact; {n_beyond} of {len(bins)} "
        f"bins are beyond it, where chance would put {by_chance:.1f}.",
        *_worst_bin(verdicts),
    ]


def _worst_bin(verdicts: list[Verdict]) -> list[str]:
    found = worst([each for v in verdicts for each in v.known_bins])
    if found is None:
        return [f"No bin holds {MIN_STARS} stars: the goal's bins ask for a larger validation split."]
    return [
        f"The worst bin: {percent(found.bin.coverage)} instead of {100 * found.level:.4g} % of {found.bin.n:,} stars "
        f"with {found.where}."
    ]


def _growth(density: Mapping[str, LabelDensity]) -> str:
    """Whether uncertainty grows where labels are few."""
    holds = [NAMES[target] for target, each in density.items() if each.holds]
    verdict = "in every parameter" if len(holds) == len(density) else f"in {', '.join(holds) or 'no parameter'}"
    each = "; ".join(f"{NAMES[target]} {_rho(found)}" for target, found in density.items())
    return (
        f"The MC uncertainty grows where labels are few, as the paper says, {verdict} (Spearman's rho between training "
        f"stars and median uncertainty in bins of the label, negative if so: {each})."
    )


def _rho(found: LabelDensity) -> str:
    return "unknown, with too few bins" if found.rho != found.rho else f"{found.rho:+.2f}, p = {found.p_value:.2g}"


def _left_out(found: Findings) -> list[str]:
    n_left_out = _monte_carlo(found, "n_left_out")
    some = ", ".join(f"{n:,.0f} for {name}" for name, n in n_left_out.items() if n)
    return [f"Left out for want of a label or a prediction: {some}."] if some else []


def _monte_carlo(found: Findings, quantity: str) -> dict[str, float]:
    """A quantity of the paper's uncertainty about the labels, by the parameter's name."""
    measured = estimates(found.measurements, "target", method=MC, reference="label", quantity=quantity)
    return {NAMES[target]: estimate.value for target, estimate in measured.items()}
