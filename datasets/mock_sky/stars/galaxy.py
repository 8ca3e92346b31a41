"""Where the stars and the dust are: densities of the Galaxy's components along every line of sight of the footprint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUN_RADIUS_KPC = 8.2
SUN_HEIGHT_KPC = 0.02
DUST_HEIGHT_KPC = 0.125
DUST_LENGTH_KPC = 3.5
AV_PER_KPC = 0.7
AV_PER_EBV_SFD = 2.742
"""A_V / E(B-V) for the raw SFD reddening (Schlafly & Finkbeiner 2011, R_V = 3.1)."""

N_RA, N_DEC = 72, 30
HIGHEST_DEC_DEG = 2.0
LOW_LATITUDE_DEG = 10.0
LOW_LATITUDE_SHARE = 0.12
"""GALAH keeps off the plane: this part of the directions at |b| < 10 deg was observed."""
CROWDING_EXPONENT = 0.4
"""Every field of GALAH has the same number of fibres, so that of n stars in it a share of n**-0.4 is observed: between
the same share everywhere (0) and the same number (1), set to give GALAH's mixture of near dwarfs and far giants."""

ICRS_TO_GALACTIC = np.array(
    [
        [-0.0548755604162154, -0.8734370902348850, -0.4838350155487132],
        [+0.4941094278755837, -0.4448296299600112, +0.7469822444972189],
        [-0.8676661490190047, -0.1980763734312015, +0.4559837761750669],
    ]
)
"""The rotation of the Hipparcos catalogue (ESA SP-1200, vol. 1, eq. 1.5.11)."""


@dataclass(frozen=True)
class Component:
    """A component of the Galaxy: its density relative to the thin disc at the Sun, its metallicities and ages."""

    name: str
    local_share: float
    feh_mean: float
    feh_sigma: float
    age_gyr: tuple[float, float]

    def feh_density(self, feh: np.ndarray) -> np.ndarray:
        """Gaussian, up to a constant."""
        return np.exp(-0.5 * ((feh - self.feh_mean) / self.feh_sigma) ** 2) / self.feh_sigma

    def age_density(self, log_age: np.ndarray) -> np.ndarray:
        """Stars per interval of log age: constant star formation between the youngest and oldest age; sums to one."""
        age = 10 ** (np.asarray(log_age) - 9)
        density = np.where((age >= self.age_gyr[0]) & (age <= self.age_gyr[1]), age, 0.0)
        return density / density.sum()

    def density(self, radius_kpc: np.ndarray, height_kpc: np.ndarray) -> np.ndarray:
        """Stars per volume at Galactocentric cylindrical radius and height; the thin disc at the Sun is 1."""
        if self.name == "halo":
            shell = np.sqrt(radius_kpc**2 + (height_kpc / 0.6) ** 2 + 0.5**2)
            return self.local_share * (shell / SUN_RADIUS_KPC) ** -2.8
        scale_height, scale_length = {"thin": (0.30, 2.6), "thick": (0.90, 2.0)}[self.name]
        return self.local_share * np.exp(
            -np.abs(height_kpc) / scale_height - (radius_kpc - SUN_RADIUS_KPC) / scale_length
        )


COMPONENTS = (
    Component("thin", 1.0, -0.05, 0.22, (0.7, 10.0)),
    Component("thick", 0.04, -0.55, 0.28, (8.0, 12.0)),
    Component("halo", 0.0011, -1.5, 0.55, (10.0, 12.6)),
)


def galactic(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Galactic longitude (0 to 360) and latitude, deg, of ICRS positions."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    vector = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    x, y, z = np.tensordot(ICRS_TO_GALACTIC, vector, axes=1)
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arcsin(np.clip(z, -1.0, 1.0)))


