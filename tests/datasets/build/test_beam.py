"""Parts made by Beam, with processes of this machine, beside those of `Workers`."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.build.beam import BeamError, BeamWorkers, _settings_of_children
from datasets.build.parts import Job, make_part
from datasets.build.scan import select
from datasets.build.workers import Workers

ROOT = Path(__file__).parents[3]
N_STARS = 36  # a whole part and a short one

# In processes of their own: Beam and what it imports warn about themselves.
PARTS = """
import functools, json, os, sys
from pathlib import Path
from datasets.build.beam import BeamWorkers
from datasets.build.parts import Job, make_part

job = Job("mock", 0, Path(sys.argv[1]))
with BeamWorkers(job.folder, n_workers=2) as workers:
    print(json.dumps(list(workers.run_in_order(functools.partial(make_part, job), range(2)))))
print(json.dumps("OMP_NUM_THREADS" in os.environ))
"""
FAULTS = """
import functools, json, sys
from pathlib import Path
from datasets.build.beam import BeamError, BeamWorkers
from tests.datasets.build.test_beam import touch

folder = Path(sys.argv[1])
def said(options, before=lambda workers: None, tasks=range(4)):
    try:
        with BeamWorkers(folder, options, n_workers=2) as workers:
            before(workers)
            list(workers.run_in_order(functools.partial(touch, folder), tasks))
    except BeamError as error:
        return str(error)
here = ["--runner=FnApiRunner"]  # in this process, which spares the workers' start
told = [
    said(here, tasks=[0, 1, "none", 3]),
    said(here, before=lambda workers: workers._token.unlink()),
    said(["--runner=NoRunner"]),
    said(["--direct_num_workers=two"]),
    said([], tasks=[]),
]
print(json.dumps(told))
"""


def touch(folder, task):
    """A task that leaves a file, as those of a build do."""
    if task == "none":
        raise ValueError("there is no such task")
    (folder / f"made-{task}").touch()
    return task


def run(script, *arguments, cwd=ROOT):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}", *map(str, arguments)],
        **{"cwd": cwd, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_parts_are_identical_to_those_of_workers(tmp_path):
    pytest.importorskip("apache_beam")
    job = Job("mock", 0, tmp_path / "workers")
    job.folder.mkdir()
    with Workers(1) as workers:
        select(job, N_STARS, workers, progress=False)
        by_beam = shutil.copytree(job.folder, tmp_path / "beam")
        sizes = list(workers.run_in_order(functools.partial(make_part, job), range(2)))
    # From another folder than the repository: workers find the package all the same.
    assert run(PARTS, by_beam, cwd=tmp_path) == [sizes, False]
    assert sizes == [32, 4]
    made = {path.name: path.read_bytes() for path in job.folder.iterdir()}
    assert {path.name: path.read_bytes() for path in by_beam.iterdir()} == made
    assert sum(name.startswith("part-") for name in made) == 2


def test_faults_are_told_in_a_sentence_and_lose_nothing(tmp_path):
    pytest.importorskip("apache_beam")
    folder = tmp_path / "shared"
    failed, unseen, no_runner, not_a_number, nothing = run(FAULTS, folder)[-1]
    assert "there is no such task" in failed
    assert "Nothing finished is lost" in failed
    assert f"does not see the work folder {folder}; put --data-dir" in unseen
    assert "cannot use the options --runner=NoRunner" in no_runner
    assert "--direct_num_workers: invalid int value: 'two'" in not_a_number
    assert nothing is None
    assert all(sentence.count("\n") == 0 and len(sentence) < 500 for sentence in (failed, unseen, not_a_number))
    left = {path.name for path in folder.iterdir()}
    assert left <= {"made-0", "made-1", "made-3"}, "the sign for the workers is gone"


def test_workers_are_told_where_the_package_is(tmp_path, monkeypatch):
    """From any folder, whether or not Beam is installed."""
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = os.environ | _settings_of_children()
    command = [sys.executable, "-c", "import datasets; print(datasets.__file__)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(ROOT / "datasets/__init__.py"), done.stderr
    assert environment["PYTHONPATH"].endswith("elsewhere")


def test_without_apache_beam(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "apache_beam"] + ["apache_beam"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BeamError, match="Apache Beam is not installed here; install it with: pip install apache-beam"):
        BeamWorkers(tmp_path)
