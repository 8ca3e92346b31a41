"""What residuals are binned in: the parameters themselves, brightness, reddening, parallax, neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from acf_jax.labels import LABELS
from acf_jax.metrics.residuals import magnitude_edges, regular_edges
from acf_jax.report.words import NAMES

LABEL_STEPS = {"teff": 500.0, "logg": 0.5, "fe_h": 0.25}
"""Widths of the bins in each label, in its unit."""

EBMV_EDGES_MAG = (-np.inf, 0.02, 0.05, 0.1, 0.2, 0.5, np.inf)
PARALLAX_SNR_EDGES = (-np.inf, 5, 10, 20, 50, 100, 200, np.inf)

MIN_STARS_AT_AN_END = 10  # of the range; the tail of a distribution would else be a row of bins that say nothing

CROWDED_ARCSEC = 15.0
"""A star with a neighbour nearer than this is crowded; DR4 looks for neighbours no further."""


@dataclass(frozen=True)
class Quantity:
    """Something known of every star, cut into bins."""

    key: str  # in results.json
    name: str  # in tables and on axes
    unit: str  # empty for a pure number
    x: np.ndarray  # (n,); a star of NaN is in no bin
    edges: np.ndarray  # (n_bins + 1,); infinite where a bin is open
    log: bool = False  # whether an axis of it had better be logarithmic
    bin_names: tuple[str, ...] | None = None  # of a quantity that has kinds instead of values

    @property
    def axis(self) -> str:
        """With its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def bin_name(self, i: int) -> str:
        """Of the bin number `i`, as in "4,500 to 5,000" or "below 0.02"."""
        if self.bin_names is not None:
            return self.bin_names[i]
        lower, upper = (f"{edge:,.{self._decimals}f}" for edge in self.edges[i : i + 2])
        if np.isinf(self.edges[i]):
            return f"below {upper}"
        return f"{lower} or more" if np.isinf(self.edges[i + 1]) else f"{lower} to {upper}"

    @property
    def _decimals(self) -> int:
        finite = self.edges[np.isfinite(self.edges)]
        return next(d for d in range(6) if d == 5 or np.allclose(finite, finite.round(d), atol=1e-9))


def quantities(
    stars: Mapping[str, np.ndarray], targets: tuple[str, ...], bands: str, prefix: str = ""
) -> list[Quantity]:
    """The targets' labels (or, with the prefix `true_`, the truth), g, E(B-V), parallax S/N and crowding.

    Crowding is left out of a sample without a crowded star.

    Args:
        stars: fields of the dataset: the labels, psf_mag, ebmv_sfd, parallax, parallax_error, self_dist1.
        targets: names of labels.
        bands: the order of psf_mag's last axis.
        prefix: of the labels' fields.

    Returns:
        them in this order, cut into bins.
    """
    kind = "true" if prefix else "label"
    g_mag, ebmv, snr = stars["psf_mag"][:, bands.index("g")], stars["ebmv_sfd"], parallax_snr(stars)
    found = [
        *(_label_bins(stars[prefix + target], target, kind) for target in targets),
        Quantity("g_mag", "g", "mag", g_mag, without_sparse_ends(magnitude_edges(g_mag), g_mag)),
        Quantity("ebmv_sfd", "E(B-V)", "mag", ebmv, without_sparse_ends(EBMV_EDGES_MAG, ebmv)),
        Quantity("parallax_snr", "parallax S/N", "", snr, without_sparse_ends(PARALLAX_SNR_EDGES, snr), log=True),
    ]
    crowded = is_crowded(stars)
    if crowded.any():
        kinds = ("isolated", "crowded")
        found.append(Quantity("crowded", "crowding", "", crowded.astype(float), np.arange(3.0), bin_names=kinds))
    return found


def parallax_snr(stars: Mapping[str, np.ndarray]) -> np.ndarray:
    """Parallax / parallax_error: (n,); NaN where the error is not positive."""
    error = stars["parallax_error"].astype(np.float64)
    return stars["parallax"] / np.where(error > 0, error, np.nan)


def is_crowded(stars: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether a star has a neighbour within `CROWDED_ARCSEC`: (n,); self_dist1 is NaN for one that has none."""
    distance = stars["self_dist1"]
    return np.isfinite(distance) & (distance < CROWDED_ARCSEC)


def without_sparse_ends(edges: Iterable[float], x: np.ndarray) -> np.ndarray:
    """The edges with the outermost bins merged inwards until either end holds `MIN_STARS_AT_AN_END` stars."""
    edges = list(edges)
    while len(edges) > 2 and np.sum((x >= edges[0]) & (x < edges[1])) < MIN_STARS_AT_AN_END:
        del edges[1]
    while len(edges) > 2 and np.sum((x >= edges[-2]) & (x < edges[-1])) < MIN_STARS_AT_AN_END:
        del edges[-2]
    return np.array(edges)


def _label_bins(values: np.ndarray, target: str, kind: str) -> Quantity:
    edges = without_sparse_ends(regular_edges(values, LABEL_STEPS[target]), values)
    return Quantity(target, f"{kind} {NAMES[target]}", LABELS[target], values, edges)
