"""Every fault as a client meets it, and the rules by which faults are drawn."""

import http.client
import io
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import pyvo
import requests
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.wcs import WCS
from pyvo.dal import DALOverflowWarning

from tests.loopback import KINDS, Faults, serve
from tests.loopback.messages import parse_request

QUERY = (
    "SELECT object_id, image_id, ccd, filter, mag_psf FROM dr4.photometry WHERE object_id = {} ORDER BY image_id, ccd"
)


@pytest.fixture(scope="module")
def cutout(archive):
    """Parameters of a cutout, and its bytes."""
    row = archive.table("gaia")[7]
    detection = archive.detections(archive.table("dr4.master")["object_id"][7])[0]
    params = {
        "IMAGE": f"{detection.image_id}-{detection.ccd:02d}",
        "SIZE": "0.0083",
        "POS": f"{row['ra']},{row['dec']}",
        "FORMAT": "fits",
    }
    return params, archive.cutout(detection, row["ra"], row["dec"], 62).image


@pytest.fixture(scope="module")
def faulty(archive):
    with serve(archive) as server:
        yield server


def first_meets(server, kind, path="get_image", **options):
    """The server's first request of a path meets a fault, all others none."""
    server.faults = Faults(plan=[(path, kind, 1)], **options)
    server.forget()


def get(server, session, params, **options):
    return session.get(f"{server.cutout_url}/get_image", params=params, **options)


@pytest.mark.parametrize(("kind", "error"), [
    ("timeout", requests.ReadTimeout),
    ("reset", requests.ConnectionError),
    ("truncated", requests.exceptions.ChunkedEncodingError),
])  # fmt: skip
def test_a_broken_connection(faulty, http, cutout, kind, error):
    params, image = cutout
    first_meets(faulty, kind)
    with pytest.raises(error) as raised:
        get(faulty, http, params, timeout=0.3)
    if kind == "reset":
        assert isinstance(raised.value.args[0].args[1], ConnectionResetError)
    assert get(faulty, http, params).content == image
    assert [request.fault for request in faulty.requests] == [kind, ""]
    assert faulty.requests[0].status == (200 if kind == "truncated" else 0)


def test_a_timeout_ends_with_silence_s(faulty, http, cutout):
    first_meets(faulty, "timeout", silence_s=0.2)
    with pytest.raises(requests.ConnectionError):
        get(faulty, http, cutout[0], timeout=30)


@pytest.mark.parametrize(("kind", "status", "content_type"), [
    ("429", 429, "text/plain"),
    ("503", 503, "text/html"),
    ("html", 200, "text/html"),
    ("gateway_text", 200, "text/plain"),
])  # fmt: skip
def test_an_answer_that_is_none(faulty, http, cutout, kind, status, content_type):
    params, image = cutout
    first_meets(faulty, kind, retry_after_s=7)
    answer = get(faulty, http, params)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith(content_type)
    assert answer.headers.get("Retry-After") == ("7" if kind == "429" else None)
    assert not answer.content.startswith(b"SIMPLE")
    assert get(faulty, http, params).content == image


def test_a_slow_answer_is_whole(faulty, http, cutout):
    params, image = cutout
    faulty.forget()
    faulty.faults = Faults(plan=[("get_image", "slow", 2)], slow_s=20.0)
    with pytest.raises(requests.ReadTimeout):
        get(faulty, http, params, timeout=0.2)
    faulty.faults.slow_s = 0.1
    assert get(faulty, http, params).content == image
    assert faulty.counts()["fault"]["slow"] == 2


