"""What a prediction holds, and how it looks."""

import dataclasses

import numpy as np

STARS_IN_FULL = 10  # printed one by one; of more, a summary


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction:
    """Atmospheric parameters of n stars, in the units of `units`, in the order the stars were given.

    A star whose stamp or astrometry held a number that is not finite has `finite` False and NaN for its parameters.

    The predictive variance of Eq. 15 has two terms: `std ** 2`, the Monte Carlo variance, which the paper calls its
    uncertainty, and `tau_inverse`, the same for all stars, which `predictive_variance` estimates and is left out unless
    asked for.
    """

    mean: np.ndarray  # (n, n_targets), over the samples (Eq. 13)
    std: np.ndarray  # (n, n_targets), over the samples, ddof 0: the root of Eq. 15 without its constant term
    targets: tuple[str, ...]
    units: tuple[str, ...]
    finite: np.ndarray  # (n,) bool
    samples: np.ndarray | None = None  # (n_samples, n, n_targets), if asked for
    tau_inverse: np.ndarray | None = None  # (n_targets,), squared units: the constant term of Eq. 15, if asked for
    object_id: np.ndarray | None = None  # (n,) int64

    @property
    def predictive_std(self) -> np.ndarray | None:
        """(n, n_targets), the root of Eq. 15 with both terms; None without `tau_inverse`."""
        return None if self.tau_inverse is None else np.sqrt(self.std.astype(np.float64) ** 2 + self.tau_inverse)

    def columns(self) -> dict[str, np.ndarray]:
        """Named columns (n,), as `pandas.DataFrame` and `astropy.table.Table` take them.

        Returns:
            "object_id"; for each target its name, "<target>_std" and, with `tau_inverse`, "<target>_predictive_std";
            "finite".
        """
        columns = {} if self.object_id is None else {"object_id": self.object_id}
        parts = {"": self.mean, "_std": self.std, "_predictive_std": self.predictive_std}
        for i, target in enumerate(self.targets):
            columns |= {target + suffix: values[:, i] for suffix, values in parts.items() if values is not None}
        return columns | {"finite": self.finite}

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
    """Over what is finite; NaN if nothing is."""
    values = values[np.isfinite(values)]
    return np.percentile(values, percents) if values.size else np.full(len(percents), np.nan)


def _decimals(std: np.ndarray) -> int:
    """How many show two digits of the median standard deviation."""
    median = _percentiles(std, (50,))[0]
    return max(0, 1 - int(np.floor(np.log10(median)))) if median > 0 else 3


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
