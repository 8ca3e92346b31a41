"""What a prediction holds, and how it looks."""

from __future__ import annotations

import dataclasses

import numpy as np

from acf_jax.calibration.errors import ErrorCalibration

STARS_IN_FULL = 10  # printed one by one; more are summarised


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction:
    """Atmospheric parameters of n stars, in the units of `units`, in the order the stars were given.

    >>> network, dataset = acf_jax.load("runs/demo"), acf_jax.open_dataset("smss_stamps/mock")
    >>> prediction = network.predict_split(dataset, "validation", n_samples=20)
    >>> isinstance(prediction, acf_jax.Prediction)
    True
    >>> list(prediction.columns())[:3]
    ['object_id', 'teff', 'teff_std']
    >>> bool((prediction.std > 0).all())
    True

    A star whose stamp or astrometry held a number that is not finite has `finite` False and NaN for its parameters.

    The predictive variance of Eq. 15 has two terms: `std ** 2`, the Monte Carlo variance, which the paper calls its
    uncertainty, and `tau_inverse`, one value for all stars, which `predictive_variance` estimates. It is left out
    unless it is given.
    """

    mean: np.ndarray  # (n, n_targets), over the samples (Eq. 13)
    std: np.ndarray  # (n, n_targets), over the samples, ddof 0: the root of Eq. 15 without its constant term
    targets: tuple[str, ...]
    units: tuple[str, ...]
    finite: np.ndarray  # (n,) bool
    samples: np.ndarray | None = None  # (n_samples, n, n_targets), with `samples=True`
    noise_std: np.ndarray | None = None  # (n, n_targets), of the label about the mean, from a heteroscedastic head
    error_calibration: ErrorCalibration | None = None  # fitted on stars that were not trained on
    tau_inverse: np.ndarray | None = None  # (n_targets,), squared units: the constant term of Eq. 15, if given
    object_id: np.ndarray | None = None  # (n,) int64
    reason: tuple[str | None, ...] | None = None  # why a star has no prediction, where that is known

    @property
    def predictive_std(self) -> np.ndarray | None:
        """(n, n_targets), the root of Eq. 15 with both terms; None without `tau_inverse`."""
        return None if self.tau_inverse is None else np.sqrt(self.std.astype(np.float64) ** 2 + self.tau_inverse)

    @property
    def calibrated_std(self) -> np.ndarray | None:
        """(n, n_targets), the standard deviation to quote; None for a network whose errors were not calibrated."""
        if self.error_calibration is None:
            return None
        return self.error_calibration.std(self.mean, self.std, self.noise_std)

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (n, n_targets) of the intervals that hold a star's label with probability `level`.

        Raises:
            ValueError: for a network whose errors were not calibrated, or a level that was not.
        """
        if self.error_calibration is None:
            raise ValueError("This network's errors were not calibrated: training does so, on a calibration split.")
        return self.error_calibration.interval(self.mean, self.std, self.noise_std, level)

    def columns(self) -> dict[str, np.ndarray]:
        """Named columns (n,), as `pandas.DataFrame` and `astropy.table.Table` take them.

        Returns:
            "object_id"; for each target its name, "<target>_std" and, where there is one, "<target>_noise_std",
            "<target>_calibrated_std" and "<target>_predictive_std"; "finite"; and "reason" where it is known, "" for
            a star with a prediction.
        """
        columns = {} if self.object_id is None else {"object_id": self.object_id}
        parts = {"": self.mean, "_std": self.std, "_noise_std": self.noise_std}
        parts |= {"_calibrated_std": self.calibrated_std, "_predictive_std": self.predictive_std}
        for i, target in enumerate(self.targets):
            columns |= {target + suffix: values[:, i] for suffix, values in parts.items() if values is not None}
        reasons = {} if self.reason is None else {"reason": np.array([reason or "" for reason in self.reason])}
        return columns | {"finite": self.finite} | reasons

    def __len__(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        n_bad = np.count_nonzero(~self.finite)
        title = f"Prediction of {len(self):,} star{'s' * (len(self) != 1)}"
        if n_bad:
            title += f", {n_bad:,} without (inputs not finite)"
        rows = self._star_rows() if len(self) <= STARS_IN_FULL else self._summary_rows()
        return "\n".join([title, *_aligned(rows)]) if len(self) else title

    def _star_rows(self) -> list[list[str]]:
        decimals = [_decimals(std) for std in self.std.T]
        head = ["object_id" if self.object_id is not None else "star"]
        head += [f"{target} ({unit})" for target, unit in zip(self.targets, self.units, strict=True)]
        names = np.arange(len(self)) if self.object_id is None else self.object_id
        cells = [
            [f"{mean:.{d}f} ± {std:.{d}f}" for mean, std, d in zip(*star, decimals, strict=True)]
            for star in zip(self.mean, self.std, strict=True)
        ]
        return [head, *([str(name), *row] for name, row in zip(names, cells, strict=True))]

    def _summary_rows(self) -> list[list[str]]:
        rows = [["", "5 %", "median", "95 %", "median std"]]
        for target, unit, mean, std in zip(self.targets, self.units, self.mean.T, self.std.T, strict=True):
            numbers = [*_percentiles(mean, (5, 50, 95)), *_percentiles(std, (50,))]
            rows.append([f"{target} ({unit})", *(f"{number:.{_decimals(std)}f}" for number in numbers)])
        return rows


def _percentiles(values: np.ndarray, percents: tuple[int, ...]) -> np.ndarray:
    """Percentiles of the finite values; NaN if there are none."""
    values = values[np.isfinite(values)]
    return np.percentile(values, percents) if values.size else np.full(len(percents), np.nan)


def _decimals(std: np.ndarray) -> int:
    """How many decimals show two digits of the median standard deviation."""
    median = _percentiles(std, (50,))[0]
    return max(0, 1 - int(np.floor(np.log10(median)))) if median > 0 else 3


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
