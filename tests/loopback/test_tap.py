"""The TAP services as pyvo sees them, against the mock sky's own tables and astropy's geometry."""

import io
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
import pyvo
import requests
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse_single_table
from astropy.table import Table, join
from pyvo.dal import DALOverflowWarning, DALQueryError

from tests.loopback import serve


def assert_same_tables(answer: Table, table: Table) -> None:
    assert answer.colnames == table.colnames
    for name in table.colnames:
        mine, theirs = np.ma.asarray(answer[name]), np.ma.asarray(table[name])
        np.testing.assert_array_equal(np.ma.getmaskarray(mine), np.ma.getmaskarray(theirs), err_msg=name)
        np.testing.assert_array_equal(mine.compressed(), theirs.compressed(), err_msg=name)
        assert answer[name].unit == table[name].unit, name
        if table[name].dtype.kind in "if":
            assert answer[name].dtype == table[name].dtype, name


@pytest.mark.parametrize("name", ["dr4.master", "dr4.photometry", "dr4.images"])
@pytest.mark.parametrize("format", [None, "votable_plain"])
def test_a_whole_table_arrives_as_it_is(archive, skymapper, name, format):
    keywords = {"FORMAT": format} if format else {}
    answer = skymapper.run_sync(f"SELECT * FROM {name}", **keywords).to_table()
    assert_same_tables(answer, archive.table(name))


def test_gaia_arrives_as_it_is(archive, gaia):
    assert_same_tables(gaia.run_sync("SELECT * FROM gaiaedr3.gaia_source").to_table(), archive.table("gaia"))


@pytest.mark.parametrize("centre", [(359.99, -10.0), (0.01, -10.0), (120.0, -89.9), (54.0, 10.0)])
@pytest.mark.parametrize("radius_deg", [5.0, 40.0])
def test_a_cone_is_one_on_the_sphere(archive, skymapper, centre, radius_deg):
    master = archive.table("dr4.master")
    positions = SkyCoord(master["raj2000"], master["dej2000"])
    inside = positions.separation(SkyCoord(*centre, unit="deg")).deg <= radius_deg
    adql = (
        "SELECT object_id FROM dr4.master WHERE 1 = CONTAINS(POINT('ICRS', raj2000, dej2000),"
        f" CIRCLE('ICRS', {centre[0]}, {centre[1]}, {radius_deg})) ORDER BY object_id"
    )
    assert radius_deg < 10 or inside.any()
    np.testing.assert_array_equal(skymapper.run_sync(adql)["object_id"], np.sort(master["object_id"][inside]))


def test_distance_is_astropys(archive, gaia):
    rng = np.random.default_rng(1)
    sources = archive.table("gaia")[:50]
    # From milliarcseconds to the other side of the sky.
    separation = 10 ** rng.uniform(-3, 5.5, 50) * u.arcsec
    there = SkyCoord(sources["ra"], sources["dec"]).directional_offset_by(rng.uniform(0, 360, 50) * u.deg, separation)
    uploaded = Table({"source_id": sources["source_id"], "ra": there.ra.deg, "dec": there.dec.deg})
    adql = (
        "SELECT t.source_id, DISTANCE(POINT('ICRS', g.ra, g.dec), POINT('ICRS', t.ra, t.dec)) AS d,"
        " DISTANCE(g.ra, g.dec, t.ra, t.dec) AS e"
        " FROM gaiaedr3.gaia_source AS g JOIN TAP_UPLOAD.there AS t ON g.source_id = t.source_id"
    )
    answer = gaia.run_sync(adql, uploads={"there": uploaded}).to_table()
    expected = dict(zip(sources["source_id"].tolist(), separation.to_value("deg"), strict=True))
    np.testing.assert_allclose(answer["d"], [expected[i] for i in answer["source_id"].tolist()], rtol=1e-6)
    np.testing.assert_array_equal(answer["d"], answer["e"])


def test_pages_by_key_hold_every_row_once(archive, skymapper):
    last, ids = 0, []
    while True:
        adql = f"SELECT TOP 70 object_id, r_psf FROM dr4.master WHERE object_id > {last} ORDER BY object_id"
        page = skymapper.run_sync(adql)["object_id"].tolist()
        if not page:
            break
        assert len(page) <= 70
        ids += page
        last = page[-1]
    assert ids == archive.table("dr4.master")["object_id"].tolist()


