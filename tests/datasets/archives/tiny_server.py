"""A server on loopback that answers as a test tells it to, whole or broken."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is sent; `send` writes the bytes itself instead, to misbehave."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    send: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass
class TinyServer:
    url: str
    asked: list[Asked]


@contextlib.contextmanager
def serve(answer: Callable[[Asked], Answer]) -> Iterator[TinyServer]:
    """Serve `answer(request)` until the block ends; the server notes what it was asked."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Asked(self.command, parts.path, params, dict(self.headers), body)
            asked.append(request)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _send(self, answer(request))

        do_GET = do_POST = do_DELETE = _handle  # the names that http.server asks for

        def log_message(self, *arguments) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield TinyServer(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def one_after_another(*answers: Answer) -> Callable[[Asked], Answer]:
    """These answers in order, the last of them for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close so that the client sees 'connection reset by peer'."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A body without an end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    if answer.send is not None:
        answer.send(handler)
        return
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    handler.send_response(answer.status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer.body)
