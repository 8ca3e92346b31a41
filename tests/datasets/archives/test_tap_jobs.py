import pytest
from astropy.table import Table

from datasets.archives import tap
from datasets.archives.interface import ServiceError
from datasets.archives.tap import QueryError, TruncatedError
from tests.datasets.archives.tiny_server import Answer, Asked, endless, reset, serve
from tests.datasets.archives.tiny_tap import ADQL, BIG, GOOD, OVERFLOW, form, refusal, service, votable


class Jobs:
    """A UWS service for one job: goes through `phases`, then answers `result`; `faults` by address come first."""

    def __init__(self, phases, result=GOOD, summary="", faults=None):
        self.phases = list(phases)
        self.result = result
        self.summary = summary
        self.faults = {path: list(answers) for path, answers in (faults or {}).items()}
        self.started = False
        self.n_created = 0
        self.deleted = False

    def __call__(self, asked: Asked) -> Answer:
        faults = self.faults.get(f"{asked.method} {asked.path}")
        if asked.method == "POST" and asked.path == "/tap/async":
            if faults:
                return faults.pop(0)
            self.n_created += 1
            return Answer(status=303, headers={"Location": "/tap/async/j1"})
        assert asked.path.startswith("/tap/async/j1")
        assert not self.deleted
        if asked.path.endswith("/phase"):
            assert form(asked) == {"PHASE": b"RUN"}
            assert not self.started
            self.started = True
            return faults.pop(0) if faults else Answer(status=303, headers={"Location": "/tap/async/j1"})
        if faults:
            return faults.pop(0)
        if asked.method == "DELETE":
            self.deleted = True
            return Answer(status=303, headers={"Location": "/tap/async"})
        if asked.path.endswith("/results/result"):
            return self.result
        phase = "PENDING"
        if self.started:
            phase = self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]
        return Answer(
            f'<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink">'
            f"<uws:jobId>j1</uws:jobId><uws:phase>{phase}</uws:phase>"
            '<uws:results><uws:result id="result" xlink:href="file:///etc/passwd"/></uws:results>'
            f"{self.summary}</uws:job>".encode()
        )


def ask_job(jobs: Jobs, sleep=lambda _: None, **settings) -> Table:
    with serve(jobs) as server:
        return service(server.url, sleep=sleep, **settings).query(ADQL, asynchronous=True)


def test_a_job_is_run_waited_for_and_deleted():
    slept = []
    jobs = Jobs(["QUEUED", "EXECUTING", "EXECUTING", "EXECUTING", "COMPLETED"])
    table = ask_job(jobs, sleep=slept.append, rate_per_s=1e9)
    assert table["object_id"].tolist() == [BIG, None, 7]
    assert jobs.deleted
    pauses_s = [pause_s for pause_s in slept if pause_s >= 1]
    assert len(pauses_s) >= 3
    assert pauses_s == sorted(pauses_s)
    assert len(set(pauses_s)) > 1


ERROR = '<uws:errorSummary type="{}"><uws:message>Table dr5.x unknown</uws:message></uws:errorSummary>'


def test_a_job_that_fails_tells_why_and_is_deleted():
    jobs = Jobs(["EXECUTING", "ERROR"], summary=ERROR.format("fatal"))
    with pytest.raises(QueryError, match=r"ended as ERROR: Table dr5\.x unknown"):
        ask_job(jobs)
    assert jobs.deleted


@pytest.mark.parametrize(("phase", "kind"), [("ERROR", "transient"), ("ABORTED", "fatal"), ("ARCHIVED", "")])
def test_a_job_that_was_ended_is_no_fault_of_the_query(phase, kind):
    jobs = Jobs(["EXECUTING", phase], summary=ERROR.format(kind))
    with pytest.raises(ServiceError, match="its job ended as"):
        ask_job(jobs)
    assert jobs.deleted


def test_a_job_that_fails_without_a_reason():
    with pytest.raises(QueryError, match="no reason given"):
        ask_job(Jobs(["ERROR"]))


def test_a_job_whose_document_names_no_phase():
    with pytest.raises(ServiceError, match="names no phase"):
        ask_job(Jobs(["&lt;b&gt;"]))


def test_a_job_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(tap, "JOB_TIMEOUT_S", 100.0)
    jobs = Jobs(["EXECUTING"])
    with pytest.raises(ServiceError, match="still EXECUTING after"):
        ask_job(jobs)
    assert jobs.deleted


def test_a_job_is_interrupted():
    def interrupt(pause_s):
        if pause_s >= 0.9:
            raise KeyboardInterrupt

    jobs = Jobs(["EXECUTING"])
    with pytest.raises(KeyboardInterrupt):
        ask_job(jobs, sleep=interrupt)
    assert jobs.deleted


def test_an_overflow_of_a_job():
    jobs = Jobs(["COMPLETED"], result=Answer(votable(after=OVERFLOW)))
    with pytest.raises(TruncatedError):
        ask_job(jobs)
    assert jobs.deleted


def test_a_job_outlasts_faults_at_every_step_and_is_created_once():
    html = Answer(b"<html>Gateway time-out</html>")
    jobs = Jobs(
        ["EXECUTING", "COMPLETED"],
        faults={
            "POST /tap/async": [Answer(status=503), Answer(send=reset)],
            "GET /tap/async/j1": [Answer(status=503), Answer(send=reset), html, Answer(status=429), html],
            "POST /tap/async/j1/phase": [Answer(send=reset)],
            "GET /tap/async/j1/results/result": [html, Answer(GOOD.body[:-30])],
        },
    )
    assert len(ask_job(jobs, tries=8)) == 3
    assert jobs.n_created == 1
    assert jobs.deleted


@pytest.mark.parametrize(
    ("path", "kind"),
    [("POST /tap/async", ServiceError), ("GET /tap/async/j1", ServiceError)],
)
def test_a_job_whose_service_stays_broken(path, kind):
    jobs = Jobs(["COMPLETED"], faults={path: [Answer(status=503)] * 99})
    with pytest.raises(kind, match="given up after 3 tries"):
        ask_job(jobs)


def test_a_job_that_cannot_be_deleted_has_answered_all_the_same():
    jobs = Jobs(["COMPLETED"], faults={"DELETE /tap/async/j1": [Answer(status=500)] * 9})
    assert len(ask_job(jobs)) == 3


def test_a_query_that_is_refused_as_a_job():
    jobs = Jobs(["COMPLETED"], faults={"POST /tap/async": [Answer(refusal("no such LANG"), status=400)]})
    with pytest.raises(QueryError, match="no such LANG"):
        ask_job(jobs)


def test_a_job_document_without_end_is_not_read():
    with pytest.raises(ServiceError, match="larger than"):
        ask_job(Jobs(["COMPLETED"], faults={"GET /tap/async/j1": [GOOD] + [Answer(send=endless)] * 99}))
