"""Compiled programs kept on disk: what one process has compiled, the next one reads in a second or two."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import jax

VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def enable(folder: str | Path) -> None:
    """Keep compiled programs in the folder that `JAX_COMPILATION_CACHE_DIR` names, or else in `folder`.

    To be called before the first compilation. A folder that cannot be written costs one line on stderr and the time to
    compile, not the run. An empty `JAX_COMPILATION_CACHE_DIR` switches the cache off.
    """
    chosen = os.environ.get(VARIABLE, os.path.abspath(folder))
    reason = None if not chosen or "://" in chosen else why_unwritable(chosen)  # JAX itself looks into buckets
    if reason:
        print(f"Compiled programs are not kept: {reason}. Set {VARIABLE} to another folder.", file=sys.stderr)
    jax.config.update("jax_compilation_cache_dir", None if reason else chosen or None)


def why_unwritable(folder: str) -> str | None:
    """Why no file can be made in `folder`, which is made if it is missing; None if one can."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{folder}: {error.strerror}"
