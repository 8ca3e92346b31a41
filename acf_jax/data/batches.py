"""Batches of one size, of stars that are not a multiple of it: one shape, and one compiled program."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int


def filled_batches(n_stars: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, " {batch_size}"], int]]:
    """All rows once, in order, and with each batch how many of its rows count: the last one repeats the last row.

    Args:
        n_stars: how many rows there are; of none there are no batches.
        batch_size: rows of every batch.

    Yields:
        Row numbers, and how many of them, from the first on, are not a repetition.
    """
    for start in range(0, n_stars, batch_size):
        yield np.minimum(np.arange(start, start + batch_size), n_stars - 1), min(batch_size, n_stars - start)
