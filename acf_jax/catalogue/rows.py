"""Facts and predictions of stars -> rows of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from acf_jax.catalogue.columns import Rows, columns
from acf_jax.inference.prediction import Prediction

Z_95 = 1.959963984540054
"""Half the width of a Gaussian's 95 % interval in standard deviations."""


def make_rows(
    facts: Mapping[str, np.ndarray], prediction: Prediction, domain_distance: np.ndarray, reasons: Sequence[str]
) -> dict[str, np.ndarray]:
    """The catalogue's columns except `flags`, of n stars.

    Args:
        facts: from `StarFacts.take`.
        prediction: of the n stars, NaN for those without a result.
        domain_distance: (n,), NaN where unknown.
        reasons: (n,) why a star has no result, empty for those that have one.

    Returns:
        Columns by name, each (n,); `flags` is 0.
    """
    glon, glat = galactic(facts["ra"], facts["dec"])
    rows = {
        "object_id": facts["object_id"],
        "smss_j": designations(facts["ra"], facts["dec"]),
        "source_id": facts["source_id"],
        "raj2000": facts["ra"],
        "dej2000": facts["dec"],
        "glon": glon,
        "glat": glat,
        "parallax": facts["parallax"],
        "parallax_error": facts["parallax_error"],
        **parameters(prediction),
        "domain_distance": domain_distance,
        "reason": np.array(reasons, object),
        "input_row": facts["input_row"],
        "own_parallax": facts["own_parallax"],
        "flags": np.zeros(len(reasons), np.int32),
    }
    return as_described(rows, prediction.targets)


def parameters(prediction: Prediction) -> dict[str, np.ndarray]:
    """Values, errors and intervals of a prediction by the names of their columns.

    Calibrated errors and conformal intervals where the network has them; otherwise the Monte Carlo standard deviation
    and a Gaussian's intervals.
    """
    mc, calibrated = np.asarray(prediction.std, np.float64), prediction.calibrated_std
    quoted = mc if calibrated is None else calibrated
    mean = np.asarray(prediction.mean, np.float64)
    if calibrated is None:
        ends = {68: (mean - mc, mean + mc), 95: (mean - Z_95 * mc, mean + Z_95 * mc)}
        calibrated = np.full_like(mc, np.nan)
    else:
        ends = {68: prediction.interval(0.6827), 95: prediction.interval(0.95)}
    found: dict[str, np.ndarray] = {}
    for i, target in enumerate(prediction.targets):
        found |= {target: mean[:, i], f"e_{target}": quoted[:, i], f"e_{target}_mc": mc[:, i]}
        found[f"e_{target}_cal"] = calibrated[:, i]
        for level, (lower, upper) in ends.items():
            found |= {f"{target}_lo{level}": lower[:, i], f"{target}_hi{level}": upper[:, i]}
    return found


def as_described(rows: Rows, targets: Sequence[str]) -> dict[str, np.ndarray]:
    """The same rows with the types of their columns."""
    described = columns(targets, has_input_row=True)
    return {c.name: np.asarray(rows[c.name], object if c.dtype == "str" else c.dtype) for c in described}


def galactic(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ICRS positions (n,) in degrees -> Galactic longitude in [0, 360) and latitude, in degrees."""
    from astropy.coordinates import SkyCoord

    position = SkyCoord(ra_deg, dec_deg, unit="deg").galactic
    return position.l.deg, position.b.deg


def designations(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """`SMSS Jhhmmss.ss+ddmmss.s` (n,) of ICRS positions, digits cut off as the IAU asks; empty without a position."""
    return np.array([_designation(*star) for star in zip(ra_deg.tolist(), dec_deg.tolist(), strict=True)], object)


def _designation(ra_deg: float, dec_deg: float) -> str:
    if not np.isfinite(ra_deg + dec_deg):
        return ""
    # The small number lets a value that is whole in decimal survive its way through binary.
    ra_cs = int(ra_deg * 24_000 + 1e-5) % 8_640_000  # hundredths of a second of time
    dec_ds = int(abs(dec_deg) * 36_000 + 1e-5)  # tenths of a second of arc
    ra = f"{ra_cs // 360_000:02d}{ra_cs // 6_000 % 60:02d}{ra_cs % 6_000 // 100:02d}.{ra_cs % 100:02d}"
    dec = f"{dec_ds // 36_000:02d}{dec_ds // 600 % 60:02d}{dec_ds % 600 // 10:02d}.{dec_ds % 10}"
    return f"SMSS J{ra}{'-' if dec_deg < 0 else '+'}{dec}"
