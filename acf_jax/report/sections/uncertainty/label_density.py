"""Whether uncertainty grows where labels are few (the paper's Sec. 4.2), as a rank correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from acf_jax.metrics.residuals import finite_or_none, regular_edges
from acf_jax.report.quantities import LABEL_STEPS

MIN_STARS = 10
"""Held-out stars in a bin, below which its median uncertainty says nothing."""

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class LabelDensity:
    """Training stars and predicted uncertainty in bins of a label; only bins of `MIN_STARS` held-out stars."""

    lower: np.ndarray  # (n_bins,) lower edges, in the label's unit
    n_train: np.ndarray  # (n_bins,)
    median_std: np.ndarray  # (n_bins,) over held-out stars
    rho: float  # Spearman's, of the two; NaN with fewer than three bins
    p_value: float  # one-sided: of a rho this low by chance

    @property
    def holds(self) -> bool:
        """Whether uncertainty grows where labels are few."""
        return bool(self.rho < 0 and self.p_value < SIGNIFICANCE)

    @property
    def std_at_ends(self) -> tuple[float, float]:
        """Median uncertainty in the bins of fewest and of most training stars; NaN without a bin."""
        if not self.n_train.size:
            return float("nan"), float("nan")
        return float(self.median_std[self.n_train.argmin()]), float(self.median_std[self.n_train.argmax()])

    def to_dict(self) -> dict:
        """As JSON types."""
        arrays = {name: getattr(self, name).tolist() for name in ("lower", "n_train", "median_std")}
        return arrays | finite_or_none({"rho": self.rho, "p_value": self.p_value, "holds": self.holds})


def label_density(target: str, train_label: np.ndarray, label: np.ndarray, std: np.ndarray) -> LabelDensity:
    """From the training labels and held-out stars' labels and uncertainties.

    Args:
        target: the label's name.
        train_label: (n_train,).
        label: (n,) of held-out stars; those without a finite label or std are left out.
        std: (n,) predicted standard deviations.

    Returns:
        bins and rank correlation.
    """
    good = np.isfinite(label) & np.isfinite(std)
    label, std = np.asarray(label, np.float64)[good], np.asarray(std, np.float64)[good]
    edges = regular_edges(np.concatenate([train_label, label]), LABEL_STEPS[target])
    n_train, _ = np.histogram(train_label[np.isfinite(train_label)], edges)
    row = np.searchsorted(edges, label, side="right") - 1
    members = [std[row == i] for i in range(len(edges) - 1)]
    kept = [i for i, stds in enumerate(members) if stds.size >= MIN_STARS]
    median = np.array([np.median(members[i]) for i in kept])
    rho = p_value = float("nan")
    if len(kept) >= 3 and np.ptp(median) > 0 and np.ptp(n_train[kept]) > 0:
        rho, p_value = map(float, spearmanr(n_train[kept], median, alternative="less"))
    return LabelDensity(edges[kept], n_train[kept], median, rho, p_value)
