"""Where in the mock sky a star is: its number, from an object_id, a Gaia source_id or a position."""

from __future__ import annotations

import numpy as np

from datasets.mock_sky.catalogues import master_positions
from datasets.mock_sky.exposures import NIGHTS, SECONDS_PER_NIGHT, SLOTS_PER_STAR
from datasets.mock_sky.randomness import Draws
from datasets.mock_sky.sky import BLOCK_SIZE, OBJECT_ID_BASE, OBJECT_ID_STEP, stars_of_source_ids
from datasets.mock_sky.stars.population import draw_stars
from datasets.samples.crossmatch import crossmatch

N_STARS = NIGHTS * SECONDS_PER_NIGHT // SLOTS_PER_STAR // BLOCK_SIZE * BLOCK_SIZE
"""Stars for which the mock survey has time: the sky has no more."""

SEARCHED_STARS = 1600 * BLOCK_SIZE
"""By position a star is looked for among so many: more than the config mock_large looks at."""

_BLOCKS_AT_ONCE = 16


def stars_by_object_id(object_ids: np.ndarray) -> np.ndarray:
    """The star numbers, (n,) int64, -1 where the sky has no such star."""
    star, rest = np.divmod(np.asarray(object_ids, np.int64) - OBJECT_ID_BASE, OBJECT_ID_STEP)
    return np.where((rest == 0) & (star >= 0) & (star < N_STARS), star, -1)


def stars_by_source_id(source_ids: np.ndarray) -> np.ndarray:
    """The star numbers, (n,) int64, -1 where no star can have such a source_id; whether it has, its row says."""
    star = stars_of_source_ids(np.asarray(source_ids, np.int64))
    return np.where((star >= 0) & (star < N_STARS), star, -1)


def stars_by_position(
    seed: int, ra_deg: np.ndarray, dec_deg: np.ndarray, radius_arcsec: float = 1.0, n_searched: int = SEARCHED_STARS
) -> np.ndarray:
    """The star numbers, (n,) int64, by the positions of dr4.master; -1 where none is within the radius.

    The sky is searched from its first star on, until every position has one: of several within the radius, of which
    there are hardly any, the nearest of the first 4,096 stars that hold one.

    Args:
        seed: of the sky.
        ra_deg: (n,) right ascensions, NaN where there is none.
        dec_deg: (n,) declinations.
        radius_arcsec: how far a star may be from its position.
        n_searched: stars that are looked at, at most.

    Returns:
        (n,) star numbers.
    """
    stars = np.full(len(ra_deg), -1)
    open_rows = np.flatnonzero(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    for first in range(0, n_searched // BLOCK_SIZE, _BLOCKS_AT_ONCE):
        if not len(open_rows):
            break
        blocks = range(first, min(first + _BLOCKS_AT_ONCE, n_searched // BLOCK_SIZE))
        ra, dec = np.concatenate([_positions(seed, block) for block in blocks], axis=1)
        found = crossmatch(ra_deg[open_rows], dec_deg[open_rows], ra, dec, radius_arcsec, one_to_one=False)
        stars[open_rows[found.left_row]] = first * BLOCK_SIZE + found.right_row
        open_rows = np.delete(open_rows, found.left_row)
    return stars


def _positions(seed: int, block: int) -> np.ndarray:
    """(2, BLOCK_SIZE): the right ascensions and declinations of a block's stars in dr4.master, deg."""
    drawn = draw_stars(seed, block, BLOCK_SIZE)
    return np.stack(master_positions(Draws(seed, "master", block), drawn["ra"], drawn["dec"])[:2])
