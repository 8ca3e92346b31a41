"""Stars -> shards of the catalogue: reading, network and writing at the same time.

A thread reads the next batches while the devices work on one and the host looks at the one before; another thread
writes the last shard. A star's numbers depend on its inputs, its object_id, the seed and the batch's size, and on
nothing else: not on its place, its shard, or the number of devices.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from tqdm import tqdm

from acf_jax.catalogue import flags
from acf_jax.catalogue.plan import Plan
from acf_jax.catalogue.rows import make_rows
from acf_jax.catalogue.shards import write_shard
from acf_jax.catalogue.stamp_reader import StampReader
from acf_jax.data.batches import filled_batches
from acf_jax.devices.sharding import n_devices, on_all_devices
from acf_jax.inference import mc_dropout
from acf_jax.inference.inputs import StarInputs
from acf_jax.inference.network import Network

READ_AHEAD = 3  # batches
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What all shards of a catalogue are made from."""

    networks: Mapping[str, Network]  # "ACF", and perhaps "ACPF" for stars without a parallax; an ACPF alone takes all
    reader: StampReader | None  # of the dataset's stamps; None if it has none
    facts: Callable[[range], Mapping[str, np.ndarray]]  # about the stars of some rows: `StarFacts.take`
    plan: Plan


@dataclass
class ShardInHand:
    """An unfinished shard: its stars, which network predicts each, and what is known so far."""

    number: int
    facts: Mapping[str, np.ndarray]
    network: np.ndarray  # (n,) name of the network that each star is given to; empty: none
    reasons: list[str]
    distance: np.ndarray  # (n,)
    mean: np.ndarray  # (n, num_outputs), standardised; so is std
    std: np.ndarray
    finite: np.ndarray = field(init=False)  # (n,) whether there is a result

    def __post_init__(self):
        self.finite = np.zeros(len(self.reasons), bool)


@dataclass(frozen=True)
class Batch:
    """Stars of one shard for one network; `inputs` is filled up to the size of all batches."""

    shard: ShardInHand
    network: str = ""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # of the shard
    inputs: StarInputs | None = None  # None: the shard has no star to predict, and `rows` is empty
    is_last: bool = True  # of its shard


def predict_shards(job: Job, shards: Sequence[int], shard_file: Callable[[int], Path], bar: tqdm) -> None:
    """Make some shards of a catalogue.

    Args:
        job: what they are made from.
        shards: which to make, in order.
        shard_file: where each is written.
        bar: over stars.

    Raises:
        CatalogueError: if a table cannot be read or a shard cannot be written.
    """
    params = {name: on_all_devices(trained.params) for name, trained in job.networks.items()}

    def launched() -> Iterator[tuple[Batch, tuple | None]]:
        with read_ahead(batches(job, shards)) as ready:
            for batch in ready:
                yield batch, launch(job, params[batch.network], batch) if batch.inputs else None

    with ThreadPoolExecutor(1) as writer:
        written: Future | None = None
        for batch, arrays in mc_dropout.one_behind(launched()):
            if arrays is not None:
                receive(job.networks[batch.network], batch, jax.device_get(arrays))
                bar.update(len(batch.rows))
            if not batch.is_last:
                continue
            if written is not None:
                written.result()  # one shard waits at most
            written = writer.submit(finish, job, batch.shard, shard_file(batch.shard.number))
            bar.update(int((batch.shard.network == "").sum()))
        if written is not None:
            written.result()


def batches(job: Job, shards: Iterable[int]) -> Iterator[Batch]:
    """The stars of some shards, network by network, with their stamps; at least one batch a shard."""
    size = job.plan.batch_size * n_devices()
    for number in shards:
        shard = open_shard(job, number)
        parts = [
            (name, rows[start : start + size])
            for name in job.networks
            for rows in [np.flatnonzero(shard.network == name)]
            for start in range(0, len(rows), size)
        ]
        for i, (name, rows) in enumerate(parts):
            yield Batch(shard, name, rows, read_inputs(job, shard, rows), i == len(parts) - 1)
        if not parts:
            yield Batch(shard)


def open_shard(job: Job, number: int) -> ShardInHand:
    """A shard before its first prediction."""
    facts = job.facts(job.plan.rows(number))
    n = len(facts["object_id"])
    n_outputs = max(trained.model.config.num_outputs for trained in job.networks.values())
    shard = ShardInHand(
        number,
        facts,
        network=np.full(n, "", object),
        reasons=list(facts["reason"]),
        distance=np.full(n, np.nan, np.float32),
        mean=np.full((n, n_outputs), np.nan, np.float32),
        std=np.full((n, n_outputs), np.nan, np.float32),
    )
    has_stamp = facts["reason"] == ""
    has_parallax = np.isfinite(facts["parallax"]) & (facts["parallax_error"] > 0)
    reads_parallax = [name for name, trained in job.networks.items() if trained.model.config.use_parallax]
    reads_none = [name for name in job.networks if name not in reads_parallax]
    for name in reads_none[:1]:
        shard.network[has_stamp] = name
    for name in reads_parallax[:1]:
        shard.network[has_stamp & has_parallax] = name
    for row in np.flatnonzero(has_stamp & (shard.network == "")):
        shard.reasons[row] = "no parallax with a positive error, which the network needs (--acpf gives one without)"
    return shard


