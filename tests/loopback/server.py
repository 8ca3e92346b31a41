"""The server: connections, the log of requests, and faults between the services and the socket."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from datasets.mock_sky.archive import MockArchive
from tests.loopback.faults import FITS_KINDS, Faults, instead, spoil_fits
from tests.loopback.images import ImageService
from tests.loopback.messages import Request, Response, parse_request, text
from tests.loopback.tap import TapService

SKYMAPPER_TAP, SKYMAPPER_SIAP, GAIA_TAP = "/public/tap", "/public/siap/dr4", "/tap-server/tap"


@contextlib.contextmanager
def serve(archive: MockArchive, faults: Faults | None = None, **options) -> Iterator[LoopbackServer]:
    """A `LoopbackServer` as long as the block lasts, its options as there.

    Raises:
        AssertionError: at the end, if the server itself failed at a request.
    """
    server = LoopbackServer(archive, faults, **options)
    try:
        yield server
    finally:
        server.close()
    assert not server.errors, "the loopback server failed:\n" + "\n".join(server.errors)


class LoopbackServer:
    """SkyMapper's and Gaia's addresses over a mock sky, on 127.0.0.1.

    Attributes:
        skymapper_tap_url, gaia_tap_url: TAP services, as pyvo wants them.
        cutout_url: what `/get_image?...` and `/query?...` are appended to.
        faults: may be exchanged at any time.
        most_at_once: the largest number of requests that were in work at one time.
        errors: tracebacks of the server's own failures.
    """

    def __init__(
        self,
        archive: MockArchive,
        faults: Faults | None = None,
        *,
        max_rows: int = 100_000,
        port: int = 0,
        job_s: float = 0.0,
    ):
        """Serve at once.

        Args:
            archive: a sky with an end (`n_stars`).
            faults: what goes wrong; None for nothing.
            max_rows: the TAP services' row limit.
            port: 0 for any that is free.
            job_s: how much longer an asynchronous job takes than its query, s.
        """
        self.faults = faults or Faults()
        self.most_at_once = 0
        self.errors: list[str] = []
        self._requests: list[Request] = []
        self._n_at_work = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        skymapper = {name: archive.table(name) for name in ("dr4.master", "dr4.photometry", "dr4.images")}
        gaia = {"gaiaedr3.gaia_source": archive.table("gaia")}
        self.services = (
            TapService(skymapper, SKYMAPPER_TAP, max_rows, job_s),
            TapService(gaia, GAIA_TAP, max_rows, job_s),
            ImageService(archive, SKYMAPPER_SIAP),
        )
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.loopback = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.skymapper_tap_url = self.url + SKYMAPPER_TAP
        self.cutout_url = self.url + SKYMAPPER_SIAP
        self.gaia_tap_url = self.url + GAIA_TAP
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests up to now, in order of arrival."""
        with self._lock:
            return tuple(self._requests)

    def counts(self) -> dict[str, Counter]:
        """How many requests there were by `path` (job numbers left out), by `fault` and by `status`."""
        requests = self.requests
        paths = Counter("/async/job".join(_without_job(r.path)) for r in requests)
        faults = Counter(r.fault for r in requests if r.fault)
        return {"path": paths, "fault": faults, "status": Counter(r.status for r in requests)}

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self._requests.clear()
            self.most_at_once = 0

    def close(self) -> None:
        """Stop answering; clients that wait are cut off."""
        self._closing.set()
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()
        self._thread.join()
        for service in self.services:
            service.close()

    def begin(self, request: Request) -> str:
        """Log a request; return the fault it meets."""
        request.fault = self.faults.choose(request)
        with self._lock:
            self._requests.append(request)
            self._n_at_work += 1
            self.most_at_once = max(self.most_at_once, self._n_at_work)
        return request.fault

    def end(self, request: Request) -> None:
        """The answer is out."""
        request.seconds = time.time() - request.time
        with self._lock:
            self._n_at_work -= 1

    def answer(self, request: Request) -> Response:
        """What the services say, with the request's fault in it if it is one of an answer's content."""
        response = instead(request.fault, self.faults.retry_after_s)
        if response is not None:
            return response
        try:
            service = next((s for s in self.services if request.path.startswith(s.path + "/")), None)
            response = service.answer(request, self.url) if service else text(f"{request.path}: no such address", 404)
            if request.fault in FITS_KINDS and response.content_type != "image/fits":
                request.fault = ""
            elif request.fault in FITS_KINDS:
                response.body = spoil_fits(response.body, request.fault)
        except Exception:
            if not self._closing.is_set():
                self.errors.append(f"{request.key}\n{traceback.format_exc()}")
            response = text("the loopback server failed", 500)
        if request.fault == "cut_short":
            response.body = response.body[: len(response.body) // 2]
        return response

    def wait(self, seconds: float) -> bool:
        """Wait, or until the server closes (True)."""
        return self._closing.wait(seconds)


def _without_job(path: str) -> list[str]:
    before, separator, after = path.partition("/async/")
    return [before, after.partition("/")[1] + after.partition("/")[2]] if separator else [path]


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    loopback: LoopbackServer

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._connections: set[socket.socket] = set()

    def get_request(self):
        """A new connection, remembered."""
        connection, client = super().get_request()
        self._connections.add(connection)
        return connection, client

    def shutdown_request(self, request) -> None:
        """A connection's end."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections, those that clients keep open for their next request included."""
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """Nothing: clients that leave in the middle are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "loopback"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = parse_request(self.command, self.path, headers, self.rfile.read(size))
        server = self.server.loopback
        fault = server.begin(request)
        try:
            if fault == "timeout":
                self._say_nothing()
            elif fault == "reset":
                self._reset()
            else:
                self._send(request, server.answer(request))
        finally:
            server.end(request)

    do_GET = do_POST = do_DELETE = _handle

    def _send(self, request: Request, response: Response) -> None:
        request.status = response.status
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = response.body
        if request.fault == "slow":
            self._drip(body)
        elif request.fault == "truncated":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)
        self.wfile.flush()

    def _drip(self, body: bytes) -> None:
        server, steps = self.server.loopback, 4
        for step in range(steps):
            server.wait(server.faults.slow_s / steps)
            self.wfile.write(body[len(body) * step // steps : len(body) * (step + 1) // steps])
            self.wfile.flush()

    def _say_nothing(self) -> None:
        """Until the client hangs up."""
        server = self.server.loopback
        start = time.monotonic()
        while time.monotonic() - start < server.faults.silence_s and not server.wait(0):
            if select.select([self.connection], [], [], 0.1)[0]:
                break
        self.close_connection = True

    def _reset(self) -> None:
        # Closing with no time to linger sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format, *args) -> None:
        """Nothing: the log is `LoopbackServer.requests`."""
