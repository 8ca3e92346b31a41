"""Which rows of two catalogues are the same star, by their positions on the sky.

Distances are angles between unit vectors, so neither the poles nor RA 0/360 are special. `docs/crossmatch.md` says
how to match catalogues that do not fit into memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_ARCSEC_PER_RADIAN = 180 / np.pi * 3600


class Matches(NamedTuple):
    """Pairs of rows, in order of `left_row`, which none is in twice."""

    left_row: np.ndarray  # (n,) int64
    right_row: np.ndarray  # (n,) int64
    distance_arcsec: np.ndarray  # (n,) float64


_NO_PAIRS = Matches(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


class _Left(NamedTuple):
    """Left rows on the unit sphere: where they are, where they go, and since when."""

    row: np.ndarray  # (n,)
    position: np.ndarray  # (n, 3)
    velocity: np.ndarray  # (n, 3), rad/yr, tangent to the sphere
    epoch_yr: np.ndarray  # (n,)

    def at(self, epoch_yr: float | np.ndarray) -> np.ndarray:
        """Directions (n, 3), of length near 1, on a straight line through space with no radial velocity."""
        return self.position + self.velocity * (epoch_yr - self.epoch_yr)[:, None]


class _Right(NamedTuple):
    """Right rows on the unit sphere, with a tree to find them."""

    row: np.ndarray  # (n,)
    position: np.ndarray  # (n, 3)
    epoch_yr: np.ndarray  # (n,)
    tree: Any  # scipy's cKDTree of the positions
    middle_yr: float  # the epoch at which candidates are looked for
    spread_yr: float  # how far from it an epoch may be


def crossmatch(
    left_ra_deg: np.ndarray,
    left_dec_deg: np.ndarray,
    right_ra_deg: np.ndarray,
    right_dec_deg: np.ndarray,
    radius_arcsec: float = 1.0,
    *,
    one_to_one: bool = True,
    left_pm_mas_yr: tuple[np.ndarray, np.ndarray] | None = None,
    left_epoch_yr: float | np.ndarray | None = None,
    right_epoch_yr: float | np.ndarray | None = None,
    chunk_size: int = 250_000,
) -> Matches:
    """Match the rows of two catalogues within `radius_arcsec` (paper, section 6: Gaia within 1 arcsec).

    One to one, pairs are made from the closest upward, each of two rows that are both still free; equal distances go by
    the lower left row, then the lower right row. So, except for ties, the pairs depend neither on the order of the rows
    nor on which catalogue is the left one. Otherwise every left row gets its nearest right row (the lower one of a
    tie), and a right row may serve several.

    `left_pm_mas_yr` are the left rows' proper motions (`pmra` with cos(dec) inside, and `pmdec`): a left row is
    carried along a straight line through space from `left_epoch_yr` to the epoch of the right row that it is compared
    with (both in Julian years, one for all rows or one for each; see `julian_year`). Put the catalogue with
    proper motions on the left. A missing (NaN or masked) proper motion or left epoch leaves a star where it is, a
    missing right epoch counts as the median of the known ones, and a row with a missing position matches nothing.

    Left rows are worked through `chunk_size` at a time, which changes nothing in the answer: besides the arrays given,
    memory holds a tree of the right side's positions, one chunk of the left side, and the pairs within the radius.

    Args:
        left_ra_deg: (n,) right ascensions of the left side.
        left_dec_deg: (n,) its declinations.
        right_ra_deg: (m,) right ascensions of the right side.
        right_dec_deg: (m,) its declinations.
        radius_arcsec: greatest distance of a pair.
        one_to_one: whether a right row may be in one pair only.
        left_pm_mas_yr: `pmra` and `pmdec` (n,), mas / yr.
        left_epoch_yr: of the left positions, Julian years.
        right_epoch_yr: of the right ones.
        chunk_size: left rows worked through at a time.

    Returns:
        The pairs.

    Raises:
        ValueError: if columns of one side differ in length, the radius is not within 0 to 180 degrees, or proper
            motions come without both epochs or with epochs that are not years.
    """
    if not 0 < radius_arcsec <= 180 * 3600:
        raise ValueError(f"radius_arcsec is {radius_arcsec}: give more than 0 and at most 648000 (180 degrees)")
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}: give at least 1")
    if left_pm_mas_yr is not None:
        _check_years(left_epoch_yr, "left_epoch_yr")
        _check_years(right_epoch_yr, "right_epoch_yr")
    if left_pm_mas_yr is None or np.isnan(np.ma.filled(np.ma.asarray(right_epoch_yr, np.float64), np.nan)).all():
        left_pm_mas_yr, left_epoch_yr, right_epoch_yr = None, 0.0, 0.0  # nobody moves
    n = np.size(left_ra_deg)
    pmra, pmdec = (0.0, 0.0) if left_pm_mas_yr is None else left_pm_mas_yr
    columns = {
        **{"left_ra_deg": left_ra_deg, "left_dec_deg": left_dec_deg, "left_pm_mas_yr (pmra)": pmra},
        **{"left_pm_mas_yr (pmdec)": pmdec, "left_epoch_yr": left_epoch_yr},
    }
    left = [_column(values, n, name) for name, values in columns.items()]
    right = _right(right_ra_deg, right_dec_deg, right_epoch_yr)
    found = []
    for start in range(0, n, chunk_size):
        chunk = _left(start, *(values[start : start + chunk_size] for values in left))
        found.append(_pairs(chunk, right, radius_arcsec))
    pairs = Matches(*(np.concatenate(parts) for parts in zip(_NO_PAIRS, *found, strict=True)))
    return closest_first(pairs) if one_to_one else _nearest(pairs)


def julian_year(mjd: np.ndarray) -> np.ndarray:
    """Epochs in Julian years of modified Julian dates, as `dr4.master` has them in `mean_epoch`."""
    return 2000.0 + (np.asarray(mjd, np.float64) - 51544.5) / 365.25


def _check_years(epoch_yr, name: str) -> None:
    if epoch_yr is None:
        raise ValueError(f"proper motions are given without {name}: give both sides' epochs in Julian years")
    known = np.ma.masked_invalid(np.ma.asarray(epoch_yr, np.float64)).compressed()
    wrong = known[(known < 1800) | (known > 2200)]
    if len(wrong):
        raise ValueError(f"{name} holds {wrong[0]:g}: not a year; of a modified Julian date take julian_year()")


def _left(first_row: int, ra_deg, dec_deg, pmra_mas_yr, pmdec_mas_yr, epoch_yr) -> _Left:
    ra, dec, row = _sky(ra_deg, dec_deg)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    velocity = (east * pmra_mas_yr[row, None] + north * pmdec_mas_yr[row, None]) / (1000 * _ARCSEC_PER_RADIAN)
    velocity[np.isnan(velocity).any(axis=1) | np.isnan(epoch_yr[row])] = 0.0
    return _Left(first_row + row, _unit_vectors(ra, dec), velocity, np.nan_to_num(epoch_yr[row]))


def _right(ra_deg, dec_deg, epoch_yr) -> _Right:
    from scipy.spatial import cKDTree  # 0.3 s that worker processes need not spend

    n = np.size(ra_deg)
    ra, dec, row = _sky(_column(ra_deg, n, "right_ra_deg"), _column(dec_deg, n, "right_dec_deg"))
    epoch = _column(epoch_yr, n, "right_epoch_yr")[row]
    middle = float(np.median(epoch[~np.isnan(epoch)])) if not np.isnan(epoch).all() else 0.0
    epoch = np.where(np.isnan(epoch), middle, epoch)
    position = _unit_vectors(ra, dec)
    spread = float(np.max(np.abs(epoch - middle), initial=0.0))
    return _Right(row, position, epoch, cKDTree(position, copy_data=False), middle, spread)


def _sky(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions in radians and their rows, those with a missing coordinate left out."""
    row = np.flatnonzero(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    return np.radians(ra_deg[row]), np.radians(dec_deg[row]), row


def _column(values, n: int, name: str) -> np.ndarray:
    """One value for each of n rows, missing ones NaN."""
    values = np.ma.filled(np.ma.asarray(values, np.float64), np.nan)
    if values.shape not in ((), (n,)):
        raise ValueError(f"{name} has the shape {values.shape} for {n} rows")
    return np.broadcast_to(values, (n,))


def _unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _pairs(left: _Left, right: _Right, radius_arcsec: float) -> Matches:
    """Every pair within the radius, at the epoch of its right row."""
    # Until that epoch a star can leave the middle one's place by its proper motion times the epochs' spread.
    reach = radius_arcsec / _ARCSEC_PER_RADIAN + np.linalg.norm(left.velocity, axis=1) * right.spread_yr
    chord = 2 * np.sin(np.minimum(reach, np.pi) / 2) * (1 + 1e-9) + 1e-14
    middle = left.at(right.middle_yr)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    found = right.tree.query_ball_point(middle, chord, return_sorted=False)
    here = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
    there = np.concatenate([np.array([], np.int64), *(np.asarray(rows, np.int64) for rows in found if rows)])
    distance = _angles(_Left(*(part[here] for part in left)).at(right.epoch_yr[there]), right.position[there])
    within = distance * _ARCSEC_PER_RADIAN <= radius_arcsec
    return Matches(left.row[here[within]], right.row[there[within]], distance[within] * _ARCSEC_PER_RADIAN)


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between directions (n, 3) of any length, in radians; to 1e-15 at any angle."""
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), np.einsum("nk,nk->n", a, b))


def _nearest(pairs: Matches) -> Matches:
    order = np.lexsort((pairs.right_row, pairs.distance_arcsec, pairs.left_row))
    first = order[np.unique(pairs.left_row[order], return_index=True)[1]]
    return Matches(*(part[first] for part in pairs))


def closest_first(pairs: Matches) -> Matches:
    """Of all pairs, from the closest upward, those whose two rows are both still free; ids serve as well as rows.

    A pair that is the closest of both its rows is certain; with all of these taken, and the others of their rows struck
    out, the same holds again of what is left.
    """
    order = np.lexsort((pairs.right_row, pairs.left_row, pairs.distance_arcsec))
    left, right, taken = pairs.left_row[order], pairs.right_row[order], []
    at = np.arange(len(order))
    while len(at):
        first = np.zeros((2, len(at)), bool)
        for side, rows in enumerate((left[at], right[at])):
            first[side, np.unique(rows, return_index=True)[1]] = True
        certain = at[first.all(axis=0)]
        taken.append(certain)
        at = at[~np.isin(left[at], left[certain]) & ~np.isin(right[at], right[certain])]
    chosen = order[np.concatenate([np.array([], np.int64), *taken])]
    return Matches(*(part[chosen[np.argsort(pairs.left_row[chosen])]] for part in pairs))
