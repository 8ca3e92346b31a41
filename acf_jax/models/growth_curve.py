"""A stamp's growth curve: its flux in three apertures in every band, as numbers that a dense layer can use.

The backbone's LayerNorms remove the amplitude of every token, but a star's luminosity is in the amplitude alone, and
without it colours are hard to find, too. So a variant of the ACF reads these numbers: it is not the paper's network,
but they still come from the stamp alone (docs/results.md says what they gain).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from acf_jax.shapes import PerStar, Stamps

RADII_PX = (3.0, 6.0, 12.0)
# Seeing differs between bands and exposures, so one aperture is not enough: three measure the flux and its spread.
LUMINOSITY_RADIUS = 2  # of RADII_PX: the widest loses least light
FLUX_FLOOR_UJY = 1.0  # 23.9 mag, far below the faintest star of a sample: a smaller sum is noise, and has no logarithm


def apertures(height: int, width: int) -> Float[np.ndarray, "aperture {height} {width}"]:
    """Weights of circular apertures about the stamp's centre, their edges one pixel wide.

    The centre is that of the stamp, so that flipping or turning a stamp by quarters changes nothing.
    """
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    distance = np.hypot(*np.meshgrid(y, x, indexing="ij"))
    return np.clip(np.array(RADII_PX)[:, None, None] + 0.5 - distance, 0, 1).astype(np.float32)


def num_features(num_bands: int, use_parallax: bool) -> int:
    """How many numbers `features` gives a star."""
    return len(RADII_PX) * (2 * num_bands - 1) + (num_bands if use_parallax else 0)


def features(stamps: Stamps, parallax: PerStar | None) -> Float[Array, "star feature"]:
    """Log fluxes, colours and, with a parallax, log luminosities.

    Args:
        stamps: in uJy / pix, bands from blue to red.
        parallax: in mas, positive; None leaves the luminosities out.

    Returns:
        `num_features` numbers a star: log10 flux by aperture and band; its differences between neighbouring bands; and
        log10 of flux / parallax^2 in the widest aperture by band, which is Eq. 17 times -0.4.
    """
    # A product in the precision of the inputs: colours are small differences, which a GPU's TF32 would round away.
    weights = jnp.asarray(apertures(*stamps.shape[1:3]))
    fluxes = jnp.einsum("nyxb,ayx->nab", stamps, weights, precision=jax.lax.Precision.HIGHEST)
    log_flux = jnp.log10(jnp.maximum(fluxes, FLUX_FLOOR_UJY))
    n_stars = stamps.shape[0]  # an exported program leaves it open, and len() would need it
    parts = [values.reshape(n_stars, -1) for values in (log_flux, -jnp.diff(log_flux, axis=-1))]
    if parallax is not None:
        parts.append(log_flux[:, LUMINOSITY_RADIUS] - 2 * jnp.log10(parallax)[:, None])
    return jnp.concatenate(parts, axis=-1)
