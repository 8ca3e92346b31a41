"""How fast a catalogue is made: each part alone, and the whole with its parts at the same time.

    python -m benchmarks.catalogue                                       the paper's network, random parameters
    python -m benchmarks.catalogue --checkpoint runs/demo --stars 20000  a trained network of yours, or a bundle

read      stamps from the prepared dataset's files, checked
copy      a batch to the device
forward   the backbone's features of a batch that is on the device
samples   100 Monte Carlo samples of the prediction module, from such features: mean and standard deviation
write     rows with calibrated errors, intervals and flags, and the shard's file
whole     acf_jax.catalogue.predicting, which predict.py runs: all of that, from files to files

The dataset's stars are predicted again and again until there are --stars of them. Without a prepared dataset a mock sky
of 512 stars is made first. Times are wall-clock medians over --repeats turns of all parts, after a warm-up.

whole_over_slower_part is the time of the whole over that of the slower of read and forward: 1.15 is the goal.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import TrainingDomain
from acf_jax.catalogue import predicting
from acf_jax.catalogue.making import default_batch_size
from acf_jax.catalogue.plan import Plan
from acf_jax.catalogue.predicting import Job
from acf_jax.catalogue.shards import shard_path
from acf_jax.catalogue.stamp_reader import StampReader
from acf_jax.catalogue.star_facts import StarFacts
from acf_jax.data.prepared import DatasetError, PreparedDataset, find_dataset, open_dataset
from acf_jax.devices import compilation_cache, cores
from acf_jax.devices.sharding import n_devices, on_all_devices, spread_over_devices
from acf_jax.inference import mc_dropout
from acf_jax.inference.inputs import StarInputs
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network
from acf_jax.models import acf
from acf_jax.running import run
from benchmarks.command import make_parser, print_json, read_config
from benchmarks.device import device_name
from benchmarks.network import open_run, rounded
from datasets.build.prepare import build

N_SAMPLES = 100
BURST_S = 0.5
N_MADE = 512  # stars, where no dataset is prepared
N_FITTED = 2_000  # random stars, for the calibration of a network that has none


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse_arguments(arguments)
    return run(lambda: measure_all(options), "benchmarks.catalogue")


def measure_all(options: argparse.Namespace) -> None:
    """Open or make what is measured, measure and print.

    Raises:
        ACFError: if dataset or checkpoint cannot be read.
    """
    cores.split_cores()
    compilation_cache.enable(Path(__file__).parents[1] / ".jax_cache")
    options.batch = options.batch or default_batch_size()
    with tempfile.TemporaryDirectory() as scratch:
        dataset = open_or_make(options, Path(scratch))
        trained = load(options.checkpoint) if options.checkpoint else random_network(options.config)
        figures = measure(options, trained, dataset, Path(scratch))
    for name, value in figures.items():
        print(f"{name:<28}{value:>14,}" if isinstance(value, int | float) else f"{name:<28}{value:>14}")
    print_json(options, figures)


def measure(options: argparse.Namespace, trained: Network, dataset: PreparedDataset, scratch: Path) -> dict:
    """Stars a second of each part and of the whole.

    Args:
        options: of the command line.
        trained: the network.
        dataset: whose first stars every shard holds anew.
        scratch: a folder for shards.

    Returns:
        Figures by their names in the JSON object.
    """
    job = make_job(options, trained, dataset)
    n_stars, shard_size = job.plan.n_stars, job.plan.shard_size
    parts = make_parts(job, scratch)
    batch = shard_size / math.ceil(shard_size / (options.batch * n_devices()))
    per_call = {"read": shard_size, "copy": batch, "forward": batch, "samples": batch, "write": shard_size,
                "whole": n_stars}  # fmt: skip
    whole(job, scratch, range(1))  # everything is compiled then
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(options.repeats):
        for name, part in parts.items():
            seconds[name].append(seconds_per_call(part))
    stars_per_s = {name: per_call[name] / statistics.median(times) for name, times in seconds.items()}
    slower = min(stars_per_s["read"], stars_per_s["forward"])
    return {
        "network": options.checkpoint or options.config,
        "device": device_name(jax.local_devices()[0]),
        "n_devices": n_devices(),
        "batch_size": options.batch,
        "n_stars": n_stars,
        **{f"{name}_stars_per_s": rounded(value) for name, value in stars_per_s.items() if name != "whole"},
        "stars_per_s": rounded(stars_per_s["whole"]),
        "whole_over_slower_part": rounded(slower / stars_per_s["whole"]),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def make_job(options: argparse.Namespace, trained: Network, dataset: PreparedDataset) -> Job:
    """What the shards are made from.

    Args:
        options: of the command line.
        trained: the network.
        dataset: whose first stars every shard holds anew.

    Returns:
        A job of whole shards of whole batches, if there are stars enough for one.
    """
    facts, at_a_time = StarFacts(dataset.folder, dataset.bands), options.batch * n_devices()
    n_with_stamp = facts.n_examples
    shard_size = max(min(n_with_stamp, options.shard_size) // at_a_time * at_a_time, min(n_with_stamp, at_a_time))
    plan = Plan(
        n_stars=math.ceil(options.stars / shard_size) * shard_size,
        shard_size=shard_size,
        n_samples=N_SAMPLES,
        seed=0,
        batch_size=options.batch,
        dataset=dataset.describe(),
        networks={},
        errors={},
        targets=trained.targets,
        has_input_row=facts.has_input_row,
    )
    stars = facts.take(range(shard_size))
    name = "ACF" if trained.model.config.use_parallax else "ACPF"
    return Job({name: trained}, StampReader(dataset), lambda rows: stars, plan)


def peak_rss_bytes() -> int:
    """The most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def seconds_per_call(part: Callable) -> float:
    """Wall-clock seconds of a call, over a burst of calls that lasts long enough to be timed."""
    start, n_calls = time.perf_counter(), 0
    while not n_calls or time.perf_counter() - start < BURST_S:
        jax.block_until_ready(part())
        n_calls += 1
    return (time.perf_counter() - start) / n_calls


