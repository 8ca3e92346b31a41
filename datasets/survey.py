"""Where a sample's stars are found: one row per star, block after block, from one archive or several together.

Each survey answers for a block of stars at a time and remembers nothing of the blocks before, so that a build can ask
in any process and go on where it was.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.table import Table

from datasets.archives.interface import Archive
from datasets.crossmatch import crossmatch
from datasets.local_tables import TableError, positions, read_stars
from datasets.selection import CATALOGUE, master_cuts, master_where
from datasets.smss_stamps.configs import CONFIGS
from datasets.stars import MASTER_COLUMNS, best_spectra, match, one_row_per_star, plain, rows_or_missing

Stars = dict[str, np.ndarray]
"""Columns of ``one_row_per_star``."""


@dataclass(frozen=True)
class Sources:
    """Which services and files a build reads, as given on the command line; an empty text is the usual one."""

    galah: str = ""  # file of GALAH_DR3_main_allstar_v2.fits
    gaia: str = ""  # file of gaia_source rows, instead of the service
    table: str = ""  # file of the user's stars
    dust_map: str = ""  # of the library dustmaps, instead of ebmv_sfd
    cache: str = ""  # folder of the archive's answers
    skymapper_tap_url: str = ""
    cutout_url: str = ""
    gaia_tap_url: str = ""
    contact: str = ""  # e-mail address, told to the services
    rate_per_s: float = 5.0  # requests, of this process

    def services(self) -> dict[str, str]:
        """The addresses of the services, by their names."""
        from datasets.archives.gaia import GAIA_TAP_URL
        from datasets.archives.skymapper_archive import SKYMAPPER_CUTOUT_URL, SKYMAPPER_TAP_URL

        gaia = {} if self.gaia else {"gaia_tap": self.gaia_tap_url or GAIA_TAP_URL}
        return {
            "skymapper_tap": self.skymapper_tap_url or SKYMAPPER_TAP_URL,
            "cutouts": self.cutout_url or SKYMAPPER_CUTOUT_URL,
            **gaia,
        }

    def files(self) -> dict[str, str]:
        """The local files, by what they are."""
        return {name: path for name in ("galah", "gaia", "table") if (path := getattr(self, name))}


class Survey(Protocol):
    """A sky's stars in blocks, and the archive that has photographed them."""

    archive: Archive
    is_paged: bool  # a block can be asked for only with the last object_id of the block before
    cuts_made: tuple[str, ...]  # names of the cuts that the archive makes itself

    def blocks(self) -> Iterable[int]:
        """The numbers of all blocks; endless where the end is not known beforehand."""

    def stars(self, block: int, after: int | None = None) -> Stars:
        """The stars of a block; of a paged survey, those after an object_id, and none when it has ended."""


class MockSurvey:
    """The endless mock sky."""

    is_paged = False
    cuts_made = ()

    def __init__(self, seed: int):
        from datasets.mock_sky.archive import MockArchive

        self.archive = MockArchive(seed=seed)

    def blocks(self) -> Iterable[int]:
        """0, 1, 2, ... without end."""
        return itertools.count()

    def stars(self, block: int, after: int | None = None) -> Stars:
        """Stars in sky order, with the truth."""
        tables = self.archive.tables_of_block(block)
        return one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"], tables["truth"])


class _RealSurvey:
    """What the surveys of the real sky share: SkyMapper's and Gaia's services, or tables in Gaia's place."""

    is_paged = False
    cuts_made: tuple[str, ...] = ()

    def __init__(self, sources: Sources):
        from datasets.archives.cache import Cache
        from datasets.archives.gaia import Gaia
        from datasets.archives.http import Client
        from datasets.archives.skymapper_archive import SkyMapperArchive
        from datasets.archives.tap import TapService

        def client() -> Client:
            return Client(contact=sources.contact, rate_per_s=sources.rate_per_s)

        skymapper, urls = client(), sources.services()
        self._sources = sources
        self._tap = TapService(urls["skymapper_tap"], skymapper)
        self._gaia = Gaia(table=sources.gaia) if sources.gaia else Gaia(TapService(urls["gaia_tap"], client()))
        self.archive = SkyMapperArchive(self._tap, urls["cutouts"], skymapper, Cache(Path(sources.cache)))

    def _joined(self, master: Table, galah: Table | None = None) -> Stars:
        """One row per row of ``master``, in order of object_id."""
        master = master[np.argsort(plain(master, "object_id", "dr4.master"), kind="stable")]
        source_ids = plain(master, "gaia_dr3_id1", "dr4.master")
        stars = one_row_per_star(master, self._gaia.rows(np.unique(source_ids[source_ids != -1])), galah)
        if self._sources.dust_map:
            from datasets.reddening import user_ebv

            stars["ebmv_sfd"] = user_ebv(self._sources.dust_map, stars["raj2000"], stars["dej2000"])
        return stars

    def _master_where(self, condition: str) -> Table:
        return self._tap.query(f"SELECT {', '.join(MASTER_COLUMNS)} FROM dr4.master WHERE {condition}")


