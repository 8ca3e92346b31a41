"""Queries to a Table Access Protocol service (TAP 1.1), by pyvo; what comes back is whole or an error."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import requests
from astropy.table import Table

from datasets.archives.http import Client, TransientError, plain_sentence, refuse_status
from datasets.archives.interface import ArchiveError, NotServedError, ServiceError
from datasets.archives.session import at_most, host_of
from datasets.archives.votable import Answer, read_answer

T = TypeVar("T")

FIRST_POLL_S = 1.0
LAST_POLL_S = 60.0
"""An asynchronous job is asked for its phase at growing intervals between these."""

JOB_TIMEOUT_S = 6 * 3600.0
"""An asynchronous job that takes longer is given up."""

_MAX_JOB_BYTES = 4_000_000  # of the document that describes a job; it repeats the query
_RUNNING = frozenset({"PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "UNKNOWN"})
_ENDED = frozenset({"COMPLETED", "ERROR", "ABORTED", "ARCHIVED"})

_REFUSED_QUERY_STATUS = frozenset({400, 405, 406, 409, 413, 414, 415, 422})

_log = logging.getLogger(__name__)


class QueryError(ArchiveError):
    """The service refuses the query; its own words are in the message."""


class TruncatedError(ArchiveError):
    """There are more rows than the service returns."""


class TapService:
    """One TAP service.

    Args:
        url: its base address, to which `/sync` and `/async` are added.
        client: asks.
    """

    def __init__(self, url: str, client: Client):
        self.url = url.rstrip("/")
        self._client = client

    def query(
        self,
        adql: str,
        *,
        uploads: Mapping[str, Table] | None = None,
        asynchronous: bool = False,
        maxrec: int | None = None,
    ) -> Table:
        """All rows of a query: units attached, NULLs masked, ids int64.

        Args:
            adql: the query.
            uploads: tables that it knows as `TAP_UPLOAD.name`.
            asynchronous: run as a job, for which services allow more time and rows.
            maxrec: most rows to return; the service has a limit of its own as well.

        Returns:
            The rows.

        Raises:
            QueryError: if the service refuses the query.
            TruncatedError: if there are more rows than it returns.
            ServiceError, ArchiveDownError: as `Client.patiently`.
        """
        answer = self._answer(adql, uploads, asynchronous, maxrec)
        if answer.status == "OVERFLOW":
            raise TruncatedError(
                f"{host_of(self.url)} returned only the first {len(answer.table)} rows of '{_short(adql)}'; "
                "ask for fewer at a time"
            )
        return answer.table

    def pages(
        self,
        columns: str,
        source: str,
        where: str,
        key: str,
        *,
        page_size: int = 100_000,
        after: int | None = None,
    ) -> Iterator[Table]:
        """All rows of `SELECT columns FROM source WHERE where`, in order of `key`, some at a time.

        Each page begins after the last key of the one before. Only a page without rows is the end: a service that
        returns fewer rows than asked for, and even one that does not say so, loses none.

        Args:
            columns: the select list, with `key` in it.
            source: what follows FROM.
            where: the condition; empty for all rows.
            key: an integer column without repetition or NULLs; as `table.column` where `source` is a join.
            page_size: most rows to a page.
            after: begin behind this key.

        Returns:
            The pages, one after the other, none of them empty.

        Raises:
            ServiceError: if at every try a page has a key that is missing, repeated or out of order.
            QueryError, ArchiveDownError: as `query`.
        """
        if page_size < 1:
            raise ValueError(f"page_size {page_size} must be at least 1")
        name = key.rpartition(".")[2].strip('"')
        while True:
            conditions = [f"({where})"] if where else []
            conditions += [f"{key} > {int(after)}"] if after is not None else []
            condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            adql = f"SELECT TOP {page_size} {columns} FROM {source}{condition} ORDER BY {key}"
            check = _in_order(name, after)
            answer = self._answer(adql, None, False, None, check)
            if not len(answer.table):
                if answer.status == "OVERFLOW":
                    raise TruncatedError(f"{host_of(self.url)} returns no rows at all, and says that there are more")
                return
            if answer.status == "OVERFLOW":
                _log.info("%s returned %d rows of a page of %d", host_of(self.url), len(answer.table), page_size)
            yield answer.table
            after = int(answer.table[name][-1])

    def _answer(
        self,
        adql: str,
        uploads: Mapping[str, Table] | None,
        asynchronous: bool,
        maxrec: int | None,
        check: Callable[[Answer], None] = lambda _: None,
    ) -> Answer:
        from pyvo.dal import TAPQuery  # 0.7 s that worker processes need not spend

        what = f"The query '{_short(adql)}' to {host_of(self.url)}"
        mode = "async" if asynchronous else "sync"

        def submit() -> requests.Response:
            # Made anew for each try, so that uploads are read from their beginning.
            query = TAPQuery(
                self.url, adql, mode=mode, maxrec=maxrec, uploads=dict(uploads or {}), session=self._client.session
            )
            return query.submit()

        def rows(response: requests.Response) -> Answer:
            answer = _read(response, what)
            check(answer)
            return answer

        if not asynchronous:
            return self._client.patiently(what, lambda: rows(submit()))
        job_url = self._client.patiently(what, lambda: _job_url(submit(), what))
        with self._finished_job(job_url, what):
            # The address that TAP prescribes (1.1, section 2.2.3) rather than whatever one the job's document names.
            result_url = f"{job_url}/results/result"
            return self._client.patiently(what, lambda: rows(self._client.session.get(result_url)))

    @contextlib.contextmanager
    def _finished_job(self, job_url: str, what: str) -> Iterator[None]:
        """Run the job and wait for it; at the end, whichever it is, the service may forget it."""
        from pyvo.dal import AsyncTAPJob

        job = None
        try:
            job = self._patiently_by_pyvo(what, lambda: AsyncTAPJob(job_url, session=self._client.session))
            self._patiently_by_pyvo(what, lambda: _run_once(job))
            self._wait(job, what)
            yield
        finally:
            if job is not None:
                try:
                    job.delete()
                except Exception as error:  # the service forgets it later by itself
                    _log.info("%s: the job could not be deleted (%s)", what, plain_sentence(str(error)))

    def _wait(self, job, what: str) -> None:
        pause_s, waited_s = FIRST_POLL_S, 0.0
        while (state := self._patiently_by_pyvo(what, lambda: _state(job))).phase in _RUNNING:
            if waited_s > JOB_TIMEOUT_S:
                raise ServiceError(f"{what}: its job was still {state.phase} after {waited_s / 3600:.1f} hours")
            self._client.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(1.5 * pause_s, LAST_POLL_S)
        if state.phase == "COMPLETED":
            return
        summary = state.errorsummary
        said = plain_sentence(summary.message.content or "") if summary is not None and summary.message else ""
        kind = QueryError if state.phase == "ERROR" and getattr(summary, "type_", "") != "transient" else ServiceError
        raise kind(f"{what}: its job ended as {state.phase}: {said or 'no reason given'}")

    def _patiently_by_pyvo(self, what: str, ask: Callable[[], T]) -> T:
        def translated() -> T:
            with _errors_of_pyvo(what), at_most(_MAX_JOB_BYTES):
                return ask()

        return self._client.patiently(what, translated)


def _read(response: requests.Response, what: str) -> Answer:
    if response.status_code in _REFUSED_QUERY_STATUS:
        raise QueryError(f"{what} is refused (HTTP {response.status_code}): {_words(response)}")
    _refuse_status(response, what)
    answer = read_answer(response.content)
    if answer.status == "ERROR":
        raise QueryError(f"{what} is refused: {answer.message}")
    return answer


def _words(response: requests.Response) -> str:
    with contextlib.suppress(TransientError):
        answer = read_answer(response.content)
        if answer.message:
            return answer.message
    return plain_sentence(response.content[:4000].decode("utf-8", "replace")) or "no reason given"


def _refuse_status(response: requests.Response, what: str) -> None:
    """As `refuse_status`; but a query that finds no service is not a thing that the archive does not have."""
    try:
        refuse_status(response, what)
    except NotServedError as error:
        raise ServiceError(str(error)) from None


def _job_url(response: requests.Response, what: str) -> str:
    """Where the job is: the redirection that answers its creation (UWS 1.1, section 2.2.3.1)."""
    if response.history:
        return response.url  # it was created, even if the look at it that followed failed
    _read(response, what)
    raise TransientError("no job was created")


def _state(job):
    state = job.job
    if state.phase not in _RUNNING | _ENDED:  # pyvo finds a job without a phase in any XML, a gateway's page too
        raise TransientError("the job's document names no phase")
    return state


def _run_once(job) -> None:
    """Start it unless an earlier try did, whose answer was lost."""
    if _state(job).phase == "PENDING":
        job.run()


@contextlib.contextmanager
def _errors_of_pyvo(what: str) -> Iterator[None]:
    from pyvo.dal import DALServiceError

    try:
        yield
    except DALServiceError as error:
        cause = error.cause
        if getattr(cause, "response", None) is not None:
            _refuse_status(cause.response, what)
        raise (cause if isinstance(cause, requests.RequestException) else TransientError(str(error))) from error
    except (TransientError, ArchiveError, requests.RequestException):
        raise
    except Exception as error:  # what expat and pyvo raise for broken XML has no common kind
        raise TransientError(f"the job's document is broken ({plain_sentence(str(error), 120)})") from error


def _in_order(name: str, after: int | None) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        if name not in answer.table.colnames:
            raise TransientError(f"the answer has no column {name}, only {', '.join(answer.table.colnames)}")
        keys = answer.table[name]
        if not len(keys):
            return
        if np.ma.getmaskarray(keys).any() or keys.dtype.kind not in "iu":
            raise TransientError(f"the answer has rows whose {name} is missing or no integer")
        keys = np.asarray(keys)
        if np.any(keys[1:] <= keys[:-1]) or (after is not None and keys[0] <= after):
            raise TransientError(f"the answer has rows whose {name} is repeated or out of order")

    return check


def _short(adql: str) -> str:
    adql = " ".join(adql.split())
    return adql if len(adql) <= 120 else f"{adql[:80]} ... {adql[-35:]}"
