"""Train a network on a prepared dataset, or go on with a training that was interrupted.

  python -m datasets.build --config mock              prepare a mock sky, once
  python train.py --config configs/demo.py            train; progress, checkpoints and TensorBoard files in runs/demo
  python evaluate.py --checkpoint runs/demo           look at what came out

A training that was interrupted, at any moment, goes on from its last checkpoint by the same command. Any field of a
config can be set: --config.batch_size 64, --config.optimizer.learning_rate 1e-3, --config.model.targets "('teff',)".
The files in configs/ say what each field means.
"""

from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from acf_jax.checkpoints import CheckpointError
from acf_jax.data.prepared import DatasetError
from acf_jax.devices import compilation_cache, cores
from acf_jax.training.config import TrainingError
from acf_jax.training.loop import train

CONFIG = config_flags.DEFINE_config_file("config", None, "File that makes the config, e.g. configs/demo.py.")
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; runs/<name of the config file> unless given.")
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where datasets.build put the prepared datasets.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Run `training.train` and turn refusals into one line."""
    if len(argv) > 1:
        raise app.UsageError(f"Arguments without a flag: {' '.join(argv[1:])}.")
    config_file = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
    if not config_file.is_file():
        there = ", ".join(sorted(str(path) for path in Path("configs").glob("*.py")))
        raise SystemExit(f"train.py: there is no config file {config_file}; there are {there}.")
    logging.set_verbosity(logging.WARNING)  # Orbax tells forty lines a checkpoint
    cores.split_cores(CONFIG.value.batch_size)
    # Compiling takes half a minute; the next run, or the same one going on, reads what this one compiled.
    compilation_cache.enable(Path(__file__).parent / ".jax_cache")
    workdir = WORKDIR.value or f"runs/{config_file.stem}"
    print(f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}, run in {workdir}")
    try:
        train(CONFIG.value, workdir, DATA_DIR.value)
    except (TrainingError, DatasetError, CheckpointError) as error:
        raise SystemExit(f"train.py: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("Interrupted: the same command goes on from the last checkpoint.") from None


def parse_flags(argv: list[str]) -> list[str]:
    """Absl's parser, with one sentence in place of a traceback for a config field that does not exist."""
    try:
        return app.parse_flags_with_usage(argv)
    except AttributeError as error:
        reason = error
        while isinstance(reason, Exception):  # ml_collections wraps the sentence in exceptions
            reason = reason.args[0]
        raise SystemExit(f"train.py: unknown field of the config: {' '.join(reason.split())}") from None


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
