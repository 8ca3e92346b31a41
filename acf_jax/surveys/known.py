"""The surveys that parameters are compared with: their columns, the cuts on them, and what the paper found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from acf_jax.errors import ACFError
from acf_jax.labels import LABELS

MIN_TEFF_K, MAX_TEFF_K = 4000.0, 8000.0
"""What the paper's network was trained on. It prints the lower limit for APOGEE, and none for LAMOST (Sec. 5.3)."""


class SurveyError(ACFError):
    """A survey's table cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Cut:
    """One condition on a survey's entries; a missing value, NaN, must fail it."""

    description: str
    column: str  # one of our names, or the survey's own
    keep: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Survey:
    """A survey, and what the paper says of it; it prints a few standard deviations (K, dex), the others are drawn."""

    name: str
    columns: Mapping[str, str]  # our names -> the survey's
    cuts: tuple[Cut, ...] = ()
    paper_figure: int | None = None
    paper_n: int | None = None
    paper_std: Mapping[str, float] = field(default_factory=dict)


ERRORS = tuple(f"e_{label}" for label in LABELS)
NAMES = ("source_id", "ra", "dec", *LABELS, *ERRORS)
"""Our names of a survey's columns. `source_id` is Gaia EDR3's, which is DR3's; positions are ICRS in degrees, log g is
in dex of cm/s2. Quoted errors may be wanting, and either the ids or the positions."""

_OURS = {name: name for name in NAMES}

SURVEYS = {
    "apogee": Survey(
        "APOGEE DR17",
        {
            **{"source_id": "GAIAEDR3_SOURCE_ID", "ra": "RA", "dec": "DEC", "teff": "TEFF", "logg": "LOGG"},
            **{"fe_h": "FE_H", "e_teff": "TEFF_ERR", "e_logg": "LOGG_ERR", "e_fe_h": "FE_H_ERR"},
        },
        (
            Cut("STARFLAG = 0", "STARFLAG", lambda flag: flag == 0),
            Cut("FE_H_FLAG = 0", "FE_H_FLAG", lambda flag: flag == 0),
            Cut(f"TEFF >= {MIN_TEFF_K:g} K", "teff", lambda teff: teff >= MIN_TEFF_K),
        ),
        paper_figure=11,
        paper_n=39_550,
        paper_std={"logg": 0.13},
    ),
    "lamost": Survey(
        "LAMOST LSP3",
        _OURS,  # it circulates under several names
        (
            Cut(
                f"Teff within {MIN_TEFF_K:g} to {MAX_TEFF_K:g} K",
                "teff",
                lambda teff: (teff >= MIN_TEFF_K) & (teff <= MAX_TEFF_K),
            ),
        ),
        paper_figure=12,
        paper_n=65_319,
        paper_std={"teff": 177.73, "fe_h": 0.22},
    ),
    "galah": Survey(
        "GALAH+ DR3",
        _OURS | {"source_id": "dr3_source_id", "ra": "ra_dr2", "dec": "dec_dr2"},
        (
            Cut("flag_sp = 0", "flag_sp", lambda flag: flag == 0),
            Cut("flag_fe_h = 0", "flag_fe_h", lambda flag: flag == 0),
            Cut("snr_c3_iraf > 30", "snr_c3_iraf", lambda snr: snr > 30),
        ),
    ),
}
"""By the name given on the command line; GALAH's cuts are those of the training labels (Sec. 2)."""


def survey_named(key: str, table_name: str = "") -> Survey:
    """One of `SURVEYS`, or for the key `table` a user's own table: in our names, without cuts.

    Raises:
        SurveyError: if there is no such survey.
    """
    if key == "table":
        return Survey(table_name, _OURS)
    if key not in SURVEYS:
        raise SurveyError(f"there is no survey {key!r}: give one of {', '.join(SURVEYS)} or table.")
    return SURVEYS[key]


def columns_from(text: str) -> dict[str, str]:
    """A mapping of column names as it is typed, `ra=RAJ2000,dec=DEJ2000,teff=Teff,logg=log_g_,fe_h=__Fe_H_`.

    Raises:
        SurveyError: if a part is not `ours=theirs`, or ours is none of `NAMES`.
    """
    pairs = [[side.strip() for side in part.partition("=")] for part in text.split(",")]
    for ours, equals, theirs in pairs:
        if ours not in NAMES or not theirs:
            part = f"{ours}{equals}{theirs}"
            raise SurveyError(f"{part!r} names no column: write NAME=COLUMN with NAME one of {', '.join(NAMES)}.")
    return {ours: theirs for ours, _, theirs in pairs}
