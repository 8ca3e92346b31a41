"""The tables of the section on uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.labels import LABELS, number
from acf_jax.metrics.measurements import distinct, estimates, select
from acf_jax.metrics.uncertainty import LEVELS
from acf_jax.report.context import Context
from acf_jax.report.section import Table, percent
from acf_jax.report.sections.uncertainty.coverage_goal import BIN_TOLERANCE, MIN_STARS, JudgedBin, worst
from acf_jax.report.sections.uncertainty.findings import Findings
from acf_jax.report.words import NAMES, REFERENCES


def all_tables(context: Context, found: Findings) -> tuple[Table, ...]:
    """Measures about each reference, coverage in bins, the calibration's factors, uncertainty against label density."""
    measures = [_measures(context, found, reference) for reference in distinct(found.measurements, "reference")]
    calibration = [] if found.calibration is None else [_calibration(context, found.calibration)]
    return (*measures, _coverage(context, found), *calibration, _density(context, found))


def _measures(context: Context, found: Findings, reference: str) -> Table:
    rows = []
    about = select(found.measurements, reference=reference)
    for target, method in product(context.targets, distinct(about, "method")):
        measured, unit = estimates(about, "quantity", target=target, method=method), LABELS[target]
        m = {quantity: estimate.value for quantity, estimate in measured.items()}
        scores = (number(m["crps"], unit), _decimals(m["nll"]), number(m["sharpness"], unit), _decimals(m["ause"]))
        covered = (percent(m[level]) for level in LEVELS)
        rows.append((NAMES[target], method, *covered, *scores, f"{measured['crps'].n:,}"))
    return Table(
        f"Uncertainties of the {context.name} about {REFERENCES[reference]} ({context.sample()}). CRPS and sharpness "
        "in K for Teff, in dex for the others.",
        ("parameter", "uncertainty", "68.27 %", "90 %", "95 %", "CRPS", "NLL", "sharpness", "AUSE", "n"),
        tuple(rows),
        n_text=2,
    )


def _coverage(context: Context, found: Findings) -> Table:
    rows = [
        (
            NAMES[verdict.target], verdict.method, f"{100 * verdict.level:.4g} %", points(verdict.deviation),
            f"{len(verdict.beyond)} of {len(verdict.known_bins)}", f"{verdict.n_beyond_by_chance:.1f}",
            _worst(verdict.known_bins), _worst(verdict.label_bins),
        )
        for verdict in found.verdicts
    ]  # fmt: skip
    return Table(
        f"Coverage of the labels minus nominal coverage, in percentage points ({context.sample()}): overall, and in "
        f"bins of {MIN_STARS} stars or more in the predicted parameters, g, E(B-V) and parallax S/N; how many of these "
        f"bins are more than {100 * BIN_TOLERANCE:.0f} points off, how many exact intervals would put there, and the "
        "worst of them; the worst bin in the labels.",
        ("parameter", "uncertainty", "nominal", "overall", "bins off", "by chance", "worst bin",
         "worst bin in a label"),
        tuple(rows),
        n_text=2,
    )  # fmt: skip


def _calibration(context: Context, calibration: ErrorCalibration) -> Table:
    rows = []
    for target, fitted in zip(calibration.targets, calibration.parameters, strict=True):
        noise = "-" if fitted.noise_factor is None else f"{fitted.noise_factor:.2f}"
        root = number(float(np.sqrt(fitted.variance)), LABELS[target])
        shape = "-" if fitted.shape is None else _range(fitted.shape)
        rows.append((NAMES[target], f"{fitted.mc_factor:.2f}", noise, root, shape, f"{fitted.n_stars:,}"))
    return Table(
        f"Variance scaling of the {context.name}: sigma^2 = (a mc^2 + b noise^2 + c) exp(s), the root of c in K for "
        "Teff and in dex for the others, and the range over the predicted parameters of exp(s / 2), each parameter's "
        f"part multiplied; fitted to the stars counted last, and applied to others ({context.sample()}).",
        ("parameter", "a", "b", "root of c", "exp(s / 2)", "stars"),
        tuple(rows),
    )


def _density(context: Context, found: Findings) -> Table:
    rows = [
        (
            NAMES[target], str(each.n_train.size), _decimals(each.rho), _decimals(each.p_value, 3),
            *(number(std, LABELS[target]) for std in each.std_at_ends),
        )
        for target, each in found.density.items()
    ]  # fmt: skip
    return Table(
        "Uncertainty where labels are few: Spearman's rho between the number of training stars in a bin of the label "
        f"and the median MC standard deviation there ({context.sample()}), its one-sided p, and that median in the "
        "bins of fewest and of most training stars (K for Teff, dex for the others).",
        ("parameter", "bins", "rho", "p", "std where fewest", "std where most"),
        tuple(rows),
    )


def points(deviation: float) -> str:
    """A difference of coverages in percentage points; a dash for none."""
    return "-" if np.isnan(deviation) else f"{100 * deviation:+.1f}"


def _worst(bins: Sequence[JudgedBin]) -> str:
    found = worst(bins)
    return "-" if found is None else f"{points(found.deviation)} ({found.where}, {found.bin.n:,} stars)"


def _range(shape: Sequence[Sequence[float]]) -> str:
    least, most = (np.exp(sum(extreme(part) for part in shape) / 2) for extreme in (min, max))
    return f"{least:.2f} to {most:.2f}"


def _decimals(value: float, decimals: int = 2) -> str:
    return "-" if np.isnan(value) else f"{value:z.{decimals}f}"
