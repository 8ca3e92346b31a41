"""A stratified random sample: the same few of every kind of star, wherever on the sky.

The paper draws one million of 9,178,508 stars so (section 6), without saying what the strata are; here they are the
cells of any columns cut at any edges, the sky's among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def sky_edges(n_longitude: int, n_latitude: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges in degrees, of longitude from 0 to 360 and of latitude, between cells of equal area on the sky."""
    return np.linspace(0, 360, n_longitude + 1), np.degrees(np.arcsin(np.linspace(-1, 1, n_latitude + 1)))


def stratified(
    columns: Mapping[str, np.ndarray],
    edges: Mapping[str, Sequence[float] | np.ndarray],
    *,
    n: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
    id_column: str = "object_id",
    sky: tuple[str, str] | None = None,
) -> np.ndarray:
    """Rows of the sample, ascending, (n,) int64.

    A stratum holds the stars between two neighbouring `edges` (the lower one inside) of every column named there;
    what lies below the first or above the last edge, or is missing, has strata of its own. With `sky` each
    is divided further, into 192 cells of equal area on the sky.

    Each stratum gives its share of the sample, `n` times its part of all stars, rounded by largest remainders: so the
    total is exact, and no stratum is a whole star off. Which stars it gives is decided by a hash of the seed and the
    star's id: the sample depends on neither the order of the rows, nor on which machine draws it, and a larger sample
    of the same stars with the same seed is drawn from the same ordering of each stratum.

    Args:
        columns: one-dimensional arrays of equal length, those of `edges` and `sky` and the ids among them.
        edges: ascending edges for each column of strata.
        n: the size of the sample.
        fraction: the size as a part of all stars, in place of `n`; rounded to the nearest whole number of stars.
        seed: of the draw, any integer from 0 to 2**64 - 1.
        id_column: integers, each star's own.
        sky: the columns of longitude (0 to 360) and latitude, in degrees, of any coordinates.

    Returns:
        Row numbers.

    Raises:
        ValueError: if a column is missing or of another length, edges do not ascend, ids are missing or repeated, or
            the sample would be larger than what there is.
    """
    ids = _ids(columns, id_column)
    size = _size(n, fraction, len(ids))
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}: give an integer from 0 to 2**64 - 1")
    if sky is not None:
        edges = {**edges, **dict(zip(sky, sky_edges(12, 16), strict=True))}
    keys = [_cells(_column(columns, name, len(ids)), edge, name) for name, edge in edges.items()]
    # The first stars of each stratum, in order of their hash; equal hashes, should there be any, go by id.
    order = np.lexsort((ids, _hash(ids, seed), *keys))
    starts, counts = _runs(keys, order)
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(order[rank < np.repeat(allocate(counts, size, seed), counts)])


def allocate(counts: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """Each stratum's part of a sample of `size`, in proportion to `counts`, by largest remainders.

    Equal remainders go by a hash of the seed and the stratum's place, so that the first strata are not favoured.

    Args:
        counts: (k,) stars in each stratum.
        size: of the sample.
        seed: decides between equal remainders.

    Returns:
        (k,) int64, which add up to `size`.

    Raises:
        ValueError: if there are fewer stars.
    """
    counts = np.asarray(counts, np.int64)
    total = int(counts.sum())
    if size > total:
        raise ValueError(f"{size} stars are asked for, and there are {total}")
    # Whole numbers throughout: 10**7 stars times 10**6 fits, and nothing is rounded.
    parts = [divmod(int(count) * size, max(total, 1)) for count in counts]
    share = np.array([whole for whole, _ in parts], np.int64)
    remainder = np.array([rest for _, rest in parts], np.float64)
    order = np.lexsort((_hash(np.arange(len(counts)), seed), -remainder))
    share[order[: size - int(share.sum())]] += 1
    return share


def _ids(columns: Mapping[str, np.ndarray], id_column: str) -> np.ndarray:
    if id_column not in columns:
        raise ValueError(f"there is no column {id_column}; there are {', '.join(columns) or 'none'}")
    ids, missing = np.ma.getdata(columns[id_column]), np.ma.getmaskarray(np.ma.asarray(columns[id_column]))
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise ValueError(f"column {id_column} holds {ids.dtype} of shape {ids.shape}, not one integer a star")
    if missing.any():
        raise ValueError(f"column {id_column} is missing in row {int(np.argmax(missing))}")
    ids = ids.astype(np.int64)
    unique, count = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        repeated = unique[np.argmax(count > 1)]
        raise ValueError(f"column {id_column} holds {repeated} more than once: every star may be there once")
    return ids


def _size(n: int | None, fraction: float | None, total: int) -> int:
    if n is not None and fraction is None:
        size = n
    elif fraction is not None and n is None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction is {fraction}: give a number from 0 to 1")
        size = int(np.floor(fraction * total + 0.5))
    else:
        raise ValueError("give the size of the sample either as n or as a fraction")
    if not 0 <= size <= total:
        raise ValueError(f"a sample of {size} stars is asked for, and there are {total}")
    return size


def _column(columns: Mapping[str, np.ndarray], name: str, n: int) -> np.ndarray:
    """Floats (n,), missing ones NaN."""
    if name not in columns:
        raise ValueError(f"there is no column {name}; there are {', '.join(columns)}")
    values = np.ma.filled(np.ma.asarray(columns[name], np.float64), np.nan)
    if values.shape != (n,):
        raise ValueError(f"column {name} has the shape {values.shape} for {n} stars")
    return values


def _cells(values: np.ndarray, edges: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    ascending = np.asarray(edges, np.float64)
    if ascending.ndim != 1 or not (np.diff(ascending) > 0).all():
        raise ValueError(f"the edges of {name} do not ascend: {ascending.tolist()}")
    return np.where(np.isnan(values), -1, np.searchsorted(ascending, values, side="right"))


def _runs(keys: list[np.ndarray], order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each stratum starts in `order`, and how many stars it has."""
    new = np.zeros(len(order), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= np.diff(key[order]) != 0
    starts = np.flatnonzero(new)
    return starts, np.diff(np.append(starts, len(order)))


def _hash(ids: np.ndarray, seed: int) -> np.ndarray:
    """Evenly spread 64-bit numbers of (seed, id): the finalizer of splitmix64 (Steele et al. 2014), once for each."""
    return _mixed(ids.astype(np.uint64) ^ _mixed(np.array([seed], np.uint64)))


def _mixed(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)  # wraps around, as it should
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
