"""The configs of the dataset ``smss_stamps`` and what each is built from. Light: worker processes import it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from datasets.archives.interface import Archive

NAME = "smss_stamps"
VERSION = "1.0.0"
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Config:
    """One variant of the dataset."""

    name: str
    description: str
    n_stars: int  # selected stars, unless the build asks for another number

    def open_archive(self, seed: int) -> Archive:
        """The survey that this config photographs; ``seed`` draws the mock one."""
        from datasets.mock_sky.archive import MockArchive

        return MockArchive(seed=seed)


CONFIGS = {
    config.name: config
    for config in (
        Config("mock", "the mock sky, demo-sized", n_stars=6_000),
        Config("mock_large", "the mock sky, as many stars as the paper's high-quality sample", n_stars=106_145),
    )
}


def split_of(object_id: int) -> str:
    """``train`` for eight tenths of all object_ids, ``validation`` for the others, whatever else is in the dataset."""
    digest = hashlib.blake2b(int(object_id).to_bytes(8, "little", signed=True), digest_size=8).digest()
    return "train" if int.from_bytes(digest, "little") % 10 < 8 else "validation"
