"""Polite and patient HTTP: who asks, how often, what is asked again, and when to stop asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import TypeVar

import requests
import tenacity
import urllib3

from datasets.archives.interface import ArchiveDownError, ArchiveError, NotServedError, ServiceError
from datasets.archives.session import PoliteSession, RateLimiter, TransientError, at_most, host_of, plain_sentence

__all__ = ["Client", "TransientError", "plain_sentence", "refuse_status"]

T = TypeVar("T")

MAX_PAUSE_S = 300.0
"""Longest pause between two tries, whatever a server's Retry-After says."""

_TRY_AGAIN_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_SERVED_STATUS = frozenset({400, 404, 410})
_TRANSIENT = (
    requests.Timeout,
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


def refuse_status(response: requests.Response, what: str) -> None:
    """Let only an answer of status 200 pass.

    Raises:
        TransientError: for 408, 425, 429 and 5xx, with the pause asked for by Retry-After.
        NotServedError: for 400, 404 and 410.
        ServiceError: for any other.
    """
    status = response.status_code
    if status == 200:
        return
    said = plain_sentence(response.content[:4000].decode("utf-8", "replace"))
    message = f"HTTP {status}" + (f": {said}" if said else "")
    if status in _TRY_AGAIN_STATUS or status > 504:
        raise TransientError(message, _retry_after_s(response.headers.get("Retry-After", "")))
    if status in _NOT_SERVED_STATUS:
        raise NotServedError(f"{what}: {host_of(response.url)} does not serve it ({message})")
    raise ServiceError(f"{what}: {host_of(response.url)} refuses it ({message}); asking again would not help")


class Client:
    """Asks servers as their operators wish to be asked; one for a service, shared by all threads.

    Args:
        contact: how the operators can reach whoever runs this, for example a mail address.
        rate_per_s: requests started per second, over all threads.
        tries: times that one request is made before it counts as failed.
        backoff_s: pause after the first failure; doubles with each, and is jittered.
        timeout_s: how long to wait for a connection and between two bytes of an answer; five times as long for the
            first byte of a query's.
        failures_until_down: so many failed requests in a row, over all threads, mean that the archive is down.
        sleep: what waits, in seconds.
    """

    def __init__(
        self,
        *,
        contact: str = "",
        rate_per_s: float = 5.0,
        tries: int = 5,
        backoff_s: float = 2.0,
        timeout_s: float = 60.0,
        failures_until_down: int = 20,
        sleep: Callable[[float], None] = time.sleep,
    ):
        if min(rate_per_s, tries, timeout_s, failures_until_down) <= 0 or backoff_s < 0:
            raise ValueError("rate, tries, timeout and failures_until_down must be positive, backoff not negative")
        self.sleep = sleep
        self.session = PoliteSession(user_agent(contact), RateLimiter(rate_per_s, sleep), timeout_s)
        self._tries = tries
        self._backoff = tenacity.wait_exponential(backoff_s, max=MAX_PAUSE_S) + tenacity.wait_random(0, backoff_s)
        self._failures_until_down = failures_until_down
        self._failures_in_a_row = 0
        self._lock = threading.Lock()

    def get(
        self,
        url: str,
        params: Mapping[str, str],
        *,
        what: str,
        max_bytes: int,
        check: Callable[[bytes], None] | None = None,
    ) -> bytes:
        """One file, whole and checked.

        Args:
            url: address without the query part.
            params: the query part; quoted here.
            what: what this is, for messages.
            max_bytes: larger answers are not read.
            check: raises `TransientError` when the bytes are not what was asked for.

        Returns:
            The file's bytes.

        Raises:
            NotServedError: if the server says that it has no such thing.
            ServiceError: if it refuses, or fails at every try.
            ArchiveDownError: if nothing can be had from it.
        """

        def ask() -> bytes:
            with at_most(max_bytes):
                response = self.session.get(url, params=params)
            refuse_status(response, what)
            if check is not None:
                check(response.content)
            return response.content

        return self.patiently(what, ask)

    def patiently(self, what: str, ask: Callable[[], T]) -> T:
        """The answer of `ask`, which is called again after each failure that may pass.

        These are `TransientError`, time-outs, lost connections and broken answers.

        Raises:
            ServiceError: if the last try failed too, or the request cannot be made.
            ArchiveDownError: if too many requests failed in a row, or none of the tries could connect at all.
        """
        unconnected = []

        def ask_once() -> T:
            try:
                return ask()
            except requests.ConnectionError as error:
                if _never_connected(error):
                    unconnected.append(error)
                raise

        try:
            answer = self._retrying()(ask_once)
        except tenacity.RetryError as error:
            tries, last = error.last_attempt.attempt_number, error.last_attempt.exception()
            message = f"{what}: given up after {tries} tries, the last of which failed: {_reason(last)}"
            self._failed(message, nowhere=len(unconnected) == tries)
            raise ServiceError(message) from last
        except requests.RequestException as error:
            self._failed(message := f"{what}: cannot be asked for: {_reason(error)}")
            raise ServiceError(message) from error
        except ServiceError as error:
            self._failed(str(error))
            raise
        except ArchiveError:
            self._answered()
            raise
        self._answered()
        return answer

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            stop=lambda state: state.attempt_number >= self._tries or self._is_down(),
            wait=self._backoff,
            before_sleep=self._hold_if_asked,
            retry=tenacity.retry_if_exception_type((TransientError, *_TRANSIENT)),
            sleep=self.sleep,
        )

    def _hold_if_asked(self, state: tenacity.RetryCallState) -> None:
        self.session.limiter.hold(getattr(state.outcome and state.outcome.exception(), "retry_after_s", 0.0))

    def _is_down(self) -> bool:
        return self._failures_in_a_row >= self._failures_until_down

    def _answered(self) -> None:
        with self._lock:
            self._failures_in_a_row = 0

    def _failed(self, message: str, nowhere: bool = False) -> None:
        with self._lock:
            self._failures_in_a_row += 1
            n_failed, down = self._failures_in_a_row, self._is_down()
        if nowhere or down:
            extent = f"{n_failed} requests failed in a row" if down else "no connection can be made"
            raise ArchiveDownError(
                f"The archive is out of reach ({extent}). {message}. Check the network and the service's own news, "
                "then go on with the same command."
            )


