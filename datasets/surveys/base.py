"""Where a sample's stars are found: one row per star, block after block, from one archive or several together.

Each survey answers for a block of stars at a time and remembers nothing of the blocks before, so that a build can ask
in any process and go on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.table import Table

from datasets.archives.interface import Archive
from datasets.surveys.stars import MASTER_COLUMNS, one_row_per_star, plain

Stars = dict[str, np.ndarray]
"""Columns of `one_row_per_star`."""


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
    contact: str = ""  # e-mail address, sent to the services
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

    is_paged: bool  # a block can be asked for only with the last object_id of the block before
    cuts_made: tuple[str, ...]  # names of the cuts that the archive makes itself

    @property
    def archive(self) -> Archive:
        """Who has photographed them."""

    def blocks(self) -> Iterable[int]:
        """The numbers of all blocks; endless where the end is not known beforehand."""

    def stars(self, block: int, after: int | None = None) -> Stars:
        """The stars of a block; of a paged survey, those after an object_id, and none when it has ended."""

    def why_not_found(self, input_row: int) -> str:
        """Why a row of the user's table, whose `object_id` is -1, has no star."""


class RealSurvey:
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

    def joined(self, master: Table, galah: Table | None = None) -> Stars:
        """One row per row of `master`, in order of object_id."""
        master = master[np.argsort(plain(master, "object_id", "dr4.master"), kind="stable")]
        source_ids = plain(master, "gaia_dr3_id1", "dr4.master")
        stars = one_row_per_star(master, self._gaia.rows(np.unique(source_ids[source_ids != -1])), galah)
        if self._sources.dust_map:
            from datasets.surveys.reddening import user_ebv

            stars["ebmv_sfd"] = user_ebv(self._sources.dust_map, stars["raj2000"], stars["dej2000"])
        return stars

    def why_not_found(self, input_row: int) -> str:
        """Never asked: a block's stars all come from the survey."""
        return "the survey has no such star"

    def master_rows(self, condition: str, more_columns: tuple[str, ...] = ()) -> Table:
        """The rows of dr4.master that meet an ADQL condition."""
        columns = ", ".join((*MASTER_COLUMNS, *more_columns))
        return self._tap.query(f"SELECT {columns} FROM dr4.master WHERE {condition}")
