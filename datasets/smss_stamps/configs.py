"""The configs of the dataset `smss_stamps`: which stars each holds, and how they are split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from datasets.samples.selection import CATALOGUE, HIGH_QUALITY, LOW_QUALITY, Cut
from datasets.smss_stamps.fields import FIELDS, INPUT_FIELDS, TRUTH_FIELDS, Field

NAME = "smss_stamps"
VERSION = "2.0.0"
TRAINING_SPLITS = ("train", "calibration", "validation")
DIVISIONS = {"7:1:2": TRAINING_SPLITS, "paper": ("train", "validation")}
"""The splits of a labelled sample, ours first; the paper divides 8:2."""


@dataclass(frozen=True)
class Config:
    """One variant of the dataset."""

    name: str
    description: str
    cuts: tuple[Cut, ...] = HIGH_QUALITY
    n_stars: int | None = None  # unless the build asks for another number; None: all that there are
    splits: tuple[str, ...] = TRAINING_SPLITS
    survey: str = "galah"  # where its stars are found: surveys/opening.py
    is_sampled: bool = False  # n_stars are drawn from all selected ones, instead of the first that are found

    @property
    def is_mock(self) -> bool:
        """Whether its sky is the mock one."""
        return self.survey in ("mock", "mock_table")

    @property
    def needs_galah(self) -> bool:
        """Whether a build reads GALAH's table."""
        return self.survey == "galah"

    @property
    def has_input_row(self) -> bool:
        """Whether its stars are the rows of a user's table."""
        return self.survey in ("table", "mock_table")

    def fields(self) -> dict[str, Field]:
        """The fields of an example."""
        return FIELDS | (TRUTH_FIELDS if self.is_mock else {}) | (INPUT_FIELDS if self.has_input_row else {})

    def divided(self, splits: str) -> Config:
        """The same with the splits of this name in `DIVISIONS`; a sample without labels is never divided."""
        return replace(self, splits=DIVISIONS[splits]) if len(self.splits) > 1 else self

    def split_of(self, object_id: int) -> str:
        """The split that a star belongs to; without a calibration split its stars are trained on."""
        split = split_of(object_id)
        return split if split in self.splits else self.splits[0]


CONFIGS = {
    config.name: config
    for config in (
        Config("mock", "the mock sky, demo-sized", n_stars=6_000, survey="mock"),
        Config(
            "mock_large",
            "the mock sky, as many stars as the paper's high-quality sample",
            n_stars=106_145,
            survey="mock",
        ),
        Config(
            "mock_low_quality",
            "the mock sky's low-quality sample, which are mostly crowded stars",
            cuts=LOW_QUALITY,
            n_stars=6_000,
            survey="mock",
        ),
        Config("high_quality", "the paper's training set: SkyMapper DR4, Gaia EDR3 and GALAH+ DR3"),
        Config("low_quality", "the paper's low-quality sample", cuts=LOW_QUALITY),
        Config(
            "catalogue",
            "a million stars without labels, drawn from all that SkyMapper saw well",
            cuts=CATALOGUE,
            n_stars=1_000_000,
            splits=("catalogue",),
            survey="catalogue",
            is_sampled=True,
        ),
        Config(
            "stars",
            "the stars of a table of yours (--table)",
            cuts=(),
            splits=("stars",),
            survey="table",
        ),
        Config(
            "mock_stars",
            "the stars of a table of yours (--table), of the mock sky",
            cuts=(),
            splits=("stars",),
            survey="mock_table",
        ),
    )
}


def split_of(object_id: int) -> str:
    """`train`, `calibration` or `validation` for 7, 1 and 2 tenths of all object_ids, whatever else is there.

    The paper divides 8 : 2. Its training part gives a tenth of all stars to what is chosen and fitted after training
    (the best checkpoint, calibrated errors), so that the validation stars are touched by nothing. They are the same
    under either division.
    """
    digest = hashlib.blake2b(int(object_id).to_bytes(8, "little", signed=True), digest_size=8).digest()
    tenth = int.from_bytes(digest, "little") % 10
    return "train" if tenth < 7 else "calibration" if tenth == 7 else "validation"
