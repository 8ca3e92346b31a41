"""Studies of a loss whose minimum is known, interrupted and not."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest

from acf_jax.baselines import tuning
from acf_jax.commands.evaluate import parse_arguments
from acf_jax.report.context import Options

START = {"x": -2.0, "k": 1}
SCRIPT = """
import os, signal, sys
from pathlib import Path
from acf_jax.baselines import tuning
from tests.acf_jax.baselines.test_tuning import START, loss, suggest

calls = []
def fatal(parameters):
    calls.append(parameters)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(parameters)

storage = tuning.open_storage(Path(sys.argv[1]))
tuning.tune(fatal, suggest, START, tuning.Study("a", storage, 8, seed=3))
"""


def suggest(trial):
    return {"x": trial.suggest_float("x", -3, 3), "k": trial.suggest_int("k", 1, 5)}


def loss(parameters):
    return (parameters["x"] - 1) ** 2 + abs(parameters["k"] - 3)


class Recorder:
    """A loss that remembers what was tried."""

    def __init__(self):
        self.tried = []

    def __call__(self, parameters):
        self.tried.append((parameters["x"], parameters["k"]))
        return loss(parameters)


@pytest.fixture
def storage(tmp_path):
    return tuning.open_storage(tmp_path / "cache" / "studies.sqlite3")


def tune(storage, n_trials, *, study="a", seed=3):
    recorder = Recorder()
    tuned = tuning.tune(recorder, suggest, START, tuning.Study(study, storage, n_trials, seed))
    return tuned, recorder.tried


def test_the_first_trial_is_where_the_search_starts(storage):
    tuned, tried = tune(storage, 1)
    assert tried == [(-2.0, 1)]
    assert tuned == tuning.Tuned(START, loss(START), trial=0, n_trials=1)


def test_learns_where_the_minimum_is():
    tuned, tried = tune(optuna.storages.InMemoryStorage(), 40)
    assert len(tried) == 40
    assert tuned.loss == loss(tuned.parameters) == min(loss({"x": x, "k": k}) for x, k in tried) < 0.05
    assert (
        np.median([loss({"x": x, "k": k}) for x, k in tried[20:]]) < 1.75
    )  # half of what draws of even distributions give


def test_from_the_sixth_on_trials_depend_on_what_those_before_came_to():
    def tried_with(loss):
        tried, storage = [], optuna.storages.InMemoryStorage()
        tuning.tune(lambda p: tried.append(p) or loss(p), suggest, START, tuning.Study("a", storage, 6, seed=3))
        return tried

    one, other = tried_with(loss), tried_with(lambda _: 0.0)
    assert one[:5] == other[:5]
    assert one[5] != other[5]
    assert Options().n_trials == parse_arguments(["--checkpoint", "runs/demo"]).trials >= 20


def test_going_on_ends_where_doing_it_at_once_ends(storage, tmp_path):
    at_once, tried = tune(tuning.open_storage(tmp_path / "other.sqlite3"), 8)
    _, first = tune(storage, 2)
    _, then = tune(storage, 3)
    resumed, last = tune(tuning.open_storage(tmp_path / "cache" / "studies.sqlite3"), 8)
    assert [len(first), len(then), len(last)] == [2, 1, 5]
    assert first + then + last == tried
    assert resumed == at_once


@pytest.mark.parametrize("fatal_trial", [1, 4])
def test_killed_and_resumed_is_uninterrupted(storage, tmp_path, fatal_trial):
    _, tried = tune(storage, 8)
    path = tmp_path / "killed.sqlite3"
    root = Path(tuning.__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(path), str(fatal_trial)], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed, rest = tune(tuning.open_storage(path), 8)
    assert rest == tried[fatal_trial - 1 :]
    assert resumed == tune(storage, 8)[0]


def test_of_more_trials_the_first_count(storage):
    few, _ = tune(storage, 2)
    tune(storage, 10)
    assert tune(storage, 2) == (few, [])


def test_studies_and_seeds_try_other_things(storage):
    _, tried = tune(storage, 4)
    _, other_study = tune(storage, 4, study="b")
    _, other_seed = tune(storage, 4, study="c", seed=4)
    assert tried[0] == other_study[0] == other_seed[0]
    assert len({*tried[1:], *other_study[1:], *other_seed[1:]}) == 9


def test_no_trial_is_refused(storage):
    with pytest.raises(ValueError, match="n_trials = 0 must be at least 1"):
        tune(storage, 0)