def read_inputs(job: Job, shard: ShardInHand, rows: np.ndarray) -> StarInputs:
    """Read a network's inputs for stars that have a stamp, and note in their shard which cannot be used.

    Args:
        job: has the reader.
        shard: of the stars.
        rows: (n,) of the shard, of one network's stars; at least one, and no more than a batch holds.

    Returns:
        A whole batch: the last star is repeated.
    """
    assert job.reader is not None  # a dataset without one has no star with a stamp
    facts = {name: shard.facts[name][rows] for name in ("split", "index", "object_id", "parallax", "parallax_error")}
    stamps, reasons = job.reader.read(facts["split"], facts["index"], facts["object_id"])
    for row, reason in zip(rows, reasons, strict=True):
        shard.reasons[row] = reason
    filled, _ = next(filled_batches(len(rows), job.plan.batch_size * n_devices()))
    parallax, parallax_error = (facts[name][filled].astype(np.float32) for name in ("parallax", "parallax_error"))
    return StarInputs(stamps[filled], parallax, parallax_error, facts["object_id"][filled])


def launch(job: Job, params: dict, batch: Batch) -> tuple[jax.Array, ...]:
    """Start predicting a batch that has stars, and do not wait for it.

    Args:
        job: has the networks and the plan.
        params: of the batch's network, on all devices.
        batch: of b stars.

    Returns:
        Finite (b,); mean and std (b, num_outputs), standardised; the backbone's features (b, features).
    """
    trained, inputs, plan = job.networks[batch.network], batch.inputs, job.plan
    assert inputs is not None
    if not trained.model.config.use_parallax:
        inputs = inputs._replace(parallax=None, parallax_error=None)
    finite, mean, std, _, features = mc_dropout.launch(
        trained.model, trained.input_scaling, params, inputs, plan.n_samples, plan.seed, False
    )
    return finite, mean, std, features


def receive(trained: Network, batch: Batch, arrays: tuple[np.ndarray, ...]) -> None:
    """Put a batch's answers into its shard.

    Args:
        trained: the batch's network.
        batch: the batch that was launched.
        arrays: what `launch` returned, on the host.
    """
    shard, rows = batch.shard, batch.rows
    finite, mean, std, features = (values[: len(rows)] for values in arrays)
    good = np.array([not shard.reasons[row] for row in rows])
    answered = finite & np.isfinite(mean).all(axis=1) & np.isfinite(std).all(axis=1)
    for row in rows[good & ~answered]:
        shard.reasons[row] = "the network's inputs or its answer are not finite"
    answered &= good
    shard.finite[rows[answered]] = True
    n_outputs = mean.shape[1]  # the other network may have more: its noise
    shard.mean[rows[answered], :n_outputs], shard.std[rows[answered], :n_outputs] = mean[answered], std[answered]
    if trained.training_domain is not None and batch.inputs is not None:
        stamps = batch.inputs.stamps[: len(rows)]
        shard.distance[rows[answered]] = trained.training_domain.distance(features[answered], stamps[answered])


def finish(job: Job, shard: ShardInHand, path: Path) -> None:
    """Make a shard's rows and flags, and write its file.

    Args:
        job: what it was made from.
        shard: one with answers for all its batches.
        path: of the file.

    Raises:
        CatalogueError: if it cannot be written.
    """
    # Each network has its own scaling and calibration: each makes rows of all stars, of which it gives its own.
    answers = {name: _rows_by(trained, shard, job.plan) for name, trained in job.networks.items()}
    rows = dict(next(iter(answers.values())))
    for name, answer in answers.items():
        mine = shard.network == name
        for column in rows:
            rows[column] = np.where(mine, answer[column], rows[column])
    write_shard(path, rows, job.plan.targets, job.plan.has_input_row)


def _rows_by(trained: Network, shard: ShardInHand, plan: Plan) -> dict[str, np.ndarray]:
    prediction = mc_dropout.as_prediction(trained, shard.mean, shard.std, finite=shard.finite)
    rows = make_rows(shard.facts, prediction, shard.distance, shard.reasons)
    reads_parallax = trained.model.config.use_parallax
    facts = {name: shard.facts[name] for name in ("self_dist1", "n_detections", "duplicate")}
    facts["flags_master"] = shard.facts["flags"]
    facts["network"] = np.where(shard.finite, "ACF" if reads_parallax else "ACPF", "")
    is_of_training = trained.sidecar["dataset"]["fingerprint"] == plan.dataset["fingerprint"]
    facts["trained_on"] = (shard.facts["split"] == flags.TRAINING_SPLIT) & is_of_training
    rows["flags"] = flags.compute(rows, facts, trained.training_domain, trained.targets)
    return rows


@contextlib.contextmanager
def read_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, made in a thread of their own, `READ_AHEAD` of them in advance."""
    ready: queue.Queue = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # raised again where the items are used
            put((None, error))

    def received() -> Iterator[T]:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item

    thread = threading.Thread(target=make, name="read ahead", daemon=True)
    thread.start()
    try:
        yield received()
    finally:
        stopped.set()
        thread.join()