class GalahSurvey(_RealSurvey):
    """The stars that SkyMapper and GALAH have in common, by their Gaia source_id."""

    block_size = 500  # ids in one query

    def __init__(self, sources: Sources):
        from datasets.archives.galah import read_galah

        super().__init__(sources)
        galah = read_galah(sources.galah)
        self._galah = galah[best_spectra(galah)]
        self._source_ids = plain(self._galah, "dr3_source_id", "galah")
        self._galah = self._galah[self._source_ids != -1]
        self._source_ids = self._source_ids[self._source_ids != -1]

    def blocks(self) -> Iterable[int]:
        """Blocks of ``block_size`` stars of GALAH, in order of source_id."""
        return range(-(-len(self._source_ids) // self.block_size))

    def stars(self, block: int, after: int | None = None) -> Stars:
        """The block's stars that SkyMapper has, in order of object_id."""
        rows = slice(block * self.block_size, (block + 1) * self.block_size)
        condition = f"gaia_dr3_id1 IN ({', '.join(map(str, self._source_ids[rows]))})"
        return self._joined(self._master_where(condition), self._galah[rows])


class CatalogueSurvey(_RealSurvey):
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
        return self._joined(self._master_where("1 = 0") if page is None else page)


class TableSurvey(_RealSurvey):
    """The stars of a user's table: every row comes out, found by object_id, Gaia source_id or position."""

    block_size = 50  # positions in one query
    radius_arcsec = 1.0

    def __init__(self, sources: Sources):
        super().__init__(sources)
        self._table = read_stars(sources.table, ("object_id", "source_id", "parallax", "parallax_error"))
        self._ra_deg, self._dec_deg = positions(self._table)
        self._object_ids, self._source_ids = (self._numbers(name, np.int64, -1) for name in ("object_id", "source_id"))
        self._parallaxes = {name: self._numbers(name, np.float64, np.nan) for name in ("parallax", "parallax_error")}

    def blocks(self) -> Iterable[int]:
        """Blocks of ``block_size`` rows of the table."""
        return range(-(-len(self._table) // self.block_size))

    def stars(self, block: int, after: int | None = None) -> Stars:
        """One row for every row of the table; ``object_id`` is -1 where SkyMapper has no such star."""
        rows = np.arange(block * self.block_size, min((block + 1) * self.block_size, len(self._table)))
        object_ids, source_ids = self._object_ids[rows], self._source_ids[rows]
        ra_deg, dec_deg = self._ra_deg[rows], self._dec_deg[rows]
        by_position = (object_ids == -1) & (source_ids == -1) & np.isfinite(ra_deg)
        cones = zip(ra_deg[by_position], dec_deg[by_position], strict=True)
        joined = self._joined(self._master_where(self._condition(object_ids, source_ids, cones)))
        found = np.where(
            object_ids != -1, match(object_ids, joined["object_id"]), match(source_ids, joined["source_id"])
        )
        found[by_position] = self._nearest(joined, ra_deg[by_position], dec_deg[by_position])
        stars = {name: rows_or_missing(values, found) for name, values in joined.items()}
        stars["raj2000"] = np.where(found < 0, ra_deg, stars["raj2000"])
        stars["dej2000"] = np.where(found < 0, dec_deg, stars["dej2000"])
        return stars | self._own_parallaxes(rows, stars) | {"input_row": rows}

    def _numbers(self, name: str, dtype: type, missing: float) -> np.ndarray:
        """A column of the table; all missing if it has none."""
        if name not in self._table.colnames:
            return np.full(len(self._table), missing, dtype)
        column = np.ma.asarray(self._table[name])
        if column.dtype.kind not in ("iu" if dtype is np.int64 else "iuf"):
            raise TableError(f"column {name} of {self._sources.table} holds something other than numbers.")
        return column.astype(dtype).filled(missing)

    def _condition(self, object_ids: np.ndarray, source_ids: np.ndarray, cones: Iterable[tuple[float, float]]) -> str:
        """The ADQL condition of the block's stars: ids where the table has them, else a circle around the position."""
        source_ids = source_ids[(object_ids == -1) & (source_ids != -1)]
        object_ids = object_ids[object_ids != -1]
        conditions = [
            f"{name} IN ({', '.join(map(str, ids))})"
            for name, ids in (("object_id", object_ids), ("gaia_dr3_id1", source_ids))
            if len(ids)
        ]
        conditions += [
            f"1 = CONTAINS(POINT('ICRS', raj2000, dej2000), "
            f"CIRCLE('ICRS', {ra:.8f}, {dec:.8f}, {self.radius_arcsec / 3600:.8f}))"
            for ra, dec in cones
        ]
        return " OR ".join(conditions) or "1 = 0"

    def _nearest(self, joined: Stars, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """The row of the nearest star within the radius of each position, or -1."""
        rows = np.full(len(ra_deg), -1)
        matches = crossmatch(
            ra_deg, dec_deg, joined["raj2000"], joined["dej2000"], self.radius_arcsec, one_to_one=False
        )
        rows[matches.left_row] = matches.right_row
        return rows

    def _own_parallaxes(self, rows: np.ndarray, stars: Stars) -> Stars:
        """The table's own parallaxes, in mas, where it has both the parallax and its error."""
        own = {name: values[rows] for name, values in self._parallaxes.items()}
        given = np.logical_and.reduce([np.isfinite(values) for values in own.values()])
        return {name: np.where(given, values, stars[name]) for name, values in own.items()}


@functools.lru_cache(maxsize=1)
def open_survey(config: str, seed: int, sources: Sources) -> Survey:
    """The survey of a config, kept for this process.

    Raises:
        TableError: if a local table cannot be read, or is not given.
    """
    if CONFIGS[config].is_mock:
        return MockSurvey(seed)
    return {"catalogue": CatalogueSurvey, "stars": TableSurvey}.get(config, GalahSurvey)(sources)
