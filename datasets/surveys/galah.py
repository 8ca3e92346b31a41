"""The stars that GALAH has labels of: the paper's training sample."""

from __future__ import annotations

from collections.abc import Iterable

from datasets.archives.galah import read_galah
from datasets.surveys.base import RealSurvey, Sources, Stars
from datasets.surveys.stars import best_spectra, plain


class GalahSurvey(RealSurvey):
    """The stars that SkyMapper and GALAH have in common, by their Gaia source_id."""

    block_size = 500  # ids in one query

    def __init__(self, sources: Sources):
        super().__init__(sources)
        galah = read_galah(sources.galah)
        self._galah = galah[best_spectra(galah)]
        self._source_ids = plain(self._galah, "dr3_source_id", "galah")
        self._galah = self._galah[self._source_ids != -1]
        self._source_ids = self._source_ids[self._source_ids != -1]

    def blocks(self) -> Iterable[int]:
        """Blocks of `block_size` stars of GALAH, in order of source_id."""
        return range(-(-len(self._source_ids) // self.block_size))

    def stars(self, block: int, after: int | None = None) -> Stars:
        """The block's stars that SkyMapper has, in order of object_id."""
        rows = slice(block * self.block_size, (block + 1) * self.block_size)
        condition = f"gaia_dr3_id1 IN ({', '.join(map(str, self._source_ids[rows]))})"
        return self.joined(self.master_rows(condition), self._galah[rows])
