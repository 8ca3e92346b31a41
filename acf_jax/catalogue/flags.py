"""The catalogue's flags: what to know of a star before its numbers are used. One bit each; none hides another."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import numpy as np

from acf_jax.calibration.training_domain import JoinedDomain, TrainingDomain

LOGG_LIMIT = 1.0  # paper Sec. 6: few giants this low were trained on
FE_H_LIMIT = -1.0  # paper Sec. 6: and few stars this poor in metals
PARALLAX_ERROR_LIMIT = 0.3  # of the parallax
NEIGHBOUR_ARCSEC = 15.0  # the paper's samples have no neighbour nearer (Sec. 2)
LATITUDE_DEG = 10.0  # the paper's samples keep this far from the plane (Sec. 2)
MIN_DETECTIONS = 2  # in a single one no outlier can be found
TRAINING_SPLIT = "train"
SEXTRACTOR_SATURATED = 4  # bit of dr4.master's flags, which are SExtractor's


class Flag(enum.IntFlag):
    """The bits of the column `flags`; `TABLE` says what each means."""

    NO_RESULT = enum.auto()
    LOW_GRAVITY = enum.auto()
    METAL_POOR = enum.auto()
    TEFF_OUTSIDE = enum.auto()
    PARALLAX_UNCERTAIN = enum.auto()
    NO_PARALLAX = enum.auto()
    CROWDED = enum.auto()
    SATURATED = enum.auto()
    FEW_DETECTIONS = enum.auto()
    LOW_LATITUDE = enum.auto()
    UNLIKE_TRAINING = enum.auto()
    LARGE_UNCERTAINTY = enum.auto()
    UNCALIBRATED = enum.auto()
    DUPLICATE = enum.auto()
    TRAINED_ON = enum.auto()


TABLE: tuple[tuple[Flag, str], ...] = (
    (Flag.NO_RESULT, "no atmospheric parameters; the column reason says why"),
    (Flag.LOW_GRAVITY, f"log g < {LOGG_LIMIT:g}, where training stars are few"),
    (Flag.METAL_POOR, f"[Fe/H] <= {FE_H_LIMIT:g}, where training stars are few"),
    (Flag.TEFF_OUTSIDE, "Teff outside the range of the training labels"),
    (
        Flag.PARALLAX_UNCERTAIN,
        f"parallax not positive, or its error above {PARALLAX_ERROR_LIMIT:.0%} of it, or unknown",
    ),
    (Flag.NO_PARALLAX, "predicted by a network that reads no parallax (ACPF)"),
    (Flag.CROWDED, f"another SkyMapper DR4 object within {NEIGHBOUR_ARCSEC:g} arcsec"),
    (Flag.SATURATED, "saturated pixels, by SExtractor's flag 4 in SkyMapper dr4.master"),
    (Flag.FEW_DETECTIONS, f"a band of the stamp averaged from fewer than {MIN_DETECTIONS} detections"),
    (Flag.LOW_LATITUDE, f"|b| < {LATITUDE_DEG:g} deg"),
    (Flag.UNLIKE_TRAINING, "input unlike the training set: domain_distance > 1"),
    (Flag.LARGE_UNCERTAINTY, "an error above the 99th percentile of the calibration stars'"),
    (Flag.UNCALIBRATED, "errors are bare standard deviations of the Monte Carlo samples, not calibrated"),
    (Flag.DUPLICATE, "object_id appears more than once in the input"),
    (Flag.TRAINED_ON, "the network was trained on this star: its error is larger than it seems"),
)
"""Each bit and its meaning, from the lowest bit on."""


def describe(flags: int) -> list[str]:
    """A line for each bit that is set: its name and meaning.

    Raises:
        ValueError: if a bit has no meaning.
    """
    unknown = int(flags) & ~sum(Flag)
    if flags < 0 or unknown:
        raise ValueError(
            f"flags = {flags} has bits that are not in the table of flags; its largest sum is {sum(Flag)}."
        )
    return [f"{flag.name}: {text}" for flag, text in TABLE if int(flags) & flag]


def compute(
    rows: Mapping[str, np.ndarray],
    facts: Mapping[str, np.ndarray],
    domain: TrainingDomain | JoinedDomain | None,
    targets: Sequence[str],
) -> np.ndarray:
    """The flags of n stars.

    A missing value sets no bit, except that a star without a result has `NO_RESULT`, besides the bits from its
    position, photometry and parallax.

    Args:
        rows: the catalogue's columns, each (n,), missing values as in `columns`: of each target its value, `e_` and
            `e_..._cal`; parallax, parallax_error, glat, domain_distance.
        facts: what the catalogue does not hold, each (n,): flags_master, and n_detections (n, bands), -1 where missing;
            self_dist1 in arcsec, NaN without a neighbour; network, "ACF", "ACPF" or ""; duplicate, bool. A fact that
            is known for no star may be left out.
        domain: what the network was trained on; without one, its three bits are never set.
        targets: labels in the catalogue.

    Returns:
        (n,) int32.
    """
    n_stars = len(rows["glat"])
    bits = {
        **_result_flags(rows, targets, n_stars),
        **_domain_flags(rows, domain, targets, n_stars),
        **_parallax_flags(rows),
        **_fact_flags(facts),
        Flag.LOW_LATITUDE: np.abs(rows["glat"]) < LATITUDE_DEG,
    }
    flags = np.zeros(n_stars, np.int32)
    for flag, is_set in bits.items():
        flags[is_set] |= flag.value
    return flags


def _result_flags(rows, targets, n_stars) -> dict[Flag, np.ndarray]:
    has_result = np.logical_and.reduce([np.isfinite(rows[target]) for target in targets])
    calibrated = np.logical_and.reduce([np.isfinite(rows[f"e_{target}_cal"]) for target in targets])
    never = np.full(n_stars, np.nan)
    return {
        Flag.NO_RESULT: ~has_result,
        Flag.LOW_GRAVITY: rows.get("logg", never) < LOGG_LIMIT,
        Flag.METAL_POOR: rows.get("fe_h", never) <= FE_H_LIMIT,
        Flag.UNCALIBRATED: has_result & ~calibrated,
    }


def _domain_flags(rows, domain, targets, n_stars) -> dict[Flag, np.ndarray]:
    if domain is None:
        return {}
    outside = np.zeros(n_stars, bool)
    if "teff" in targets:
        outside = (rows["teff"] < domain.label_min["teff"]) | (rows["teff"] > domain.label_max["teff"])
    large = [rows[f"e_{target}"] > domain.error_limits[target] for target in targets]
    return {
        Flag.TEFF_OUTSIDE: outside,
        Flag.UNLIKE_TRAINING: rows["domain_distance"] > 1,
        Flag.LARGE_UNCERTAINTY: np.logical_or.reduce(large),
    }


def _parallax_flags(rows) -> dict[Flag, np.ndarray]:
    parallax, error = (np.asarray(rows[name], np.float64) for name in ("parallax", "parallax_error"))
    good = (parallax > 0) & (error <= PARALLAX_ERROR_LIMIT * parallax)
    return {Flag.PARALLAX_UNCERTAIN: np.isfinite(parallax) & ~good}


def _fact_flags(facts) -> dict[Flag, np.ndarray]:
    tests = {
        "network": (Flag.NO_PARALLAX, lambda network: network == "ACPF"),
        "self_dist1": (Flag.CROWDED, lambda distance: distance < NEIGHBOUR_ARCSEC),
        # -1, a missing value, has all bits.
        "flags_master": (Flag.SATURATED, lambda flags: (flags >= 0) & (flags & SEXTRACTOR_SATURATED != 0)),
        "n_detections": (Flag.FEW_DETECTIONS, lambda n: ((n >= 0) & (n < MIN_DETECTIONS)).any(axis=-1)),
        "duplicate": (Flag.DUPLICATE, lambda duplicate: duplicate),
        "trained_on": (Flag.TRAINED_ON, lambda trained_on: trained_on),
    }
    return {flag: test(np.asarray(facts[name])) for name, (flag, test) in tests.items() if name in facts}
