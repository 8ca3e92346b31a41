"""Arrays in npz files, each of which is whole or not there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
"""Columns by name, stars first."""


def save_atomically(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file that is never seen half-written, not even after a power failure."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")  # unique among machines too
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Arrays:
    """All arrays of an npz file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def load_array(path: Path, name: str) -> np.ndarray:
    """One array of an npz file; the others, stamps among them, are not read."""
    with np.load(path) as file:
        return file[name]
