"""A few made-up stars to try a bundle on: every network of these bands can read them; its answers mean nothing."""

from __future__ import annotations

import numpy as np

FWHM_PX = 5.0
SKY_SIGMA_UJY = 1.0
TOTAL_FLUX_UJY = (3e3, 1e4, 3e4, 1e5)  # star by star


def made_up_stars(n_bands: int, size_px: int) -> dict[str, np.ndarray]:
    """Gaussian images of four stars, each redder and brighter than the one before.

    Returns:
        stamp (4, size_px, size_px, n_bands) float32, microjansky per pixel; parallax and parallax_error (4,) float32,
        mas; object_id (4,) int64.
    """
    generator = np.random.default_rng(0)
    flux, n_stars = np.array(TOTAL_FLUX_UJY), len(TOTAL_FLUX_UJY)
    colour = np.outer(np.linspace(0.5, 2, n_stars), np.linspace(-0.4, 0.4, n_bands))
    y, x = np.mgrid[:size_px, :size_px] - size_px // 2
    profile = np.exp(-4 * np.log(2) * (x**2 + y**2) / FWHM_PX**2)
    profile /= profile.sum()
    stamp = np.einsum("sb,yx->syxb", flux[:, None] * 10**colour, profile)
    return {
        "stamp": (stamp + generator.normal(0, SKY_SIGMA_UJY, stamp.shape)).astype(np.float32),
        "parallax": np.linspace(0.5, 2, n_stars, dtype=np.float32),
        "parallax_error": np.full(n_stars, 0.02, np.float32),
        "object_id": np.arange(1, n_stars + 1) * 1_000_000_007 + 2**40,
    }
