import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.surveys.table_stars import read_table_stars
from datasets.tables.local import TableError

BIG = 4_611_686_018_427_387_905  # a float would make it ...904


def _stars(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table_stars(path)


def test_ids_in_any_capitals_and_columns_that_are_not_asked_for(tmp_path):
    stars = _stars(tmp_path, f"name,RA,Dec,Object_ID,SOURCE_ID\na,100,-30,{BIG},\nb,200,-40,,{BIG}\nc,300,-50,-1,\n")
    assert stars.object_id.tolist() == [BIG, -1, -1]
    assert stars.source_id.tolist() == [-1, BIG, -1]
    assert [stars.found_by(what).tolist() for what in ("object_id", "source_id", "position")] == np.eye(3).tolist()
    assert not stars.faults


def test_ids_alone_are_enough(tmp_path):
    stars = _stars(tmp_path, "object_id\n5\nx\n")
    assert stars.object_id.tolist() == [5, -1]
    assert stars.faults == {1: "object_id is not an integer of 64 bits ('x')"}


def test_without_a_position_anywhere_ids_are_enough(tmp_path):
    stars = _stars(tmp_path, "ra,dec,object_id\n,,5\n,,\n")
    assert stars.found_by("object_id").tolist() == [True, False]
    assert stars.faults == {1: "the table has no position for it"}


GOOD = "123.5,-45.25,17,18,1.5,0.1"
JUNK = st.sampled_from(["abc", "12x", "n/a", "1_0", "1e400", "12:30:61", "\u00e9", "''", "9" * 25, "4.5e18x", "--"])


@settings(max_examples=60, deadline=None)
@given(row=st.integers(0, 4), column=st.integers(0, 5), junk=JUNK)
def test_one_bad_cell_takes_at_most_its_own_row(row, column, junk, tmp_path_factory):
    cells = [GOOD.split(",") for _ in range(5)]
    cells[row][column] = junk
    head = "ra,dec,object_id,source_id,parallax,parallax_error"
    stars = _stars(tmp_path_factory.mktemp("t"), "\n".join([head, *map(",".join, cells)]))
    others = np.delete(np.arange(5), row)
    assert len(stars) == 5
    assert stars.found_by("object_id")[others].all()
    assert not set(stars.faults) - {row}
    for name, expected in zip(("ra_deg", "dec_deg", "object_id", "source_id", "parallax", "parallax_error"),
                              map(float, GOOD.split(",")), strict=True):  # fmt: skip
        np.testing.assert_array_equal(getattr(stars, name)[others], expected)
    if column == 2 and junk not in ("n/a", "--"):
        assert stars.faults == {row: f"object_id is not an integer of 64 bits ('{junk}')"}
    elif column == 2:
        assert stars.found_by("source_id")[row]
    else:  # neither position nor source_id is needed beside an object_id
        assert stars.found_by("object_id")[row]
    if column > 3 and not junk.isdigit():
        assert np.isnan([stars.parallax[row], stars.parallax_error[row]]).all()


@settings(max_examples=40, deadline=None)
@given(cells=st.lists(st.none() | st.integers(-(2**63), 2**70) | st.just("12x"), min_size=1, max_size=8))
def test_ids_come_through_whole_beside_any_other_cell(cells, tmp_path_factory):
    text = "object_id,ra,dec\n" + "".join(f"{'' if c is None else c},100,-30\n" for c in cells)
    if not any(isinstance(c, int) and 0 <= c < 2**63 for c in cells):
        return
    stars = _stars(tmp_path_factory.mktemp("t"), text)
    fits = [isinstance(c, int) and 0 <= c < 2**63 for c in cells]
    assert stars.object_id.tolist() == [c if fit else -1 for c, fit in zip(cells, fits, strict=True)]
    wrong = {row for row, c in enumerate(cells) if c == "12x" or (isinstance(c, int) and not -(2**63) <= c < 2**63)}
    assert set(stars.faults) == wrong


def test_rows_of_other_lengths_stay_in_their_place(tmp_path):
    stars = _stars(tmp_path, "ra,dec,object_id\n100,-30,1\n200,-30\n300,-30,3\n1,2,3,4\n310,-30,5\n")
    assert stars.object_id.tolist() == [1, -1, 3, -1, 5]
    assert stars.ra_deg.tolist()[::2] == [100, 300, 310]
    assert stars.faults[1] == "the row has other cells than the header has names (2 of them)"
    assert sorted(stars.faults) == [1, 3]


def test_bytes_that_are_no_utf8_and_a_byte_order_mark(tmp_path):
    stars = _stars(tmp_path, b"\xef\xbb\xbfra,dec,name\n100,-30,caf\xe9\n\xe9,-30,b\n")
    assert stars.ra_deg[0] == 100
    assert list(stars.faults) == [1]


def test_other_forms_have_bad_rows_too(tmp_path):
    rows = {"ra": [100.0, 200.0, np.nan], "dec": [1.0, 2.0, 3.0], "object_id": pa.array([2**63, 7, None], pa.uint64())}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    stars = read_table_stars(tmp_path / "t.parquet")
    assert stars.object_id.tolist() == [-1, 7, -1]
    assert stars.faults == {
        0: "object_id is not an integer of 64 bits ('9223372036854775808')",
        2: "the table has no position for it",
    }
    pq.write_table(pa.table(rows | {"object_id": [1.5, 7.0, None]}), tmp_path / "t.parquet")
    assert read_table_stars(tmp_path / "t.parquet").faults[0] == "object_id is not an integer of 64 bits ('1.5')"
    pq.write_table(pa.table(rows | {"object_id": [1e18, 7.0, None]}), tmp_path / "t.parquet")
    with pytest.raises(TableError, match=r"column object_id of .* holds 1e\+18 in row 0: a float has rounded"):
        read_table_stars(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("unit", "factor"), [(None, 1), ("mas", 1), ("arcsec", 1e-3), ("uas", 1e3), ("deg", 1 / 3.6e6)]
)
def test_parallaxes_are_converted_from_their_unit(unit, factor, tmp_path):
    columns = {"ra": [100.0], "dec": [1.0], "parallax": [2.5 * factor], "parallax_error": [0.1 * factor]}
    units = {name: u.Unit(unit) for name in ("parallax", "parallax_error")} if unit else None
    Table(columns, units=units).write(tmp_path / "t.ecsv")
    stars = read_table_stars(tmp_path / "t.ecsv")
    np.testing.assert_allclose([stars.parallax[0], stars.parallax_error[0]], [2.5, 0.1])


def test_a_parallax_in_kelvin_is_refused(tmp_path):
    Table({"ra": [100.0], "dec": [1.0], "parallax": [1.0] * u.K}).write(tmp_path / "t.ecsv")
    with pytest.raises(TableError, match="column parallax has the unit K, not that of an angle: give mas"):
        read_table_stars(tmp_path / "t.ecsv")


@pytest.mark.parametrize("error", ["", "-0.1", "0", "nan", "inf"])
def test_a_parallax_without_a_positive_error_is_missing(error, tmp_path):
    stars = _stars(tmp_path, f"ra,dec,parallax,parallax_error\n100,1,2.5,{error}\n200,1,-2.5,0.1\n")
    np.testing.assert_array_equal(stars.parallax, [np.nan, -2.5])
    np.testing.assert_array_equal(stars.parallax_error, [np.nan, 0.1])


def test_proper_motions_need_both_and_an_epoch(tmp_path):
    head, rows = "ra,dec,pmra,pmdec", ("100,1,5,6", "200,1,5,", "300,1,,6")
    assert np.isnan(_stars(tmp_path, "\n".join([head, *rows])).pmra).all()
    stars = _stars(tmp_path, "\n".join([f"{head},ref_epoch", *(f"{row},2016.0" for row in rows), "310,1,5,6,57388"]))
    np.testing.assert_array_equal(stars.pmra, [5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(stars.epoch_yr, [2016, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ra,dec\n", "mine.csv has no rows: there is no star in it"),
        ("", "mine.csv is empty"),
        ("name,dec\na,1\n", "mine.csv has no columns ra and dec"),
        ("ra,dec\nnan,1\n,\n", "no row of columns ra and dec is a position"),
        ("ra,dec\nabc,1\ndef,2\n", "column ra is abc in row 0: not a number"),
        ("ra,dec,source_id\n100,1,x\n100,1,\n", "column source_id of .*mine.csv is x in row 0, and nowhere an integer"),
        ("ra,dec,parallax\n100,1,x\n", "column parallax of .*mine.csv is x in row 0, and nowhere a number"),
        ("ra;dec\n100;1\n", "has no columns ra and dec"),
        ("ra,dec\n1,2,3\n", "no row of .*mine.csv has as many cells as its header has names"),
    ],
)
def test_a_table_that_is_none_is_a_sentence(text, sentence, tmp_path):
    with pytest.raises(TableError, match=sentence) as error:
        _stars(tmp_path, text)
    assert "\n" not in str(error.value)