def make_parts(job: Job, scratch: Path) -> dict[str, Callable]:
    """What is timed: functions of nothing."""
    ((name, trained),), reader = job.networks.items(), job.reader
    assert reader is not None
    n_stars, size = job.plan.shard_size, job.plan.batch_size * n_devices()
    params = on_all_devices(trained.params)
    shard = predicting.open_shard(job, 0)
    rows = np.arange(min(size, n_stars))
    inputs = predicting.read_inputs(job, shard, rows)
    if not trained.model.config.use_parallax:
        inputs = inputs._replace(parallax=None, parallax_error=None)
    stamps, parallax, error = spread_over_devices(inputs[:3])
    on_device = StarInputs(stamps, parallax, error, inputs.object_id)

    def read():
        for start in range(0, n_stars, size):
            part = (shard.facts[name][start : start + size] for name in ("split", "index", "object_id"))
            reader.read(*part)

    def forward():
        return mc_dropout.encode(trained.model, trained.input_scaling, params, *on_device[:3])

    features, scalars, _ = forward()

    def samples():
        return mc_dropout.launch_head(
            trained.model, params, features, scalars, on_device.object_id, N_SAMPLES, 0, False
        )

    filled = predicting.open_shard(job, 0)
    answers = jax.device_get(predicting.launch(job, params, predicting.Batch(filled, name, rows, inputs)))
    for start in range(0, n_stars, len(rows)):
        here = np.arange(start, min(start + len(rows), n_stars))
        predicting.receive(trained, predicting.Batch(filled, name, here, inputs), answers)

    return {
        "read": read,
        "copy": lambda: spread_over_devices(inputs[:3]),
        "forward": forward,
        "samples": samples,
        "write": lambda: predicting.finish(job, filled, shard_path(scratch, 0)),
        "whole": lambda: whole(job, scratch, range(job.plan.n_shards)),
    }


def whole(job: Job, scratch: Path, shards: range) -> None:
    """Make some shards as predict.py makes them.

    Args:
        job: what they are made from.
        scratch: a folder for the last few of them.
        shards: their numbers.
    """
    with tqdm(disable=True) as bar:
        predicting.predict_shards(job, shards, lambda shard: shard_path(scratch, shard % 8), bar)


def open_or_make(options: argparse.Namespace, scratch: Path) -> PreparedDataset:
    """The dataset that is asked for; if that is the usual one and it is not there, a small one.

    Raises:
        DatasetError: if another is not there.
    """
    try:
        return open_dataset(find_dataset(options.data_dir, "smss_stamps", options.dataset))
    except DatasetError:
        if options.dataset != "mock" or options.data_dir != "data":
            raise
    return open_dataset(build("mock", n_stars=N_MADE, data_dir=scratch))


def random_network(config_file: str) -> Network:
    """A config's network with random parameters, and with errors and a training domain fitted to random numbers."""
    config = read_config(config_file)
    run, _ = open_run(config, None)
    params, rng = acf.init_params(run.model, 0), np.random.default_rng(0)
    num_bands, num_features = len(config.dataset.bands), run.model.config.backbone.num_features
    points = [rng.normal(size=(N_FITTED, width)) for width in (num_features, 3 * num_bands) * 2]
    targets = tuple(config.model.targets)
    labels = rng.normal(size=(N_FITTED, len(targets))) * run.label_scaling.std + run.label_scaling.mean
    std = np.broadcast_to(0.1 * np.asarray(run.label_scaling.std), labels.shape)
    noise = std if run.model.config.heteroscedastic else None
    limits = {"label_min": labels.min(0), "label_max": labels.max(0), "error_limits": std[0]}
    limits = {name: dict(zip(targets, values, strict=True)) for name, values in limits.items()}
    return Network(
        run.model, params, run.input_scaling, run.label_scaling, targets, config.dataset.bands,
        {"dataset": {"fingerprint": ""}}, 0,
        ErrorCalibration.fit(labels + rng.normal(size=labels.shape) * std, std, noise, labels, targets),
        training_domain=TrainingDomain.fit(*points, **limits),
    )  # fmt: skip


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser("catalogue", __doc__)
    parser.add_argument("--checkpoint", metavar="DIR", help="a run's folder or a bundle, instead of --config")
    parser.add_argument("--config", default="configs/acf.py", help="whose network (default: %(default)s)")
    parser.add_argument("--dataset", default="mock", metavar="NAME", help="prepared dataset (default: %(default)s)")
    parser.add_argument("--data-dir", "--data_dir", default="data", help="where it is (default: %(default)s)")
    parser.add_argument("--stars", type=int, default=2_048, help="of the whole, at least (default: %(default)s)")
    parser.add_argument("--shard-size", type=int, default=4_096, help="stars a shard (default: %(default)s)")
    parser.add_argument("--batch", type=int, help="stars on a device at a time (default: as predict.py)")
    parser.add_argument("--repeats", type=int, default=3, help="timings that a median is of (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.checkpoint and not Path(options.config).is_file():
        parser.error(f"--config {options.config}: there is no such file.")
    for name in ("stars", "shard_size", "repeats", "batch"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: give at least 1.")
    return options


if __name__ == "__main__":
    sys.exit(main())
