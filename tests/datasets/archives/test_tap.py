import io

import numpy as np
import pytest
from astropy import units as u
from astropy.io.votable import parse_single_table
from astropy.table import Table

from datasets.archives.http import Client
from datasets.archives.interface import ArchiveDownError, ServiceError
from datasets.archives.tap import QueryError, TapService, TruncatedError
from tests.datasets.archives.tiny_server import Answer, Asked, closed_port, one_after_another, reset, serve
from tests.datasets.archives.tiny_tap import ADQL, BIG, GOOD, OVERFLOW, form, refusal, service, votable


def test_rows_come_with_units_masks_and_exact_ids():
    with serve(one_after_another(GOOD)) as server:
        table = service(server.url).query(ADQL)
    assert server.asked[0].path == "/tap/sync"
    assert form(server.asked[0])["QUERY"].decode() == ADQL
    assert table["object_id"].dtype == np.int64
    assert table["object_id"].tolist() == [BIG, None, 7]
    assert table["raj2000"].unit == u.deg
    assert table["raj2000"].dtype == np.float64
    assert table["raj2000"].tolist() == [12.5, 359.99999999, None]
    assert table["g_psf"].unit == u.mag
    assert table["g_psf"].tolist() == [14.25, None, None]
    assert table["filter"].dtype.kind == "U"
    assert table["filter"].tolist() == ["u", "v", ""]


def test_no_rows_are_an_answer():
    with serve(one_after_another(Answer(votable(rows=())))) as server:
        table = service(server.url).query(ADQL)
    assert len(table) == 0
    assert table["object_id"].dtype == np.int64


def test_uploads_are_sent_again_with_each_try():
    stars = Table({"source_id": np.array([BIG, 12])})
    with serve(one_after_another(Answer(status=503), Answer(send=reset), GOOD)) as server:
        service(server.url).query("SELECT * FROM TAP_UPLOAD.stars", uploads={"stars": stars}, maxrec=17)
    assert len(server.asked) == 3
    for asked in server.asked:
        parts = form(asked)
        assert parts["UPLOAD"] == b"stars,param:stars"
        assert parts["MAXREC"] == b"17"
        assert parse_single_table(io.BytesIO(parts["stars"])).to_table()["source_id"].tolist() == [BIG, 12]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(votable(status="OVERFLOW")),
        Answer(votable(after=OVERFLOW)),
        Answer(votable(after='<INFO name="QUERY_STATUS" value="overflow"/>')),
        Answer(votable(status="OVERFLOW", after='<INFO name="QUERY_STATUS" value="OK"/>')),
    ],
)
def test_an_overflow_is_never_taken_for_all_rows(answer):
    with serve(one_after_another(answer)) as server, pytest.raises(TruncatedError, match=r"first 3 rows.*dr4.master"):
        service(server.url).query(ADQL)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [200, 400])
def test_what_is_wrong_with_a_query_is_told_in_the_service_s_words(status):
    words = "Unknown column &lt;b&gt;nope&lt;/b&gt;\n at line 1" + "!" * 500
    with serve(one_after_another(Answer(refusal(words), status=status))) as server:
        with pytest.raises(QueryError) as caught:
            service(server.url).query(ADQL)
    assert len(server.asked) == 1
    message = str(caught.value)
    assert "Unknown column" in message
    assert "nope" in message
    assert ADQL in message
    assert "\n" not in message
    assert len(message) < 500


def test_a_refusal_in_plain_text():
    with serve(one_after_another(Answer(b"ADQL syntax: unexpected FORM\ntrace", status=400))) as server:
        with pytest.raises(QueryError, match="unexpected FORM"):
            service(server.url).query(ADQL)


def test_an_error_that_comes_after_the_rows():
    late = votable(after='<INFO name="QUERY_STATUS" value="ERROR">disk full</INFO>')
    with serve(one_after_another(Answer(late))) as server, pytest.raises(QueryError, match="disk full"):
        service(server.url).query(ADQL)


def cut(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD.body)))
    handler.end_headers()
    handler.wfile.write(GOOD.body[:300])
    handler.close_connection = True


