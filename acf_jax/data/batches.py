"""Batches of one size from any number of stars: one shape, and so one compiled program."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int


def filled_batches(n_stars: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, " {batch_size}"], int]]:
    """All rows once, in order, in batches of one size: the last batch is filled up with the last row.

    Args:
        n_stars: how many rows there are; 0 gives no batches.
        batch_size: rows of every batch.

    Yields:
        Row numbers of a batch, and how many of them, from the first on, are not such copies.
    """
    for start in range(0, n_stars, batch_size):
        yield np.minimum(np.arange(start, start + batch_size), n_stars - 1), min(batch_size, n_stars - start)
