"""Random draws that depend on a name, and stay the same on any machine, in any process and in any order of asking."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

Numbers = float | np.ndarray
Size = int | tuple[int, ...]


class Draws:
    """The stream of random numbers for one purpose and one block of stars of one seed.

    NumPy keeps the raw bits of its bit generators stable between versions but not what its distributions make of them,
    so everything here is made from raw bits by inverse distribution functions.
    """

    def __init__(self, seed: int, purpose: str, block: int):
        """Opens the stream of `purpose` for block number `block` of the sky `seed` (both not negative).

        Args:
            seed: of the sky, not negative.
            purpose: the stream's name.
            block: number of the block of stars, not negative.
        """
        entropy = (seed, zlib.crc32(purpose.encode()), block)
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))

    def uniform(self, low: Numbers = 0.0, high: Numbers = 1.0, size: Size = ()) -> np.ndarray:
        """Uniform numbers strictly between `low` and `high`; `size` as in NumPy, required.

        Args:
            low: lower bound.
            high: upper bound.
            size: shape of the answer.

        Returns:
            Float64 of this shape.
        """
        count = int(np.prod(size))
        raw = self._bits.random_raw(count) >> np.uint64(12)
        unit = (raw.astype(np.float64) + 0.5) * 2.0**-52
        return low + (high - low) * unit.reshape(size)

    def normal(self, mean: Numbers = 0.0, sigma: Numbers = 1.0, size: Size = ()) -> np.ndarray:
        """Gaussian numbers.

        Args:
            mean: their mean.
            sigma: their standard deviation.
            size: shape of the answer.

        Returns:
            Float64 of this shape.
        """
        return mean + sigma * ndtri(self.uniform(size=size))

    def happens(self, probability: Numbers, size: Size = ()) -> np.ndarray:
        """True with the given probability."""
        return self.uniform(size=size) < probability

    def pick(self, values: Sequence[float], weights: Sequence[float], size: Size = ()) -> np.ndarray:
        """Elements of `values` with probabilities proportional to `weights`.

        Args:
            values: (k,) what is drawn from.
            weights: (k,) not negative, of any sum.
            size: shape of the answer.

        Returns:
            Elements of `values`, of this shape.
        """
        return np.asarray(values)[self.index(np.cumsum(weights), size)]

    def index(self, cumulative: np.ndarray, size: Size = ()) -> np.ndarray:
        """Indices distributed as the cumulative weights say (any total; weights of zero are never drawn)."""
        return np.searchsorted(cumulative, self.uniform(0.0, cumulative[-1], size), side="right")

    def poisson(self, mean: Numbers, size: Size = (), largest: int = 60) -> np.ndarray:
        """Poisson counts, none above `largest`.

        Args:
            mean: expected count.
            size: shape of the answer.
            largest: count that none exceeds.

        Returns:
            Int64 of this shape.
        """
        level = self.uniform(size=size)
        term = np.broadcast_to(np.exp(-np.asarray(mean, dtype=np.float64)), level.shape).copy()
        total, count = term.copy(), np.zeros(level.shape, dtype=np.int64)
        for k in range(1, largest + 1):
            count += level > total
            term = term * mean / k
            total = total + term
        return count
