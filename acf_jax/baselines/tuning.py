"""Bayesian optimisation of hyperparameters (paper Sec. 5.2) that survives being killed.

Trials are kept in a file. What trial k tries depends on (seed, study, k) and on the trials before it, so that a study
that was interrupted goes on to the same end as one that was not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Optuna takes a second to import
    from optuna.storages import BaseStorage

N_RANDOM_TRIALS = 5  # before the first that learns from the others
TIMEOUT_S = 60.0  # of waiting for the file, when several studies write at once

Parameters = Mapping[str, float | int]


@dataclass(frozen=True)
class Tuned:
    """The best of a study's trials."""

    parameters: dict[str, float | int]
    loss: float
    trial: int  # its place among the trials, from 0
    n_trials: int


def open_storage(path: Path) -> BaseStorage:
    """The SQLite file in which studies are kept, made if it is not there."""
    import optuna
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    url = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string()
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": TIMEOUT_S}})


@dataclass(frozen=True)
class Study:
    """Which trials belong together, and how many there are to be."""

    name: str  # in the storage: all that determines the loss, for trials of that name are not run anew
    storage: BaseStorage  # from `open_storage`; may serve several threads, each with a study of its own
    n_trials: int  # including those kept already; of more than that, the first so many count
    seed: int = 0  # of what the trials try

    def __post_init__(self):
        if self.n_trials < 1:
            raise ValueError(f"n_trials = {self.n_trials} must be at least 1.")


def tune(
    loss: Callable[[Parameters], float], suggest: Callable[..., Parameters], start: Parameters, study: Study
) -> Tuned:
    """The hyperparameters of the smallest loss that Optuna's tree-structured Parzen estimator finds.

    The first trial is `start`, so that no number of trials does worse than that; the next ones are random.

    Args:
        loss: what is to be small; must be finite, and the same whenever it is asked again.
        suggest: takes an Optuna trial, asks it for values and returns the hyperparameters, by the same names.
        start: what the first trial tries.
        study: where its trials are kept.

    Returns:
        the best trial.
    """
    import optuna
    from optuna.trial import create_trial

    kept = optuna.create_study(storage=study.storage, study_name=study.name, load_if_exists=True)
    # Trials are asked for in memory and kept when they are done, in one transaction: a kill leaves no half of one.
    asked = optuna.create_study()
    asked.add_trials(kept.get_trials(deepcopy=False)[: study.n_trials])
    while (n_done := len(asked.trials)) < study.n_trials:
        seed = _seed(study.seed, study.name, n_done)
        asked.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=N_RANDOM_TRIALS)
        if n_done == 0:
            asked.enqueue_trial(dict(start))
        trial = asked.ask()
        value = loss(suggest(trial))
        kept.add_trial(create_trial(params=trial.params, distributions=trial.distributions, value=value))
        asked.tell(trial, value)
    best = asked.best_trial
    return Tuned(dict(best.params), asked.best_value, best.number, study.n_trials)


def _seed(seed: int, study: str, n_done: int) -> int:
    digest = hashlib.sha256(f"{seed}/{study}/{n_done}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
