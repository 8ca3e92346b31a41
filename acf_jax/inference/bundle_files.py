"""The files of a bundle, the version of their format, and their checksums as `sha256sum` keeps them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT_VERSION = 2
"""1: one network. 2: several that were joined, each a bundle by itself in a folder of its own, or one."""

DESCRIPTION = "bundle.json"  # everything about the network except its arrays
PARAMETERS = "parameters.safetensors"
TRAINING_DOMAIN = "training_domain.npz"  # where the network has one
EXPORTED = "predict.jaxexport"
MODEL_CARD = "README.md"
METRICS = "metrics.json"  # where the network was evaluated
EXAMPLE = "example.py"
EXAMPLE_STARS = "example_stars.npz"
CHECKSUMS = "checksums.txt"


def needed(described: Mapping[str, Any]) -> tuple[str, ...]:
    """The files without which there is no network.

    Args:
        described: what `bundle.json` holds.
    """
    members = described.get("members", ())
    return (DESCRIPTION, *(f"{name}/{DESCRIPTION}" for name in members), *(() if members else (PARAMETERS,)))


def write_checksums(folder: Path) -> None:
    """Record every file that is in the folder and its subfolders now."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / CHECKSUMS)
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines))


def recorded_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every recorded file, by name.

    Raises:
        OSError, ValueError: if there is no record, or a line of it cannot be read.
    """
    lines = (line.split("  ", 1) for line in (folder / CHECKSUMS).read_text().splitlines())
    return {name: checksum for checksum, name in lines}


def damaged_files(folder: Path) -> list[str]:
    """Names of the recorded files that are missing or have changed.

    Raises:
        OSError, ValueError: as `recorded_files`.
    """
    recorded = recorded_files(folder).items()
    return [name for name, checksum in recorded if not (folder / name).is_file() or _sha256(folder / name) != checksum]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
