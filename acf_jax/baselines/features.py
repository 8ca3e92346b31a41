"""What the tree ensembles of Table 1 are given (paper Sec. 5.2): magnitudes, colours, both, or the image's features."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from acf_jax.baselines.gradient_boosting import photometric_features

PHOTOMETRIC_INPUTS = ("magnitudes", "colours", "magnitudes + colours")
IMAGE_FEATURES = "image features"
INPUTS = (*PHOTOMETRIC_INPUTS, IMAGE_FEATURES)

N_COMPONENTS = 16
"""The image's features are reduced to so many (paper Sec. 5.2)."""

_PARALLAX = ("log_parallax", "log_parallax_error")


def photometric_inputs(
    stars: Mapping[str, np.ndarray],
    bands: str,
    extinction_coefficients: Mapping[str, float],
    inputs: str,
    use_parallax: bool,
) -> dict[str, np.ndarray]:
    """Columns (n,) by name, as the paper composes them; NaN where a magnitude is missing or a parallax not positive.

    Magnitudes are dereddened, and absolute (Eq. 17) where there is a parallax; colours are the five of neighbouring
    bands, which the parallax leaves as they are. With the parallax come log10 parallax and log10 parallax_error.

    Args:
        stars: `baselines.PHOTOMETRY_FIELDS`; without parallax psf_mag and ebmv_sfd will do.
        bands: the order of psf_mag's last axis, from blue to red.
        extinction_coefficients: A_f / E(B-V) per band.
        inputs: one of `PHOTOMETRIC_INPUTS`.
        use_parallax: whether to use what the parallax tells.

    Returns:
        (n,) by name.

    Raises:
        ValueError: if `inputs` is none of them.
    """
    magnitudes = [f"M_{band}" if use_parallax else f"{band}_0" for band in bands]
    colours = [f"{blue}-{red}" for blue, red in pairwise(bands)]
    chosen = dict(zip(PHOTOMETRIC_INPUTS, (magnitudes, colours, magnitudes + colours), strict=True))
    if inputs not in chosen:
        raise ValueError(f"inputs = {inputs!r} must be one of {', '.join(PHOTOMETRIC_INPUTS)}.")
    columns = photometric_features(stars, bands, extinction_coefficients, use_parallax)
    return {name: columns[name] for name in (*chosen[inputs], *(_PARALLAX if use_parallax else ()))}


def image_inputs(components: np.ndarray, stars: Mapping[str, np.ndarray], use_parallax: bool) -> dict[str, np.ndarray]:
    """Columns (n,) by name: principal components, and with the parallax its logarithm and that of its error.

    Args:
        components: (n, n_components), from `FeatureReduction`.
        stars: parallax and parallax_error in mas, (n,), if they are used.
        use_parallax: whether they are.

    Returns:
        (n,) by name.
    """
    columns = {f"component_{i + 1}": components[:, i] for i in range(components.shape[1])}
    if use_parallax:
        for name in ("parallax", "parallax_error"):
            values = np.asarray(stars[name], np.float64)
            columns[f"log_{name}"] = np.log10(np.where(values > 0, values, np.nan))
    return columns


def table(columns: Mapping[str, ArrayLike]) -> np.ndarray:
    """Columns side by side, (n, n_columns) float64; whatever is not finite is NaN, which every ensemble can read."""
    values = np.column_stack([np.asarray(column, np.float64) for column in columns.values()])
    return np.where(np.isfinite(values), values, np.nan)


class FeatureReduction:
    """Standardisation and principal components of the backbone's features, fitted on the training stars alone."""

    def __init__(self, train_features: np.ndarray, n_components: int = N_COMPONENTS):
        """Fit.

        Args:
            train_features: (n, n_features) of the training stars; a star with a value that is not finite is left out.
            n_components: to keep; all there are if there are fewer.

        Raises:
            ValueError: if fewer than two stars are left.
        """
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        finite = train_features[np.isfinite(train_features).all(axis=1)].astype(np.float64)
        if len(finite) < 2:
            raise ValueError(f"{len(finite)} training stars have features: principal components need two at least.")
        n_components = min(n_components, *finite.shape)
        self._pipeline = make_pipeline(StandardScaler(), PCA(n_components, svd_solver="full")).fit(finite)

    @property
    def explained_variance(self) -> float:
        """Fraction of the standardised features' variance that the components hold."""
        return float(self._pipeline[-1].explained_variance_ratio_.sum())

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Components (n, n_components) of features (n, n_features); NaN for a star with one that is not finite."""
        finite = np.isfinite(features).all(axis=1)
        components = np.full((len(features), self._pipeline[-1].n_components_), np.nan)
        if finite.any():
            components[finite] = self._pipeline.transform(features[finite].astype(np.float64))
        return components
