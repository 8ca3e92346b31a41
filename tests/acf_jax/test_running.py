"""How commands end."""

import os
import subprocess
import sys

import pytest

from acf_jax.errors import ACFError
from acf_jax.running import run

PRINTS = """
import sys
from acf_jax.running import run
n_lines = int(sys.argv[1])
def command():
    for i in range(n_lines):
        print(i)
sys.exit(run(command, "prog"))
"""


class RefusalError(ACFError):
    pass


def raising(error):
    def command():
        print("begun")
        raise error

    return command


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (3, 3)])
def test_the_status_is_the_commands_own(returned, status, capsys):
    assert run(lambda: returned, "prog") == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RefusalError("There is no such star: give another."), 1, "prog: There is no such star: give another.\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 1, "prog: a/b: No such file or directory.\n"),
        (OSError(28, "No space left on device"), 1, "prog: out.fits: No space left on device.\n"),
        (OSError("cannot be opened"), 1, "prog: out.fits: cannot be opened.\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, "prog: out.fits: Broken pipe.\n"),  # another's than stdout
        (KeyboardInterrupt(), 130, "\nprog: stopped; go on.\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_users_can_do_something_about_is_one_line(error, status, line, capsys):
    assert run(raising(error), "prog", out="out.fits", stopped="stopped; go on.") == status
    assert capsys.readouterr() == ("begun\n", line)


def test_without_a_place_the_line_has_none(capsys):
    assert run(raising(OSError(28, "No space left on device")), "prog") == 1
    assert run(raising(KeyboardInterrupt()), "prog") == 130
    assert capsys.readouterr().err == "prog: No space left on device.\n\nprog: stopped.\n"


@pytest.mark.parametrize("error", [ValueError("a fault"), SystemExit(2)])
def test_faults_of_the_code_and_exits_go_on(error, capsys):
    with pytest.raises(type(error)):
        run(raising(error), "prog")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("n_lines", [1, 100_000])  # noticed when it is printed, and when the command has ended
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_it_without_a_word(n_lines, unbuffered):
    command, pipe = [sys.executable, "-c", PRINTS, str(n_lines)], subprocess.PIPE
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.parametrize(("shown", "variable", "disabled"), [(True, "", False), (True, "1", True), (False, "", True)])
def test_a_bar_can_be_switched_off_by_the_user_too(shown, variable, disabled):
    asks = f"import tqdm; from acf_jax.running import bar_options; print(tqdm.tqdm(**bar_options({shown})).disable)"
    environment = os.environ | {"TQDM_DISABLE": variable}
    done = subprocess.run([sys.executable, "-c", asks], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{disabled}\n"