def test_null_is_neither_above_nor_below(archive, skymapper):
    master = archive.table("dr4.master")
    distance = np.ma.asarray(master["self_dist1"])
    near = skymapper.run_sync("SELECT COUNT(*) AS n FROM dr4.master WHERE self_dist1 < 15")["n"][0]
    not_near = skymapper.run_sync("SELECT COUNT(*) AS n FROM dr4.master WHERE NOT (self_dist1 < 15)")["n"][0]
    assert near == np.sum((distance < 15).compressed())
    assert near + not_near == distance.count() < len(master)


def test_detections_joined_with_their_images(archive, skymapper):
    star = archive.table("dr4.master")["object_id"][5]
    adql = (
        "SELECT p.image_id, p.ccd, p.filter, p.mag_psf, i.zpapprox, i.fwhm, i.date FROM dr4.photometry AS p"
        f" JOIN dr4.images AS i ON p.image_id = i.image_id WHERE p.object_id IN ({star}) ORDER BY p.image_id, p.ccd"
    )
    answer = skymapper.run_sync(adql).to_table()
    detections = archive.detections(star)
    for name in answer.colnames:
        assert answer[name].tolist() == [getattr(d, name) for d in detections], name
    photometry = archive.table("dr4.photometry")
    both = join(photometry[photometry["object_id"] == star], archive.table("dr4.images"), "image_id")
    assert len(both) == len(answer) > 5


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_answer_cut_at_the_row_limit_says_so(archive, http, asynchronous):
    with serve(archive, max_rows=50) as server:
        tap = pyvo.dal.TAPService(server.skymapper_tap_url, session=http)
        ask = tap.run_async if asynchronous else tap.run_sync
        with pytest.warns(DALOverflowWarning):
            result = ask("SELECT object_id FROM dr4.master ORDER BY object_id")
        assert result.query_status == "OVERFLOW"
        assert result["object_id"].tolist() == archive.table("dr4.master")["object_id"][:50].tolist()
        assert ask("SELECT TOP 50 object_id FROM dr4.master").query_status == "OK"
        assert ask("SELECT object_id FROM dr4.master", maxrec=20).query_status == "OVERFLOW"


