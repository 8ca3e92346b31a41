"""Train a network on a prepared dataset, or go on with a training that was interrupted.

  python -m datasets.build --config mock              prepare a mock sky, once
  python train.py --config configs/demo.py            train; progress, checkpoints and TensorBoard files in runs/demo
  python evaluate.py --checkpoint runs/demo           look at what came out

One network of all labels is trained; the paper trains one for each (--network_per_label: runs/acf_teff, runs/acf_logg
and runs/acf_fe_h), and evaluate.py, predict.py and the bundle join them: --checkpoint runs/acf_teff runs/acf_logg ...

A training that was interrupted, at any moment, goes on from its last checkpoint by the same command. Any field of a
config can be set: --config.batch_size 64, --config.optimizer.learning_rate 1e-3, --config.model.targets "('teff',)".
The files in configs/ say what each field means.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from acf_jax.commands.shared import help_text, keep_compiled_programs
from acf_jax.errors import ACFError
from acf_jax.running import run

CONFIG = config_flags.DEFINE_config_file("config", None, "File that makes the config, e.g. configs/demo.py.")
WORKDIR = flags.DEFINE_string(
    "workdir", None,
    "The run's folder; unless given runs/<name of the config file>, with the labels added where they were set.",
)  # fmt: skip
PER_LABEL = flags.DEFINE_bool(
    "network_per_label", False, "Train one network for each label, as the paper does, each in a folder of its own."
)
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where datasets.build put the prepared datasets.")
flags.mark_flag_as_required("config")


def main(prog: str = "acf-train") -> int:
    """Run the command line; returns the exit status, unless Absl has ended the process."""
    # Absl's help shows the docstring and the flags of the script that was started, which is not this file.
    sys.modules["__main__"].__doc__ = help_text(__doc__, prog)
    for name in ("config", "workdir", "data_dir", "network_per_label"):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    stopped = "stopped. The same command goes on from the last checkpoint."
    return run(lambda: app.run(start, flags_parser=parse_flags), prog, stopped=stopped)


def start(argv: list[str]) -> None:
    """Train as the flags say.

    Raises:
        ACFError: if there is no such config file or dataset, or another training is in the run's folder.
    """
    if len(argv) > 1:
        raise app.UsageError(f"Arguments without a flag: {' '.join(argv[1:])}.")
    config_file = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
    if not config_file.is_file():
        there = ", ".join(sorted(str(path) for path in Path("configs").glob("*.py")))
        raise ACFError(f"there is no config file {config_file}{there and '; there are '}{there}.")
    # Importing what trains takes seconds, and --help must not wait for it.
    import jax

    from acf_jax.devices import cores
    from acf_jax.training.loop import train

    logging.set_verbosity(logging.WARNING)  # Orbax logs forty lines a checkpoint
    cores.split_cores(CONFIG.value.batch_size)
    keep_compiled_programs()
    device = f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"
    labels_were_set = "model.targets" in config_flags.get_override_values(flags.FLAGS["config"])
    workdir, targets = WORKDIR.value or f"runs/{config_file.stem}", tuple(CONFIG.value.model.targets)
    if labels_were_set and not WORKDIR.value and not PER_LABEL.value:
        workdir = "_".join((workdir, *targets))  # another network than the file's: not into its folder
    runs = {f"{workdir}_{target}": (target,) for target in targets} if PER_LABEL.value else {workdir: targets}
    for workdir, targets in runs.items():
        print(f"{device}, run in {workdir}")
        config = copy.deepcopy(CONFIG.value)
        config.model.targets = targets
        train(config, workdir, DATA_DIR.value)
    if len(runs) > 1:
        print(f"Evaluate them as one network: python evaluate.py --checkpoint {' '.join(runs)}")


def parse_flags(argv: list[str]) -> list[str]:
    """Absl's parser, with one sentence in place of a traceback for a config field that does not exist.

    Raises:
        ACFError: with that sentence.
    """
    try:
        return app.parse_flags_with_usage(argv)
    except AttributeError as error:
        reason = error
        while isinstance(reason, Exception):  # ml_collections wraps the sentence in exceptions
            reason = reason.args[0]
        raise ACFError(f"unknown field of the config: {' '.join(reason.split())}") from None
