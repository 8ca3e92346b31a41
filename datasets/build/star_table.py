"""The examples without their images as one Parquet table, for pandas, TOPCAT and whoever has no use for stamps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from datasets.build.parts import Job
from datasets.files import Arrays
from datasets.skymapper import BANDS
from datasets.smss_stamps.configs import Config
from datasets.smss_stamps.fields import Field

STAR_TABLE = "stars.parquet"

_PLACE = {
    "split": Field((), "str", "", "split of the dataset that holds the star"),
    "index": Field((), "int64", "", "place of the star in its split, from 0"),
}


def columns(fields: Mapping[str, Field]) -> dict[str, Field]:
    """The table's columns: an example's place and its fields but the images, a column for each band."""
    described = dict(_PLACE)
    for name, field in fields.items():
        if field.shape == ():
            described[name] = field
        elif field.shape == (len(BANDS),):
            for band in BANDS:
                described[f"{name}_{band}"] = Field((), field.dtype, field.unit, f"{field.description}: {band}")
    return described


def write_star_table(job: Job, n_stars: int, path: Path) -> None:
    """Write the table, in the order of selection, with the values of the examples (NaN or -1 where one is missing).

    Parquet with a VOTable header (the VOParquet convention), in which units and descriptions are.

    Args:
        job: whose parts are there.
        n_stars: selected ones.
        path: of the file.
    """
    # Here, because worker processes import the modules of a build too and need none of it.
    from astropy.table import Table

    config = job.divided_config
    described = columns(config.fields())
    stars = _stars(job, n_stars, config, described)
    # astropy would write dex as 0.1ex.
    units = {name: field.unit if field.unit != "dex" else "" for name, field in described.items()}
    header = {name: {"unit": units[name] or None, "description": described[name].description} for name in described}
    Table(stars, copy=False).write(path, format="parquet.votable", metadata=header)


def _stars(job: Job, n_stars: int, config: Config, described: Mapping[str, Field]) -> Arrays:
    blocks, n_before = [], dict.fromkeys(config.splits, 0)
    for path in job.parts(n_stars):
        with np.load(path) as part:
            block = {name: part[name] for name, field in config.fields().items() if len(field.shape) <= 1}
        for name in [name for name, values in block.items() if values.ndim == 2]:
            values = block.pop(name)
            block |= {f"{name}_{band}": values[:, i] for i, band in enumerate(BANDS)}
        splits = [config.split_of(object_id) for object_id in block["object_id"]]
        index = np.empty(len(splits), np.int64)
        for i, split in enumerate(splits):
            index[i], n_before[split] = n_before[split], n_before[split] + 1
        blocks.append(block | {"split": np.array(splits, np.str_), "index": index})
    return {name: np.concatenate([block[name] for block in blocks]) for name in described}
