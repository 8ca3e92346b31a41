"""Tasks spread over worker processes, their results in the order of the tasks."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A number of processes, which start when there is work; with one worker there is only this process.

    A context manager: at its end the processes are gone, after the tasks in hand.
    """

    def __init__(self, n_workers: int):
        self.n_workers = n_workers
        self._pool: ProcessPoolExecutor | None = None
        if n_workers > 1:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(n_workers, mp_context=spawn, initializer=_end_with_parent)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run_in_order(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Generator[Any, None, None]:
        """Yield `function(task)` for each task, in order; `tasks` may be endless, `function` must be importable.

        Raises:
            concurrent.futures.process.BrokenProcessPool: if a worker dies.
        """
        pool = self._pool
        if pool is None:
            yield from map(function, tasks)
            return

        def submit(task: Any) -> Future[Any]:
            with _settings_of_children():
                return pool.submit(function, task)

        tasks = iter(tasks)
        # Several tasks a worker in flight: a slow one at the head of the queue leaves the others something to do.
        running = deque(submit(task) for task in itertools.islice(tasks, 3 * self.n_workers))
        try:
            while running:
                result = running.popleft().result()
                running.extend(submit(task) for task in itertools.islice(tasks, 1))
                yield result
        finally:
            for future in running:
                future.cancel()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker"

    def watch() -> None:
        parent.join()
        os._exit(1)

    # A parent that was killed outright cannot tell its workers, which would wait for tasks for ever.
    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _settings_of_children() -> Iterator[None]:
    """What the processes started inside inherit: one thread per numerical library, and ctrl-C ignored.

    Ctrl-C in a terminal reaches every process of the group; only the parent should act on it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment(ONE_THREAD):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that are set inside the block and as before after it."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