def _retry_after_s(header: str) -> float:
    """Retry-After (RFC 9110, 10.2.3) is a number of seconds or a date; 0 where it is neither."""
    try:
        if header.strip().isdecimal():
            pause_s = float(header)
        else:
            pause_s = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(pause_s, 0.0), MAX_PAUSE_S)


def _never_connected(error: requests.ConnectionError) -> bool:
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(cause, urllib3.exceptions.NewConnectionError)


def _reason(error: BaseException | None) -> str:
    request = getattr(error, "request", None)
    host = host_of(request.url) if request is not None else "the server"
    if isinstance(error, requests.Timeout):
        return f"no whole answer from {host} in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "the answer broke off or is damaged"
    if isinstance(error, requests.ConnectionError):
        lost = "cannot be made" if _never_connected(error) else "was lost"
        cause = getattr(error.args[0], "reason", None) if error.args else None
        return f"the connection to {host} {lost} ({plain_sentence(str(cause or error).rpartition('): ')[2], 200)})"
    return plain_sentence(str(error), 300) or type(error).__name__


def user_agent(contact: str) -> str:
    """As RFC 9110, 10.1.5 wishes: product, version, and how to reach whoever runs it."""
    if not contact.isascii() or not contact.isprintable() or set(contact) & set("()\\"):
        raise ValueError(f"contact {contact!r} must be plain ASCII on one line, without parentheses")
    try:
        version = metadata.version("acf-jax")
    except metadata.PackageNotFoundError:
        version = "clone"
    return f"ACF-JAX/{version} ({contact or 'no contact given'})"
