"""Which rows a catalogue has, how they are divided into shards, and what it is made with: fixed before the first star.

Every process that works on a catalogue makes the same plan and finds the first one's in its folder, so that none
continues a different catalogue by mistake.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.errors import differences
from acf_jax.files import whole_file

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """A catalogue's rows, shard by shard, and all that determines their numbers."""

    n_stars: int
    shard_size: int  # rows of a shard; the last may have fewer
    n_samples: int  # T of Eq. 13
    seed: int  # of the samples
    batch_size: int  # stars on each device at a time: the last digits depend on it
    dataset: Mapping[str, str]  # name, config, version, fingerprint
    networks: Mapping[str, str]  # fingerprints by name
    errors: Mapping[str, str]  # fingerprints of what was fitted after training: calibrated errors, training domain
    targets: tuple[str, ...]
    has_input_row: bool

    @property
    def n_shards(self) -> int:
        """How many files there will be."""
        return math.ceil(self.n_stars / self.shard_size)

    def rows(self, shard: int) -> range:
        """The rows of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.n_stars))

    def shards_of(self, process: int, n_processes: int) -> range:
        """The shards that one of several processes makes: every `n_processes`-th, so that all end almost together."""
        return range(process, self.n_shards, n_processes)


def settle(plan: Plan, folder: Path) -> str:
    """Write the plan into a catalogue's folder, or find the same one there; returns the date when it was written.

    Raises:
        CatalogueError: if the folder holds a catalogue that is made with other settings.
    """
    path = folder / PLAN
    try:
        if not path.exists():
            with whole_file(path, "x", replace=False) as file:  # another process may have written the same one just now
                file.write(json.dumps(asdict(plan) | {"date": today()}, indent=1))
    except OSError as error:
        raise CatalogueError(
            f"{folder} cannot be written ({error.strerror or error}): give another --out, or make room there."
        ) from error
    try:
        there = json.loads(path.read_text())
        date = there.pop("date")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CatalogueError(f"{path} is damaged: delete {folder} and give the command again.") from None
    if lines := differences(there, json.loads(json.dumps(asdict(plan)))):
        raise CatalogueError(
            f"{folder} holds a catalogue that is made otherwise (- there, + now):\n  "
            + "\n  ".join(lines)
            + "\nGive another --out, or the same settings to go on with it."
        )
    return date


def today() -> str:
    """The date; `SOURCE_DATE_EPOCH`, in seconds, replaces the clock (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = time.time() if epoch is None else int(epoch)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()
