"""Against a real answer of the service (DR2), read by another parser."""

from pathlib import Path
from xml.etree import ElementTree

import astropy.units as u
import numpy as np
import pytest

from datasets.archives.siap import MAX_ANSWER_BYTES, SiapError, frames

ANSWER = (Path(__file__).parents[2] / "data/skymapper_dr2_siap_response.xml").read_bytes()
NAMESPACE = "{http://www.ivoa.net/xml/VOTable/v1.2}"


def rows_of_xml():
    root = ElementTree.fromstring(ANSWER)
    names = [field.get("name") for field in root.iter(f"{NAMESPACE}FIELD")]
    return [dict(zip(names, [cell.text for cell in row], strict=True)) for row in root.iter(f"{NAMESPACE}TR")]


def test_a_real_answer():
    table = frames(ANSWER)
    expected = sorted(
        (row for row in rows_of_xml() if row["format"] == "image/fits"), key=lambda row: row["unique_image_id"]
    )
    assert len(expected) == 27
    assert len(rows_of_xml()) == 54
    for name in ("image_name", "band", "get_fits", "get_mask", "unique_image_id", "image_type", "pixflags"):
        assert table[name].tolist() == [row[name] for row in expected]
    for name in ("exptime", "mjd_obs", "zpapprox", "mean_fwhm", "ra_cntr"):
        np.testing.assert_allclose(table[name], [float(row[name]) for row in expected], rtol=1e-7)
    np.testing.assert_array_equal(table["naxis"], [[int(n) for n in row["naxis"].split()] for row in expected])
    image_id, ccd = zip(*(row["unique_image_id"].split("-") for row in expected), strict=True)
    assert table["image_id"].dtype == np.int64
    assert table["image_id"].tolist() == [int(value) for value in image_id]
    assert table["ccd"].tolist() == [int(value) for value in ccd]
    assert (table["mjd_obs"].unit, table["exptime"].unit, table["mean_fwhm"].unit) == (u.day, u.s, u.arcsec)
    assert all(column.dtype.kind != "O" for column in table.itercols())


def test_a_frame_listed_twice_is_one():
    row = ANSWER[ANSWER.index(b"<TR>") : ANSWER.index(b"</TR>") + 5]
    assert len(frames(ANSWER.replace(b"</TABLEDATA>", row + b"</TABLEDATA>"))) == 27


def test_a_null_is_masked():
    table = frames(ANSWER.replace(b"<TD>25.356</TD>", b"<TD></TD>").replace(b"<TD>short</TD>", b"<TD/>"))
    assert np.isnan(np.ma.filled(table["zpapprox"].astype(float), np.nan)).sum() == 1


def test_no_frames():
    head, tail = ANSWER.index(b"<TABLEDATA>") + 11, ANSWER.index(b"</TABLEDATA>")
    empty = frames(ANSWER[:head] + ANSWER[tail:])
    assert len(empty) == 0
    assert {"image_id", "ccd", "zpapprox"} <= set(empty.colnames)


ENTITIES = b'<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "is a VOTable without a table|no whole VOTable"),
        (b"<html><body>504 Gateway Time-out</body></html>", "no whole VOTable"),
        (b"upstream request timeout", "VOTable"),
        (ANSWER[: len(ANSWER) // 2], "no whole VOTable"),
        (ANSWER[:-20], "no whole VOTable"),
        (ANSWER.replace(b'"QUERY_STATUS" value="OK"', b'"QUERY_STATUS" value="OVERFLOW"'), "not OK but OVERFLOW"),
        (
            ANSWER.replace(b'value="OK"/>', b'value="ERROR">no such\n position</INFO>'),
            "not OK but ERROR (no such position)",
        ),
        (ANSWER.replace(b'"zpapprox"', b'"zp"'), "has no column zpapprox; it has image_name, format"),
        (ANSWER.replace(b"20160422183257-03</TD>", b"../../etc/x</TD>"), "the frame '../../etc/x' of band 'z'"),
        (ANSWER.replace(b"<TD>z</TD>", b"<TD>Y</TD>"), "of band 'Y'"),
        (ANSWER.replace(b"<VOTABLE ", ENTITIES + b"<VOTABLE ", 1), "VOTable"),
        (ANSWER + b" " * MAX_ANSWER_BYTES, "more than the 16000000 that are read"),
    ],
)
def test_what_is_no_whole_list_is_refused_in_one_sentence(answer, reason):
    with pytest.raises(SiapError, match=reason.replace("(", r"\(").replace(")", r"\)")) as error:
        frames(answer)
    assert "\n" not in str(error.value)
