"""Cut the two stellar tables of the mock sky out of the MIST files of two PyPI packages.

    pip download --no-deps lachesis-grids==0.0.9 astrolachesis==1.0.9
    pip install h5py
    python -m datasets.mock_sky.data.make_stellar_tables lachesis_grids-*.whl astrolachesis-*.whl --out DIR

Needed once, by whoever wants to check or change the tables; `PROVENANCE.md` tells what they are.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

ISOCHRONES_IN_WHEEL = "lachesis_grids/grids/mist_v2.5_vvcrit0.4.h5"
CORRECTIONS_IN_WHEEL = "lachesis/Datafiles/BC_tables/bc_tables.h5"

LOG_AGES = np.round(np.arange(8.7, 10.15, 0.1), 2)
PHASES = (0, 2, 3, 4)
"""Main sequence, subgiants and red giants, core helium burning, early asymptotic branch."""
ISOCHRONE_COLUMNS = ("initial_mass", "star_mass", "log_Teff", "log_g", "log_L", "phase")

TEFF_RANGE_K = (3500.0, 9000.0)
LOGG_RANGE = (-0.5, 5.5)
BANDS = {
    "SkyMapper": tuple(f"SkyMapper_{band}" for band in "uvgriz"),
    "UBVRIplus": ("Gaia_G_EDR3", "Gaia_BP_EDR3", "Gaia_RP_EDR3", "Bessell_V", "2MASS_J", "2MASS_Ks"),
}


def cut_isochrones(file: Any) -> dict[str, Any]:
    """The isochrones of the wanted ages and phases, a row per [Fe/H], age and EEP.

    In the file the ([Fe/H], age) blocks follow each other, `lengths` rows each; `offsets` is the EEP index of a
    block's first row.
    """
    columns, lengths, ages = list(file.attrs["columns"]), file["lengths"][:], file["age_values"][:]
    feh = np.repeat(np.repeat(file["feh_values"][:], len(ages)), lengths)
    log_age = np.repeat(np.tile(ages, file["feh_values"].shape[0]), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    eep = file["eep_values"][:][np.repeat(file["offsets"][:], lengths) + np.arange(len(starts)) - starts]
    values = file["values"][:]
    wanted = np.isin(np.round(log_age, 2), LOG_AGES) & np.isin(values[:, columns.index("phase")], PHASES)
    table = [feh, log_age, eep, *(values[:, columns.index(name)] for name in ISOCHRONE_COLUMNS)]
    rows = np.stack(table, axis=1)[wanted].astype(np.float32)
    return {
        "table": np.asfortranarray(rows),  # stored by columns, which compress better than rows
        "columns": np.array(["feh", "log_age", "eep", *ISOCHRONE_COLUMNS]),
    }


def cut_corrections(file: Any) -> dict[str, Any]:
    """Bolometric corrections without extinction, and A_x / A_V from their change up to A_V = 1 (R_V = 3.1)."""
    selected = []
    for system, bands in BANDS.items():
        names = [name.decode() for name in file[system]["band_names"][:]]
        data = file[system]["data"][:]  # ([Fe/H], row, column): Teff, log g, [Fe/H], A_V, R_V, bands
        selected.append(data[..., [5 + names.index(band) for band in bands]])
    corrections = np.concatenate(selected, axis=2)
    teff, logg, av = (data[0, :, column] for column in (0, 1, 3))
    wanted = (teff >= TEFF_RANGE_K[0]) & (teff <= TEFF_RANGE_K[1]) & (logg >= LOGG_RANGE[0]) & (logg <= LOGG_RANGE[1])
    axes = np.unique(teff[wanted]), np.unique(logg[wanted])
    shape = (len(corrections), len(axes[0]), len(axes[1]), corrections.shape[2])

    def grid_at(extinction: float) -> np.ndarray:
        rows = np.flatnonzero(wanted & (av == np.float32(extinction)))
        ordered = rows[np.lexsort((logg[rows], teff[rows]))]
        return np.moveaxis(corrections[:, ordered].reshape(shape), 0, 2)

    return {
        "teff": axes[0],
        "logg": axes[1],
        "feh": file["SkyMapper"]["feh_values"][:],
        "bands": np.array([band for bands in BANDS.values() for band in bands]),
        "bc_av0": np.ascontiguousarray(grid_at(0.0)),
        "ax_over_av": np.ascontiguousarray(grid_at(0.0) - grid_at(1.0)),
    }


def _open(wheel: Path, member: str) -> Any:
    import h5py

    with zipfile.ZipFile(wheel) as archive:
        return h5py.File(io.BytesIO(archive.read(member)), "r")


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("isochrones_wheel", type=Path)
    parser.add_argument("corrections_wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    with _open(args.isochrones_wheel, ISOCHRONES_IN_WHEEL) as file:
        np.savez_compressed(args.out / "mist_isochrones_compact.npz", **cut_isochrones(file))
    with _open(args.corrections_wheel, CORRECTIONS_IN_WHEEL) as file:
        np.savez_compressed(args.out / "mist_bc_skymapper_gaia_compact.npz", **cut_corrections(file))


if __name__ == "__main__":
    main()
