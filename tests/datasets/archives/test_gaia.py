import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from datasets.archives import gaia as module
from datasets.archives.gaia import GAIA_TAP_URL, UNITS, Gaia
from datasets.archives.http import Client
from datasets.archives.interface import ArchiveError, ServiceError
from datasets.archives.tap import TapService, TruncatedError
from datasets.mock_sky.archive import MockArchive
from datasets.tables.local import TableError
from tests.loopback import serve
from tests.loopback.faults import Faults


@pytest.fixture(scope="module")
def archive():
    return MockArchive(seed=3, n_stars=300)


@pytest.fixture(scope="module")
def truth(archive):
    """The mock sky's gaia_source, in order of source_id."""
    table = archive.table("gaia")
    table.sort("source_id")
    return table


@pytest.fixture(scope="module")
def server(archive):
    with serve(archive) as server:
        yield server


def service(url: str) -> TapService:
    return TapService(url, Client(rate_per_s=1e4, tries=4, backoff_s=0.001, timeout_s=10, sleep=lambda _: None))


@pytest.fixture(params=["service", "local"])
def gaia(request, server, truth, tmp_path):
    if request.param == "service":
        return Gaia(service(server.gaia_tap_url), chunk_size=70)
    path = tmp_path / "gaia.fits"
    truth[np.random.default_rng(0).permutation(len(truth))].write(path)
    return Gaia(table=path)


def assert_rows(rows: Table, truth: Table) -> None:
    """The same sources, values, units and missing values, in the same order."""
    for name, unit in UNITS.items():
        assert rows[name].unit == (u.Unit(unit) if unit else None), name
        mine, theirs = np.ma.asarray(rows[name]), np.ma.asarray(truth[name])
        missing = np.ma.getmaskarray(theirs) | (np.isnan(theirs.filled(0)) if theirs.dtype.kind == "f" else False)
        np.testing.assert_array_equal(np.ma.getmaskarray(mine), missing, err_msg=name)
        np.testing.assert_array_equal(mine[~missing], theirs[~missing], err_msg=name)
    assert rows["source_id"].dtype == np.int64
    assert rows["ra"].dtype == rows["dec"].dtype == np.float64


def test_the_sample_says_something(truth):
    missing = sum(np.ma.getmaskarray(truth[name]).sum() for name in UNITS if name in truth.colnames)
    assert set(UNITS) <= set(truth.colnames)
    assert missing > 0
    assert (np.asarray(truth["source_id"]) > 2**53).any()


def test_rows_of_ids_are_the_archive_s(gaia, truth):
    wanted = np.random.default_rng(1).permutation(np.asarray(truth["source_id"]))[:200]
    rows = gaia.rows(wanted)
    assert_rows(rows, truth[np.isin(truth["source_id"], wanted)])
    assert rows.colnames == list(UNITS)


def test_ids_unknown_repeated_or_masked(gaia, truth):
    first, second = (int(source_id) for source_id in truth["source_id"][:2])
    ids = MaskedColumn([second, first, first, second + 1, 12345], mask=[0, 0, 0, 0, 1])
    assert second + 1 not in truth["source_id"]
    assert gaia.rows(ids)["source_id"].tolist() == [first, second]
    assert gaia.rows([first])["source_id"].tolist() == [first]


def test_no_ids_have_no_rows(gaia):
    rows = gaia.rows([])
    assert len(rows) == 0
    assert rows["source_id"].dtype == np.int64
    assert rows["parallax"].unit == u.mas
    assert len(gaia.rows(np.ma.masked_all(3, np.int64))) == 0


def test_ids_that_went_through_a_float_are_refused(gaia):
    with pytest.raises(ValueError, match="integers"):
        gaia.rows(np.array([1.0, 2.0]))


def test_large_chunks_are_jobs_and_leave_none_behind(archive, truth, monkeypatch):
    monkeypatch.setattr(module, "SYNCHRONOUS_ROWS", 100)
    with serve(archive) as server:
        rows = Gaia(service(server.gaia_tap_url), chunk_size=len(truth) - 50).rows(truth["source_id"])
        asked = [(request.method, request.path.rpartition("/")[2]) for request in server.requests]
    assert_rows(rows, truth)
    assert asked.count(("POST", "async")) == 1
    assert [method for method, _ in asked].count("DELETE") == 1
    assert asked[-1] == ("POST", "sync")


