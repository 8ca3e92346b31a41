"""A tiny network's run on a tiny dataset. As a script, it prints the losses of its first steps as JSON."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from acf_jax import checkpoints
from acf_jax.data.prepared import training_batches
from acf_jax.training import loop
from acf_jax.training import run as runs
from acf_jax.training.config import as_training_config
from configs import demo


def make_config(**changes) -> ConfigDict:
    """The demo's config with a network of two stages, which compiles soon.

    `changes` name fields with `__` for the dots.
    """
    config = demo.get_config()
    config.model.update({"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2), "stripe_widths": (1, 1)})
    config.model.update({"astrometric_features": 8, "head_widths": (32, 16)})
    config.batch_size, config.num_steps, config.checkpoint_every_steps = 8, 12, 2
    config.optimizer.learning_rate, config.optimizer.warmup_steps = 1e-2, 2
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return config


def make_run(data_dir: str | Path, **changes) -> tuple[runs.Run, dict]:
    """The run of `make_config(**changes)` and its examples."""
    config = as_training_config(make_config(**changes))
    run = runs.open_run(config, Path(data_dir) / "no_run", data_dir)
    return run, run.examples


def losses(run: runs.Run, examples: dict, step: Callable, n_steps: int) -> list[float]:
    """Losses of the first steps, from fresh parameters."""
    state = loop.create_state(run)
    batches = training_batches(examples["train"], run.config.batch_size, run.config.seed)
    values = []
    for _ in range(n_steps):
        state, metrics = step(state, loop.device_batch(next(batches), run.config.model.targets))
        values.append(float(metrics["loss"]))
    return values


def save_untrained(data_dir: str | Path, run_dir: str | Path, **changes) -> None:
    """A checkpoint of a tiny network before its first step, which spares the test the compilation of a step."""
    run, _ = make_run(data_dir, **changes)
    state = loop.create_state(run)
    with checkpoints.open_manager(run_dir, create=True) as manager:
        sidecar = run.sidecar(0, [{"step": 0, checkpoints.SCORE: 1.0}])
        checkpoints.save(manager, 0, params=state.params, optimizer=state.optimizer, iterator={}, sidecar=sidecar)


if __name__ == "__main__":
    run, examples = make_run(sys.argv[1], num_steps=60)
    print(json.dumps(losses(run, examples, loop.make_train_step(run), n_steps=int(sys.argv[2]))))
