"""Columns of positions in a user's table, in whatever unit, frame and notation the file states -> ICRS degrees."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from astropy.table import Column, Table

from datasets.tables.cells import Cells, floats, sexagesimal
from datasets.tables.forms import TableError, listed
from datasets.tables.frames import stated_frame, to_icrs

_EQUATORIAL = (
    *(("ra_deg", "dec_deg"), ("radeg", "dedeg"), ("ra", "dec"), ("raj2000", "dej2000"), ("raj2000", "decj2000")),
    *(("ra_icrs", "de_icrs"), ("ra_icrs", "dec_icrs"), ("ra_dr2", "dec_dr2"), ("_raj2000", "_dej2000")),
    *(("ra_j2000", "dec_j2000"), ("right_ascension", "declination"), ("ra_img", "decl_img")),
)
_GALACTIC = (("glon", "glat"), ("l", "b"), ("gal_lon", "gal_lat"), ("_glon", "_glat"))


def position_columns(names: Iterable[str]) -> tuple[str, str] | None:
    """The columns among `names` that `positions` takes, equatorial ones before Galactic ones, or None."""
    lower = {name.lower(): name for name in reversed(list(names))}
    for pair in (*_EQUATORIAL, *_GALACTIC):
        if all(name in lower for name in pair):
            return lower[pair[0]], lower[pair[1]]
    return None


def needed_position_columns(what: object, names: list[str]) -> tuple[str, str]:
    """The same.

    Raises:
        TableError: if there are none.
    """
    found = position_columns(names)
    if found is None:
        raise TableError(f"{what} has no columns ra and dec (in degrees); it has {listed('ra', names)}")
    return found


def positions(table: Table, must_be: bool = True) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """The ICRS positions of a table's rows, both in degrees and float64, and why a row has none.

    The columns are the first pair there of ra_deg and dec_deg, ra and dec, raj2000 and dej2000, ra_dr2 and dec_dr2, and
    others alike, or else glon and glat, or l and b, in capitals or not. A column with a unit is converted from it.
    Without one it is taken for degrees, unless every right ascension is below 24: hours cannot be told from degrees
    then, and nothing is guessed. A column named ra_deg states its unit. Texts such as 12:34:56.7 and -45 10 11 are
    understood where no cell of the column is a plain number, right ascensions among them as hours. Then positions go
    from the frame that the file states (`datasets.tables.frames`) to ICRS. A row whose position is missing, not a
    number or off the sky is NaN in both.

    Raises:
        TableError: if there are no such columns, they may be in hours, or the frame is not known; and, unless
            `must_be` is false, if no row has a position on the sky. The message names the column and the row, counted
            from 0.
    """
    names = needed_position_columns("the table", table.colnames)
    is_galactic = tuple(name.lower() for name in names) in _GALACTIC
    (lon_deg, bad_lon), is_written_out = _degrees(table[names[0]], is_right_ascension=not is_galactic)
    (lat_deg, bad_lat), _ = _degrees(table[names[1]], is_right_ascension=False)
    if must_be:
        for name, values, bad in ((names[0], lon_deg, bad_lon), (names[1], lat_deg, bad_lat)):
            _refuse_nothing(name, values, bad)
    lowest = -180 if is_galactic else 0  # some write Galactic longitudes from -180 to 180
    on_sky = (lon_deg >= lowest) & (lon_deg <= 360) & (np.abs(lat_deg) <= 90)
    faults = _off_sky(names, lon_deg, lat_deg, ~on_sky)
    faults |= {row: f"{names[1]} is not a number ('{text}')" for row, text in bad_lat.items()}
    faults |= {row: f"{names[0]} is not a number ('{text}')" for row, text in bad_lon.items()}
    if must_be and len(table) and not on_sky.any():
        raise TableError(
            f"no row of columns {names[0]} and {names[1]} is a position within {lowest} to 360 and -90 to 90 deg; the "
            f"first is ({lon_deg[0]:g}, {lat_deg[0]:g})"
        )
    lon_deg, lat_deg = (np.where(on_sky, values, np.nan) for values in (lon_deg, lat_deg))
    if not is_galactic and not is_written_out:
        _refuse_hours(table[names[0]], lon_deg)
    frame, equinox = stated_frame(table, names, "galactic" if is_galactic else "")
    return *to_icrs(lon_deg, lat_deg, frame, equinox), faults


def _refuse_nothing(name: str, values: np.ndarray, bad: dict[int, str]) -> None:
    if bad and np.isnan(values).all():
        row, text = next(iter(bad.items()))
        raise TableError(f"column {name} is {text} in row {row}: not a number; write it in degrees")


def _off_sky(names: tuple[str, str], lon_deg: np.ndarray, lat_deg: np.ndarray, off: np.ndarray) -> dict[int, str]:
    return {
        row: "the table has no position for it"
        if np.isnan([lon_deg[row], lat_deg[row]]).any()
        else f"its position is off the sky ({names[0]} {lon_deg[row]:g}, {names[1]} {lat_deg[row]:g} deg)"
        for row in np.flatnonzero(off).tolist()
    }


def _refuse_hours(column: Column, ra_deg: np.ndarray) -> None:
    unstated = column.unit is None and not column.name.lower().endswith("deg")
    if unstated and np.isfinite(ra_deg).any() and np.nanmax(ra_deg) < 24:
        row = int(np.nanargmax(ra_deg))
        raise TableError(
            f"column {column.name} has no unit and nothing above {ra_deg[row]:g} (row {row}): these may be hours; if "
            "they are degrees give the column the unit deg or the name ra_deg (and dec_deg), if hours multiply them by "
            "15"
        )


def _degrees(column: Column, is_right_ascension: bool) -> tuple[Cells, bool]:
    """The column in degrees, and whether it is written in sexagesimal."""
    values, bad = floats(column)
    written = sexagesimal(column) if bad and np.isnan(values).all() else None
    if written is not None:
        hours = is_right_ascension and str(column.unit).lower() not in ("deg", "degrees")
        return Cells(written.values * (15.0 if hours else 1.0), written.bad), True
    return Cells(in_unit(column, values, "deg"), bad), False


def in_unit(column: Column, values: np.ndarray, unit: str) -> np.ndarray:
    """`values` in `unit`, from the column's unit if it has one.

    Args:
        column: whose unit counts.
        values: (n,) its values as numbers.
        unit: the one wanted, in astropy's spelling.

    Returns:
        (n,) in this unit.

    Raises:
        TableError: if the column's unit is of another kind.
    """
    from astropy import units as u

    stated = str(column.unit or "").strip().lower()
    if stated in ("", unit) or (unit == "deg" and stated in ("degrees", "degree")):
        return values
    try:
        return (values * u.Unit(column.unit)).to_value(u.Unit(unit))
    except (u.UnitConversionError, ValueError, TypeError):
        kind = "that of an angle" if unit in ("deg", "mas") else "one that converts to it"
        raise TableError(f"column {column.name} has the unit {column.unit}, not {kind}: give {unit}") from None