FAULTS = {
    "html": Answer(b"<!DOCTYPE html><html><body>Gateway time-out</body></html>"),
    "text": Answer(b"upstream request timeout"),
    "nothing": Answer(b""),
    "503": Answer(refusal("busy"), status=503),
    "500": Answer(refusal("canceling statement due to conflict"), status=500),
    "429": Answer(status=429, headers={"Retry-After": "0"}),
    "reset": Answer(send=reset),
    "cut": Answer(send=cut),
    "cut, of the right length": Answer(GOOD.body[:-30]),
    "cut between rows": Answer(GOOD.body[: GOOD.body.index(b"<TR>", GOOD.body.index(b"<TR>") + 1)]),
    "no table": Answer(
        b'<VOTABLE><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/></RESOURCE></VOTABLE>'
    ),
    "letters for numbers": Answer(votable([("x", "y", "z", "u")])),
    "too few cells": Answer(votable([("1",)])),
    "rows beyond memory": Answer(votable().replace(b"<TABLE>", b'<TABLE nrows="99999999999999">')),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_answers_are_asked_for_again(fault):
    with serve(one_after_another(FAULTS[fault], GOOD)) as server:
        table = service(server.url).query(ADQL)
    assert len(table) == 3
    assert len(server.asked) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_answers_without_end_are_an_error(fault):
    with serve(one_after_another(FAULTS[fault])) as server, pytest.raises(ServiceError, match="given up after 3"):
        service(server.url).query(ADQL)


def test_no_such_service():
    with serve(one_after_another(Answer(status=404))) as server, pytest.raises(ServiceError, match="404"):
        service(server.url).query(ADQL)
    with pytest.raises(ArchiveDownError):
        service(f"http://127.0.0.1:{closed_port()}").query(ADQL)


class Catalogue:
    """A service with one table of ids, which obeys TOP, WHERE, ORDER BY and its own limit."""

    def __init__(self, ids, limit: int = 10**9, says_so: bool = True):
        self.ids = np.sort(np.asarray(ids, np.int64))
        self.limit = limit
        self.says_so = says_so
        self.queries = []

    def __call__(self, asked: Asked) -> Answer:
        query = form(asked)["QUERY"].decode()
        self.queries.append(query)
        words = query.split()
        assert words[:2] == ["SELECT", "TOP"]
        assert words[-3:] == ["ORDER", "BY", "m.object_id"]
        after = int(words[words.index(">") + 1]) if ">" in words else -(2**63)
        rows = self.ids[self.ids > after][: int(words[2])]
        overflow = len(rows) > self.limit and self.says_so
        rows = rows[: self.limit]
        fields = '<FIELD name="object_id" datatype="long"/>'
        return Answer(votable([[str(row)] for row in rows], fields, after=OVERFLOW if overflow else ""))


def all_pages(url: str, **settings) -> list[Table]:
    return list(
        service(url).pages("m.object_id", "dr4.master AS m", "g_psf < 16 OR r_psf < 16", "m.object_id", **settings)
    )


IDS = [-5, 1, 2, 3, 10, 11, BIG, BIG + 1, BIG + 2, 2**63 - 1]


@pytest.mark.parametrize("page_size", [1, 3, 5, 10, 1000])
@pytest.mark.parametrize("limit", [1, 4, 10**9])
@pytest.mark.parametrize("says_so", [True, False])
def test_pages_lose_and_repeat_nothing(page_size, limit, says_so):
    catalogue = Catalogue(IDS, limit, says_so)
    with serve(catalogue) as server:
        pages = all_pages(server.url, page_size=page_size)
    assert [row for page in pages for row in page["object_id"].tolist()] == IDS
    assert all(0 < len(page) <= page_size for page in pages)
    assert all("WHERE (g_psf < 16 OR r_psf < 16)" in query for query in catalogue.queries)


def test_pages_go_on_where_they_were():
    with serve(Catalogue(IDS)) as server:
        pages = all_pages(server.url, page_size=2, after=11)
    assert [row for page in pages for row in page["object_id"].tolist()] == [BIG, BIG + 1, BIG + 2, 2**63 - 1]


def test_pages_of_nothing():
    with serve(Catalogue([])) as server:
        assert all_pages(server.url) == []


def test_pages_are_asked_for_only_when_wanted():
    catalogue = Catalogue(IDS)
    with serve(catalogue) as server:
        pages = service(server.url).pages("m.object_id", "dr4.master AS m", "", "m.object_id", page_size=2)
        assert next(pages)["object_id"].tolist() == [-5, 1]
    assert len(catalogue.queries) == 1


@pytest.mark.parametrize("ids", [[1, 1, 2], [2, 1, 3], ["", 1, 2], [1, "", 3], ["", "", ""]])
def test_keys_repeated_disordered_or_missing_are_never_accepted(ids):
    bad = Answer(votable([[str(i)] for i in ids], '<FIELD name="object_id" datatype="long"/>'))
    with serve(one_after_another(bad)) as server, pytest.raises(ServiceError, match="object_id"):
        next(service(server.url).pages("object_id", "dr4.master", "", "object_id"))


def test_a_service_that_ignores_where_does_not_go_round_for_ever():
    same = Answer(votable([["1"], ["2"]], '<FIELD name="object_id" datatype="long"/>'))
    with serve(one_after_another(same)) as server, pytest.raises(ServiceError, match="repeated or out of order"):
        all_pages(server.url)


def test_a_page_without_its_key():
    with serve(one_after_another(Answer(votable([["1"]], '<FIELD name="id" datatype="long"/>')))) as server:
        with pytest.raises(ServiceError, match="no column object_id, only id"):
            all_pages(server.url)


def test_a_service_that_overflows_at_no_rows():
    empty = Answer(votable([], after=OVERFLOW))
    with serve(one_after_another(empty)) as server, pytest.raises(TruncatedError, match="no rows at all"):
        all_pages(server.url)


@pytest.mark.remote
@pytest.mark.parametrize("asynchronous", [False, True])
def test_skymapper_itself(asynchronous):
    skymapper = TapService("https://api.skymapper.nci.org.au/public/tap", Client())
    table = skymapper.query(
        "SELECT TOP 2 object_id, raj2000 FROM dr4.master WHERE object_id > 0 ORDER BY object_id",
        asynchronous=asynchronous,
    )
    assert len(table) == 2
    assert table["object_id"].dtype == np.int64