@pytest.mark.parametrize("synchronous_rows", [0, 1000])
def test_answers_cut_off_by_the_service_are_asked_for_in_halves(archive, truth, monkeypatch, synchronous_rows):
    monkeypatch.setattr(module, "SYNCHRONOUS_ROWS", synchronous_rows)
    with serve(archive, max_rows=40) as server:
        gaia = Gaia(service(server.gaia_tap_url))
        assert_rows(gaia.rows(truth["source_id"]), truth)


def test_a_source_whose_row_the_service_never_returns_whole(archive, truth):
    with serve(archive, max_rows=0) as server, pytest.raises(TruncatedError):
        Gaia(service(server.gaia_tap_url)).rows(truth["source_id"][:1])


def test_the_same_rows_through_faults(archive, truth):
    faults = Faults(
        rate=0.4, kinds=("reset", "429", "503", "html", "gateway_text", "truncated", "cut_short", "overflow")
    )
    with serve(archive, faults) as server:
        rows = Gaia(service(server.gaia_tap_url), chunk_size=20).rows(truth["source_id"])
    assert_rows(rows, truth)


class Answering:
    """In the service's place: gives prepared answers."""

    def __init__(self, table: Table):
        self.table = table

    def query(self, adql, **_):
        return self.table.copy()


def test_answers_about_other_stars_are_refused(truth):
    with pytest.raises(ServiceError, match="not asked for"):
        Gaia(Answering(truth[:2])).rows([int(truth["source_id"][0])])


def test_a_row_that_comes_twice_counts_once(truth):
    twice = truth[[0, 1, 0]]
    rows = Gaia(Answering(twice)).rows(np.asarray(truth["source_id"][:2]))
    assert_rows(rows, truth[:2])


def test_letters_for_numbers_are_refused(truth):
    strange = truth[:1].copy()
    strange.replace_column("parallax", ["one"])
    with pytest.raises(ServiceError, match="parallax"):
        Gaia(Answering(strange)).rows(strange["source_id"])


def test_a_local_table_may_lack_what_is_not_needed(truth, tmp_path):
    path = tmp_path / "few.fits"
    truth[list(module.NEEDED)].write(path)
    rows = Gaia(table=path).rows(truth["source_id"])
    assert rows["ruwe"].mask.all()
    assert rows["pmra"].unit == u.mas / u.yr
    assert rows["parallax"].tolist() == truth["parallax"].tolist()


def test_a_source_without_a_position_has_a_masked_one(truth, tmp_path):
    path = tmp_path / "holes.fits"
    holes = truth[:5].copy()
    holes["ra"][1] = np.nan
    holes.write(path)
    gaia = Gaia(table=path)
    assert gaia.rows(holes["source_id"])["ra"].mask.tolist() == [False, True, False, False, False]


def test_a_local_table_must_have_what_is_needed(truth, tmp_path):
    path = tmp_path / "no.fits"
    truth["source_id", "ra", "dec", "parallax"].write(path)
    with pytest.raises(TableError, match="parallax_error"):
        Gaia(table=path).rows([1])


def test_a_local_table_with_a_source_twice(truth, tmp_path):
    path = tmp_path / "twice.fits"
    truth[[0, 1, 0]].write(path)
    with pytest.raises(ArchiveError, match=str(int(truth["source_id"][0]))):
        Gaia(table=path).rows([1])


def test_one_origin_and_no_empty_chunks():
    with pytest.raises(ValueError, match="either"):
        Gaia()
    with pytest.raises(ValueError, match="either"):
        Gaia(Answering(Table()), table="x.fits")
    with pytest.raises(ValueError, match="chunk_size"):
        Gaia(Answering(Table()), chunk_size=0)


@pytest.mark.remote
def test_gaia_itself():
    gaia = Gaia(TapService(GAIA_TAP_URL, Client()))
    proxima = 5853498713190525696
    rows = gaia.rows([proxima, 1])
    assert rows["source_id"].tolist() == [proxima]
    assert abs(rows["parallax"][0] - 768.07) < 0.1
    assert rows["parallax"].unit == u.mas
