import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from datasets.archives.apogee import UNITS, read_apogee
from datasets.tables.local import TableError


def _all_star(path, n=6, leave_out=(), n_fparam=20):
    """A file as the survey writes it: upper-case columns, arrays per star, further tables behind."""
    row = np.arange(n)
    floats = ("SNR", "TEFF_ERR", "LOGG", "LOGG_ERR", "FE_H", "FE_H_ERR")
    columns = [
        fits.Column("APOGEE_ID", "18A", array=np.array([f"2M{i:016d}" for i in row])),
        fits.Column("FPARAM", f"{n_fparam}E", array=np.ones((n, n_fparam), np.float32)),
        *(fits.Column(name, "D", array=100.0 + row) for name in ("RA", "DEC")),
        fits.Column("TEFF", "E", array=np.array([5000, 4000, 3999, np.nan, 5000, 5000] + (n - 6) * [5500])),
        *(fits.Column(name, "E", array=np.where(row == 2, -9999.0, 1.0 * row)) for name in floats),
        fits.Column("STARFLAG", "K", array=np.where(row == 4, 2**40, 0)),
        fits.Column("ASPCAPFLAG", "K", array=0 * row),
        fits.Column("FE_H_FLAG", "J", array=np.where(row == 5, 256, 0)),
        fits.Column("GAIAEDR3_SOURCE_ID", "K", array=np.where(row == 1, 0, 4_611_686_018_427_387_905 + row)),
    ]
    table = fits.BinTableHDU.from_columns([column for column in columns if column.name not in leave_out])
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(np.zeros(3))]).writeto(path)
    return path


def test_columns_units_and_missing_values(tmp_path):
    table = read_apogee(_all_star(tmp_path / "allStar.fits"))
    assert set(table.colnames) == set(UNITS)
    assert table["GAIAEDR3_SOURCE_ID"].dtype == np.int64
    assert table["GAIAEDR3_SOURCE_ID"].tolist()[:3] == [4_611_686_018_427_387_905, None, 4_611_686_018_427_387_907]
    assert table["FE_H"].tolist()[:4] == [0.0, 1.0, None, 3.0]
    assert table["TEFF"].tolist()[3] is None
    assert (table["RA"].unit, table["TEFF"].unit, table["LOGG"].unit) == (u.deg, u.K, u.dex)
    assert table["APOGEE_ID"][0] == "2M0000000000000000"


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(TableError, match=r"has no column FE_H_FLAG; it has .*APOGEE_ID"):
        read_apogee(_all_star(tmp_path / "allStar.fits", leave_out=("FE_H_FLAG",)))


def test_only_the_needed_columns_are_held_in_memory(tmp_path):
    path = _all_star(tmp_path / "allStar.fits", n=4000, n_fparam=2000)
    read_apogee(path)  # imports take memory of their own
    tracemalloc.start()
    table = read_apogee(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table) == 4000
    # 32 MB of arrays per star against some 150 bytes a star of what is needed.
    assert path.stat().st_size > 32e6
    assert peak < 5e6
