"""Which entry of a survey is which of our stars: by Gaia's ids where both have one, by position elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from acf_jax.labels import LABELS
from acf_jax.surveys.known import ERRORS, Survey
from acf_jax.surveys.reading import Entries

RADIUS_ARCSEC = 1.0


@dataclass(frozen=True)
class Matched:
    """The m stars that a survey has labels of, and what became of its entries."""

    survey: Survey
    is_mock: bool  # whether its labels were made from the mock sky's truth
    row: np.ndarray  # (m,) int64: of the stars, counted through all batches; increasing, none twice
    labels: Mapping[str, np.ndarray]  # teff, logg, fe_h in K and dex, e_teff, ...: (m,), NaN where unknown
    stars: Mapping[str, np.ndarray]  # what the batches say of them: (m, ...)
    counts: Mapping[str, int]  # entries read, paired, left out by each cut, and kept, in this order

    def __len__(self) -> int:
        return len(self.row)


class _Pairs(NamedTuple):
    entry: np.ndarray  # (k,) int64
    star: np.ndarray  # (k,) int64
    distance_arcsec: np.ndarray  # (k,); infinite where a position is unknown
    by_id: np.ndarray  # (k,) bool: the two have one id; else they are near each other

    def take(self, which: np.ndarray) -> _Pairs:
        return _Pairs(*(values[which] for values in self))

    def best(self, of: str) -> _Pairs:
        """Of each `entry` or `star` the best pair: by id, then the nearest, then the first; in their order."""
        group, tie = (self.entry, self.star) if of == "entry" else (self.star, self.entry)
        order = np.lexsort((tie, self.distance_arcsec, ~self.by_id, group))
        return self.take(order[np.unique(group[order], return_index=True)[1]])


def match(
    entries: Entries, batches: Iterable[Mapping[str, np.ndarray]], radius_arcsec: float = RADIUS_ARCSEC
) -> Matched:
    """The stars that a survey's entries are of, and for each star its best entry.

    An entry is of the star that has its Gaia id, wherever that lies. Where one of the two has no id, it is of the
    nearest star within the radius. Of the entries that then pass the survey's cuts a star takes one of its id before
    one that is near, then the nearest, then the first: so a star whose one visit is flagged keeps its other. Positions
    are compared as they are written; a star without id that moves by more than the radius between the epochs is lost,
    as it is to the paper's match.

    Args:
        entries: the survey's.
        batches: of stars: `source_id` (int64, -1: none), `ra`, `dec` (deg, NaN: unknown), and whatever is to be known
            of the matched; memory holds one batch and the matched stars.
        radius_arcsec: how far from a star an entry without a common id may be.

    Returns:
        The matched stars.
    """
    finder, found, kept, n_stars = _Finder(entries, radius_arcsec), [_NO_PAIRS], [], 0
    for stars in batches:
        pairs = finder.pairs(stars)
        rows = np.unique(pairs.star)
        kept.append({name: np.asarray(values)[rows] for name, values in stars.items()} | {"row": n_stars + rows})
        found.append(pairs._replace(star=n_stars + pairs.star))
        n_stars += len(stars["source_id"])
    pairs = _Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    finder.of_another_id[pairs.entry] = False
    pairs = pairs.best("entry")
    counts = {
        "entries in the table": len(entries),
        "paired by Gaia id": int(pairs.by_id.sum()),
        f"paired by position, within {radius_arcsec:g} arcsec": int((~pairs.by_id).sum()),
        f"not paired: within {radius_arcsec:g} arcsec, but another Gaia id": int(finder.of_another_id.sum()),
    }
    for cut in entries.survey.cuts:
        passed = cut.keep(entries.columns[cut.column][pairs.entry])
        counts[f"left out: not {cut.description}"] = int(np.count_nonzero(~passed))
        pairs = pairs.take(passed)
    n_passed = len(pairs.star)
    pairs = pairs.best("star")
    counts["left out: further entries of a star"] = n_passed - len(pairs.star)
    counts["stars matched"] = len(pairs.star)
    stars = {name: np.concatenate([part[name] for part in kept]) for name in kept[0]} if kept else {}
    place = np.searchsorted(stars["row"], pairs.star) if kept else pairs.star
    return Matched(
        entries.survey,
        entries.is_mock,
        pairs.star,
        {name: entries.columns[name][pairs.entry] for name in (*LABELS, *ERRORS)},
        {name: values[place] for name, values in stars.items()},
        counts,
    )


class _Finder:
    """Pairs of entries and stars, batch of stars by batch; what the entries are looked up by is made once."""

    def __init__(self, entries: Entries, radius_arcsec: float):
        columns = entries.columns
        self._radius_arcsec, self._id = radius_arcsec, columns["source_id"]
        self._ra = columns["ra"]
        self._dec = np.where(np.abs(columns["dec"]) <= 90, columns["dec"], np.nan)
        self._order = np.argsort(self._id, kind="stable")
        self._located = _located(self._ra, self._dec)
        self._sky = _sky(self._ra[self._located], self._dec[self._located])
        self.of_another_id = np.zeros(len(entries), bool)  # entries near a star with another id

    def pairs(self, stars: Mapping[str, np.ndarray]) -> _Pairs:
        """Of one batch of stars."""
        own = np.asarray(stars["source_id"], np.int64)
        ra, dec = (np.asarray(stars[name], np.float64) for name in ("ra", "dec"))
        entry, star = self._same_id(own)
        distance = np.full(len(entry), np.inf)
        known = _located(ra[star], dec[star], self._ra[entry], self._dec[entry])
        of_entry = _sky(self._ra[entry[known]], self._dec[entry[known]])
        distance[known] = of_entry.separation(_sky(ra[star[known]], dec[star[known]])).arcsec
        same = _Pairs(entry, star, distance, np.ones(len(entry), bool))
        near = self._near(ra, dec)
        have_ids = (self._id[near.entry] > 0) & (own[near.star] > 0)
        self.of_another_id[near.entry[have_ids & (self._id[near.entry] != own[near.star])]] = True
        return _Pairs(*(np.concatenate(parts) for parts in zip(same, near.take(~have_ids), strict=True)))

    def _same_id(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Entries and stars with one id, which several of both may have."""
        with_id, ordered = np.flatnonzero(own > 0), self._id[self._order]
        first, end = (np.searchsorted(ordered, own[with_id], side) for side in ("left", "right"))
        n = end - first
        places = np.repeat(first - np.cumsum(n) + n, n) + np.arange(n.sum())
        return self._order[places], np.repeat(with_id, n)

    def _near(self, ra: np.ndarray, dec: np.ndarray) -> _Pairs:
        """Entries and stars within the radius, whatever their ids."""
        from astropy import units as u

        here = _located(ra, dec)
        if not here.size or not self._located.size:
            return _NO_PAIRS
        # astropy keeps the tree of the coordinates that are searched: that of the entries is made once.
        star, entry, distance, _ = self._sky.search_around_sky(
            _sky(ra[here], dec[here]), self._radius_arcsec * u.arcsec
        )
        return _Pairs(self._located[entry], here[star], distance.arcsec, np.zeros(len(star), bool))


_NO_PAIRS = _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, bool))


def _located(*coordinates: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.isfinite(np.sum(coordinates, axis=0)))


def _sky(ra_deg: np.ndarray, dec_deg: np.ndarray) -> Any:
    from astropy.coordinates import SkyCoord

    return SkyCoord(ra_deg, dec_deg, unit="deg")
