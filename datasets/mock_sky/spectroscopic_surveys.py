"""A mock APOGEE and a mock LAMOST: what two other spectroscopic surveys would say of the mock sky's stars.

Each has a noise, zero points, a selection and flags of its own, of the size that the surveys have among one another, so
that a comparison with them runs through the same code as one with the real tables, and its answer is known. The
fractions observed are generous: a demo's few stars are to be enough.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from scipy.special import expit, ndtri

from datasets.files import whole_file
from datasets.mock_sky.randomness import Draws
from datasets.skymapper import BANDS

LABELS = ("teff", "logg", "fe_h")
MOCK_KEYWORD = "MOCKSKY"
"""In the header of a table's FITS extension: these labels were made from the mock sky's truth."""

MISSING = -9999.0
"""How both surveys write what they do not have."""

POSITION_ERROR_ARCSEC = 0.1
FAILED = 4.0
"""A flagged spectrum's errors, in those of a good one."""

APOGEE_STARFLAGS = (2**2, 2**3, 2**4, 2**9)
"""Bright neighbour, very bright neighbour, low S/N, persistence."""
APOGEE_FE_H_FLAG = 2**8
_N_DRAWS = 12  # uniform numbers an entry


@dataclass(frozen=True)
class Precision:
    """What a survey's labels differ from the truth by: a zero point, and Gaussian noise."""

    zero_point: dict[str, float]  # K, dex, dex
    noise: dict[str, float]  # of a star of Teff <= 6000 K, [Fe/H] >= -1 and good S/N


PRECISION = {
    "apogee": Precision(
        zero_point={"teff": -30.0, "logg": 0.03, "fe_h": 0.02}, noise={"teff": 75.0, "logg": 0.085, "fe_h": 0.06}
    ),
    "lamost": Precision(
        zero_point={"teff": 40.0, "logg": -0.05, "fe_h": -0.04}, noise={"teff": 105.0, "logg": 0.19, "fe_h": 0.11}
    ),
}


def mock_table(survey: str, stars: Mapping[str, np.ndarray], seed: int) -> Table:
    """The survey's table of those of the mock stars that it observed, in the survey's own columns.

    An entry depends on (seed, survey, object_id, visit) and on nothing else: another selection of stars changes none.

    Args:
        survey: `apogee` or `lamost`.
        stars: fields (n,) of a prepared mock dataset: `object_id`, `source_id`, `ra`, `dec` (deg),
            `true_teff` (K), `true_logg`, `true_fe_h` (dex), and `psf_mag` (n, 6).
        seed: of all draws.

    Returns:
        An entry a row: APOGEE's in the columns of its allStar file, LAMOST's in ours, `teff` to `e_fe_h`.

    Raises:
        ValueError: if there is no such survey, or the stars have no truth.
    """
    if survey not in PRECISION:
        raise ValueError(f"there is no mock survey {survey!r}: give one of {', '.join(PRECISION)}")
    if "true_teff" not in stars:
        raise ValueError(f"the stars have no true_teff, of which a mock {survey} could be made: only a mock sky's have")
    entries = Table({name: stars[name] for name in ("object_id", "source_id", "ra", "dec")})
    for label in LABELS:
        entries[label] = np.asarray(stars[f"true_{label}"], np.float64)
    entries["r"] = np.asarray(stars["psf_mag"], np.float64)[:, BANDS.index("r")]
    return {"apogee": _apogee, "lamost": _lamost}[survey](entries, seed)


def write_mock_table(survey: str, stars: Mapping[str, np.ndarray], seed: int, path: str | Path) -> int:
    """Write `mock_table` as FITS, marked as mock in its header.

    Args:
        survey: as of `mock_table`.
        stars: as of `mock_table`.
        seed: as of `mock_table`.
        path: of the file, which is replaced if it is there.

    Returns:
        The number of entries.

    Raises:
        ValueError: as `mock_table`.
    """
    table = mock_table(survey, stars, seed)
    table.meta[MOCK_KEYWORD] = True
    written = io.BytesIO()  # astropy does not know the mode of a file that must be new
    table.write(written, format="fits")
    with whole_file(path) as file:
        file.write(written.getbuffer())
    return len(table)


