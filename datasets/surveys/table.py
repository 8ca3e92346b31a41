"""The stars of a user's table in SkyMapper and Gaia: every row comes out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from datasets.samples.crossmatch import crossmatch, julian_year
from datasets.surveys.base import RealSurvey, Sources, Stars
from datasets.surveys.stars import match, plain
from datasets.surveys.table_stars import RADIUS_ARCSEC, read_table_stars

MIDDLE_EPOCH_YR, HALF_SPAN_YR = 2018.0, 4.5
"""SkyMapper DR4's exposures were taken from March 2014 to September 2021."""


class TableSurvey(RealSurvey):
    """A user's table over SkyMapper and Gaia, in the order of its rows."""

    block_size = 50  # positions in one query

    def __init__(self, sources: Sources):
        super().__init__(sources)
        self._table = read_table_stars(sources.table)

    def blocks(self) -> Iterable[int]:
        """Blocks of `block_size` rows of the table."""
        return range(-(-len(self._table) // self.block_size))

    def stars(self, block: int, after: int | None = None) -> Stars:
        """One row for every row of the table; `object_id` is -1 where SkyMapper has no such star."""
        table = self._table
        rows = np.arange(block * self.block_size, min((block + 1) * self.block_size, len(table)))
        by_object, by_source, by_position = (
            table.found_by(what)[rows] for what in ("object_id", "source_id", "position")
        )
        master = self.master_rows(self._condition(rows, by_object, by_source, by_position), ("mean_epoch",))
        joined = self.joined(master)
        found = np.full(len(rows), -1)
        found[by_object] = match(table.object_id[rows[by_object]], joined["object_id"])
        found[by_source] = match(table.source_id[rows[by_source]], joined["source_id"])
        epochs = plain(master, "mean_epoch", "dr4.master")
        epochs = epochs[match(joined["object_id"], plain(master, "object_id", "dr4.master"))]
        found[by_position] = self._nearest(rows[by_position], joined, epochs)
        return table.with_own_columns(joined, found, rows)

    def why_not_found(self, input_row: int) -> str:
        """Why a row of the table has no star."""
        return self._table.why_not_found(input_row, "SkyMapper DR4")

    def _condition(
        self, rows: np.ndarray, by_object: np.ndarray, by_source: np.ndarray, by_position: np.ndarray
    ) -> str:
        """The ADQL condition of the block's stars: ids where the table has them, else a circle around the position."""
        given = (
            ("object_id", self._table.object_id[rows[by_object]]),
            ("gaia_dr3_id1", self._table.source_id[rows[by_source]]),
        )
        conditions = [f"{name} IN ({', '.join(map(str, ids))})" for name, ids in given if len(ids)]
        conditions += [self._circle(row) for row in rows[by_position]]
        return " OR ".join(conditions) or "1 = 0"

    def _circle(self, row: int) -> str:
        """Around where the star was at SkyMapper's time, as wide as it can have moved since and until then."""
        table = self._table
        ra, dec, radius_arcsec = table.ra_deg[row], table.dec_deg[row], RADIUS_ARCSEC
        if np.isfinite(table.pmra[row]):
            years = MIDDLE_EPOCH_YR - table.epoch_yr[row]
            dec = np.clip(dec + table.pmdec[row] * years / 3.6e6, -90, 90)
            ra = (ra + table.pmra[row] * years / 3.6e6 / max(np.cos(np.radians(dec)), 1e-6)) % 360
            radius_arcsec += np.hypot(table.pmra[row], table.pmdec[row]) * HALF_SPAN_YR / 1000
        return (
            f"1 = CONTAINS(POINT('ICRS', raj2000, dej2000), "
            f"CIRCLE('ICRS', {ra:.8f}, {dec:.8f}, {radius_arcsec / 3600:.8f}))"
        )

    def _nearest(self, rows: np.ndarray, joined: Stars, mean_epoch_mjd: np.ndarray) -> np.ndarray:
        """The row of the nearest star within the radius of each position, or -1.

        Where the table has proper motions and their epoch, positions are taken to each SkyMapper object's mean epoch.
        """
        table, found = self._table, np.full(len(rows), -1)
        matches = crossmatch(
            table.ra_deg[rows],
            table.dec_deg[rows],
            joined["raj2000"],
            joined["dej2000"],
            RADIUS_ARCSEC,
            one_to_one=False,
            left_pm_mas_yr=(table.pmra[rows], table.pmdec[rows]),
            left_epoch_yr=table.epoch_yr[rows],
            right_epoch_yr=julian_year(mean_epoch_mjd),
        )
        found[matches.left_row] = matches.right_row
        return found
