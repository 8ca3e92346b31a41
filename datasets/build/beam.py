"""Tasks spread over machines by Apache Beam, behind the interface of `datasets.build.workers.Workers`.

A task's result is a file in the build's work folder, which all machines share; what a task returns is only where that
file is. So the pipeline makes the files and brings nothing back, and the results are then found by calling the tasks
again here, where they find their files and do nothing. `docs/distributed.md` has the runners' options.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import uuid
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from datasets.build.workers import ONE_THREAD, environment
from datasets.errors import DataError


class BeamError(DataError):
    """Beam cannot run the tasks; the message says why and what to do."""


class BeamWorkers:
    """The workers of a Beam runner, by default processes of this machine.

    A context manager like `Workers`. In it, an empty file in `folder` tells every worker that it looks into the
    same folder as the others.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), n_workers: int = 1):
        """Choose the runner.

        Args:
            folder: the work folder, under the same path on all machines.
            options: Beam's pipeline options, such as `--runner=FlinkRunner`.
            n_workers: processes, where the options name no runner.

        Raises:
            BeamError: if Apache Beam is not installed or does not know an option.
        """
        self.folder = Path(folder).absolute()
        is_local = not any(option.startswith("--runner") for option in options)
        self.options = [*(local_options(n_workers) if is_local else []), *options]
        self._token = self.folder / f".beam-{uuid.uuid4().hex}"
        _check_options(self.options)

    def __enter__(self) -> BeamWorkers:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._token.touch()
        return self

    def __exit__(self, *error: object) -> None:
        self._token.unlink(missing_ok=True)

    def run_in_order(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Generator[Any, None, None]:
        """Yield `function(task)` for each task, in order, after one pipeline has called it on the workers.

        Args:
            function: importable, keeps its result in a file, and does nothing where that is there.
            tasks: a finite number of them.

        Raises:
            BeamError: if the pipeline fails, or a worker does not see the work folder.
        """
        tasks = list(tasks)
        if tasks:
            self._run(function, tasks)
        yield from map(function, tasks)

    def _run(self, function: Callable[[Any], Any], tasks: list[Any]) -> None:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        try:
            with environment(_settings_of_children()), beam.Pipeline(options=PipelineOptions(self.options)) as pipeline:
                # Without the shuffle a runner may keep all tasks on the one machine that made the list.
                _ = (
                    pipeline
                    | "Tasks" >> beam.Create(tasks, reshuffle=False)
                    | "Spread" >> beam.Reshuffle()
                    | "Make" >> beam.Map(_call, function, str(self._token))
                )
        # What a runner raises depends on the runner, and carries the worker's traceback as text.
        except Exception as error:
            raise BeamError(
                f"the Beam pipeline failed: {_sentence(error)}. Nothing finished is lost: when that is mended, the "
                "same command goes on."
            ) from error


def local_options(n_workers: int) -> list[str]:
    """Options for `n_workers` processes of this machine."""
    return [
        "--runner=DirectRunner",
        "--direct_running_mode=multi_processing",
        f"--direct_num_workers={n_workers}",
        "--default_sdk_harness_log_level=ERROR",
        # There are no triggers here: with this option the runner does its work itself, instead of looking on the
        # internet for another one first (Prism).
        "--allow_unsafe_triggers",
    ]


def _check_options(options: list[str]) -> None:
    try:
        # Here, because Beam is optional and takes a second.
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
        from apache_beam.runners import create_runner
    except ImportError as error:
        raise BeamError("Apache Beam is not installed here; install it with: pip install apache-beam") from error
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # Beam ends the program over a value that it cannot use, after two pages
            create_runner(PipelineOptions(options).get_all_options()["runner"] or StandardOptions.DEFAULT_RUNNER)
    except (SystemExit, ImportError, AttributeError, ValueError) as error:
        reason = said.getvalue().strip().split("error: ")[-1] if isinstance(error, SystemExit) else _sentence(error)
        raise BeamError(f"Apache Beam cannot use the options {' '.join(options)}: {reason}") from error


def _sentence(error: BaseException) -> str:
    """An error's message; of one that carries a worker's traceback as text, its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if "Traceback" in str(error) else " ".join(lines)


def _settings_of_children() -> dict[str, str]:
    """What worker processes of this machine inherit: one thread per numerical library, and where `datasets` is."""
    root = str(Path(__file__).parents[2])
    return ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def _call(task: Any, function: Callable[[Any], Any], token: str) -> None:
    """Work on one task; runs on a worker."""
    if not os.path.exists(token):
        raise BeamError(
            f"the machine {socket.gethostname()} does not see the work folder {os.path.dirname(token)}; put --data-dir "
            "where every machine has it under the same path"
        )
    function(task)
