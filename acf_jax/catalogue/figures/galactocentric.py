"""Where stars are in the Galaxy: Galactocentric R and z from positions and distances (paper Fig. 16)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROLL0_DEG = 58.5986320306  # about the Galactic centre, from ICRS north to Galactic north; astropy's Galactocentric

PARALLAX_SNR_LIMIT = 5.0
"""A parallax above this many times its error is inverted. From there on the inverse is biased by less than 4 %."""


@dataclass(frozen=True)
class Frame:
    """Where the Sun is, and in which direction the Galactic centre."""

    name: str = "astropy's galactocentric_frame_defaults v4.0"
    galcen_ra_deg: float = 266.4051  # ICRS; Reid & Brunthaler 2004, ApJ, 616, 872
    galcen_dec_deg: float = -28.936175
    galcen_distance_kpc: float = 8.122  # GRAVITY Collaboration 2018, A&A, 615, L15
    z_sun_kpc: float = 0.0208  # Bennett & Bovy 2019, MNRAS, 482, 1417

    def words(self) -> str:
        """The two constants that matter, for a figure."""
        return f"Sun at R = {self.galcen_distance_kpc:g} kpc, z = {1000 * self.z_sun_kpc:g} pc"


FRAME = Frame()


def parallax_distance_kpc(
    parallax_mas: np.ndarray, parallax_error_mas: np.ndarray, snr_limit: float = PARALLAX_SNR_LIMIT
) -> np.ndarray:
    """The inverse of the parallax, as in the paper's Fig. 16: no zeropoint is added, nor a prior on the distance.

    Args:
        parallax_mas: (n,).
        parallax_error_mas: (n,) standard errors.
        snr_limit: only a parallax above this many times its error has an inverse; at least 0.

    Returns:
        (n,) in kpc; NaN where there is none.
    """
    parallax, error = np.asarray(parallax_mas, np.float64), np.asarray(parallax_error_mas, np.float64)
    good = (error > 0) & (parallax > snr_limit * error)
    return np.divide(1.0, parallax, where=good, out=np.full(parallax.shape, np.nan))


def cylindrical_kpc(
    ra_deg: np.ndarray, dec_deg: np.ndarray, distance_kpc: np.ndarray, frame: Frame = FRAME
) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the Galaxy's axis and height above its plane, as of `astropy.coordinates.Galactocentric`.

    Args:
        ra_deg: (n,) ICRS.
        dec_deg: (n,) ICRS.
        distance_kpc: (n,) from the Sun.
        frame: the constants.

    Returns:
        R and z, (n,) each in kpc; NaN where an argument is.
    """
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    direction = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    x, y, z = _heliocentric_axes(frame) @ (direction * distance_kpc)
    x = x - frame.galcen_distance_kpc
    # The Sun lies above the plane, so the line from it to the centre is tilted against the plane.
    sine = frame.z_sun_kpc / frame.galcen_distance_kpc
    cosine = np.sqrt(1 - sine**2)
    return np.hypot(cosine * x + sine * z, y), cosine * z - sine * x


def _heliocentric_axes(frame: Frame) -> np.ndarray:
    """Rows: unit vectors, in ICRS, towards the Galactic centre, along rotation, and towards Galactic north."""
    ra, dec, roll = np.radians([frame.galcen_ra_deg, frame.galcen_dec_deg, _ROLL0_DEG])
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.cross(centre, east)
    return np.stack([centre, np.cos(roll) * east + np.sin(roll) * north, np.cos(roll) * north - np.sin(roll) * east])
