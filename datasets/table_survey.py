"""The stars of a user's table, on the real sky and on the mock one: every row comes out."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from datasets.crossmatch import crossmatch, julian_year
from datasets.stars import match, one_row_per_star, plain, rows_or_missing
from datasets.survey import RealSurvey, Sources, Stars
from datasets.table_stars import TableStars, read_table_stars

RADIUS_ARCSEC = 1.0
MIDDLE_EPOCH_YR, HALF_SPAN_YR = 2018.0, 4.5
"""SkyMapper DR4's exposures were taken from March 2014 to September 2021."""


class TableSurvey(RealSurvey):
    """A user's table over SkyMapper and Gaia, in the order of its rows."""

    block_size = 50  # positions in one query

    def __init__(self, sources: Sources):
        super().__init__(sources)
        self._table = read_table_stars(sources.table)

    def blocks(self) -> Iterable[int]:
        """Blocks of ``block_size`` rows of the table."""
        return range(-(-len(self._table) // self.block_size))

    def stars(self, block: int, after: int | None = None) -> Stars:
        """One row for every row of the table; ``object_id`` is -1 where SkyMapper has no such star."""
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
        return _with_own_columns(joined, found, rows, table)

    def why_not_found(self, input_row: int) -> str:
        """Why a row of the table has no star."""
        return _why_not_found(self._table, input_row, "SkyMapper DR4")

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


class MockTableSurvey:
    """A user's table over the mock sky, in the order of the sky, where no star moves: proper motions change nothing."""

    is_paged = False
    cuts_made = ()
    block_size = 256  # rows of the table

    def __init__(self, seed: int, sources: Sources):
        from datasets.mock_sky.archive import MockArchive

        self.archive = MockArchive(seed=seed)
        self._table = read_table_stars(sources.table)

    def blocks(self) -> Iterable[int]:
        """Blocks of ``block_size`` rows."""
        return range(-(-len(self._table) // self.block_size))

    def stars(self, block: int, after: int | None = None) -> Stars:
        """One row for every row of the table, with the truth; ``object_id`` is -1 where the sky has no such star."""
        rows = self._in_sky_order[block * self.block_size : (block + 1) * self.block_size]
        joined = self._joined(self._star[rows])
        found = match(self._star[rows], joined.pop("star"))
        by_source = self._table.found_by("source_id")[rows]
        named = rows_or_missing(joined["source_id"], found)
        found[by_source & (named != self._table.source_id[rows])] = -1
        return _with_own_columns(joined, found, rows, self._table)

    def why_not_found(self, input_row: int) -> str:
        """Why a row of the table has no star."""
        from datasets.mock_sky.finding import SEARCHED_STARS

        return _why_not_found(self._table, input_row, "the mock sky", f", among its first {SEARCHED_STARS:,} stars")

    @functools.cached_property
    def _star(self) -> np.ndarray:
        """The star number of each row, or -1."""
        from datasets.mock_sky import finding

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
        """One row for each of the stars, in order, with the number ``star``; -1 is none."""
        from datasets.mock_sky.sky import BLOCK_SIZE, object_id_of_star

        stars = np.unique(stars[stars >= 0])
        of_blocks = np.split(stars, np.flatnonzero(np.diff(stars // BLOCK_SIZE)) + 1)
        joined = []
        for of_block in of_blocks:
            ids = object_id_of_star(of_block)
            master, gaia, truth = (self.archive.table(name, ids) for name in ("dr4.master", "gaia", "truth"))
            joined.append(one_row_per_star(master, gaia, truth=truth))
        columns = {name: np.concatenate([part[name] for part in joined]) for name in joined[0]}
        return columns | {"star": stars}


def _with_own_columns(joined: Stars, found: np.ndarray, rows: np.ndarray, table: TableStars) -> Stars:
    """The stars found, and what the table itself has of each row: its position, parallax and number."""
    stars = {name: rows_or_missing(values, found) for name, values in joined.items()}
    stars["raj2000"] = np.where(found < 0, table.ra_deg[rows], stars["raj2000"])
    stars["dej2000"] = np.where(found < 0, table.dec_deg[rows], stars["dej2000"])
    own = np.isfinite(table.parallax[rows])
    stars["parallax"] = np.where(own, table.parallax[rows], stars["parallax"])
    stars["parallax_error"] = np.where(own, table.parallax_error[rows], stars["parallax_error"])
    return stars | {"input_row": rows, "own_parallax": own.astype(np.int32)}


def _why_not_found(table: TableStars, row: int, sky: str, among: str = "") -> str:
    if row in table.faults:
        return table.faults[row]
    for name in ("object_id", "source_id"):
        if (given := getattr(table, name)[row]) != -1:
            return f"{sky} has no star of this {name} ({given})"
    position = f"{table.ra_deg[row]:.7f}, {table.dec_deg[row]:.7f} deg"
    return f"{sky} has no star within {RADIUS_ARCSEC:g} arcsec of this position ({position}){among}"
