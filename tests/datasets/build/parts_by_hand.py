"""The work folder of a build as its workers leave it, made without them: every value is known, whatever the config."""

import hashlib
import json

import numpy as np

from datasets.build.parts import OURS, PART_SIZE, Job
from datasets.files import save
from datasets.smss_stamps.configs import CONFIGS

PROVENANCE = {
    "archive": "SkyMapper Southern Survey DR4",
    "date": "2026-05-17",
    "services": {"tap": "https://example.org/tap"},
    "query": "SELECT *\nFROM dr4.master\nWHERE flags = 0",
    "recipe": {"seed": 0, "files": {"galah": "ab" * 32}, "stamps": OURS.stamps, "splits": OURS.splits},
}
FIRST_ID = 4_611_686_018_427_387_904  # 2**62: no float has its neighbours


def write_parts(
    folder, config, n_stars, rejected=lambda row: row % 10 == 4, reason="no | stamp\nfor <it>", choices=OURS
):
    """A job of `n_stars` selected stars, and the examples' fields, stars first."""
    job = Job(config, 0, folder, choices=choices)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    is_example = np.array([not rejected(row) for row in range(n_stars)], bool)
    stars = {name: values_of(name, field, n_stars, rng) for name, field in CONFIGS[config].fields().items()}
    save(job.selected, {name: values for name, values in stars.items() if values.ndim <= 2})
    for index, path in enumerate(job.parts(n_stars)):
        rows = np.arange(PART_SIZE * index, min(PART_SIZE * (index + 1), n_stars))
        kept, lost = rows[is_example[rows]], rows[~is_example[rows]]
        part = {name: values[kept] for name, values in stars.items()}
        digest = hashlib.sha256(b"".join(values.tobytes() for values in part.values())).digest()
        part |= {"rejected_row": lost, "rejected_reason": np.array([reason] * len(lost), np.str_)}
        part |= {"rejected_by_service": np.zeros(len(lost), bool), "digest": np.frombuffer(digest, np.uint8)}
        save(path, part)
    cuts = [{"cut": "flags", "description": "flags = 0", "removed": 7}]
    cuts += [{"cut": "bright", "description": "G < 16", "removed": None}]
    job.selection.write_text(json.dumps({"n_scanned": n_stars + 7 + 3, "cuts": cuts, "n_not_drawn": 3}))
    recipe = PROVENANCE["recipe"] | {"stamps": choices.stamps, "splits": choices.splits}
    provenance = PROVENANCE | {"recipe": recipe}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return job, {name: values[is_example] for name, values in stars.items()}


def values_of(name, field, n_stars, rng):
    """Values of a field that would not survive a rounding, some of them missing."""
    shape = (n_stars, *field.shape)
    if name == "object_id":
        return FIRST_ID + np.arange(n_stars)
    if field.dtype.startswith("float"):
        values = rng.normal(size=shape).astype(field.dtype)
        values[rng.random(shape) < 0.1] = np.nan if name != "stamp" else 0
        return values
    if field.dtype == "int64":
        return np.where(rng.random(shape) < 0.1, -1, FIRST_ID + rng.integers(1000, size=shape))
    return rng.integers(2, size=shape).astype(field.dtype)
