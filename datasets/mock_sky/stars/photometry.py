"""True apparent magnitudes of the stars, reddened."""

from __future__ import annotations

import numpy as np

from datasets.mock_sky.stars.galaxy import AV_PER_EBV_SFD
from datasets.mock_sky.stars.stellar_tables import PASSBANDS, bolometric_corrections
from datasets.skymapper import BANDS, EXTINCTION_COEFFICIENTS

REFERENCE_STAR = {"teff": 5500.0, "logg": 4.0, "fe_h": -0.25}
"""A middling star, for which A_f = R_f * E(B-V) is exact."""


def extinctions(ebv: np.ndarray, teff: np.ndarray, logg: np.ndarray, fe_h: np.ndarray) -> np.ndarray:
    """A_x (n, 10) of stars behind the reddening `ebv` (raw SFD scale).

    The scale is the survey's own R_f, so that dereddening with R_f is right on average; how A_f depends on the star's
    own spectrum is the table's.

    Args:
        ebv: (n,) mag.
        teff: (n,) effective temperatures, K.
        logg: (n,) surface gravities, dex.
        fe_h: (n,) [Fe/H], dex.

    Returns:
        Mag, in the order of `PASSBANDS`.
    """
    corrections = bolometric_corrections()
    ratios = corrections.extinction_ratios(teff, logg, fe_h)
    reference = corrections.extinction_ratios(*(np.array([value]) for value in REFERENCE_STAR.values()))
    scale = AV_PER_EBV_SFD * np.ones(len(PASSBANDS))
    survey = [EXTINCTION_COEFFICIENTS[band] for band in BANDS]
    scale[: len(BANDS)] = survey / reference[0, : len(BANDS)]
    return np.asarray(ebv)[:, None] * scale * ratios


def apparent_magnitudes(
    absolute: np.ndarray, distance_pc: np.ndarray, ebv: np.ndarray, teff: np.ndarray, logg: np.ndarray, fe_h: np.ndarray
) -> np.ndarray:
    """Reddened apparent magnitudes (n, 10) in the order of `PASSBANDS`, from absolute ones (n, 10).

    Args:
        absolute: (n, 10) absolute magnitudes.
        distance_pc: (n,) distances.
        ebv: (n,) reddenings (raw SFD scale), mag.
        teff: (n,) effective temperatures, K.
        logg: (n,) surface gravities, dex.
        fe_h: (n,) [Fe/H], dex.

    Returns:
        Mag.
    """
    modulus = 5 * np.log10(np.asarray(distance_pc) / 10)
    return absolute + modulus[:, None] + extinctions(ebv, teff, logg, fe_h)
