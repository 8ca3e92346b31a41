import gzip
import pickle
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.tables.local import TableError, read_table, with_units

FORMS = ("csv", "ecsv", "fits", "fits.gz", "vot", "parquet")
BIG = 4_611_686_018_427_387_905  # a float would make it ...904


def _table():
    table = Table(
        {
            "source_id": MaskedColumn(np.array([BIG, 2, 3]), mask=[False, False, True]),
            "ra": np.array([359.123456789012345, 2.0, 3.0]),
            "dec": np.array([1.0, -2.0, 3.0]),
            "teff": MaskedColumn(np.array([5000.0, 1.0, np.nan], np.float32), mask=[False, True, False]),
            "name": MaskedColumn(["a", "b", "c"], mask=[False, True, False]),
            "flag": np.array([1, 0, 2], np.int16),
        }
    )
    table["ra"].unit = table["dec"].unit = u.deg
    table["teff"].unit = u.K
    return table


def _write(table, path):
    formats = {".vot": "votable", ".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
    kind = {"format": formats[path.suffix]} if path.suffix in formats else {}
    table.write(path, **kind)
    return path


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_table(form, tmp_path):
    path = _write(_table(), tmp_path / f"stars.{form}")
    table = read_table(path, ("teff", "source_id", "ra"), optional=("name", "parallax"))
    assert table.colnames == ["teff", "source_id", "ra", "name"]
    assert table["source_id"].dtype == np.int64
    assert table["source_id"].tolist() == [BIG, 2, None]
    assert table["ra"].tolist() == _table()["ra"].tolist()
    assert table["teff"].tolist() == [5000.0, None, None]
    assert table["name"].tolist() == ["a", None, "c"]
    assert all(column.dtype.isnative for column in table.columns.values())
    if form != "csv":
        assert (table["ra"].unit, table["teff"].unit) == (u.deg, u.K)
    assert read_table(path).colnames == _table().colnames


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("form", FORMS)
def test_a_missing_column_is_named_with_those_there_closest_first(form, tmp_path):
    path = _write(_table(), tmp_path / f"stars.{form}")
    with pytest.raises(TableError, match=r"stars.* has no column TEFF; it has teff, .*source_id"):
        read_table(path, ("ra", "TEFF"))


@settings(max_examples=25, deadline=None)
@given(
    ids=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8),
    form=st.sampled_from(["csv", "parquet"]),
)
def test_ids_come_through_whole(ids, form, tmp_path_factory):
    path = tmp_path_factory.mktemp("ids") / f"t.{form}"
    if form == "csv":
        path.write_text("object_id,x\n" + "".join(f"{'' if i is None else i},1\n" for i in ids))
    else:
        pq.write_table(pa.table({"object_id": pa.array(ids, pa.int64())}), path)
    table = read_table(path, ("object_id",))
    assert table["object_id"].dtype == np.int64
    assert table["object_id"].tolist() == ids


def test_ids_that_a_float_has_rounded_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("source_id\n1\n4.611686018427388e+18\n")
    with pytest.raises(
        TableError, match=r"column source_id of .*t.csv holds 4.61.*e\+18 in row 1: a float has rounded"
    ):
        read_table(path)
    path.write_text("source_id\n18446744073709551615\n")
    with pytest.raises(TableError, match=r"holds .* in row 0"):
        read_table(path)
    path.write_text("gaia_dr3_id1\n1.0\nNaN\n")
    assert read_table(path)["gaia_dr3_id1"].tolist() == [1, None]
    pq.write_table(pa.table({"id": pa.array([1, 2**63], pa.uint64())}), tmp_path / "t.parquet")
    with pytest.raises(TableError, match="holds 9223372036854775808 in row 1: more than 64 bits"):
        read_table(tmp_path / "t.parquet")


def test_words_for_missing_values_in_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("object_id, teff ,empty\n1,NaN,\n2,null,\n3, 5000.5,\n")
    table = read_table(path, ("object_id", "teff", "empty"))
    assert table["teff"].tolist() == [None, None, 5000.5]
    assert table["empty"].tolist() == [None, None, None]


def test_ecsv_under_the_name_csv(tmp_path):
    _table().write(tmp_path / "t.csv", format="ascii.ecsv")
    assert read_table(tmp_path / "t.csv")["teff"].unit == u.K


def test_null_values_of_fits_integers_are_missing(tmp_path):
    column = fits.Column("dr3_source_id", "K", null=-99, array=np.array([BIG, -99]))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "t.fits")
    assert read_table(tmp_path / "t.fits")["dr3_source_id"].tolist() == [BIG, None]