def observed_fraction(survey: str, teff_k: np.ndarray, logg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """The chance (n,) that a star is in the survey.

    APOGEE, in the H band, prefers giants and red dwarfs, in both hemispheres; LAMOST, in the north, takes all above
    dec -10.

    Args:
        survey: `apogee` or `lamost`.
        teff_k: (n,) effective temperatures, K.
        logg: (n,) surface gravities, dex.
        dec_deg: (n,) declinations.

    Returns:
        (n,) from 0 to 1.
    """
    if survey == "lamost":
        return np.where(dec_deg > -10.0, 0.9, 0.0)
    giant = expit((3.7 - logg) / 0.15)
    red = expit((5900.0 - teff_k) / 250.0)
    return 0.02 + 0.58 * giant + 0.25 * (1 - giant) * red


def _apogee(entries: Table, seed: int) -> Table:
    first = _uniform("apogee", entries["object_id"], seed, visit=0)
    seen = first[:, 0] < observed_fraction("apogee", entries["teff"], entries["logg"], entries["dec"])
    twice = np.flatnonzero(seen & (first[:, 1] < 0.08))  # in two fields: two entries
    second = _uniform("apogee", entries["object_id"][twice], seed, visit=1)
    draws = np.concatenate([first[seen], second])
    stars = entries[np.concatenate([np.flatnonzero(seen), twice])]

    flagged, bad_fe_h = draws[:, 2] < 0.12, draws[:, 3] < 0.03
    snr = 300.0 * 10 ** (-0.2 * (stars["r"] - 11.0)) * np.exp(0.3 * ndtri(draws[:, 4]))
    labels = _labels("apogee", stars, draws, np.where(flagged, FAILED, 1.0) * np.hypot(1.0, 20.0 / snr))
    failed = draws[:, 11] < 0.01  # no parameters at all
    ra, dec = _positions(stars, draws)
    flag = np.asarray(APOGEE_STARFLAGS)[(draws[:, 10] * len(APOGEE_STARFLAGS)).astype(int)]
    table = Table(
        {
            "APOGEE_ID": [f"2M{i:016d}" for i in np.asarray(stars["object_id"]) % 10**16],
            **{"RA": ra, "DEC": dec, "SNR": snr.astype(np.float32)},
            **{"STARFLAG": np.where(flagged, flag, 0).astype(np.int64), "ASPCAPFLAG": np.zeros(len(stars), np.int64)},
            "FE_H_FLAG": np.where(bad_fe_h | failed, APOGEE_FE_H_FLAG, 0).astype(np.int32),
            "GAIAEDR3_SOURCE_ID": np.asarray(stars["source_id"], np.int64),
        }
    )
    for label, column in zip(LABELS, ("TEFF", "LOGG", "FE_H"), strict=True):
        lost = failed | bad_fe_h if label == "fe_h" else failed
        for name, values in ((column, labels[label]), (f"{column}_ERR", labels[f"e_{label}"])):
            table[name] = np.where(lost, MISSING, values).astype(np.float32)
    return table


def _lamost(entries: Table, seed: int) -> Table:
    draws = _uniform("lamost", entries["object_id"], seed, visit=0)
    seen = draws[:, 0] < observed_fraction("lamost", entries["teff"], entries["logg"], entries["dec"])
    stars, draws = entries[seen], draws[seen]
    snr = 80.0 * 10 ** (-0.2 * (stars["r"] - 12.0)) * np.exp(0.4 * ndtri(draws[:, 4]))
    labels = _labels("lamost", stars, draws, np.hypot(1.0, 20.0 / snr))
    failed = draws[:, 11] < 0.02
    ra, dec = _positions(stars, draws)
    values = {name: np.where(failed, MISSING, column).astype(np.float32) for name, column in labels.items()}
    return Table({"ra": ra, "dec": dec, **values, "snr_g": snr.astype(np.float32)})


def _labels(survey: str, stars: Table, draws: np.ndarray, factor: np.ndarray) -> dict[str, np.ndarray]:
    """Labels and the errors quoted of them, (n,): those of the noise, which a zero point is not part of."""
    precision = PRECISION[survey]
    hot = 1 + np.maximum(stars["teff"] - 6000.0, 0.0) / 2000.0
    poor = 1 + 0.5 * np.maximum(-1.0 - stars["fe_h"], 0.0)
    labels = {}
    for number, label in enumerate(LABELS):
        error = precision.noise[label] * factor * hot * (poor if label == "fe_h" else 1.0)
        noise = error * ndtri(draws[:, 5 + number])
        labels[label] = np.asarray(stars[label] + precision.zero_point[label] + noise)
        labels[f"e_{label}"] = np.asarray(error)
    return labels


def _positions(stars: Table, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offset = POSITION_ERROR_ARCSEC / 3600 * ndtri(draws[:, 8:10])
    dec = np.clip(stars["dec"] + offset[:, 1], -90.0, 90.0)
    return np.asarray((stars["ra"] + offset[:, 0] / np.cos(np.radians(stars["dec"]))) % 360.0), np.asarray(dec)


def _uniform(survey: str, object_id: np.ndarray, seed: int, visit: int) -> np.ndarray:
    """Numbers between 0 and 1 for each star, (n, _N_DRAWS)."""
    purpose = f"mock {survey}, visit {visit}"
    rows = [Draws(seed, purpose, int(star)).uniform(size=_N_DRAWS) for star in object_id]
    return np.array(rows).reshape(-1, _N_DRAWS)
