"""The session behind every request: it waits its turn, and limits what a server can do.

A server's answer is untrusted: its size and time are bounded, it cannot lead to another scheme, and what it says is
cleaned before it enters a message.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

MAX_ANSWER_BYTES = 1 << 30
"""Read of one answer at most, where the caller names no tighter bound."""

_CHUNK_BYTES = 1 << 16
_QUERY_PATIENCE = 5  # a POST is a query, which works for longer before its first byte than a file does
_ANSWER_PATIENCE = 10  # timeouts that a whole answer may take, so that a trickle ends too

_answer_bound: ContextVar[int] = ContextVar("answer_bound", default=MAX_ANSWER_BYTES)


class TransientError(Exception):
    """An answer is no good; another try may bring a better one.

    Args:
        message: what was wrong with the answer.
        retry_after_s: pause that the server asked for, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0):
        super().__init__(message)
        self.retry_after_s = retry_after_s


def plain_sentence(text: str, length: int = 200) -> str:
    """What a server wrote as one short printable line: no markup, no control characters."""
    text = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", text[:4000])
    text = "".join(character if character.isprintable() else " " for character in html.unescape(text))
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def host_of(url: str | None) -> str:
    """The host that an address names, for messages."""
    return plain_sentence(urlsplit(url or "").netloc.rpartition("@")[2], 80) or "the server"


@contextlib.contextmanager
def at_most(max_bytes: int) -> Iterator[None]:
    """Read no answer larger than this inside the block, in this thread."""
    token = _answer_bound.set(max_bytes)
    try:
        yield
    finally:
        _answer_bound.reset(token)


class RateLimiter:
    """Starts requests no closer to each other than the rate allows, over all threads."""

    def __init__(self, rate_per_s: float, sleep: Callable[[float], None]):
        self._interval_s = 1 / rate_per_s
        self._sleep = sleep
        self._next_s = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is this thread's turn."""
        with self._lock:
            now_s = time.monotonic()
            start_s = max(now_s, self._next_s)
            self._next_s = start_s + self._interval_s
        if start_s > now_s:
            self._sleep(start_s - now_s)

    def hold(self, pause_s: float) -> None:
        """Start nothing for so long: a server that asks one thread to wait means all."""
        if pause_s > 0:
            with self._lock:
                self._next_s = max(self._next_s, time.monotonic() + pause_s)


class PoliteSession(requests.Session):
    """A session that any library can use: politeness and bounds are in its adapter, and so hold for redirects too.

    Args:
        user_agent: who asks.
        limiter: whose turn it is.
        timeout_s: how long to wait for a connection and for each part of an answer.
    """

    def __init__(self, user_agent: str, limiter: RateLimiter, timeout_s: float):
        super().__init__()
        self.headers["User-Agent"] = user_agent
        self.max_redirects = 5
        self.limiter = limiter
        for scheme in ("http://", "https://"):
            self.mount(scheme, _PoliteAdapter(limiter, timeout_s))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """As the base class, unless it is another scheme; from http to https is allowed."""
        try:
            target = super().get_redirect_target(resp)
            scheme = urlsplit(target or "").scheme.lower()
        except ValueError as error:
            raise requests.exceptions.InvalidURL(f"{host_of(resp.url)} redirects to no address") from error
        if scheme not in ("", "https", urlsplit(resp.url).scheme.lower()):
            raise requests.exceptions.InvalidSchema(f"{host_of(resp.url)} redirects to the scheme '{scheme[:20]}'")
        return target


class _PoliteAdapter(HTTPAdapter):
    """Waits its turn, and hands out an answer only when all of it is there."""

    def __init__(self, limiter: RateLimiter, timeout_s: float):
        super().__init__(pool_maxsize=32)
        self._limiter = limiter
        self._timeout_s = timeout_s

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, **settings: Any
    ) -> requests.Response:
        """As the base class, but whole and bounded; `stream` and `timeout` are decided here."""
        self._limiter.wait()
        first_byte_s = self._timeout_s * (_QUERY_PATIENCE if request.method == "POST" else 1)
        try:
            response = super().send(request, stream=True, timeout=(self._timeout_s, first_byte_s), **settings)
        except urllib3.exceptions.LocationValueError as error:
            raise requests.exceptions.InvalidURL(error, request=request) from error
        try:
            body = _read_whole(response, _answer_bound.get(), time.monotonic() + _ANSWER_PATIENCE * first_byte_s)
        except BaseException:
            response.close()
            raise
        response.raw = _Body(body, response.raw)
        vars(response).update(_content=body, _content_consumed=True)
        return response


class _Body(io.BytesIO):
    """A body that was read, for libraries that read `response.raw` themselves."""

    def __init__(self, body: bytes, raw: urllib3.BaseHTTPResponse):
        super().__init__(body)
        self._original_response = getattr(raw, "_original_response", None)  # requests looks for cookies there

    def read(self, amt: int | None = -1, decode_content: bool | None = None) -> bytes:
        """As urllib3 has it; the body is decoded already."""
        return super().read(amt)


def _read_whole(response: requests.Response, max_bytes: int, deadline_s: float) -> bytes:
    body = bytearray()
    too_large = TransientError(f"the answer is larger than the {max_bytes} bytes expected at most")
    declared = response.headers.get("Content-Length", "")
    # A server is free to compress; then the length is that of the compressed body, which is no larger than what is
    # expected either.
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > max_bytes):
        raise too_large
    try:
        # `read1` returns what is there: `read` would wait for a whole chunk, and a trickle could hold it for hours.
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > max_bytes:
                raise too_large
            if time.monotonic() > deadline_s:
                raise requests.ReadTimeout("the answer came too slowly")
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    return bytes(body)
