"""The files of a bundle, the version of their format, and their checksums as `sha256sum` keeps them."""

from __future__ import annotations

import hashlib
from pathlib import Path

FORMAT_VERSION = 1

DESCRIPTION = "bundle.json"  # everything about the network except its arrays
PARAMETERS = "parameters.safetensors"
TRAINING_DOMAIN = "training_domain.npz"  # where the network has one
EXPORTED = "predict.jaxexport"
MODEL_CARD = "README.md"
METRICS = "metrics.json"  # where the network was evaluated
EXAMPLE = "example.py"
EXAMPLE_STARS = "example_stars.npz"
CHECKSUMS = "checksums.txt"

NEEDED = (DESCRIPTION, PARAMETERS)
"""Without these there is no network."""


def write_checksums(folder: Path) -> None:
    """Record every file that is in the folder now."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != CHECKSUMS]
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
