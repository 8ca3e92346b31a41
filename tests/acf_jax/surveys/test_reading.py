"""Survey tables in every form: ids digit by digit, units as the file states them, what is missing, and refusals."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from acf_jax.surveys.known import ERRORS, SurveyError, columns_from
from acf_jax.surveys.reading import read_entries
from tests.real_data import REAL, needs_real_data

ID = 4_611_686_018_427_387_905  # a float64 rounds it


def table(**changes):
    columns = {
        "source_id": MaskedColumn([ID, ID + 1, 7], mask=[False, False, True]),
        "ra": np.array([10.0, 20, 30]) * u.deg,
        "dec": np.array([-1.0, 2, 3]) * u.deg,
        "teff": np.array([5000.0, -9999, np.nan]) * u.K,
        "logg": np.array([4.0, 2, -9999.99]),
        "fe_h": np.array([-0.5, np.inf, 0.25]),
        "e_teff": np.array([60.0, -1, 0]),
    }
    return Table({name: values for name, values in {**columns, **changes}.items() if values is not None})


def written(path, **changes):
    values = table(**changes)
    if path.suffix == ".parquet":
        ids = values["source_id"]
        columns = {name: values[name].data for name in values.colnames if name != "source_id"}
        pq.write_table(pa.table({"source_id": pa.array(ids.data.data, mask=ids.mask)} | columns), path)
    else:
        values.write(
            path, format={".vot": "votable", ".csv": "csv", ".fits": "fits", ".ecsv": "ascii.ecsv"}[path.suffix]
        )
    return path


@pytest.mark.parametrize("suffix", [".fits", ".csv", ".ecsv", ".vot", ".parquet"])
def test_every_form_says_the_same(suffix, tmp_path):
    entries = read_entries("table", written(tmp_path / f"own{suffix}"))
    read = entries.columns
    assert read["source_id"].tolist() == [ID, ID + 1, -1]
    np.testing.assert_array_equal(read["ra"], [10, 20, 30])
    np.testing.assert_array_equal(read["teff"], [5000, np.nan, np.nan])
    np.testing.assert_array_equal(read["logg"], [4, 2, np.nan])
    np.testing.assert_array_equal(read["fe_h"], [-0.5, np.nan, 0.25])
    np.testing.assert_array_equal(read["e_teff"], [60, np.nan, 0])
    assert np.isnan(read["e_logg"]).all()
    assert (entries.survey.name, entries.targets, entries.is_mock) == ("own", ("teff", "logg", "fe_h"), False)


@pytest.mark.parametrize("form", ["parquet", "parquet.votable"])
def test_nulls_and_units_that_astropy_writes_into_parquet(form, tmp_path):
    values = table(ra=np.radians([10.0, 20, 30]) * u.rad, e_teff=None)
    if form == "parquet":
        values["logg"] = MaskedColumn([4.0, 2, 1], mask=[False, False, True])
    else:
        values["source_id"] = [ID, ID + 1, -1]
    units = {name: {"unit": str(values[name].unit or "")} for name in values.colnames}
    values.write(tmp_path / "own.parquet", format=form, **({} if form == "parquet" else {"metadata": units}))
    read = read_entries("table", tmp_path / "own.parquet").columns
    assert read["source_id"].tolist() == [ID, ID + 1, -1]
    np.testing.assert_allclose(read["ra"], [10, 20, 30])
    np.testing.assert_array_equal(np.isnan(read["logg"]), [False, False, True])


def test_units_are_converted_or_known_to_be_ours(tmp_path):
    path = written(
        tmp_path / "own.ecsv",
        ra=[1.5] * u.hourangle, dec=[-np.pi / 6] * u.rad, teff=[5.5] * u.kK, e_teff=[0.1] * u.kK, source_id=[1],
        logg=u.Dex([4.4], u.dex(u.cm / u.s**2)), fe_h=[-0.2] * u.dex,
    )  # fmt: skip
    read = read_entries("table", path).columns
    found = [read[name][0] for name in ("ra", "dec", "teff", "e_teff", "logg", "fe_h")]
    np.testing.assert_allclose(found, [22.5, -30, 5500, 100, 4.4, -0.2])
    for name, unit in (("logg", "[cm/s2]"), ("logg", "log(cm.s**-2)"), ("logg", "LOG (CGS)"), ("fe_h", "[Sun]")):
        values = table()
        values[name].unit = u.Unit(unit, parse_strict="silent")
        values.write(tmp_path / "own.ecsv", format="ascii.ecsv", overwrite=True)
        assert np.isfinite(read_entries("table", tmp_path / "own.ecsv").columns[name][0])


@pytest.mark.parametrize(
    ("name", "unit"),
    [("logg", "cm/s2"), ("logg", "[m/s2]"), ("logg", "mag"), ("fe_h", "mag"), ("teff", "eV"), ("teff", "dex"),
     ("ra", "hours"), ("dec", "K"), ("e_logg", "%")],
)  # fmt: skip
def test_a_unit_that_says_something_else_is_refused(name, unit, tmp_path):
    values = table(e_logg=np.full(3, 0.1))
    values[name] = MaskedColumn(np.ma.getdata(values[name]), unit=u.Unit(unit, parse_strict="silent"))
    values.write(tmp_path / "own.ecsv", format="ascii.ecsv")
    with pytest.raises(SurveyError, match=rf"column {name} of .*own\.ecsv is in '.*', which is not known .*of {name}"):
        read_entries("table", tmp_path / "own.ecsv")


def apogee_file(path, n=6, leave_out=(), n_fparam=20):
    """An allStar as the survey writes it: upper-case columns, arrays per star, further tables behind."""
    row = np.arange(n)
    floats = ("TEFF_ERR", "LOGG", "LOGG_ERR", "FE_H", "FE_H_ERR")
    columns = [
        fits.Column("APOGEE_ID", "18A", array=np.array([f"2M{i:016d}" for i in row])),
        fits.Column("FPARAM", f"{n_fparam}E", array=np.ones((n, n_fparam), np.float32)),
        *(fits.Column(name, "D", array=10.0 + row) for name in ("RA", "DEC")),
        fits.Column("TEFF", "E", array=np.array([5000, 4000, 3999, np.nan, 5000, 5000] + (n - 6) * [5500])),
        *(fits.Column(name, "E", array=np.where(row == 2, -9999.0, 1.0 * row)) for name in floats),
        fits.Column("STARFLAG", "K", array=np.where(row == 4, 2**40, 0)),
        fits.Column("FE_H_FLAG", "J", array=np.where(row == 5, 256, 0)),
        fits.Column("GAIAEDR3_SOURCE_ID", "K", array=np.where(row == 1, 0, ID + row)),
    ]
    hdu = fits.BinTableHDU.from_columns([column for column in columns if column.name not in leave_out])
    fits.HDUList([fits.PrimaryHDU(), hdu, fits.ImageHDU(np.zeros(3))]).writeto(path)
    return path


def test_apogees_own_file_of_which_only_the_needed_columns_are_held_in_memory(tmp_path):
    path = apogee_file(tmp_path / "allStar.fits", n=4000, n_fparam=2000)
    entries = read_entries("apogee", path)  # imports take memory of their own
    assert entries.columns["source_id"].tolist()[:3] == [ID, -1, ID + 2]
    assert [len(entries), entries.columns["FE_H_FLAG"][5], entries.columns["fe_h"][3]] == [4000, 256, 3]
    assert np.isnan(entries.columns["fe_h"][2])
    tracemalloc.start()
    read_entries("apogee", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 32 MB of arrays per star against some 150 bytes a star of what is needed.
    assert path.stat().st_size > 32e6
    assert peak < 5e6


def test_refusals_are_sentences(tmp_path):
    own = tmp_path / "own.fits"
    without_flag = apogee_file(tmp_path / "a.fits", leave_out=["FE_H_FLAG"])
    without_two = apogee_file(tmp_path / "b.fits", leave_out=["FE_H", "RA"])
    cases = [
        ("apogee", without_flag, r"a\.fits has no column FE_H_FLAG; it has FE_H, .*APOGEE_ID.*GAIAEDR3_SOURCE_ID\.$"),
        ("apogee", without_two, "no column FE_H, RA; it .*, as in ra=RAJ"),
        ("table", written(tmp_path / "c.csv", source_id=None, ra=None, dec=None), "has no column ra, dec; it has"),
        ("table", written(tmp_path / "d.csv", dec=None), "has no column dec; it has"),
        ("table", written(tmp_path / "e.csv", teff=None, logg=None, fe_h=None), "has no column teff, logg, fe_h"),
        ("lamost", written(tmp_path / "f.csv", logg=None), "has no column logg; it has"),
        ("table", written(tmp_path / "g.csv", source_id=[1.0, 2, float(ID)]), "holds ids that a float has rounded"),
        ("table", written(tmp_path / "h.csv", source_id=["Gaia 1", "2", "3"]), "source_id of .* words, not Gaia's"),
        ("table", written(tmp_path / "i.csv", teff=["5000", "hot", "6000"]), "teff of .* holds words .*hot"),
        ("table", written(own, logg=np.ones((3, 2))), r"logg of .* holds \(2,\) values a row"),
        ("rave", own, "no survey 'rave': give one of apogee, lamost, galah or table"),
        ("lamost", tmp_path / "nothing.fits", r"there is no file .*nothing\.fits"),
        ("lamost", tmp_path / "lsp3.doc", "none of the suffixes of known tables"),
    ]  # fmt: skip
    (tmp_path / "bad.vot").write_text("<VOTABLE><STREAM href='http://example.org/'/></VOTABLE>")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    cases += [
        ("table", tmp_path / "bad.vot", "kept elsewhere"),
        ("table", tmp_path / "bad.parquet", "bad.parquet cannot be read as a table"),
        ("table", tmp_path / "image.fits", "holds no table"),
    ]
    for key, path, words in cases:
        with pytest.raises(SurveyError, match=words) as caught:
            read_entries(key, path)
        assert "\n" not in str(caught.value)


def test_a_file_with_other_column_names_is_read_when_they_are_said(tmp_path):
    path = tmp_path / "lsp3.fits"
    theirs = {"RAJ2000": [10.0, 20], "DEJ2000": [5.0, 5], "Teff": [5100.0, 5200], "log_g_": [4.0, 2]}
    Table({**theirs, "__Fe_H_": [0, -1.0], "E_TEFF": [9.0, 8]}).write(path)
    columns = columns_from("ra=RAJ2000, dec=DEJ2000,teff=Teff,logg=log_g_,fe_h=__Fe_H_")
    # An error that is not named with its label may be that of another column.
    assert np.isnan(read_entries("lamost", path, columns).columns["e_teff"]).all()
    columns["e_teff"] = "e_teff"
    read = read_entries("lamost", path, columns).columns
    assert (read["ra"].tolist(), read["fe_h"].tolist(), read["e_teff"].tolist()) == ([10, 20], [0, -1], [9, 8])
    with pytest.raises(SurveyError, match="has no column dex; it has"):
        read_entries("lamost", path, columns | {"e_logg": "dex"})  # asked for, so it must be there
    for text in ("ra", "ra=", "temperature=Teff", ""):
        with pytest.raises(SurveyError, match="names no column: write NAME=COLUMN with NAME one of source_id, ra, dec"):
            columns_from(text)


@pytest.mark.real
@needs_real_data
def test_real_tables():
    apogee = read_entries("apogee", REAL / "apogee/APOGEE-allStar-v603-Hipparcos.fits.gz").columns
    raw = fits.getdata(REAL / "apogee/APOGEE-allStar-v603-Hipparcos.fits.gz", 1)
    assert np.isfinite(apogee["teff"]).sum() == (raw["TEFF"] > -9000).sum() == 773
    assert not [name for name in ERRORS if (apogee[name] < 0).any()]
    galah = REAL / "galah/galah_dr3_allstar_m67_lite.csv"
    ids = [line.split(",")[2] for line in galah.read_text().splitlines()[1:]]
    read = read_entries("table", galah, {"source_id": "dr3_source_id"}).columns
    assert [str(i) for i in read["source_id"].tolist()] == ids
    with pytest.raises(SurveyError, match=r"has no column snr_c3_iraf; it has snr_c2_iraf"):
        read_entries("galah", galah)
    splus = read_entries(
        "table", REAL / "labels/SPLUS82_train.csv", {"teff": "TEFFA", "logg": "LOGG_ADOP", "fe_h": "FEH_ADOP"}
    )
    assert (len(splus), splus.columns["teff"][0], splus.columns["ra"][0]) == (5446, 5986, 353.08344)
