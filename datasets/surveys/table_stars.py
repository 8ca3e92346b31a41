"""A user's table of stars: how each row's star is to be found, its own parallax, and why a row cannot be used.

One cell that makes no sense takes its own row with it at most, with a reason that names what is written there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from datasets.samples.selection import is_measured
from datasets.surveys.stars import rows_or_missing
from datasets.tables.cells import floats, integers
from datasets.tables.forms import TableError
from datasets.tables.frames import stated_epoch_yr
from datasets.tables.local import read_columns
from datasets.tables.positions import in_unit, needed_position_columns, position_columns, positions

RADIUS_ARCSEC = 1.0  # between a position and its star
_IDS = ("object_id", "source_id")
_UNITS = {"parallax": "mas", "parallax_error": "mas", "pmra": "mas / yr", "pmdec": "mas / yr", "ref_epoch": "yr"}


@dataclass(frozen=True)
class TableStars:
    """The rows of a table, all (n,): NaN, or -1 in identifiers, where one has none.

    A row is found by the first that it has of object_id (SkyMapper), source_id (Gaia) and position.
    """

    object_id: np.ndarray
    source_id: np.ndarray
    ra_deg: np.ndarray  # ICRS
    dec_deg: np.ndarray
    parallax: np.ndarray  # mas; only where its error is there, and positive
    parallax_error: np.ndarray
    pmra: np.ndarray  # mas / yr, cos(dec) inside; only where pmdec and the epoch are there
    pmdec: np.ndarray
    epoch_yr: np.ndarray  # of the position, Julian years
    faults: dict[int, str]  # row -> why it cannot be used

    def __len__(self) -> int:
        return len(self.object_id)

    def found_by(self, what: str) -> np.ndarray:
        """Whether a row is to be found by `object_id`, `source_id` or `position`, (n,) booleans."""
        by_object, by_source = self.object_id != -1, self.source_id != -1
        usable = np.ones(len(self), bool)
        usable[list(self.faults)] = False
        chosen = {
            "object_id": by_object,
            "source_id": ~by_object & by_source,
            "position": ~by_object & ~by_source & np.isfinite(self.ra_deg),
        }
        return usable & chosen[what]

    def with_own_columns(
        self, joined: dict[str, np.ndarray], found: np.ndarray, rows: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The stars found, and what the table itself has of each row: its position, parallax and number.

        Args:
            joined: columns of `one_row_per_star`.
            found: (n,) row of `joined` for each of `rows`, or -1.
            rows: (n,) rows of the table.

        Returns:
            Columns (n,), in the order of `rows`.
        """
        stars = {name: rows_or_missing(values, found) for name, values in joined.items()}
        stars["raj2000"] = np.where(found < 0, self.ra_deg[rows], stars["raj2000"])
        stars["dej2000"] = np.where(found < 0, self.dec_deg[rows], stars["dej2000"])
        own = np.isfinite(self.parallax[rows])
        stars["parallax"] = np.where(own, self.parallax[rows], stars["parallax"])
        stars["parallax_error"] = np.where(own, self.parallax_error[rows], stars["parallax_error"])
        return stars | {"input_row": rows, "own_parallax": own.astype(np.int32)}

    def why_not_found(self, row: int, sky: str, among: str = "") -> str:
        """Why a row has no star in a `sky`, `among` those of its stars that were looked at.

        Args:
            row: of the table.
            sky: whose stars they should be, in words.
            among: those looked at, in words.

        Returns:
            A sentence without its full stop.
        """
        if row in self.faults:
            return self.faults[row]
        for name in _IDS:
            if (given := getattr(self, name)[row]) != -1:
                return f"{sky} has no star of this {name} ({given})"
        position = f"{self.ra_deg[row]:.7f}, {self.dec_deg[row]:.7f} deg"
        return f"{sky} has no star within {RADIUS_ARCSEC:g} arcsec of this position ({position}){among}"