def test_a_body_cut_short_agrees_with_its_length(faulty, http, cutout):
    params, image = cutout
    first_meets(faulty, "cut_short")
    answer = get(faulty, http, params)
    assert answer.content == image[: len(image) // 2]
    assert int(answer.headers["Content-Length"]) == len(answer.content)


@pytest.mark.parametrize(
    ("kind", "shape", "first"), [("other_size", (20, 20), (21, 21)), ("clipped", (62, 38), (24, 0))]
)
@pytest.mark.parametrize("format", ["fits", "mask"])
def test_a_fits_file_of_the_wrong_pixels_is_right_in_itself(faulty, http, cutout, kind, shape, first, format):
    params = cutout[0] | {"FORMAT": format}
    first_meets(faulty, kind)
    parts = [get(faulty, http, params).content for _ in range(2)]
    bits = [fits.Header.fromstring(content)["BITPIX"] for content in parts]
    assert bits == [16 if format == "fits" else 8] * 2
    with fits.open(io.BytesIO(parts[0])) as part, fits.open(io.BytesIO(parts[1])) as whole:
        part.verify("exception")
        x, y = first
        assert part[0].data.shape == shape
        np.testing.assert_array_equal(part[0].data, whole[0].data[y : y + shape[0], x : x + shape[1]])
        here, there = WCS(part[0].header).wcs_pix2world(3, 4, 0), WCS(whole[0].header).wcs_pix2world(3 + x, 4 + y, 0)
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-10)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", ["duplicate_row", "null_row", "overflow"])
def test_rows_that_are_not_the_tables(archive, faulty, http, kind, asynchronous):
    star = archive.table("dr4.master")["object_id"][7]
    tap = pyvo.dal.TAPService(faulty.skymapper_tap_url, session=http)
    ask = tap.run_async if asynchronous else tap.run_sync
    first_meets(faulty, kind, "results/result" if asynchronous else "sync")
    if kind == "overflow":
        with pytest.warns(DALOverflowWarning):
            spoilt = ask(QUERY.format(star)).to_table()
    else:
        spoilt = ask(QUERY.format(star)).to_table()
    good = ask(QUERY.format(star)).to_table()
    assert len(good) == len(archive.detections(star))
    rows, spoilt_rows = ([tuple(row) for row in table.filled(0)] for table in (good, spoilt))
    if kind == "overflow":
        assert spoilt_rows == rows[: len(rows) // 2]
    elif kind == "duplicate_row":
        assert Counter(spoilt_rows) - Counter(rows) == Counter({rows[len(rows) // 2]: 1})
        assert list(dict.fromkeys(spoilt_rows)) == rows
    else:
        null = np.ma.getmaskarray(spoilt["image_id"])
        assert null.sum() == 1
        assert spoilt["object_id"][null].tolist() == [star]
        assert [row for row, bad in zip(spoilt_rows, null, strict=True) if not bad] == rows


def test_a_fault_that_cannot_be_is_not_logged(archive, faulty, http):
    tap = pyvo.dal.TAPService(faulty.skymapper_tap_url, session=http)
    first_meets(faulty, "duplicate_row", "sync")
    n = tap.run_sync("SELECT COUNT(*) AS n FROM dr4.photometry")["n"]
    assert n.tolist() == [len(archive.table("dr4.photometry"))]
    assert [request.fault for request in faulty.requests] == [""]


def test_a_votable_cut_short_is_no_votable(faulty, http):
    first_meets(faulty, "cut_short", "sync")
    params = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": "SELECT TOP 9 * FROM dr4.master"}
    broken, whole = (http.get(f"{faulty.skymapper_tap_url}/sync", params=params).content for _ in range(2))
    with pytest.raises(ValueError, match="no element found"):
        parse_single_table(io.BytesIO(broken))
    assert len(parse_single_table(io.BytesIO(whole)).array) == 9


def drawn(faults, requests_, order):
    """The faults of three rounds of requests, each round in some order: request -> its three."""
    result = {}
    for round_ in range(3):
        for i in order(round_):
            request = parse_request("GET", requests_[i], {}, b"")
            result.setdefault(i, []).append(faults.choose(request))
    return result


def test_faults_depend_on_the_request_and_its_number_alone():
    addresses = [f"/public/siap/dr4/get_image?IMAGE={i}&FORMAT=fits" for i in range(3000)]
    rng = np.random.default_rng(0)
    one = drawn(Faults(0.1, seed=5), addresses, lambda _: range(3000))
    other = drawn(Faults(0.1, seed=5), addresses, lambda _: rng.permutation(3000))
    assert one == other
    assert one != drawn(Faults(0.1, seed=6), addresses, lambda _: range(3000))
    for attempt in (0, 1):
        met = Counter(kinds[attempt] for kinds in one.values())
        # 300 expected, standard deviation 16; 11 kinds evenly
        assert 220 < 3000 - met[""] < 380
        assert set(met) - {""} == set(KINDS) - {"duplicate_row", "null_row", "overflow"}
        assert min(met.values()) > 8
    assert {kinds[2] for kinds in one.values()} == {""}
    assert any(kinds[0] and kinds[1] for kinds in one.values())


def test_faults_only_where_wanted():
    faults = Faults(1.0, ["503"], only="FORMAT=mask", plan=[("IMAGE=7", "reset", None)])
    requests_ = [f"/public/siap/dr4/get_image?IMAGE={i}&FORMAT={f}" for i in (6, 7) for f in ("fits", "mask")]
    met = drawn(faults, requests_, lambda _: range(4))
    assert met == {0: [""] * 3, 1: ["503", "503", ""], 2: ["reset"] * 3, 3: ["reset"] * 3}


def test_an_unknown_fault_is_refused():
    with pytest.raises(ValueError, match="no_such"):
        Faults(0.1, ["no_such"])


def test_the_log_knows_who_asked_what_and_how_many_at_once(archive, cutout):
    def ask(client):
        with pytest.raises(requests.ConnectionError):
            get(server, requests, cutout[0], headers={"User-Agent": client})

    clients = {f"client {i}" for i in range(6)}
    before = time.time()
    with serve(archive, Faults(plan=[("get_image", "timeout", None)])) as server, ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, client) for client in clients]
        while len(server.requests) < 6:
            time.sleep(0.01)
        server.faults.silence_s = 0.0  # all are in work: let them go
        for future in asking:
            future.result()
    log = server.requests
    assert {request.headers["user-agent"] for request in log} == clients
    assert all(before <= request.time <= time.time() for request in log)
    assert all(request.params == cutout[0] for request in log)
    assert server.most_at_once == 6
    assert server.counts()["path"] == {"/public/siap/dr4/get_image": 6}
    assert server.counts()["fault"] == {"timeout": 6}


def test_closing_cuts_off_who_waits(archive):
    with serve(archive, Faults(plan=[("capabilities", "timeout", None)])) as server:
        host, port = server.url.removeprefix("http://").split(":")
        idle = socket.create_connection((host, int(port)))
        waiting = http.client.HTTPConnection(host, int(port), timeout=20)
        waiting.request("GET", "/public/tap/capabilities")
        while not server.requests:
            time.sleep(0.01)
    with idle, pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        waiting.getresponse()
    waiting.close()
