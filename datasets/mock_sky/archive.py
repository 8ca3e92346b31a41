"""The mock sky behind the archive interface: catalogue rows, detections and FITS cutouts, all from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from astropy.table import Table, vstack

from datasets.archives.interface import ArchiveError, Cutout, Detection, NotServedError, Target
from datasets.mock_sky import catalogues
from datasets.mock_sky.fits_bytes import fits_bytes
from datasets.mock_sky.frames import REACH_SIZE_PX, Area, area_around, photograph
from datasets.mock_sky.headers import BZERO, image_cards, mask_cards
from datasets.mock_sky.scenes import BlockScenes
from datasets.mock_sky.sky import BLOCK_SIZE, MockSky, SkyBlock, star_of_object_id

_MAKERS = {
    "dr4.master": catalogues.master,
    "dr4.photometry": catalogues.photometry,
    "dr4.images": catalogues.images,
    "gaia": catalogues.gaia,
    "galah": catalogues.galah,
    "truth": catalogues.truth,
}
TABLES = tuple(_MAKERS)
"""Names that `MockArchive.table` knows: the archives' tables, and what was put into the sky."""


class MockArchive:
    """One mock sky, served as SkyMapper, Gaia and GALAH serve theirs (meets `archives.interface.Archive`).

    Everything depends on (seed, star) or (seed, star, image_id, ccd) alone: a star has the same rows and frames in a
    sky of any size, in any process and in any order of asking, and a pixel has the same counts in every cutout.
    """

    name = "mock_sky"

    def __init__(self, seed: int = 0, n_stars: int | None = None):
        """A sky of `n_stars` stars; None for an endless one, whose tables are read by object_id or by block."""
        if n_stars is not None and n_stars < 1:
            raise ArchiveError(f"a mock sky of {n_stars} stars is empty; ask for at least one.")
        if seed < 0:
            raise ArchiveError(f"the mock sky's seed is {seed}; give a number that is not negative.")
        self.seed = seed
        self.n_stars = n_stars
        self._sky = MockSky(seed)
        self._scenes = lru_cache(maxsize=4)(lambda index: BlockScenes(self._block(index)))

    @property
    def n_blocks(self) -> int | None:
        """Blocks of `BLOCK_SIZE` stars that make up the sky, the last one not full; None for an endless sky."""
        return None if self.n_stars is None else -(-self.n_stars // BLOCK_SIZE)

    def table(self, name: str, object_ids: Sequence[int] | None = None) -> Table:
        """Rows of one of `TABLES`, of the given stars or of the whole sky (see `archives.interface`).

        Rows come in the order of the sky, whatever the order of `object_ids`.

        Raises:
            ArchiveError: for an unknown table or star, or if an endless sky is asked for a whole table.
        """
        if name not in _MAKERS:
            raise ArchiveError(f"the mock sky has no table {name!r}; its tables are {', '.join(TABLES)}.")
        if object_ids is not None:
            stars = np.unique([self._star(object_id) for object_id in object_ids])
        elif self.n_stars is not None:
            stars = np.arange(self.n_stars)
        else:
            raise ArchiveError(f"the mock sky is endless: give object_ids or n_stars to read its table {name!r}.")
        block_of_star = stars // BLOCK_SIZE
        blocks = np.unique(block_of_star) if len(stars) else [0]
        parts = [self._rows(name, int(index), stars[block_of_star == index]) for index in blocks]
        return parts[0] if len(parts) == 1 else vstack(parts)

    def tables_of_block(self, index: int) -> dict[str, Table]:
        """All tables for the stars of block `index`: the way to read a large sky piece by piece.

        Raises:
            ArchiveError: if the sky has no such block.
        """
        stars = self._block(index).stars["star"]
        if self.n_stars is not None:
            stars = stars[stars < self.n_stars]
        return {name: self._rows(name, index, stars) for name in TABLES}

    def prefetch(self, targets: Sequence[Target], size_px: int) -> None:
        """Nothing: the mock sky answers at once."""

    def detections(self, object_id: int) -> list[Detection]:
        """All detections of one star, in order of image_id and ccd.

        Raises:
            ArchiveError: if the sky has no such star.
        """
        star = self._star(object_id)
        scenes = self._scenes(star // BLOCK_SIZE)
        return [_detection(exposure) for exposure in scenes.block.exposures[scenes.rows_of(star)]]

    def cutout(self, detection: Detection, ra_deg: float, dec_deg: float, size_px: int) -> Cutout:
        """The square of `size_px` pixels around a position, clipped at the CCD's edge, with its mask.

        Args:
            detection: one of this sky.
            ra_deg: right ascension of the middle.
            dec_deg: its declination.
            size_px: side of the square.

        Returns:
            Image and mask, as FITS.

        Raises:
            NotServedError: if the detection is not of this sky, or the square is not within `REACH_SIZE_PX` around
                the star, which is all that is photographed.
        """
        star = self._star(detection.object_id)
        scenes = self._scenes(star // BLOCK_SIZE)
        row = scenes.row_of(star, detection.image_id, detection.ccd)
        if row is None:
            raise NotServedError(f"object_id {detection.object_id} is not on frame {_frame_name(detection)}.")
        exposure = scenes.block.exposures[row]
        scene = scenes.scene(row)
        reach = area_around(scene.x[0], scene.y[0], REACH_SIZE_PX)
        area = _area(detection, scenes.pixel_of(row, ra_deg, dec_deg), size_px, reach)
        rng = np.random.default_rng((self.seed, star, int(exposure["image_id"]), int(exposure["ccd"])))
        counts, mask = photograph(scene, area, rng)
        return Cutout(
            image=fits_bytes(image_cards(exposure, scenes.wcs, row, area), counts, BZERO),
            mask=fits_bytes(mask_cards(exposure, scenes.wcs, row, area), mask),
        )

    def _star(self, object_id: int) -> int:
        try:
            star = star_of_object_id(object_id)
        except ValueError as error:
            raise ArchiveError(str(error)) from None
        if self.n_stars is not None and star >= self.n_stars:
            raise ArchiveError(f"object_id {object_id} is star {star}, but this mock sky ends at {self.n_stars} stars.")
        return star

    def _block(self, index: int) -> SkyBlock:
        if index < 0 or (self.n_blocks is not None and index >= self.n_blocks):
            size = "endless" if self.n_blocks is None else f"{self.n_blocks} blocks"
            raise ArchiveError(f"there is no block {index} in this mock sky ({size}, counted from 0).")
        return self._sky.block(index)

    def _rows(self, name: str, index: int, stars: np.ndarray) -> Table:
        """Rows of one table about some stars of one block."""
        block = self._block(index)
        table = _MAKERS[name](block)
        if len(stars) == len(block.stars):
            return table
        mine = block.stars[np.isin(block.stars["star"], stars)]
        if name == "dr4.images":
            exposures = block.exposures[np.isin(block.exposures["star"], stars)]
            return table[np.isin(table["image_id"], exposures["image_id"])]
        column, key = {"gaia": ("source_id",) * 2, "galah": ("dr3_source_id", "source_id")}.get(
            name, ("object_id",) * 2
        )
        # Under a NULL (a spectrum without a match in Gaia) the column still holds whose row it is.
        return table[np.isin(np.ma.getdata(table[column]), mine[key])]


def _area(detection: Detection, centre: tuple[float, float], size_px: int, reach: Area) -> Area:
    """The pixels to serve, `size_px` around `centre` and on the CCD."""
    if size_px < 1:
        raise NotServedError(f"a cutout of {size_px} px was asked for; ask for at least one.")
    asked = area_around(*centre, size_px)
    if not reach.contains(asked):
        raise NotServedError(
            f"frame {_frame_name(detection)} of the mock sky shows the {reach.nx} px around object_id"
            f" {detection.object_id} only: ask for fewer than {size_px} px, or nearer to the star."
        )
    area = asked.on_ccd()
    if area.nx < 1 or area.ny < 1:
        raise NotServedError(f"the position is off the CCD of frame {_frame_name(detection)}.")
    return area


def _detection(exposure: np.void) -> Detection:
    return Detection(
        object_id=int(exposure["object_id"]),
        image_id=int(exposure["image_id"]),
        ccd=int(exposure["ccd"]),
        filter=str(exposure["filter"]),
        exp_time=float(exposure["exp_time"]),
        zpapprox=float(exposure["zpapprox"]),
        fwhm=float(exposure["fwhm"]),
        date=float(exposure["date"]),
        image_type=str(exposure["image_type"]),
        flags=int(exposure["flags"]),
        use_in_clipped=int(exposure["use_in_clipped"]),
        mag_psf=float(exposure["mag_psf"]),
        e_mag_psf=float(exposure["e_mag_psf"]),
        background=float(exposure["background"]),
        x_img=float(exposure["x_img"]),
        y_img=float(exposure["y_img"]),
    )


def _frame_name(detection: Detection) -> str:
    return f"{detection.image_id}-{detection.ccd:02d}"