def place_in_cell(cell: np.ndarray, fraction: np.ndarray) -> dict[str, np.ndarray]:
    """Positions (deg) in cells of equal area, `fraction` (2, n) between 0 and 1 saying where inside."""
    ra = (cell % N_RA + fraction[0]) * 360.0 / N_RA
    top = np.sin(np.radians(HIGHEST_DEC_DEG))
    dec = np.degrees(np.arcsin(-1.0 + (cell // N_RA + fraction[1]) / N_DEC * (1.0 + top)))
    glon, glat = galactic(ra, dec)
    return {"ra": ra, "dec": dec, "glon": glon, "glat": glat}


def footprint_density(moduli: np.ndarray, step: float) -> np.ndarray:
    """Stars per component, apparent distance modulus (bins of `step` around `moduli`) and cell of the footprint."""
    cells = np.arange(N_RA * N_DEC)
    place = place_in_cell(cells, np.full((2, len(cells)), 0.5))
    true_modulus = np.arange(0.0, moduli[-1] + step / 2, step / 2)
    distance = 10 ** (true_modulus / 5 - 2)[:, None]  # kpc
    glon, glat = np.radians(place["glon"]), np.radians(place["glat"])
    flat_distance = distance * np.cos(glat)
    radius = np.hypot(SUN_RADIUS_KPC - flat_distance * np.cos(glon), flat_distance * np.sin(glon))
    height = distance * np.sin(glat) + SUN_HEIGHT_KPC
    apparent = true_modulus[:, None] + extinction_v(place["glon"], place["glat"], distance)
    nearest = np.clip(((apparent - moduli[0]) / step + 0.5).astype(int), 0, len(moduli))
    shape = (len(moduli) + 1, len(cells))  # the last row collects what is too far
    into = (nearest * len(cells) + cells).ravel()
    counts = [(component.density(radius, height) * distance**3).ravel() for component in COMPONENTS]
    density = np.stack([np.bincount(into, weights, shape[0] * shape[1]) for weights in counts])
    density = density.reshape(-1, *shape)[:, :-1]
    crowding = density[:, (moduli > 7.5) & (moduli < 12.5)].sum(axis=(0, 1))
    avoided = np.where(np.abs(place["glat"]) < LOW_LATITUDE_DEG, LOW_LATITUDE_SHARE, 1.0)
    return density * crowding**-CROWDING_EXPONENT * avoided


def extinction_v(glon: np.ndarray, glat: np.ndarray, distance_kpc: np.ndarray) -> np.ndarray:
    """Mean A_V (mag) up to a distance, of dust that thins out exponentially with height and Galactocentric radius.

    The integral takes the Galactocentric radius to change linearly along the line of sight: the dust is so thin that
    beyond a kiloparsec or two there is hardly any left, except in the plane.

    Args:
        glon: Galactic longitudes, deg.
        glat: Galactic latitudes, deg.
        distance_kpc: how far.

    Returns:
        Mag, of the arguments' shape.
    """
    sine = np.abs(np.sin(np.radians(glat)))
    outward = -np.cos(np.radians(glon)) * np.cos(np.radians(glat))
    rate = np.maximum(sine / DUST_HEIGHT_KPC + outward / DUST_LENGTH_KPC, 0.05)
    return AV_PER_KPC * -np.expm1(-rate * distance_kpc) / rate


def dust_towards(place: dict[str, np.ndarray], modulus: np.ndarray, patchiness: np.ndarray) -> dict[str, np.ndarray]:
    """Distance and reddening of stars of known apparent modulus V - M_V.

    Args:
        place: `glon` and `glat` (n,), deg.
        modulus: (n,) apparent distance moduli, mag.
        patchiness: (n,) factors on the mean dust.

    Returns:
        distance_pc; ebv, the star's own E(B-V), and ebv_column, that of the whole line of sight as SFD would see it,
        both on the scale of the raw SFD map.
    """
    glon, glat = place["glon"], place["glat"]
    low, high = np.full(modulus.shape, -3.0), modulus / 5 - 2
    for _ in range(40):
        middle = (low + high) / 2
        too_near = 5 * middle + 10 + patchiness * extinction_v(glon, glat, 10**middle) < modulus
        low, high = np.where(too_near, middle, low), np.where(too_near, high, middle)
    distance = 10**high
    scale = patchiness / AV_PER_EBV_SFD
    return {
        "distance_pc": 1e3 * distance,
        "ebv": scale * extinction_v(glon, glat, distance),
        "ebv_column": scale * extinction_v(glon, glat, np.full(distance.shape, 30.0)),
    }