def read_table_stars(path: str | Path) -> TableStars:
    """Read a user's table, of which positions or ids must be there.

    Its columns are those of `datasets.tables.positions.positions`, object_id, source_id, parallax, parallax_error,
    pmra, pmdec and ref_epoch, in capitals or not.

    Parallaxes without a unit are mas. A parallax counts with a positive error only.

    Raises:
        TableError: if the file cannot be read, has no rows, neither positions nor ids, or a column of which no cell is
            what it should be.
    """
    path = Path(path)
    table = read_columns(path, lambda there: _chosen(path, list(there)), cells_as_text=True)
    if not len(table):
        raise TableError(f"{path} has no rows: there is no star in it")
    ids, id_faults = _ids(table, path)
    ra_deg, dec_deg, position_faults = _positions(table, has_ids=any((values != -1).any() for values in ids.values()))
    optional = {name: _optional(table, name, path) for name in _UNITS}
    _keep_whole(optional, ("parallax", "parallax_error"), optional["parallax_error"] > 0)
    names = position_columns(table.colnames)
    if names and "ref_epoch" not in _by_lower_case(table):
        optional["ref_epoch"][:] = stated_epoch_yr(table, names)
    _keep_whole(optional, ("pmra", "pmdec", "ref_epoch"), np.abs(optional["ref_epoch"] - 2000) < 200)
    unread = table.meta.get("unread_rows", {})
    is_unfindable = (ids["object_id"] == -1) & (ids["source_id"] == -1)
    faults = {row: text for row, text in position_faults.items() if is_unfindable[row]}
    return TableStars(
        **ids,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        **{name: optional[name] for name in ("parallax", "parallax_error", "pmra", "pmdec")},
        epoch_yr=optional["ref_epoch"],
        faults=faults | id_faults | unread,
    )


def _chosen(path: Path, there: list[str]) -> list[str]:
    lower = {name.lower(): name for name in reversed(there)}
    wanted = [lower[name] for name in (*_IDS, *_UNITS) if name in lower]
    if not any(name in lower for name in _IDS) or position_columns(there):
        wanted += needed_position_columns(path, there)
    return list(dict.fromkeys(wanted))


def _by_lower_case(table: Table) -> dict[str, str]:
    return {name.lower(): name for name in reversed(table.colnames)}


def _ids(table: Table, path: Path) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """object_id and source_id; a row without a usable object_id needs its source_id to make sense."""
    ids = {name: np.full(len(table), -1) for name in _IDS}
    faults: dict[int, str] = {}
    for name in reversed(_IDS):
        column = _by_lower_case(table).get(name)
        if column is None:
            continue
        try:
            ids[name], bad = integers(table[column])
        except ValueError as error:
            raise TableError(f"column {column} of {path} holds {error}; write the column as 64-bit integers") from None
        if bad and (ids[name] == -1).all():
            raise TableError(_nothing(column, path, bad, "an integer of 64 bits"))
        faults = {row: text for row, text in faults.items() if ids[name][row] == -1}
        faults |= {row: f"{column} is not an integer of 64 bits ('{text}')" for row, text in bad.items()}
    return ids, faults


def _nothing(column: str, path: Path, bad: dict[int, str], what: str) -> str:
    row, text = next(iter(bad.items()))
    return f"column {column} of {path} is {text} in row {row}, and nowhere {what}: mend it or leave it away"


def _positions(table: Table, has_ids: bool) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """As `datasets.tables.positions.positions`; without any if the table's ids are to do."""
    if position_columns(table.colnames) is None:
        nowhere = np.full(len(table), np.nan)
        return nowhere, nowhere, dict.fromkeys(range(len(table)), "the table has no id for it")
    return positions(table, must_be=not has_ids)


def _optional(table: Table, name: str, path: Path) -> np.ndarray:
    """A column of which any cell may be missing, and so may the column."""
    column = _by_lower_case(table).get(name)
    if column is None:
        return np.full(len(table), np.nan)
    values, bad = floats(table[column])
    if bad and np.isnan(values).all():
        raise TableError(_nothing(column, path, bad, "a number"))
    return in_unit(table[column], np.where(is_measured(values), values, np.nan), _UNITS[name])


def _keep_whole(values: dict[str, np.ndarray], names: Iterable[str], valid: np.ndarray) -> None:
    """Make all of `names` missing in a row in which one of them is, or which is not `valid`."""
    whole = np.logical_and.reduce([valid, *(np.isfinite(values[name]) for name in names)])
    values |= {name: np.where(whole, values[name], np.nan) for name in names}
