"""Gradient boosting on catalogue magnitudes, colours and parallax: what the images have to beat (paper Sec. 5.2).

The same training stars as the network's, the same validation stars, whose labels never come here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from tqdm import tqdm

from acf_jax.running import bar_options

PHOTOMETRY_FIELDS = ("psf_mag", "ebmv_sfd", "parallax", "parallax_error")
"""Fields of the dataset that the features are made of."""

BASELINES = {"gradient boosting": True, "gradient boosting, no parallax": False}
"""Name of each baseline, and whether it is given the parallax."""


def photometric_features(
    stars: Mapping[str, np.ndarray], bands: str, extinction_coefficients: Mapping[str, float], use_parallax: bool
) -> dict[str, np.ndarray]:
    """What trees are given of the stars.

    Without parallax: dereddened magnitudes m0 = m - A and the colours of neighbouring bands. With it also
    log10 parallax, log10 parallax_error and the absolute magnitudes M0 = m0 + 5 + 5 log10(parallax in arcsec), Eq. 17.

    Args:
        stars: `PHOTOMETRY_FIELDS`: psf_mag (n, n_bands) in mag, ebmv_sfd in mag, parallax and parallax_error in mas.
        bands: the order of psf_mag's last axis, from blue to red.
        extinction_coefficients: A_f / E(B-V) per band, for the reddening of ebmv_sfd.
        use_parallax: whether to add what the parallax tells.

    Returns:
        (n,) by name; NaN where a magnitude is missing or a parallax is not positive.
    """
    ebmv = stars["ebmv_sfd"].astype(np.float64)
    mags = {band: stars["psf_mag"][:, i] - extinction_coefficients[band] * ebmv for i, band in enumerate(bands)}
    features = {f"{band}_0": mag for band, mag in mags.items()}
    features |= {f"{blue}-{red}": mags[blue] - mags[red] for blue, red in pairwise(bands)}
    if use_parallax:
        log_parallax = _log10(stars["parallax"])
        features |= {"log_parallax": log_parallax, "log_parallax_error": _log10(stars["parallax_error"])}
        features |= {f"M_{band}": mag + 5 + 5 * (log_parallax - 3) for band, mag in mags.items()}
    return features


def gradient_boosting(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> HistGradientBoostingRegressor:
    """Fit trees; a tenth of the stars, drawn by the seed, decides when to stop adding them.

    Args:
        features: (n, n_features) of the training stars; NaN goes down a branch of its own.
        labels: (n,), finite.
        seed: of that tenth.

    Returns:
        the fitted regressor.
    """
    # On 6,000 stars of the mock sky, other rates, leaf numbers and penalties change the scatter by 4 % at most.
    return HistGradientBoostingRegressor(
        max_iter=2_000, max_leaf_nodes=15, early_stopping=True, validation_fraction=0.1, n_iter_no_change=30,
        random_state=seed,
    ).fit(features, labels)  # fmt: skip


@dataclass(frozen=True)
class PhotometricBaselines:
    """Every one of `BASELINES`, on one survey's photometry."""

    bands: str  # the order of psf_mag's last axis, from blue to red
    extinction_coefficients: Mapping[str, float]  # A_f / E(B-V) per band
    seed: int = 0  # of the early stopping's hold-out
    progress: bool = False  # whether to show a bar over the fits

    def predict(
        self, train: Mapping[str, np.ndarray], stars: Mapping[str, np.ndarray], targets: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Fit to some stars and predict others.

        Args:
            train: their `PHOTOMETRY_FIELDS` and labels; a star without a label is left out for that target.
            stars: the `PHOTOMETRY_FIELDS` of the stars to predict; nothing else of them is looked at.
            targets: names of labels; each has a regressor of its own.

        Returns:
            (n, n_targets) by baseline, in the targets' units.
        """
        n_stars = len(stars["ebmv_sfd"])
        predictions = {name: np.empty((n_stars, len(targets))) for name in BASELINES}
        fits = list(product(BASELINES.items(), enumerate(targets)))
        for (name, use_parallax), (i, target) in tqdm(
            fits, desc="gradient boosting", unit="fit", **bar_options(self.progress)
        ):
            train_features, features = (self._features(s, use_parallax) for s in (train, stars))
            labelled = np.isfinite(train[target])
            train_features, labels = train_features[labelled], train[target][labelled]
            known = np.isfinite(train_features).any(axis=0)  # scikit-learn cannot bin a column of NaN alone
            regressor = gradient_boosting(train_features[:, known], labels, self.seed)
            predictions[name][:, i] = regressor.predict(features[:, known])
        return predictions

    def _features(self, stars: Mapping[str, np.ndarray], use_parallax: bool) -> np.ndarray:
        columns = photometric_features(stars, self.bands, self.extinction_coefficients, use_parallax)
        return np.column_stack(list(columns.values()))


def _log10(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return np.log10(np.where(values > 0, values, np.nan))
