"""Pairs of entries and stars against what was put in, and against angles computed in another way."""

from itertools import pairwise

import numpy as np
import pytest

from acf_jax.surveys.known import SURVEYS, Survey
from acf_jax.surveys.matching import match
from acf_jax.surveys.reading import Entries

ARCSEC = 1 / 3600


def make_entries(ra, dec, source_id=None, survey="apogee", **columns):
    """Good entries, whose teff numbers them, except for what `columns` say."""
    n = len(ra)
    usual = {
        "source_id": np.full(n, -1) if source_id is None else np.asarray(source_id),
        **{"ra": np.asarray(ra, float), "dec": np.asarray(dec, float), "teff": 5000.0 + np.arange(n)},
        **{"logg": np.full(n, 4.0), "fe_h": np.zeros(n), "e_teff": np.full(n, 60.0), "e_logg": np.full(n, np.nan)},
        **{"e_fe_h": np.full(n, np.nan), "STARFLAG": np.zeros(n), "FE_H_FLAG": np.zeros(n)},
        **{"flag_sp": np.zeros(n), "flag_fe_h": np.zeros(n), "snr_c3_iraf": np.full(n, 99.0)},
    }
    cut = SURVEYS[survey] if survey in SURVEYS else Survey(survey, {})
    return Entries(cut, usual | columns, ("teff", "logg", "fe_h"), False)


def make_stars(ra, dec, source_id=None):
    return {
        "source_id": np.full(len(ra), -1) if source_id is None else np.asarray(source_id),
        "ra": np.asarray(ra, float),
        "dec": np.asarray(dec, float),
        "name": np.arange(len(ra)) * 11,
    }


def pairs(matched):
    return dict(zip(matched.row.tolist(), (matched.labels["teff"] - 5000).astype(int).tolist(), strict=True))


def test_ids_go_before_positions_and_a_star_that_moved_is_found_by_its_id():
    stars = make_stars(np.full(5, 10.0), [-30, -40, -50, -60, np.nan], [101, 102, -1, 104, 105])
    entries = make_entries(
        ra=np.full(7, 10.0),
        # Star 0 moved by 2 arcsec; another star's entry lies on it. Star 1 is matched by position: its entry has no id.
        # Star 2 has none itself. Star 3 has a near entry without id, and its own farther off. Star 4 is nowhere;
        # its entry lies on star 1.
        dec=[-30 + 2 * ARCSEC, -30, -40 + 0.5 * ARCSEC, -50 - 0.5 * ARCSEC, -60, -60 + 0.9 * ARCSEC, -40],
        source_id=[101, 999, -1, 103, -1, 104, 105],
    )
    matched = match(entries, [stars])
    assert pairs(matched) == {0: 0, 1: 2, 2: 3, 3: 5, 4: 6}
    assert matched.stars["name"].tolist() == [0, 11, 22, 33, 44]
    counts = matched.counts
    assert counts["paired by Gaia id"] == 3
    assert counts["paired by position, within 1 arcsec"] == 3
    assert counts["not paired: within 1 arcsec, but another Gaia id"] == 1
    assert counts["left out: further entries of a star"] == 1
    by_position = pairs(match(entries.without_ids(), [stars]))
    assert by_position == {0: 1, 1: 6, 2: 3, 3: 4}


def test_a_star_gets_the_nearest_entry_that_passes_the_cuts():
    # Star 0 has a flagged, a good and a farther good visit; star 1 an entry too far off; star 2 one at the edge.
    dec = np.array([-30, -30, -30, -40, -50]) + ARCSEC * np.array([0.1, 0.3, -0.5, 1.2, 0.9])
    entries = make_entries(np.full(5, 10.0), dec, STARFLAG=np.array([4.0, 0, 0, 0, 0]))
    matched = match(entries, [make_stars(np.full(3, 10.0), [-30.0, -40, -50])])
    assert pairs(matched) == {0: 1, 2: 4}
    assert matched.labels["e_teff"].tolist() == [60, 60]
    assert matched.counts == {
        "entries in the table": 5,
        "paired by Gaia id": 0,
        "paired by position, within 1 arcsec": 4,
        "not paired: within 1 arcsec, but another Gaia id": 0,
        "left out: not STARFLAG = 0": 1,
        "left out: not FE_H_FLAG = 0": 0,
        "left out: not TEFF >= 4000 K": 0,
        "left out: further entries of a star": 1,
        "stars matched": 2,
    }
    same_ids = make_entries(np.full(5, 10.0), dec, [7, 7, 7, 7, 8], STARFLAG=np.array([4.0, 0, 0, 0, 0]))
    visits = match(same_ids, [make_stars(np.full(3, 10.0), [-30.0, -40, -50], [7, 6, 8])])
    assert pairs(visits) == {0: 1, 2: 4}  # the visit 36,000 arcsec away is the last choice
    assert visits.counts["paired by Gaia id"] == 5


