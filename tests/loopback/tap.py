"""A TAP 1.1 service over a database: sync, async (UWS 1.1), uploads, VOSI."""

from __future__ import annotations

import hashlib
import itertools
import threading
from dataclasses import dataclass, field

from astropy.table import Table

from tests.loopback import votables
from tests.loopback.adql import AdqlError
from tests.loopback.database import Answer, Database
from tests.loopback.faults import ROW_KINDS, spoil_rows
from tests.loopback.messages import Request, Response, text

_VOTABLE = "application/x-votable+xml"
_ENDED = ("COMPLETED", "ERROR", "ABORTED")


@dataclass
class _Job:
    id: str
    params: dict[str, str]
    files: dict[str, bytes]
    phase: str = "PENDING"
    answer: Answer | None = None
    error: str = ""
    ended: threading.Event = field(default_factory=threading.Event)


class TapService:
    """Everything below `path`; an asynchronous job takes `job_s` seconds longer than its query.

    Args:
        tables: by name, as in `schema.table`.
        path: below which it is.
        max_rows: that it returns at most.
        job_s: how much longer than its query an asynchronous job takes, s.
    """

    def __init__(self, tables: dict[str, Table], path: str, max_rows: int, job_s: float = 0.0):
        self.path = path
        self._tables = tables
        self._database = Database(tables, max_rows)
        self._job_s = job_s
        self._jobs: dict[str, _Job] = {}
        self._numbers = itertools.count(1)
        self._closing = threading.Event()

    def close(self) -> None:
        """Answer no more."""
        self._closing.set()
        self._database.close()

    @property
    def n_jobs(self) -> int:
        """Jobs that nobody has deleted."""
        return len(self._jobs)

    def answer(self, request: Request, base_url: str) -> Response:
        """The answer to a request; `base_url` is the server's own address."""
        first, *rest = request.path[len(self.path) :].strip("/").split("/")
        url = base_url + self.path
        if first == "sync":
            return self._sync(request)
        if first == "async":
            return self._async(request, rest, url + "/async")
        if first == "tables":
            return Response(votables.tables_xml(self._tables), "text/xml")
        if first == "capabilities":
            return Response(votables.capabilities_xml(url, self._database.max_rows), "text/xml")
        return text(f"{request.path} is not part of TAP", 404)

    def _query(self, params: dict[str, str], files: dict[str, bytes]) -> Answer:
        if params.get("LANG", "ADQL").split("-")[0] != "ADQL" or "QUERY" not in params:
            raise AdqlError("LANG=ADQL and QUERY are needed")
        maxrec = params.get("MAXREC")
        if maxrec is not None and not maxrec.isdigit():
            raise AdqlError(f"MAXREC={maxrec} is no number of rows")
        uploads = {name: _upload(name, source, files) for name, source in _named(params.get("UPLOAD", ""))}
        return self._database.query(params["QUERY"], None if maxrec is None else int(maxrec), uploads)

    def _sync(self, request: Request) -> Response:
        try:
            return _served(self._query(request.params, request.files), request.params, request)
        except AdqlError as error:
            return Response(votables.error_xml(str(error)), _VOTABLE, 400)

    def _async(self, request: Request, rest: list[str], url: str) -> Response:
        if not rest:
            return self._create(request, url) if request.method == "POST" else text("the list of jobs is private", 403)
        job = self._jobs.get(rest[0])
        if job is None:
            return text(f"there is no job {rest[0]}", 404)
        there = Response(b"", status=303, headers={"Location": f"{url}/{job.id}"})
        if request.method == "DELETE" or request.params.get("ACTION") == "DELETE":
            del self._jobs[job.id]
            return Response(b"", status=303, headers={"Location": url})
        if request.method == "POST" and rest[1:] == ["phase"]:
            return there if self._set_phase(job, request.params.get("PHASE", "")) else text("no such PHASE now", 400)
        if request.method == "POST":
            return there  # executionduration and the like: accepted, without effect
        return self._part_of_job(job, rest[1:], request, url)

    def _create(self, request: Request, url: str) -> Response:
        # The name depends on what is asked, so that faults do; the number keeps equal jobs apart.
        name = hashlib.sha256(request.key.encode()).hexdigest()[:12]
        job = _Job(f"{name}.{next(self._numbers)}", dict(request.params), dict(request.files))
        self._jobs[job.id] = job
        if job.params.get("PHASE") == "RUN":
            self._set_phase(job, "RUN")
        return Response(b"", status=303, headers={"Location": f"{url}/{job.id}"})

    def _set_phase(self, job: _Job, phase: str) -> bool:
        if phase == "RUN" and job.phase == "PENDING":
            job.phase = "EXECUTING"
            threading.Thread(target=self._run, args=(job,), daemon=True).start()
            return True
        if phase == "ABORT":
            if job.phase not in _ENDED:
                job.phase = "ABORTED"
                job.ended.set()
            return True
        return phase == "RUN"  # a repeated RUN changes nothing

    def _run(self, job: _Job) -> None:
        self._closing.wait(self._job_s)
        try:
            job.answer, phase = self._query(job.params, job.files), "COMPLETED"
        except Exception as error:
            job.error, phase = str(error), "ERROR"
        if job.phase == "EXECUTING":
            job.phase = phase
        job.ended.set()

    def _part_of_job(self, job: _Job, part: list[str], request: Request, url: str) -> Response:
        if not part:
            wait_s = float(request.params.get("WAIT", 0))
            if job.phase == "EXECUTING" and wait_s:
                job.ended.wait(60 if wait_s < 0 else min(wait_s, 60))
            return Response(votables.job_xml(job.id, job.phase, f"{url}/{job.id}", job.error, job.params), "text/xml")
        if part == ["phase"]:
            return text(job.phase)
        if part == ["error"]:
            return Response(votables.error_xml(job.error), _VOTABLE)
        if part == ["results", "result"] and job.answer is not None:
            return _served(job.answer, job.params, request)
        return text(f"job {job.id} ({job.phase}) has no {'/'.join(part)}", 404)


def _served(answer: Answer, params: dict[str, str], request: Request) -> Response:
    if request.fault in ROW_KINDS:
        spoiled = spoil_rows(answer, params["QUERY"], request.fault)
        if spoiled is None:
            request.fault = ""
        answer = spoiled or answer
    plain = params.get("FORMAT", params.get("RESPONSEFORMAT", "")) in ("votable_plain", "votable/td")
    return Response(votables.answer_xml(answer, "tabledata" if plain else "binary2"), _VOTABLE)


def _named(upload: str) -> list[tuple[str, str]]:
    return [tuple(pair.split(",", 1)) for pair in upload.split(";") if "," in pair]


def _upload(name: str, source: str, files: dict[str, bytes]) -> Table:
    content = files.get(source.removeprefix("param:"))
    if content is None or not source.startswith("param:"):
        raise AdqlError(f"UPLOAD: there is no table for {name} in the request")
    try:
        return votables.uploaded_table(content)
    except Exception as error:
        raise AdqlError(f"UPLOAD: {name} is no VOTable ({error})") from None
