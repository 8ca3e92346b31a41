"""What determines a dataset, and where it came from: the first is compared, the second is written down."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from importlib import metadata
from pathlib import Path

from datasets.build.checksums import sha256
from datasets.build.parts import Choices
from datasets.samples.selection import adql
from datasets.smss_stamps.configs import CONFIGS, VERSION
from datasets.surveys.base import Sources

PACKAGE = Path(__file__).parents[1]  # datasets/, all of which decides what is built
MOCK_ARCHIVE = "mock sky"
REAL_ARCHIVE = "SkyMapper Southern Survey DR4 (doi:10.25914/5M47-S621)"


def recipe(config: str, n_stars: int | None, seed: int, sources: Sources, choices: Choices) -> dict:
    """What determines a dataset besides the code and the archives: two builds of one recipe are one dataset.

    Args:
        config: a name in `CONFIGS`.
        n_stars: to select; None for all.
        seed: of the mock sky and of drawing.
        sources: of the real sky; of files the content counts, not the path.
        choices: how stamps are made and the sample is divided.

    Returns:
        JSON types.

    Raises:
        OSError: if a local table cannot be read.
    """
    return {
        "config": config,
        "version": VERSION,
        "stars": n_stars,
        "seed": seed,
        "files": {name: sha256(Path(path)) for name, path in sources.files().items()},
        "dust_map": sources.dust_map,
        "stamps": choices.stamps,
        "splits": choices.splits,
    }


def work_folder_name(recipe: dict) -> str:
    """A name that another recipe, or other code, does not have."""
    text = json.dumps(recipe | {"code": _code_digest()}, sort_keys=True)
    return f"{VERSION}.parts-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def provenance(recipe: dict, sources: Sources) -> dict:
    """What a reader of the dataset should know of its making; of the real sky with the date at which it began.

    `SOURCE_DATE_EPOCH` in the environment, in seconds, replaces the clock (reproducible-builds.org).
    """
    config = CONFIGS[recipe["config"]]
    if config.is_mock:
        return {"archive": MOCK_ARCHIVE, "recipe": recipe}
    return {
        "archive": REAL_ARCHIVE,
        "recipe": recipe,
        "date": _today(),
        "services": sources.services(),
        "query": adql(config.cuts) if config.cuts else "the stars of the user's table",
        "software": {name: metadata.version(name) for name in ("numpy", "scipy", "astropy", "reproject")},
    }


def _today() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = time.time() if epoch is None else int(epoch)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def _code_digest() -> str:
    """A hash of the package `datasets`, so that parts made by different code never end up in one dataset."""
    root = PACKAGE
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in {".py", ".npz", ".csv"}):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