@pytest.mark.parametrize(
    ("survey", "columns", "kept"),
    [
        ("apogee", {"STARFLAG": [0, 2**40, np.nan, 0, 0]}, [0, 3, 4]),
        ("apogee", {"FE_H_FLAG": [0, 1, np.nan, 0, 0]}, [0, 3, 4]),
        ("apogee", {"teff": [4000, 3999.9, np.nan, 9000, 5000]}, [0, 3, 4]),
        ("lamost", {"teff": [4000, 3999.9, np.nan, 8000, 8000.1]}, [0, 3]),
        ("galah", {"flag_sp": [0, 1, np.nan, 0, 0], "flag_fe_h": [0, 0, 0, 1, 0]}, [0, 4]),
        ("galah", {"snr_c3_iraf": [30, 30.1, np.nan, 29, 99]}, [1, 4]),
        ("own", {"STARFLAG": [0, 2**40, np.nan, 0, 0], "teff": [1, 2, 3, 4, np.nan]}, [0, 1, 2, 3, 4]),
    ],
)
def test_cuts_are_the_papers(survey, columns, kept):
    columns = {name: np.array(values, float) for name, values in columns.items()}
    matched = match(make_entries(np.arange(5.0), np.zeros(5), survey=survey, **columns), [
        make_stars(np.arange(5.0), np.zeros(5))
    ])  # fmt: skip
    assert matched.row.tolist() == kept
    out = sum(n for step, n in matched.counts.items() if step.startswith("left out: not"))
    assert out == 5 - len(kept)


def test_pairs_are_those_of_the_haversine_in_any_batches_and_at_the_seam():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-0.01, 0.01, 300) % 360, rng.uniform(-0.01, 0.01, 300)
    shift = rng.normal(0, 0.8 * ARCSEC, (2, 300))
    entries = make_entries((ra + shift[0]) % 360, dec + shift[1], survey="own")
    a, b = np.radians([entries.columns["ra"], entries.columns["dec"]])[:, :, None], np.radians([ra, dec])[:, None]
    sine = np.sin((a[1] - b[1]) / 2) ** 2 + np.cos(a[1]) * np.cos(b[1]) * np.sin((a[0] - b[0]) / 2) ** 2
    distance = np.degrees(2 * np.arcsin(np.sqrt(sine))) * 3600  # (entry, star)
    expected = {}
    for entry in np.argsort(distance.min(axis=1)):
        if distance[entry].min() <= 1:
            expected.setdefault(int(distance[entry].argmin()), int(entry))
    assert 100 < len(expected) < 300
    stars = make_stars(ra, dec)
    for edges in ([0, 300], [0, 1, 130, 130, 300]):
        batches = ({name: v[i:j] for name, v in stars.items()} for i, j in pairwise(edges))
        matched = match(entries, batches)
        assert pairs(matched) == expected
        assert (matched.stars["name"] == 11 * matched.row).all()


def test_no_star_in_common_no_star_at_all_and_impossible_positions():
    entries = make_entries([100.0, np.nan, 10.0], [-30.0, 0.0, 95.0], [0 - 1, -1, 5])
    for stars in (make_stars([10.0], [-30.0], [6]), make_stars([], [])):
        matched = match(entries, [stars])
        assert matched.row.shape == matched.labels["teff"].shape == matched.stars["name"].shape == (0,)
        assert matched.counts["stars matched"] == 0
    assert len(match(entries, [])) == 0


def test_of_a_star_that_is_twice_in_a_catalogue_one_is_compared():
    entries = make_entries([10.0], [-30.0], [7])
    matched = match(
        entries, [make_stars([10.0], [-30 + 0.5 * ARCSEC], [7]), make_stars([10.0, 10], [-30.0, -30], [7, 7])]
    )
    assert pairs(matched) == {1: 0}
