"""How fast the network is at a config's sizes: backbone features, training step, Monte Carlo prediction.

    python -m benchmarks.network                                       the paper's network, in float32 and bfloat16
    python -m benchmarks.network --dtypes bfloat16 --dataset mock      and the training loop, fed from a dataset
    python -m benchmarks.network --config configs/demo.py --batch 32   a network for a laptop

forward      stamps on the device, scaled -> features of the backbone
mc100        the same and 100 Monte Carlo samples of the prediction module: mean and standard deviation
train_step   the pmapped step of training/loop.py: augmentation, scaling, loss, gradient, Adam; batch on the device
train_loop   the same step, each batch read, shuffled and sent to the device: needs --dataset

Times are wall-clock medians after a warm-up, compilation apart and without the persistent cache; parameters are float32
in either dtype. Each dtype has a process of its own. Peak memory is that of the device's allocator where it keeps
count, otherwise what the compiled program asks for: arguments, results and temporaries, not counting libraries.

Model FLOP utilisation is 2 x multiply-adds x images a second over the device's dense peak, counted from the matrix
products and convolutions of a forward pass; a training step counts as three forward passes, by convention. Where the
peak is not in the table (any CPU), it is left blank.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import jax
import numpy as np

from acf_jax.data.prepared import PreparedDataset, training_batches
from acf_jax.data.scaling import InputScaling
from acf_jax.devices import cores
from acf_jax.devices.sharding import n_devices, on_all_devices, spread_over_devices
from acf_jax.errors import ACFError
from acf_jax.inference import mc_dropout
from acf_jax.inference.inputs import StarInputs
from acf_jax.labels import LabelScaling
from acf_jax.models import acf
from acf_jax.models.cswin import REMAT
from acf_jax.running import run
from acf_jax.training import loop
from acf_jax.training import run as runs
from acf_jax.training.config import TrainingError, as_training_config
from benchmarks.command import make_parser, print_json, read_config
from benchmarks.device import counts_memory, device_name, peak_flop_per_s, peak_memory_bytes
from benchmarks.flops import multiply_adds
from datasets.skymapper import STAMP_SIZE_PX

DTYPES = ("float32", "bfloat16")
PARTS = ("forward", "mc", "train")  # by the memory they take: an allocator's peak is that of all parts so far
N_SAMPLES = 100
N_TRAINING_STARS = 84_916  # of the paper, where no dataset is given: the learning rate's schedule asks
BURST_S = 0.2  # calls are timed in bursts of at least this, so that launching them is not what is timed
LOOP_S = 1.0  # of the training loop are timed for each repeat
PREFETCHED = 4  # batches that lie ready when the loop starts
COLUMNS = (  # of the table: heading, key, factor, format
    ("images/s", "images_per_s", 1, ",.1f"),
    ("ms a batch", "ms", 1, ",.1f"),
    ("compile s", "compile_s", 1, ".1f"),
    ("memory GB", "peak_memory_bytes", 1e-9, ".2f"),
    ("MFU %", "mfu", 100, ".1f"),
)


# What runs.


def open_run(config, data_dir: str | None) -> tuple[runs.Run, Iterator[dict]]:
    """The run of a config and its endless batches: from the prepared dataset, or one random batch again and again.

    Raises:
        TrainingError, DatasetError: if config, dataset and devices don't fit together.
    """
    config = as_training_config(config)
    if data_dir is not None:
        run = runs.open_run(config, "no run", data_dir)
        return run, training_batches(run.examples["train"], config.batch_size, config.seed)
    runs.check_devices(config)
    batch, targets = random_batch(config), config.model.targets
    metadata, splits = {"bands": config.dataset.bands}, {"train": N_TRAINING_STARS}
    dataset = PreparedDataset(Path("random"), "random", "random", "0.0.0", metadata, splits, tuple(batch))
    inputs = (batch[name] for name in ("stamp", "parallax", "parallax_error"))
    input_scaling = InputScaling.fit(*inputs, bands=config.dataset.bands, **dataclasses.asdict(config.input))
    label_scaling = LabelScaling.fit(np.stack([batch[target] for target in targets], axis=-1), targets)
    scalings = {"input_scaling": input_scaling.to_dict(), "label_scaling": label_scaling.to_dict()}
    return runs.Run(config, dataset, {"step": 0} | scalings), itertools.repeat(batch)


def random_batch(config) -> dict[str, np.ndarray]:
    """A batch {field: (batch_size, ...)} float32 of the shapes and roughly the range of real stars."""
    rng, n = np.random.default_rng(config.seed), config.batch_size
    shapes = {"stamp": (n, STAMP_SIZE_PX, STAMP_SIZE_PX, len(config.dataset.bands))}
    names = ("stamp", "parallax", "parallax_error", *config.model.targets)
    return {name: rng.gamma(2, 1, shapes.get(name, (n,))).astype(np.float32) for name in names} | {
        "object_id": np.arange(n)
    }


# How it is timed.


def compile_timed(function, *arguments) -> tuple[jax.stages.Compiled, float]:
    """A jitted or pmapped function, compiled for these arguments, and the seconds from its Python code to that."""
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def seconds_per_call(calls: list[Callable], repeats: int) -> list[float]:
    """Median wall-clock seconds of each of some calls, taken in turn so that a busy minute slows all of them."""
    bursts = []
    for call in calls:
        jax.block_until_ready(call())
        start = time.perf_counter()
        jax.block_until_ready(call())
        bursts.append(math.ceil(BURST_S / (time.perf_counter() - start)))
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, burst, times in zip(calls, bursts, seconds, strict=True):
            start = time.perf_counter()
            for _ in range(burst):
                result = call()
            jax.block_until_ready(result)
            times.append((time.perf_counter() - start) / burst)
    return [statistics.median(times) for times in seconds]


def figures(
    part: str, batch_size: int, seconds: float, compile_s: float, memory_bytes: int | None, at_peak_s: float | None
) -> dict:
    """The figures of a part.

    Args:
        part: its name.
        batch_size: images of a call.
        seconds: of a call.
        compile_s: before the first one.
        memory_bytes: at the most; None if not known.
        at_peak_s: of a call at the device's peak; None if that is not known.

    Returns:
        Values by their names in the JSON object.
    """
    values = {
        "images_per_s": rounded(batch_size / seconds),
        "ms": rounded(1e3 * seconds),
        "compile_s": rounded(compile_s),
        "peak_memory_bytes": memory_bytes,
        "mfu": rounded(at_peak_s / seconds) if at_peak_s else None,
    }
    return {f"{part}_{name}": value for name, value in values.items()}


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.4g}")


# What is timed.


def measure(config, parts: Sequence[str], repeats: int, data_dir: str | None) -> tuple[dict, dict]:
    """Measure one dtype, in a process of its own.

    Args:
        config: the ConfigDict of network and training.
        parts: of `PARTS`.
        repeats: timings that a median is of.
        data_dir: where the prepared dataset is; None: a random batch again and again.

    Returns:
        Facts about network and device, and figures.

    Raises:
        TrainingError, DatasetError: if config, dataset and devices don't fit together, or memory does not suffice.
    """
    run, batches = open_run(config, data_dir)
    batch, device = next(batches), jax.local_devices()[0]
    params = jax.eval_shape(lambda: acf.init_params(run.model, config.seed))
    peak = peak_flop_per_s(device.device_kind, config.model.dtype)
    n_multiply_adds = multiply_adds(
        lambda params, stamps: run.model.apply({"params": params}, stamps, method="encode"), params, batch["stamp"]
    )
    at_peak_s = 2 * n_multiply_adds / peak if peak else None
    facts = {
        "device": device_name(device),
        "n_devices": jax.local_device_count(),
        "jax_version": jax.__version__,
        "remat": run.model.config.backbone.remat,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "multiply_adds_per_image": n_multiply_adds // config.batch_size,
        "peak_memory_source": "device allocator" if counts_memory() else "compiled program",
    }
    measured: dict[str, float | None] = {}
    try:
        if {"forward", "mc"} & set(parts):
            measured |= measure_prediction(run, batch, "mc" in parts, repeats, at_peak_s)
        if "train" in parts:
            measured |= measure_training(run, batch, batches if data_dir else None, repeats, at_peak_s)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TrainingError(
            f"{config.model.dtype}, batch {config.batch_size}: the device's memory does not suffice. "
            "Try a smaller --batch, or --remat blocks."
        ) from None
    return facts, measured


def measure_prediction(run: runs.Run, batch: dict, with_samples: bool, repeats: int, at_peak_s) -> dict:
    """Measure `forward` and, in turn with it, `mc100`; on all devices, as prediction runs.

    Args:
        run: whose network.
        batch: {field: (batch_size, ...)}.
        with_samples: whether `mc100` is measured.
        repeats: timings that a median is of.
        at_peak_s: of a forward pass at the peak of one device; None if that is not known.

    Returns:
        Figures.
    """
    batch_size, params = run.config.batch_size, on_all_devices(acf.init_params(run.model, run.config.seed))
    stamps, parallax, error = spread_over_devices([batch[name] for name in ("stamp", "parallax", "parallax_error")])
    stars = StarInputs(stamps, parallax, error, batch["object_id"])
    encode, compile_s = compile_timed(mc_dropout.encode, run.model, run.input_scaling, params, *stars[:3])
    at_peak_s = at_peak_s / n_devices() if at_peak_s else None

    def forward():
        return encode(params, *stars[:3])

    def with_moments():
        return mc_dropout.launch(run.model, run.input_scaling, params, stars, N_SAMPLES, 0, False)

    jax.block_until_ready(forward())
    memory_bytes = peak_memory_bytes(encode)
    if not with_samples:
        (forward_s,) = seconds_per_call([forward], repeats)
        return figures("forward", batch_size, forward_s, compile_s, memory_bytes, at_peak_s)
    start = time.perf_counter()
    jax.block_until_ready(with_moments())
    first_s = time.perf_counter() - start
    forward_s, mc_s = seconds_per_call([forward, with_moments], repeats)
    return {
        **figures("forward", batch_size, forward_s, compile_s, memory_bytes, at_peak_s),
        **figures("mc100", batch_size, mc_s, compile_s + max(0.0, first_s - mc_s), peak_memory_bytes(), None),
        "mc100_over_forward": rounded(mc_s / forward_s),
    }


def measure_training(run: runs.Run, batch: dict, batches: Iterator | None, repeats: int, at_peak_s) -> dict:
    """Measure `train_step` and, given batches of a dataset, `train_loop`; on all devices.

    Args:
        run: what is trained.
        batch: {field: (batch_size, ...)}.
        batches: of a dataset, endless; None if there is none.
        repeats: timings that a median is of.
        at_peak_s: of a forward pass at the peak of one device; None if that is not known.

    Returns:
        Figures.
    """
    targets, batch_size = run.config.model.targets, run.config.batch_size
    state = loop.create_state(run)
    on_devices = jax.pmap(lambda arrays: arrays)(loop.device_batch(batch, targets))
    train_step, compile_s = compile_timed(loop.make_train_step(run), state, on_devices)

    def step(batch):
        nonlocal state
        state, metrics = train_step(state, batch)
        return metrics

    (step_s,) = seconds_per_call([lambda: step(on_devices)], repeats)
    at_peak_s = 3 * at_peak_s / jax.local_device_count() if at_peak_s else None
    measured = figures("train_step", batch_size, step_s, compile_s, peak_memory_bytes(train_step), at_peak_s)
    if batches is not None:
        loop_s = loop_seconds_per_step(step, batches, targets, math.ceil(repeats * LOOP_S / step_s))
        measured |= {
            "train_loop_images_per_s": rounded(batch_size / loop_s),
            "train_loop_ms": rounded(1e3 * loop_s),
            "train_loop_over_train_step": rounded(step_s / loop_s),
        }
    return measured


def loop_seconds_per_step(step: Callable, batches: Iterator[dict], targets: tuple[str, ...], n_steps: int) -> float:
    """As `training.run_steps`: the host reads a step's loss and makes the next batch while the device works.

    Args:
        step: batch on the devices -> metrics.
        batches: endless.
        targets: of the labels in a batch.
        n_steps: that are timed.

    Returns:
        Wall-clock seconds of a step.
    """
    pending = None
    for i in range(-PREFETCHED, n_steps):  # batches that lay ready are not counted
        if i == 0:
            jax.block_until_ready(pending)
            start = time.perf_counter()
        metrics = step(loop.device_batch(next(batches), targets))
        if pending:
            float(pending["loss"])
        pending = metrics
    jax.block_until_ready(pending)
    return (time.perf_counter() - start) / n_steps


# What is told.


def table(measured: dict[str, dict]) -> str:
    """A Markdown row for each part and dtype; blank is what was not measured or is not known."""
    lines = [f"| | dtype | {' | '.join(heading for heading, *_ in COLUMNS)} |", "|---|---|" + "--:|" * len(COLUMNS)]
    for part in ("forward", "mc100", "train_step", "train_loop"):
        for dtype, values in measured.items():
            if f"{part}_images_per_s" in values:
                cells = [cell(values.get(f"{part}_{name}"), factor, form) for _, name, factor, form in COLUMNS]
                lines.append(f"| {part} | {dtype} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(value: float | None, factor: float, form: str) -> str:
    """A figure in the table.

    Args:
        value: None is a blank.
        factor: of its unit.
        form: as of `format`.

    Returns:
        Text.
    """
    return "" if value is None else format(factor * value, form)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser("network", __doc__)
    parser.add_argument("--config", default="configs/acf.py", help="whose network and training (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="images a batch (default: %(default)s)")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES, help="of the computation (default: all)")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="timings that a median is of (default: %(default)s)")
    parser.add_argument("--remat", choices=REMAT, help="what training computes twice (default: the config's choice)")
    parser.add_argument("--dataset", metavar="NAME", help="prepared dataset for the training loop, e.g. mock")
    parser.add_argument("--data-dir", "--data_dir", default="data", help="where it is (default: %(default)s)")
    parser.add_argument("--in-memory", action="store_true", help="the loop reads it once, as config.cache_in_memory")
    options = parser.parse_args(arguments)
    if not Path(options.config).is_file():
        parser.error(f"--config {options.config}: there is no such file.")
    for name, least in (("batch", 2), ("repeats", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}: give at least {least}.")
    return options


def make_config(options: argparse.Namespace, dtype: str):
    """The config that the command line asks for."""
    config = read_config(options.config)
    config.batch_size, config.model.dtype = options.batch, dtype
    if options.remat:
        config.model.remat = options.remat
    if options.dataset:
        config.dataset.config = options.dataset
    config.cache_in_memory |= options.in_memory
    return config


def prepare_process(batch_size: int) -> None:
    """Devices as train.py has them; and no persistent cache, for compile times are to be measured."""
    cores.split_cores(batch_size)
    jax.config.update("jax_enable_compilation_cache", False)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse_arguments(arguments)
    return run(lambda: measure_dtypes(options), "benchmarks.network")


def measure_dtypes(options: argparse.Namespace) -> None:
    """Measure each dtype that the command line asks for, and report.

    Raises:
        ACFError: if config, dataset and devices don't fit together, or memory does not suffice.
    """
    measured: dict[str, dict] = {}
    for dtype in DTYPES:
        if dtype not in options.dtypes:
            continue
        task = make_config(options, dtype), options.parts, options.repeats, options.dataset and options.data_dir
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), prepare_process, (options.batch,)) as process:
            try:
                facts, measured[dtype] = process.submit(measure, *task).result()
            except BrokenProcessPool as error:
                raise ACFError(f"the process of {dtype} died; try a smaller --batch.") from error
    report(options, facts, measured)


def report(options: argparse.Namespace, facts: dict, measured: dict[str, dict]) -> None:
    """Print the table and, if asked, the JSON object: float32's figures by their names, bfloat16's under its own.

    Args:
        options: of the command line.
        facts: about network and device.
        measured: figures by dtype.
    """
    facts = {"config": options.config, "batch_size": options.batch, **facts}
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items()))
    print(table(measured))
    for dtype, values in measured.items():
        if "mc100_over_forward" in values:
            print(f"{dtype}: a forward pass with {N_SAMPLES} samples takes {values['mc100_over_forward']} bare ones.")
    if "train" in options.parts and not options.dataset:
        print("The training loop needs data: `python -m datasets.build --config mock`, then --dataset mock.")
    bfloat16 = {"bfloat16": measured["bfloat16"]} if "bfloat16" in measured else {}
    print_json(options, {**facts, **measured.get("float32", {}), **bfloat16})


if __name__ == "__main__":
    sys.exit(main())
