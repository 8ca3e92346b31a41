"""SHA-256 of the files of a prepared folder, kept in the format of `sha256sum`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

CHECKSUMS = "checksums.txt"


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that is in the folder now, by name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}


def write_checksums(folder: Path, checksums: Mapping[str, str]) -> None:
    """Record the checksums for `sha256sum --check` and `damaged_files`."""
    (folder / CHECKSUMS).write_text("".join(f"{checksums[name]}  {name}\n" for name in sorted(checksums)))


def damaged_files(folder: Path) -> list[str]:
    """Names of the files that are missing or differ from their recorded checksum."""
    recorded = (line.split("  ", 1) for line in (folder / CHECKSUMS).read_text().splitlines())
    return [name for checksum, name in recorded if not (folder / name).is_file() or sha256(folder / name) != checksum]
