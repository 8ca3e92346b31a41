import gzip
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from datasets.archives import http, session
from datasets.archives.http import Client, TransientError, plain_sentence
from datasets.archives.interface import ArchiveDownError, ArchiveError, NotServedError, ServiceError
from tests.datasets.archives.tiny_server import Answer, closed_port, endless, one_after_another, reset, serve

GOOD = Answer(b"SIMPLE  =                    T")


def client(**changes) -> Client:
    """A client in a hurry."""
    settings = {"rate_per_s": 1e4, "tries": 4, "backoff_s": 0.001, "timeout_s": 5.0, "contact": "a@b.org"}
    return Client(**(settings | changes))


def get(client: Client, url: str, **changes) -> bytes:
    settings = {"params": {}, "what": "the cutout of star 7", "max_bytes": 10_000}
    return client.get(url, **(settings | changes))


def broken_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"SIMPLE")
    handler.close_connection = True


def broken_off_between_chunks(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"6\r\nSIMPLE\r\n")
    handler.close_connection = True


def damaged_gzip(handler):
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()
    handler.wfile.write(gzip.compress(b"SIMPLE" * 100)[:20] + b"rubbish" * 9)


def silent(handler):
    time.sleep(0.6)


def refuse_html(data: bytes) -> None:
    if not data.startswith(b"SIMPLE"):
        raise TransientError("not FITS")


