"""The frame of a table's positions, as its file states it -> ICRS.

A FITS header states it with RADESYS and EQUINOX (FITS standard 4.0, section 8.3), a VOTable with COOSYS (VOTable 1.5,
section 3.1, and the names of 1.1), by reference from the columns or for the whole file; ECSV and astropy's Parquet keep
a FITS header's words. Where nothing is stated positions are ICRS, as Gaia's and SkyMapper's are.
"""

from __future__ import annotations

import re

import numpy as np
from astropy.table import Table

from datasets.tables.forms import TableError

_EQUATORIAL = ("icrs", "fk5", "fk4", "fk4noe")
_NAMES = {
    **{"icrs": "icrs", "fk5": "fk5", "eqfk5": "fk5", "fk4": "fk4", "eqfk4": "fk4", "fk4noe": "fk4noe"},
    **{"galactic": "galactic", "galacticii": "galactic", "supergalactic": "supergalactic"},
    **{"ecliptic": "ecliptic", "eclfk5": "ecliptic"},
}


def stated_frame(table: Table, names: tuple[str, str], by_name: str = "") -> tuple[str, str]:
    """The frame and equinox of the columns `names`, as `to_icrs` takes them; an empty equinox is the usual one.

    What the columns themselves refer to goes first, then `by_name`, the frame that the columns' names mean, if any,
    then what is stated for the whole file.

    Args:
        table: with what its reader found in `meta`.
        names: the columns of longitude and latitude.
        by_name: the frame that these names mean, if any.

    Returns:
        Frame and equinox.

    Raises:
        TableError: if the frame is not known, or several are stated.
    """
    systems, refs = table.meta.get("coosys", {}), table.meta.get("refs", {})
    referred = {systems[refs[name]] for name in names if name in refs}
    if referred:
        return _only([(system, equinox) for system, equinox, _ in referred], names)
    if by_name:
        return by_name, ""
    if systems:
        of_file = [(system, equinox) for system, equinox, _ in systems.values()]
        equatorial = [frame for frame in of_file if _NAMES.get(_plain(frame[0])) in _EQUATORIAL]
        return _only(equatorial or of_file, names)
    return _of_header(table.meta)


def stated_epoch_yr(table: Table, names: tuple[str, str]) -> float:
    """The epoch, in Julian years, that the coordinate system of the columns states, or NaN."""
    systems, refs = table.meta.get("coosys", {}), table.meta.get("refs", {})
    epochs = {systems[refs[name]][2] for name in names if name in refs}
    match = re.fullmatch(r"J?(\d{4}(?:\.\d*)?)", str(epochs.pop())) if len(epochs) == 1 else None
    return float(match[1]) if match else np.nan


def to_icrs(lon_deg: np.ndarray, lat_deg: np.ndarray, frame: str, equinox: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions in ICRS, in degrees; NaN where a coordinate is.

    Args:
        lon_deg: (n,) longitudes or right ascensions.
        lat_deg: (n,) latitudes or declinations.
        frame: as a file names it.
        equinox: as a file writes it; empty for the usual one of the frame.

    Returns:
        (n,) right ascensions and (n,) declinations.

    Raises:
        TableError: if the frame or the equinox is not known.
    """
    system = _NAMES.get(_plain(frame))
    if system is None:
        raise TableError(
            f"the table states its positions in the frame {frame!r}, which is none of ICRS, FK5, FK4, galactic, "
            "supergalactic and ecliptic: convert them to ICRS"
        )
    if system == "icrs":
        return lon_deg, lat_deg
    from astropy import units as u
    from astropy.coordinates import SkyCoord  # half a second that most tables need not spend

    known = np.isfinite(lon_deg) & np.isfinite(lat_deg)
    there = SkyCoord(lon_deg[known] * u.deg, lat_deg[known] * u.deg, frame=_astropy_frame(system, equinox)).icrs
    ra_deg, dec_deg = np.full((2, len(lon_deg)), np.nan)
    ra_deg[known], dec_deg[known] = there.ra.deg, there.dec.deg
    return ra_deg, dec_deg


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _only(frames: list[tuple[str, str]], names: tuple[str, str]) -> tuple[str, str]:
    frames = list(dict.fromkeys((str(system), "" if equinox is None else str(equinox)) for system, equinox in frames))
    if len(frames) > 1:
        told = " and ".join(" ".join(frame).strip() for frame in frames)
        raise TableError(f"the table states several frames for {names[0]} and {names[1]} ({told}): keep the right one")
    return frames[0]


def _of_header(meta) -> tuple[str, str]:
    """RADESYS and EQUINOX; the one without the other as the FITS standard has it."""
    equinox = meta.get("EQUINOX", "")
    if "RADESYS" in meta:
        return str(meta["RADESYS"]), str(equinox)
    if equinox == "":
        return "ICRS", ""
    return ("FK4" if _year(str(equinox)) < 1984 else "FK5"), str(equinox)


def _year(equinox: str) -> float:
    match = re.fullmatch(r"[JB]?(\d{4}(?:\.\d*)?)", equinox.strip())
    if match is None:
        raise TableError(f"the table states the equinox {equinox!r}, which is no year such as 2000.0: mend its header")
    return float(match[1])


def _astropy_frame(system: str, equinox: str):
    from astropy import coordinates
    from astropy.time import Time

    if system in ("galactic", "supergalactic"):
        return {"galactic": coordinates.Galactic(), "supergalactic": coordinates.Supergalactic()}[system]
    besselian = system.startswith("fk4")
    year = _year(equinox) if equinox else (1950.0 if besselian else 2000.0)
    is_besselian = equinox.strip().startswith("B") or (besselian and not equinox.strip().startswith("J"))
    at = Time(year, format="byear" if is_besselian else "jyear")
    frames = {"fk5": coordinates.FK5, "fk4": coordinates.FK4, "fk4noe": coordinates.FK4NoETerms}
    return frames.get(system, coordinates.BarycentricMeanEcliptic)(equinox=at)
