"""The stars of a user's table in the mock sky: every row comes out."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from datasets.mock_sky import finding
from datasets.mock_sky.archive import MockArchive
from datasets.mock_sky.sky import BLOCK_SIZE, object_id_of_star
from datasets.surveys.base import Sources, Stars
from datasets.surveys.stars import match, one_row_per_star, rows_or_missing
from datasets.surveys.table_stars import RADIUS_ARCSEC, read_table_stars


class MockTableSurvey:
    """A user's table over the mock sky, in the order of the sky, where no star moves: proper motions change nothing."""

    is_paged = False
    cuts_made: tuple[str, ...] = ()
    block_size = 256  # rows of the table

    def __init__(self, seed: int, sources: Sources):
        self.archive = MockArchive(seed=seed)
        self._table = read_table_stars(sources.table)

    def blocks(self) -> Iterable[int]:
        """Blocks of `block_size` rows."""
        return range(-(-len(self._table) // self.block_size))

    def stars(self, block: int, after: int | None = None) -> Stars:
        """One row for every row of the table, with the truth; `object_id` is -1 where the sky has no such star."""
        rows = self._in_sky_order[block * self.block_size : (block + 1) * self.block_size]
        joined = self._joined(self._star[rows])
        found = match(self._star[rows], joined.pop("star"))
        by_source = self._table.found_by("source_id")[rows]
        named = rows_or_missing(joined["source_id"], found)
        found[by_source & (named != self._table.source_id[rows])] = -1
        return self._table.with_own_columns(joined, found, rows)

    def why_not_found(self, input_row: int) -> str:
        """Why a row of the table has no star."""
        return self._table.why_not_found(
            input_row, "the mock sky", f", among its first {finding.SEARCHED_STARS:,} stars"
        )

    @functools.cached_property
    def _star(self) -> np.ndarray:
        """The star number of each row, or -1."""
        table, star = self._table, np.full(len(self._table), -1)
        by_object, by_source, by_position = (table.found_by(what) for what in ("object_id", "source_id", "position"))
        star[by_object] = finding.stars_by_object_id(table.object_id[by_object])
        star[by_source] = finding.stars_by_source_id(table.source_id[by_source])
        star[by_position] = finding.stars_by_position(
            self.archive.seed, table.ra_deg[by_position], table.dec_deg[by_position], RADIUS_ARCSEC
        )
        return star

    @functools.cached_property
    def _in_sky_order(self) -> np.ndarray:
        """Rows of the table, neighbours in the sky together, because the sky is made block by block."""
        return np.argsort(np.where(self._star < 0, np.iinfo(np.int64).max, self._star), kind="stable")

    def _joined(self, stars: np.ndarray) -> Stars:
        """One row for each of the stars, in order, with the number `star`; -1 is none."""
        stars = np.unique(stars[stars >= 0])
        of_blocks = np.split(stars, np.flatnonzero(np.diff(stars // BLOCK_SIZE)) + 1)
        joined = []
        for of_block in of_blocks:
            ids = object_id_of_star(of_block).tolist()
            master, gaia, truth = (self.archive.table(name, ids) for name in ("dr4.master", "gaia", "truth"))
            joined.append(one_row_per_star(master, gaia, truth=truth))
        columns = {name: np.concatenate([part[name] for part in joined]) for name in joined[0]}
        return columns | {"star": stars}