FAULTS = {
    "slow": Answer(send=silent),
    "reset": Answer(send=reset),
    "429": Answer(status=429),
    "500": Answer(b"oops", status=500),
    "503": Answer(status=503, headers={"Retry-After": "0"}),
    "520": Answer(status=520),
    "html": Answer(b"<html><body>Gateway time-out</body></html>"),
    "short": Answer(send=broken_off),
    "short chunks": Answer(send=broken_off_between_chunks),
    "damaged gzip": Answer(send=damaged_gzip),
    "endless": Answer(send=endless),
    "large": Answer(b"SIMPLE" * 10_000),
    "large, it says": Answer(GOOD.body, headers={"Content-Length": "9" * 5000}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_outlasted(fault):
    with serve(one_after_another(FAULTS[fault], FAULTS[fault], GOOD)) as server:
        data = get(client(timeout_s=0.2), f"{server.url}/get", check=refuse_html)
    assert data == GOOD.body
    assert len(server.asked) == 3


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_told_in_a_sentence(fault):
    with serve(one_after_another(FAULTS[fault])) as server, pytest.raises(ServiceError) as caught:
        get(client(timeout_s=0.2, tries=3), f"{server.url}/get", check=refuse_html)
    assert len(server.asked) == 3
    message = str(caught.value)
    assert message.startswith("the cutout of star 7: given up after 3 tries")
    assert "\n" not in message
    assert len(message) < 400


def test_what_is_sent_and_how_the_client_names_itself():
    with serve(one_after_another(GOOD)) as server:
        assert get(client(), f"{server.url}/x", params={"POS": "10.5,-30", "IMAGE": "20140101-07&a=b"}) == GOOD.body
    asked = server.asked[0]
    assert asked.params == {"POS": "10.5,-30", "IMAGE": "20140101-07&a=b"}
    assert asked.headers["User-Agent"].startswith("ACF-JAX/")
    assert "(a@b.org)" in asked.headers["User-Agent"]


@pytest.mark.parametrize("contact", ["a\r\nX-Other: 1", "né", "a) other/1 ("])
def test_a_contact_cannot_write_other_headers(contact):
    with pytest.raises(ValueError, match="contact"):
        Client(contact=contact)


def test_compressed_and_chunked_answers_are_read_whole():
    body = bytes(range(256)) * 300

    def chunks(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), 1000):
            part = body[start : start + 1000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    packed = Answer(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    with serve(one_after_another(packed, Answer(send=chunks))) as server:
        for _ in range(2):
            assert get(client(tries=1), server.url, max_bytes=len(body)) == body


def test_a_compressed_bomb_is_not_unpacked():
    bomb = Answer(gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"})
    with serve(one_after_another(bomb)) as server, pytest.raises(ServiceError, match="larger than the 100000 bytes"):
        get(client(tries=1), server.url, max_bytes=100_000)


def test_a_trickle_ends(monkeypatch):
    monkeypatch.setattr(session, "_ANSWER_PATIENCE", 1)

    def trickle(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b"S")
            time.sleep(0.02)

    with serve(one_after_another(Answer(send=trickle))) as server, pytest.raises(ServiceError, match="in time"):
        get(client(tries=1, timeout_s=0.3), server.url)


@pytest.mark.parametrize("status", [400, 404, 410])
def test_what_a_server_does_not_have_is_not_asked_twice(status):
    page = Answer(b"<html><style>b {}</style><b>No\x07 such</b>\n image &lt;20140101&gt;" + b"!" * 999, status=status)
    with serve(one_after_another(page)) as server, pytest.raises(NotServedError) as caught:
        get(client(), server.url)
    assert len(server.asked) == 1
    assert "the cutout of star 7" in str(caught.value)
    assert f"HTTP {status}: No such image <20140101>!" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("status", [401, 403, 418, 204])
def test_a_refusal_is_not_asked_twice_and_is_no_missing_file(status):
    with serve(one_after_another(Answer(status=status))) as server, pytest.raises(ServiceError, match=str(status)):
        get(client(), server.url)
    assert len(server.asked) == 1


def test_redirects_are_followed_within_bounds():
    def answer(asked):
        if asked.path == "/new":
            return GOOD
        return Answer(status=302, headers={"Location": "/new" if asked.path == "/old" else asked.path})

    with serve(answer) as server:
        assert get(client(), f"{server.url}/old") == GOOD.body
        with pytest.raises(ServiceError, match="redirects"):
            get(client(), f"{server.url}/ring")
    assert len(server.asked) < 10


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "FILE:/etc/passwd"])
def test_redirects_lead_to_no_other_scheme(target):
    with serve(one_after_another(Answer(status=302, headers={"Location": target}))) as server:
        with pytest.raises(ServiceError, match="scheme"):
            get(client(), server.url)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "target", ["http://[", "http://..example./", "http://\xff/", f"http://{'a' * 70}.org/", "http://a:b/"]
)
def test_redirects_to_what_is_no_address(target):
    with serve(one_after_another(Answer(status=302, headers={"Location": target}))) as server:
        with pytest.raises(ServiceError, match="cannot be asked for"):
            get(client(), server.url)


def test_a_body_that_comes_with_a_redirect_is_bounded_too():
    def endless_redirect(handler):
        handler.send_response(302)
        handler.send_header("Location", "/new")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    with serve(one_after_another(Answer(send=endless_redirect))) as server:
        with pytest.raises(ServiceError, match="larger than"):
            get(client(tries=1), server.url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "no-scheme", "http://"])
def test_addresses_that_cannot_be_asked(url):
    with pytest.raises(ServiceError, match="cannot be asked for"):
        get(client(), url)


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status, dated):
    slept = []
    after = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True) if dated else "50"
    busy = Answer(status=status, headers={"Retry-After": after})
    with serve(one_after_another(busy, GOOD)) as server:
        assert get(client(sleep=slept.append), server.url) == GOOD.body
    assert 45 < max(slept) <= 50.1


