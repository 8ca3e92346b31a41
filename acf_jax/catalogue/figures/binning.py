"""Counts and medians over a plane, from rows that arrive in batches: memory depends on the cells, not on the rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Bins:
    """Bins of equal width; a bin holds its lower edge. In a plane, two of these make the cells."""

    lower: float
    width: float
    n: int

    @property
    def edges(self) -> np.ndarray:
        """(n + 1,) in ascending order."""
        return self.lower + self.width * np.arange(self.n + 1)

    def index(self, values: np.ndarray) -> np.ndarray:
        """The bin of each value, (n_values,); -1 for those outside and for NaN."""
        place = np.floor((np.asarray(values, np.float64) - self.lower) / self.width)
        inside = (place >= 0) & (place < self.n)  # false for NaN
        return np.where(inside, place, -1).astype(np.int64)


@dataclass
class CountMap:
    """How many stars lie in each cell."""

    x: Bins
    y: Bins
    counts: np.ndarray = field(init=False)  # (x.n, y.n)

    def __post_init__(self):
        self.counts = np.zeros((self.x.n, self.y.n), np.int64)

    def add(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Add stars (n,); returns which of them, (n,) bool, lie in a cell."""
        column, row = self.x.index(x), self.y.index(y)
        inside = (column >= 0) & (row >= 0)
        np.add.at(self.counts, (column[inside], row[inside]), 1)
        return inside


@dataclass
class MedianMap:
    """The median of a quantity in each cell, to within half a bin of `values`.

    Each cell has a histogram of its values, so that a median is that of values moved to their bins' centres. Values
    beyond the outermost bins count as lying in them.
    """

    x: Bins
    y: Bins
    values: Bins
    stars: CountMap = field(init=False)
    _histograms: np.ndarray = field(init=False)  # (x.n * y.n, values.n)

    def __post_init__(self):
        self.stars = CountMap(self.x, self.y)
        self._histograms = np.zeros((self.x.n * self.y.n, self.values.n), np.uint32)

    def add(self, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Add stars.

        Args:
            x: (n,) of the plane.
            y: (n,) of the plane.
            values: (n,) of the quantity; NaN where it is missing.

        Returns:
            (n,) bool: which of them lie in a cell and have a value.
        """
        inside = self.stars.add(np.where(np.isnan(values), np.nan, x), y)
        cells = self.x.index(x[inside]) * self.y.n + self.y.index(y[inside])
        bins = self.values.index(np.clip(np.asarray(values[inside], np.float64), *self._outermost_centres()))
        # Many stars share a few places: counted first, each place is written to once.
        places, n_stars = np.unique(cells * self.values.n + bins, return_counts=True)
        self._histograms.reshape(-1)[places] += n_stars.astype(np.uint32)
        return inside

    def medians(self) -> np.ndarray:
        """(x.n, y.n); NaN in cells without stars. Of an even number, the mean of the middle two."""
        counts = self.stars.counts.reshape(-1)
        medians = np.full(counts.size, np.nan)
        occupied = np.flatnonzero(counts)
        for some in np.array_split(occupied, occupied.size // 1000 + 1):
            running = np.cumsum(self._histograms[some], axis=1, dtype=np.int64)
            n_stars = counts[some, None]
            lower = np.argmax(running >= (n_stars + 1) // 2, axis=1)
            upper = np.argmax(running >= n_stars // 2 + 1, axis=1)
            medians[some] = self.values.lower + self.values.width * ((lower + upper) / 2 + 0.5)
        return medians.reshape(self.x.n, self.y.n)

    def _outermost_centres(self) -> tuple[float, float]:
        half = self.values.width / 2
        return self.values.edges[0] + half, self.values.edges[-1] - half