@pytest.mark.parametrize(
    ("adql", "complaint"),
    [
        ("SELECT no_such FROM dr4.master", "no_such"),
        ("SELECT * FROM dr4.no_such", "no_such"),
        ("SELECT object_id FROM dr4.master LIMIT 5", "LIMIT"),
        ("DROP TABLE dr4.master", "DROP"),
        ("SELECT filter FROM dr4.photometry AS p JOIN dr4.images AS i ON p.image_id = i.image_id", "filter"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"),
        ("SELECT * FROM TAP_UPLOAD.nothing", "nothing"),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_query_that_makes_no_sense_is_refused(skymapper, adql, complaint, asynchronous):
    with pytest.raises(DALQueryError, match=complaint):
        (skymapper.run_async if asynchronous else skymapper.run_sync)(adql)


def test_a_jobs_life(archive, http):
    with serve(archive, job_s=0.3) as server:
        tap = pyvo.dal.TAPService(server.skymapper_tap_url, session=http)
        job = tap.submit_job("SELECT COUNT(*) AS n FROM dr4.photometry")
        assert job.phase == "PENDING"
        job.run()
        assert job.phase == "EXECUTING"
        job.wait()
        assert job.phase == "COMPLETED"
        assert job.fetch_result()["n"].tolist() == [len(archive.table("dr4.photometry"))]
        service, url = server.services[0], job.url
        assert service.n_jobs == 1
        job.delete()
        assert service.n_jobs == 0
        assert http.get(url).status_code == 404


def test_a_job_can_be_aborted(archive, http):
    with serve(archive, job_s=5.0) as server:
        job = pyvo.dal.TAPService(server.skymapper_tap_url, session=http).submit_job("SELECT * FROM dr4.master")
        job.run()
        job.abort()
        assert job.phase == "ABORTED"
        assert http.get(f"{job.url}/results/result").status_code == 404


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_upload_joins_by_id_and_by_position(archive, gaia, asynchronous):
    sources = archive.table("gaia")
    chosen = np.random.default_rng(0).permutation(len(sources))[:40]
    uploaded = Table(
        {"n": np.arange(40), "source_id": sources["source_id"][chosen], "ra": sources["ra"][chosen].data,
         "dec": sources["dec"][chosen].data}
    )  # fmt: skip
    assert uploaded["source_id"].max() > 2**53  # no float holds these
    ask = gaia.run_async if asynchronous else gaia.run_sync
    by_id = "SELECT mine.n, g.* FROM gaiaedr3.gaia_source AS g JOIN TAP_UPLOAD.mine ON g.source_id = mine.source_id"
    by_place = (
        "SELECT t.n, g.* FROM TAP_UPLOAD.mine AS t JOIN gaiaedr3.gaia_source AS g"
        " ON 1 = CONTAINS(POINT('ICRS', g.ra, g.dec), CIRCLE('ICRS', t.ra, t.dec, 1.0 / 3600))"
    )
    for adql in (by_id, by_place):
        answer = ask(adql, uploads={"mine": uploaded}).to_table()
        answer.sort("n")
        assert_same_tables(answer[sources.colnames], sources[chosen])


def test_uploads_of_one_name_do_not_mix(archive, gaia):
    for ids in (archive.table("gaia")["source_id"][:3], archive.table("gaia")["source_id"][5:9]):
        answer = gaia.run_sync("SELECT source_id FROM TAP_UPLOAD.mine", uploads={"mine": Table({"source_id": ids})})
        assert answer["source_id"].tolist() == ids.tolist()


def test_many_may_ask_at_once(archive, server):
    def count(_):
        with requests.Session() as session:
            adql = "SELECT COUNT(*) FROM dr4.photometry AS p JOIN dr4.images AS i ON p.image_id = i.image_id"
            params = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": adql}
            content = session.get(f"{server.skymapper_tap_url}/sync", params=params).content
            return parse_single_table(io.BytesIO(content)).array[0][0]

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(count, range(100))) == {len(archive.table("dr4.photometry"))}


def test_the_dialect_is_adqls_where_duckdbs_differs(archive, skymapper):
    adql = "SELECT TOP 1 7 / 2 AS half, LOG(10) AS ln, 'TOP 5 (''' AS words, COUNT(*) FROM dr4.master -- LIMIT 3"
    row = skymapper.run_sync(adql).to_table()[0]
    assert (row["half"], row["words"], row[3]) == (3, "TOP 5 ('", len(archive.table("dr4.master")))
    assert row["ln"] == pytest.approx(np.log(10))
    inner = "SELECT TOP 5 object_id FROM dr4.master ORDER BY object_id DESC"
    answer = skymapper.run_sync(f"SELECT TOP 2 * FROM ({inner}) AS t ORDER BY object_id")["object_id"]
    assert answer.tolist() == archive.table("dr4.master")["object_id"][-5:-3].tolist()
    both = "SELECT TOP 1 * FROM dr4.photometry AS p JOIN dr4.images AS i ON p.image_id = i.image_id"
    assert {"image_id", "image_id_2", "filter_2"} < set(skymapper.run_sync(both).fieldnames)


def test_no_rows_are_a_table_too(skymapper):
    answer = skymapper.run_sync("SELECT object_id, smss_j, r_psf FROM dr4.master WHERE object_id < 0").to_table()
    assert len(answer) == 0
    assert answer.colnames == ["object_id", "smss_j", "r_psf"]
    assert answer["object_id"].dtype == np.int64


def test_what_the_service_says_of_itself(archive, skymapper):
    assert skymapper.hardlimit == 100_000
    assert [method.ivo_id for method in skymapper.upload_methods] == ["ivo://ivoa.net/std/TAPRegExt#upload-inline"]
    tables = skymapper.tables
    assert set(tables.keys()) == {"dr4.master", "dr4.photometry", "dr4.images"}
    columns = archive.table("dr4.images").colnames
    assert [column.name for column in tables["dr4.images"].columns] == columns
    listed = skymapper.run_sync("SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name = 'dr4.images'")
    assert listed["column_name"].tolist() == columns
