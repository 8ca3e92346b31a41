"""The catalogue's columns: the only place for their names, types, units and meaning (paper Table 3, and more).

In memory a missing value is NaN (floats), -1 (identifiers and counts) or an empty text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acf_jax.labels import LABELS

Rows = Mapping[str, np.ndarray]
"""Columns by name, each (n,)."""


@dataclass(frozen=True)
class Column:
    """One column of the catalogue."""

    name: str
    dtype: str  # NumPy's name of a number's type, or "str"
    unit: str  # as astropy writes it; empty for a pure number
    ucd: str  # UCD1+
    description: str
    decimals: int | None = None  # digits after the point in texts; None: not a float
    missing: str = ""  # why a value may be missing; empty: it never is

    @property
    def is_float(self) -> bool:
        """Whether a missing value is NaN."""
        return self.dtype.startswith("float")


_NO_RESULT = "no result: see reason"
_WORDS = {  # of a label: what it is, its UCD, digits after the point
    "teff": ("effective temperature", "phys.temperature.effective", 1),
    "logg": ("surface gravity, log10(cm / s2)", "phys.gravity", 3),
    "fe_h": ("metallicity [Fe/H]", "phys.abund.fe", 3),
}

_STAR = (
    Column("object_id", "int64", "", "meta.id;meta.main", "SkyMapper DR4 object_id", None, "not in SkyMapper DR4"),
    Column("smss_j", "str", "", "meta.id", "designation after the position, SMSS Jhhmmss.ss+ddmmss.s, truncated", None,
           "no position"),
    Column("source_id", "int64", "", "meta.id.cross", "Gaia EDR3 source_id", None, "no Gaia source"),
    Column("raj2000", "float64", "deg", "pos.eq.ra;meta.main", "right ascension, ICRS", 8, "no position"),
    Column("dej2000", "float64", "deg", "pos.eq.dec;meta.main", "declination, ICRS", 8, "no position"),
    Column("glon", "float64", "deg", "pos.galactic.lon", "Galactic longitude", 7, "no position"),
    Column("glat", "float64", "deg", "pos.galactic.lat", "Galactic latitude", 7, "no position"),
    Column("parallax", "float32", "mas", "pos.parallax.trig", "Gaia EDR3 parallax, or the user's own", 4,
           "no Gaia source, or no parallax of it"),
    Column("parallax_error", "float32", "mas", "stat.error;pos.parallax.trig", "its standard error", 4,
           "no Gaia source, or no parallax of it"),
)  # fmt: skip
_USER_TABLE = (
    Column("input_row", "int64", "", "meta.record", "row of the star in the table given, from 0"),
    Column("own_parallax", "int32", "", "meta.code", "1: the parallax is that of the table given; 0: Gaia's or none",
           None, "no stamp"),
)  # fmt: skip
_QUALITY = (
    Column("domain_distance", "float32", "", "stat.value",
           "distance from the training set in feature space; 1 at the threshold of the flag UNLIKE_TRAINING", 3,
           "no result, or a network without a training domain"),
    Column("flags", "int32", "", "meta.code.qual", "sum of the bits in the table of flags; 0: nothing to say"),
    Column("reason", "str", "", "meta.note", "why there is no result", None, "there is one"),
)  # fmt: skip


def columns(targets: Sequence[str], has_input_row: bool = False) -> tuple[Column, ...]:
    """The columns of a catalogue of these labels, in order; `has_input_row`: its stars are those of a user's table."""
    labels = [column for target in targets for column in _label_columns(target)]
    return (*(_USER_TABLE if has_input_row else ()), *_STAR, *labels, *_QUALITY)


def _label_columns(target: str) -> list[Column]:
    """Value, error, the error's parts, and the ends of two intervals."""
    words, ucd, decimals = _WORDS[target]
    unit, error = LABELS[target], f"stat.error;{ucd}"

    def column(name: str, ucd: str, description: str, missing: str = _NO_RESULT) -> Column:
        return Column(name, "float32", unit, ucd, description, decimals, missing)

    return [
        column(target, ucd, f"{words}: mean of the Monte Carlo dropout samples"),
        column(f"e_{target}", error, f"standard error of {target}: e_{target}_cal, or e_{target}_mc without that"),
        column(f"e_{target}_mc", error, f"standard deviation of the Monte Carlo samples of {target}"),
        column(
            f"e_{target}_cal",
            error,
            f"error of {target} calibrated on stars not trained on, label noise included",
            "no result, or a network whose errors were not calibrated",
        ),
        *(
            column(
                f"{target}_{side}{level}", f"{ucd};stat.{stat}", f"{which} end of the {level} % interval of {target}"
            )
            for level in (68, 95)
            for side, stat, which in (("lo", "min", "lower"), ("hi", "max", "upper"))
        ),
    ]
