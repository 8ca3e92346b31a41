"""E(B-V) of the user's own dust map, in place of the archive's `ebmv_sfd`.

The extinction coefficients of `datasets.skymapper` are for the raw scale of Schlegel, Finkbeiner & Davis
(1998), with the recalibration of Schlafly & Finkbeiner (2011) inside them. So a map on that scale is taken as it is,
and a map of true E(B-V) is divided by the recalibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.errors import DataError

RECALIBRATION = 0.86
"""True E(B-V) over raw SFD E(B-V) (Schlafly & Finkbeiner 2011, ApJ 737, 103)."""


@dataclass(frozen=True)
class DustMap:
    """A map of the library `dustmaps`, which needs no distances, and how it becomes raw SFD."""

    module: str
    query: str
    fetch: str
    files: tuple[str, ...]  # below the folder of maps, as the library lays them out
    to_sfd: float
    why: str


MAPS = {
    "sfd": DustMap(
        module="dustmaps.sfd",
        query="SFDQuery",
        fetch="fetch()",
        files=("sfd/SFD_dust_4096_ngp.fits", "sfd/SFD_dust_4096_sgp.fits"),
        to_sfd=1.0,
        why="the very map of ebmv_sfd (Schlegel et al. 1998)",
    ),
    "csfd": DustMap(
        module="dustmaps.csfd",
        query="CSFDQuery",
        fetch="fetch()",
        files=("csfd/csfd_ebv.fits", "csfd/mask.fits"),
        to_sfd=1.0,
        why="SFD less the galaxies in it, on SFD's scale (Chiang 2023)",
    ),
    "planck_gnilc": DustMap(
        module="dustmaps.planck",
        query="PlanckGNILCQuery",
        fetch="fetch(which='GNILC')",
        files=("planck/COM_CompMap_Dust-GNILC-Model-Opacity_2048_R2.01.fits",),
        to_sfd=1 / RECALIBRATION,
        why="1.49e4 mag times the optical depth at 353 GHz, a true E(B-V) from quasars' colours (Planck 2013 XI)",
    ),
}
"""The maps that can be asked for: whole sky, two dimensions, of known scale."""


class DustMapError(DataError):
    """The dust map cannot be had; the message says what to install or fetch."""


def user_ebv(
    map_name: str, ra_deg: np.ndarray, dec_deg: np.ndarray, map_folder: str | Path | None = None
) -> np.ndarray:
    """E(B-V) in mag on the raw SFD scale at ICRS positions (n,): (n,) float64, NaN where the map has no value.

    Args:
        map_name: one of `MAPS`.
        ra_deg: right ascensions; a missing one gives NaN.
        dec_deg: declinations.
        map_folder: where the maps lie, each in its own folder as `dustmaps` stores them; by default the `data_dir`
            of that library's configuration.

    Returns:
        (n,) mag.

    Raises:
        DustMapError: if the map is not supported, the library is not installed, or the map's files are missing or
            damaged.
    """
    dust_map = _known(map_name)
    query = _query(map_name, dust_map, map_folder)
    from astropy import units as u
    from astropy.coordinates import SkyCoord  # 0.5 s that worker processes need not spend

    ra, dec = (np.ma.filled(np.ma.asarray(values, np.float64), np.nan) for values in (ra_deg, dec_deg))
    ebv = np.full(ra.shape, np.nan)
    known = np.isfinite(ra) & np.isfinite(dec)
    if known.any():
        ebv[known] = query(SkyCoord(ra[known] * u.deg, dec[known] * u.deg))
    return np.where(np.isfinite(ebv), ebv * dust_map.to_sfd, np.nan)


def _known(map_name: str) -> DustMap:
    if map_name not in MAPS:
        known = "; ".join(f"{name}: {dust_map.why}" for name, dust_map in MAPS.items())
        raise DustMapError(f"the dust map {map_name} is not supported; these are: {known}")
    return MAPS[map_name]


def _query(map_name: str, dust_map: DustMap, map_folder: str | Path | None):
    import importlib
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of a configuration file that nobody needs to have
            module = importlib.import_module(dust_map.module)
            from dustmaps.std_paths import data_dir
    except ImportError as error:
        message = f"the dust map {map_name} needs the library dustmaps ({error}): pip install dustmaps"
        raise DustMapError(message) from error
    folder = Path(data_dir() if map_folder is None else map_folder)
    files = [folder / file for file in dust_map.files]
    for file in files:
        if not file.is_file():
            raise DustMapError(f"the dust map {map_name} is not there ({file}): {_how_to_fetch(dust_map, folder)}")
    try:
        # The SFD query takes the folder, the others their files.
        where = [str(files[0].parent)] if map_name == "sfd" else [str(file) for file in files]
        return getattr(module, dust_map.query)(*where)
    except Exception as error:  # the library lets through whatever a damaged FITS file raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        message = (
            f"the dust map {map_name} in {files[0].parent} cannot be read ({reason}): delete it and fetch it again"
        )
        raise DustMapError(f"{message}; {_how_to_fetch(dust_map, folder)}") from error


def _how_to_fetch(dust_map: DustMap, folder: Path) -> str:
    code = f"from dustmaps.config import config; config['data_dir'] = '{folder}'; import {dust_map.module} as m; m."
    return f'fetch it with: python -c "{code}{dust_map.fetch}"'
