"""The mock sky's stars, block after block without end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from datasets.mock_sky.archive import MockArchive
from datasets.surveys.base import Stars
from datasets.surveys.stars import one_row_per_star


class MockSurvey:
    """The endless mock sky."""

    is_paged = False
    cuts_made: tuple[str, ...] = ()

    def __init__(self, seed: int):
        self.archive = MockArchive(seed=seed)

    def blocks(self) -> Iterable[int]:
        """0, 1, 2, ... without end."""
        return itertools.count()

    def stars(self, block: int, after: int | None = None) -> Stars:
        """Stars in sky order, with the truth."""
        tables = self.archive.tables_of_block(block)
        return one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"], tables["truth"])

    def why_not_found(self, input_row: int) -> str:
        """Never asked: a block's stars all come from the survey."""
        return "the survey has no such star"