@pytest.mark.parametrize("after", ["1e9", "999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "-5", "soon", "٣"])
def test_retry_after_is_bounded_whatever_it_says(after):
    slept = []
    busy = Answer(status=429, headers={"Retry-After": after.encode().decode("latin-1")})
    with serve(one_after_another(busy, GOOD)) as server:
        get(client(sleep=slept.append), server.url)
    assert all(0 <= pause_s <= http.MAX_PAUSE_S + 1 for pause_s in slept)


def test_one_thread_told_to_wait_holds_up_all():
    slept = []
    busy = Answer(status=429, headers={"Retry-After": "50"})
    with serve(one_after_another(busy, GOOD)) as server:
        hurried = client(sleep=slept.append)
        get(hurried, server.url)
        slept.clear()
        other = threading.Thread(target=get, args=(hurried, server.url))
        other.start()
        other.join()
    assert max(slept) > 45


def test_pauses_double_and_are_jittered():
    def pauses() -> list[float]:
        slept = []
        with serve(one_after_another(Answer(status=500))) as server, pytest.raises(ServiceError):
            get(client(tries=6, backoff_s=1.0, rate_per_s=1e9, sleep=slept.append), server.url)
        return [pause_s for pause_s in slept if pause_s >= 1]

    first, second = pauses(), pauses()
    assert first != second
    for pause_s, least_s in zip(first, [1, 2, 4, 8, 16], strict=True):
        assert least_s <= pause_s <= least_s + 1


def test_the_rate_holds_over_all_threads():
    starts = []

    def answer(_):
        starts.append(time.monotonic())
        return GOOD

    slept = []
    lock = threading.Lock()

    def sleep(pause_s):
        with lock:
            slept.append(pause_s)

    with serve(answer) as server:
        shared = client(rate_per_s=0.1, sleep=sleep)
        threads = [threading.Thread(target=get, args=(shared, server.url)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # Eight requests at one in 10 s: the first at once, the others 10, 20, ... 70 s after it.
    assert len(starts) == 8
    assert sorted(slept) == pytest.approx([10, 20, 30, 40, 50, 60, 70], abs=5)


def test_a_host_that_refuses_every_connection_is_down():
    with pytest.raises(ArchiveDownError, match=r"no connection can be made.*the cutout of star 7"):
        get(client(), f"http://127.0.0.1:{closed_port()}/x")
    assert not issubclass(ArchiveDownError, ArchiveError)


def test_too_many_failures_in_a_row_are_the_archive_being_down():
    with serve(one_after_another(Answer(status=500))) as server:
        impatient = client(tries=2, failures_until_down=3)
        for _ in range(2):
            with pytest.raises(ServiceError):
                get(impatient, server.url)
        with pytest.raises(ArchiveDownError, match="3 requests failed in a row"):
            get(impatient, server.url)
        # While it is down, one try tells as much as many.
        n_asked = len(server.asked)
        with pytest.raises(ArchiveDownError):
            get(impatient, server.url)
        assert len(server.asked) == n_asked + 1


@pytest.mark.parametrize("status", [200, 404])
def test_any_proper_answer_ends_a_row_of_failures(status):
    answers = {"/bad": Answer(status=500), "/good": Answer(status=status)}
    with serve(lambda asked: answers[asked.path]) as server:
        patient = client(tries=1, failures_until_down=2)
        for _ in range(3):
            with pytest.raises(ServiceError):
                get(patient, f"{server.url}/bad")
            try:
                get(patient, f"{server.url}/good")
            except NotServedError:
                assert status == 404


def test_refusals_of_everything_are_an_outage_too():
    with serve(one_after_another(Answer(status=403))) as server:
        blocked = client(failures_until_down=2)
        with pytest.raises(ServiceError):
            get(blocked, server.url)
        with pytest.raises(ArchiveDownError):
            get(blocked, server.url)


def test_what_is_no_fault_of_the_service_passes_through():
    def ask():
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        client().patiently("a bug", ask)


def test_libraries_may_read_the_raw_stream():
    with serve(one_after_another(GOOD)) as server:
        polite = client().session
        assert isinstance(polite, requests.Session)
        response = polite.get(server.url, stream=True)
        assert response.raw.read(6) + response.raw.read(decode_content=True) == GOOD.body


def test_cookies_are_kept_for_services_that_stick_to_one_machine():
    with serve(one_after_another(Answer(b"x", headers={"Set-Cookie": "node=3"}))) as server:
        polite = client().session
        polite.get(server.url)
        polite.get(server.url)
    assert server.asked[1].headers["Cookie"] == "node=3"


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("<h1>Bad\n\nGateway</h1><script>alert('x')</script>", "Bad Gateway"),
        ("a\x1b[31mred\x00", "a [31mred"),
        ("x" * 300, "x" * 197 + "..."),
        ("1 &lt; 2", "1 < 2"),
        ("", ""),
    ],
)
def test_plain_sentence(said, plain):
    assert plain_sentence(said) == plain
