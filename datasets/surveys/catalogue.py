"""All stars that SkyMapper saw well: those of the paper's catalogue."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from datasets.samples.selection import CATALOGUE, master_cuts, master_where
from datasets.surveys.base import RealSurvey, Stars
from datasets.surveys.stars import MASTER_COLUMNS


class CatalogueSurvey(RealSurvey):
    """All stars that SkyMapper saw well: the cuts on dr4.master are made by the service, page after page."""

    is_paged = True
    cuts_made = tuple(cut.name for cut in master_cuts(CATALOGUE))
    page_size = 50_000

    def blocks(self) -> Iterable[int]:
        """0, 1, 2, ...; the first page without a star is the last."""
        return itertools.count()

    def stars(self, block: int, after: int | None = None) -> Stars:
        """The page after an object_id, in order of object_id."""
        columns = ", ".join(f"m.{name}" for name in MASTER_COLUMNS)
        where = master_where(CATALOGUE)
        pages = self._tap.pages(columns, "dr4.master AS m", where, "m.object_id", page_size=self.page_size, after=after)
        page = next(iter(pages), None)
        return self.joined(self.master_rows("1 = 0") if page is None else page)