def test_a_unit_astropy_does_not_know_is_no_obstacle(tmp_path):
    column = fits.Column("logg", "E", unit="log(cm.s**-2)", array=np.array([4.0]))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "t.fits")
    assert read_table(tmp_path / "t.fits")["logg"].tolist() == [4.0]


def test_parquet_of_other_writers(tmp_path):
    rows = {
        "id": pa.array([1, None], pa.int32()),
        "band": pa.array(["r", None]).dictionary_encode(),
        "good": pa.array([True, None]),
        "date": pa.array([0, None], pa.date32()),
    }
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert [table[name].tolist() for name in rows] == [[1, None], ["r", None], [True, None], ["1970-01-01", None]]
    assert table["id"].dtype == np.int64


def test_only_the_needed_columns_are_looked_at(tmp_path):
    pq.write_table(pa.table({"ra": [1.0], "list": [[1, 2]]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", ("ra",)).colnames == ["ra"]
    with pytest.raises(TableError, match=r"column list of .*t.parquet holds list.*, not one value a row"):
        read_table(tmp_path / "t.parquet")


def _damaged(form, data):
    if form in ("csv", "ecsv"):
        return data + b"1,2\n1,2,3,4,5,6,7,8,9\n"
    return data[: len(data) // 2]


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["empty", "cut", "html"])
def test_a_damaged_file_is_one_sentence(form, damage, tmp_path):
    path = _write(_table(), tmp_path / f"stars.{form}")
    if form.startswith("fits"):  # longer than the blocks in which FITS is written
        path = _write(Table({"ra": np.arange(5000.0)}), tmp_path / f"long.{form}")
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": _damaged(form, whole), "html": b'<html>a "busy\n server</html>'}[damage])
    with pytest.raises(TableError) as error:
        read_table(path, ("ra",))
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_unknown_form_and_images(tmp_path):
    with pytest.raises(TableError, match=r"there is no file .*none\.csv"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TableError, match=r"stars\.xlsx has none of the suffixes of known table forms \(\.csv, "):
        read_table(tmp_path / "stars.xlsx")
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    with pytest.raises(TableError, match="holds no table: only images"):
        read_table(tmp_path / "image.fits")


def test_a_votable_that_refers_elsewhere_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(struct.pack(">d", 42.0))
    path = tmp_path / "t.vot"
    path.write_text(
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        '<FIELD name="ra" datatype="double"/><DATA><BINARY>'
        f'<STREAM href="{(tmp_path / "secret").as_uri()}"/></BINARY></DATA></TABLE></RESOURCE></VOTABLE>'
    )
    with pytest.raises(TableError, match="refers to data kept elsewhere"):
        read_table(path)


class _Trap:
    def __reduce__(self):
        return print, ("executed",)


def test_nothing_is_unpickled(tmp_path, capsys):
    for name in ("t.fits", "t.parquet", "t.vot", "t.csv", "t.ecsv"):
        (tmp_path / name).write_bytes(pickle.dumps(_Trap()))
        with pytest.raises(TableError):
            read_table(tmp_path / name)
    (tmp_path / "t.ecsv").write_text(
        "# %ECSV 1.0\n# ---\n# datatype: [{name: ra, datatype: float64}]\n"
        "# meta: !!python/object/apply:builtins.print [executed]\n# schema: astropy-2.0\nra\n1.0\n"
    )
    with pytest.raises(TableError):
        read_table(tmp_path / "t.ecsv")
    assert capsys.readouterr().out == ""


def test_gzip_that_ends_early(tmp_path):
    path = tmp_path / "t.fits.gz"
    Table({"ra": np.random.default_rng(0).normal(size=9000)}).write(tmp_path / "t.fits")
    path.write_bytes(gzip.compress((tmp_path / "t.fits").read_bytes())[:-1000])
    with pytest.raises(TableError, match=r"t\.fits\.gz holds no table: only images, or it ends early"):
        read_table(path)


def test_units_of_a_survey():
    table = Table({"ra": [np.pi] * u.rad, "teff": np.array([5000.0]), "logg": [4.0] * u.mag, "n": [1]})
    with_units(table, {"ra": u.deg, "teff": u.K, "logg": u.dex, "n": None})
    np.testing.assert_allclose(table["ra"], 180.0)
    assert [table[name].unit for name in table.colnames] == [u.deg, u.K, u.dex, None]
