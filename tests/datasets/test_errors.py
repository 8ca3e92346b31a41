import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import datasets
from datasets.archives.interface import ArchiveDownError, ArchiveError
from datasets.archives.session import TransientError
from datasets.errors import DataError, run
from datasets.tables.forms import TableError

ROOT = Path(__file__).parents[2]


def test_every_refusal_has_the_one_base():
    modules = [importlib.import_module(module.name) for module in pkgutil.walk_packages(datasets.__path__, "datasets.")]
    own = {
        thing
        for module in modules
        for _, thing in inspect.getmembers(module, inspect.isclass)
        if issubclass(thing, Exception) and thing.__module__.startswith("datasets.")
    }
    assert {error for error in own if not issubclass(error, DataError)} == {TransientError}, "which no caller ever sees"
    assert issubclass(TableError, ValueError), "as callers have it"
    assert not issubclass(ArchiveDownError, ArchiveError), "no star is rejected for it"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (TableError("stars.csv is empty"), 1, "a.command: stars.csv is empty"),
        (FileNotFoundError(2, "No such file or directory", "here"), 1, "a.command: here: No such file or directory"),
        (OSError("the disk is full"), 1, "a.command: the disk is full"),
        (KeyboardInterrupt(), 130, "a.command: stopped. It goes on."),
    ],
)
def test_what_ends_a_command_is_one_line_and_a_status(error, status, line, capsys):
    def command():
        raise error

    assert run("a.command", command, "It goes on.") == status
    assert capsys.readouterr().err.strip("\n") == line


def test_a_command_has_its_own_status_and_faults_are_not_hidden():
    assert [run("a.command", lambda status=status: status) for status in (0, 3)] == [0, 3]
    with pytest.raises(ZeroDivisionError):
        run("a.command", lambda: 1 // 0)


@pytest.mark.parametrize("n_lines", [1, 100_000], ids=["told at the end", "told by a line"])
def test_nobody_reading_on_is_no_fault(n_lines):
    """As behind `| head`."""
    code = f"import sys; from datasets.errors import run; sys.exit(run('a', lambda: print('line\\n' * {n_lines}) or 0))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        **{"cwd": ROOT, "env": os.environ | {"PYTHONUNBUFFERED": ""}},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
    )
    process.stdout.close()
    with process:
        assert process.stderr.read() == b""
    assert process.returncode == 141
