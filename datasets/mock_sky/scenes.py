"""What each exposure of a block of stars sees: pointings and sources, ready to be photographed."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from datasets.mock_sky.frames import Scene
from datasets.mock_sky.sky import SkyBlock
from datasets.mock_sky.wcs import FrameWCS, frame_wcs


class BlockScenes:
    """The exposures of one block. `row` is an index into `block.exposures` throughout."""

    def __init__(self, block: SkyBlock):
        self.block = block
        self._first_star = int(block.stars["star"][0])
        ends = self._first_star + np.arange(len(block.stars) + 1)
        self._exposure_ends = np.searchsorted(block.exposures["star"], ends).tolist()
        self._neighbour_ends = np.searchsorted(block.neighbours["star"], ends).tolist()

    @cached_property
    def wcs(self) -> FrameWCS:
        """Coordinate systems of all exposures, row by row."""
        exposures, stars = self.block.exposures, self.block.stars
        of_exposure = stars[exposures["star"] - self._first_star]
        position = of_exposure["ra"], of_exposure["dec"], exposures["x_img"], exposures["y_img"]
        return frame_wcs(*position, exposures["ccd"], exposures["rotator_pos"])

    @cached_property
    def _scale_arcsec(self) -> np.ndarray:
        return np.abs(np.linalg.det(self.wcs.px_per_arcsec)) ** -0.5

    def rows_of(self, star: int) -> slice:
        """The exposures of one star."""
        number = star - self._first_star
        return slice(self._exposure_ends[number], self._exposure_ends[number + 1])

    def row_of(self, star: int, image_id: int, ccd: int) -> int | None:
        """The exposure of one star on one CCD frame; None if there is none.

        Args:
            star: its number.
            image_id: of the exposure.
            ccd: 1 to 32.

        Returns:
            The row, or None.
        """
        rows = self.rows_of(star)
        exposures = self.block.exposures[rows]
        found = np.flatnonzero((exposures["image_id"] == image_id) & (exposures["ccd"] == ccd))
        return rows.start + int(found[0]) if len(found) else None

    def pixel_of(self, row: int, ra_deg: float, dec_deg: float) -> tuple[float, float]:
        """Where a position lies on the CCD (1-based): right to 0.002 px within 30 arcsec of the star.

        Args:
            row: of the exposure.
            ra_deg: right ascension.
            dec_deg: declination.

        Returns:
            Column and row on the CCD.
        """
        exposure = self.block.exposures[row]
        star = self.block.stars[exposure["star"] - self._first_star]
        dec, dec0, delta_ra = np.radians([dec_deg, star["dec"], ra_deg - star["ra"]])
        # Orthographic, so that 0 and 360 degrees, and the pole, need no care. What is behind, or NaN, is far away.
        east = np.cos(dec) * np.sin(delta_ra)
        north = np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(delta_ra)
        near = np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(delta_ra) > 0
        dx, dy = self.wcs.px_per_arcsec[row] @ (np.degrees([east, north]) * 3600 if near else [1e9, 1e9])
        return float(exposure["x_img"] + dx), float(exposure["y_img"] + dy)

    def scene(self, row: int) -> Scene:
        """The star and its neighbours with the counts that the true zeropoint gives them."""
        exposure = self.block.exposures[row]
        number, band = exposure["star"] - self._first_star, exposure["band"]
        neighbours = self.block.neighbours[self._neighbour_ends[number] : self._neighbour_ends[number + 1]]
        offsets_arcsec = np.stack([neighbours["dx_arcsec"], neighbours["dy_arcsec"]])
        dx, dy = self.wcs.px_per_arcsec[row] @ offsets_arcsec
        mag = np.append(self.block.stars["mag"][number, band], neighbours["mag"][:, band])
        return Scene(
            x=np.append(exposure["x_img"], exposure["x_img"] + dx),
            y=np.append(exposure["y_img"], exposure["y_img"] + dy),
            flux_adu=10 ** (0.4 * (exposure["zeropoint"] - mag)),
            fwhm_px=float(exposure["fwhm"] / self._scale_arcsec[row]),
            elong=float(exposure["elong"]),
            sky_adu=float(exposure["sky_adu"]),
            exp_time_s=float(exposure["exp_time"]),
            ccd=int(exposure["ccd"]),
            seed=self.block.seed,
        )
