import itertools
import math

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from datasets.archives.detections import QUERY, by_object
from datasets.archives.interface import ArchiveDownError, Detection

ROW = {
    "object_id": 7, "image_id": 20140708113046, "ccd": 2, "filter": "u", "x_img": 100.5, "y_img": 200.5, "flags": 4,
    "use_in_clipped": 1, "mag_psf": 14.5, "e_mag_psf": 0.01, "exp_time": 40.0, "zpapprox": 25.4, "fwhm": 3.1,
    "image_type": "fs", "background": 12.0,
}  # fmt: skip


def rows_of(*changes):
    """A table of one row for each set of changes, None being NULL."""
    rows = [ROW | change for change in changes]
    columns = {}
    for name, usual in ROW.items():
        values = [row[name] for row in rows]
        null = [value is None for value in values]
        columns[name] = MaskedColumn([usual if value is None else value for value in values], mask=null)
    return Table(columns)


def test_a_row_is_a_detection():
    [detection] = by_object(rows_of({}), [7])[7]
    # 11:30:46 UT; the DR2 service's own mjd_obs of this exposure, to the five digits that it gives, is 56846.47971
    assert detection.date == pytest.approx(56846.47971, abs=2e-5)
    assert detection.date == pytest.approx(Time("2014-07-08T11:30:46", scale="utc").mjd, abs=1e-9)
    assert detection == Detection(**ROW, date=detection.date)
    assert [type(value) for value in vars(detection).values()] == [type(ROW.get(n, 0.0)) for n in vars(detection)]


def test_every_object_asked_for_has_its_own_frames_in_order():
    changes = [
        {"object_id": object_id, "image_id": 20140708113046 + second, "ccd": ccd}
        for object_id, second, ccd in itertools.product((7, 8), (5, 1, 3), (9, 2))
    ]
    found = by_object(rows_of(*changes), [8, 7, 9])
    assert list(found) == [8, 7, 9]
    assert found[9] == []
    for object_id in (7, 8):
        frames = [(d.image_id, d.ccd) for d in found[object_id]]
        assert frames == sorted(frames)
        assert len(set(frames)) == 6
        assert {d.object_id for d in found[object_id]} == {object_id}


@pytest.mark.parametrize("name", ["zpapprox", "fwhm"])
@pytest.mark.parametrize("value", [None, math.nan])
def test_a_missing_zeropoint_or_seeing_is_nan(name, value):
    [detection] = by_object(rows_of({name: value}, {"ccd": None})[:1], [7])[7]
    assert math.isnan(getattr(detection, name))


@pytest.mark.parametrize("name", ["background", "x_img", "y_img"])
def test_what_a_detection_can_do_without_is_none(name):
    assert getattr(by_object(rows_of({name: None}), [7])[7][0], name) is None


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in ROW if name not in ("zpapprox", "fwhm", "background", "x_img", "y_img")),
        *({"ccd": 0}, {"ccd": 33}, {"filter": "Y"}, {"filter": "ug"}, {"mag_psf": math.inf}, {"image_type": ""}),
        *({"image_id": 123}, {"image_id": 20141308113046}, {"image_id": -20140708113046}, {"object_id": 99}),
    ],
    ids=str,
)
def test_a_row_that_is_no_detection_is_left_out_and_counted(change, caplog):
    found = by_object(rows_of(change, {"ccd": 5}), [7])
    assert [d.ccd for d in found[7]] == [5]
    assert "1 rows with NULLs or impossible values, and 0 repeated" in caplog.text


def test_of_several_rows_of_a_frame_the_used_and_most_precise_counts_in_any_order():
    changes = [{}, {"use_in_clipped": 0, "e_mag_psf": 0.001}, {"e_mag_psf": 0.005, "flags": 1}, {"mag_psf": None}]
    for order in itertools.permutations(changes):
        [detection] = by_object(rows_of(*order), [7])[7]
        assert (detection.use_in_clipped, detection.e_mag_psf) == (1, 0.005)


def test_a_missing_column_ends_it():
    rows = rows_of({})
    rows.remove_column("fwhm")
    with pytest.raises(ArchiveDownError, match="without the column fwhm that was asked for"):
        by_object(rows, [7])


def test_wide_and_narrow_types_are_the_same():
    rows = rows_of({})
    rows["ccd"] = rows["ccd"].astype(np.int16)
    rows["use_in_clipped"] = np.array([True])
    rows["filter"] = np.array(["u"], object)
    assert by_object(rows, [7]) == by_object(rows_of({}), [7])


def test_the_query_is_adql():
    from queryparser.adql import ADQLQueryTranslator

    translated = ADQLQueryTranslator(QUERY.format(ids="1, 2")).to_postgresql()
    assert "JOIN dr4.images AS i ON p.image_id = i.image_id WHERE p.object_id IN (1, 2)" in translated
