import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from datasets.archives.galah import UNITS, read_galah
from datasets.surveys.stars import best_spectra
from datasets.tables.local import TableError

IDS = np.array([131216001101015, 131216001101016, 140309001901194])
SOURCES = np.array([4_611_686_018_427_387_905, -99, 5_000_000_000_000_000_003])


def _catalogue(path, leave_out=()):
    """A file as the survey writes it: 64-bit ids with a null value, 32-bit floats with NaN, few units, more columns."""
    floats = ("teff", "e_teff", "logg", "e_logg", "fe_h", "e_fe_h", "snr_c3_iraf", "irfm_teff", "rv_galah")
    columns = [
        fits.Column("sobject_id", "K", array=IDS),
        fits.Column("star_id", "16A", array=np.array(["05320234-0115336", "", "05321100-0122000"])),
        fits.Column("dr3_source_id", "K", null=-99, array=SOURCES),
        *(fits.Column(name, "E", array=np.array([4.5, np.nan, 5.5])) for name in floats),
        *(fits.Column(name, "J", array=np.array([0, 1, 0])) for name in ("flag_sp", "flag_fe_h", "flag_guess")),
        *(fits.Column(name, "D", unit="deg", array=np.array([83.0, 83.1, 83.2])) for name in ("ra_dr2", "dec_dr2")),
    ]
    columns = [column for column in columns if column.name not in leave_out]
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


def test_columns_units_and_missing_values(tmp_path):
    table = read_galah(_catalogue(tmp_path / "GALAH_DR3_main_allstar_v2.fits"))
    assert set(table.colnames) == set(UNITS)
    assert table["sobject_id"].tolist() == IDS.tolist()
    assert table["dr3_source_id"].dtype == np.int64
    assert table["dr3_source_id"].tolist() == [SOURCES[0], None, SOURCES[2]]
    assert table["star_id"].tolist() == ["05320234-0115336", None, "05321100-0122000"]
    assert table["teff"].tolist() == [4.5, None, 5.5]
    assert (table["teff"].unit, table["e_logg"].unit, table["fe_h"].unit, table["ra_dr2"].unit) == (
        u.K,
        u.dex,
        u.dex,
        u.deg,
    )
    assert table["flag_sp"].unit is None
    assert all(column.dtype.isnative for column in table.columns.values())


def test_the_rule_for_repeated_spectra_reads_it(tmp_path):
    table = read_galah(_catalogue(tmp_path / "galah.fits"))
    assert table["sobject_id"][best_spectra(table)].tolist() == [IDS[1], IDS[0], IDS[2]]


def test_a_missing_column_is_named(tmp_path):
    path = _catalogue(tmp_path / "galah.fits", leave_out=("flag_fe_h",))
    with pytest.raises(TableError, match=r"galah\.fits has no column flag_fe_h; it has .*flag_sp"):
        read_galah(path)


def test_the_same_table_in_another_form(tmp_path):
    read_galah(_catalogue(tmp_path / "galah.fits")).write(tmp_path / "galah.ecsv")
    again = read_galah(tmp_path / "galah.ecsv")
    assert again["dr3_source_id"].tolist() == [SOURCES[0], None, SOURCES[2]]
    assert isinstance(again, Table)
