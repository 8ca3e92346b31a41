import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samples.crossmatch import crossmatch, julian_year


def _brute_force(left, right, radius_arcsec, one_to_one=True):
    """All pairs by Vincenty's formula, taken one by one from the closest upward."""
    left, right = np.radians(left), np.radians(right)
    distance = angular_separation(left[0][:, None], left[1][:, None], right[0][None], right[1][None])
    distance = np.degrees(distance) * 3600
    pairs = sorted((distance[i, j], i, j) for i, j in np.argwhere(distance <= radius_arcsec))
    used_left, used_right, taken = set(), set(), {}
    for d, i, j in pairs:
        if i not in used_left and (not one_to_one or j not in used_right):
            taken[int(i)] = (int(j), d)
            used_left.add(i)
            used_right.add(j)
    return taken


def _as_dict(matches):
    assert (np.diff(matches.left_row) > 0).all()
    assert matches.left_row.dtype == matches.right_row.dtype == np.int64
    return {int(i): (int(j), d) for i, j, d in zip(*matches, strict=True)}


def _assert_same(matches, expected):
    got = _as_dict(matches)
    assert {i: j for i, (j, _) in got.items()} == {i: j for i, (j, _) in expected.items()}
    np.testing.assert_allclose([got[i][1] for i in got], [expected[i][1] for i in got], atol=1e-9)


def _crowd(n, centre_ra, centre_dec, spread_arcsec, seed):
    """Positions scattered around a place, also over a pole or RA 0."""
    rng = np.random.default_rng(seed)
    centre = SkyCoord(centre_ra, centre_dec, unit="deg")
    angle, off = rng.uniform(0, 360, n) * u.deg, spread_arcsec * np.sqrt(rng.uniform(size=n)) * u.arcsec
    there = centre.directional_offset_by(angle, off)
    return there.ra.deg, there.dec.deg


PLACES = [(180.0, -30.0), (0.0, -5.0), (123.4, -90.0), (20.0, 90.0), (359.9999, 89.9999), (0.0002, -89.9998)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("one_to_one", [True, False])
def test_agrees_with_brute_force_everywhere(place, one_to_one):
    left, right = _crowd(60, *place, 4.0, 1), _crowd(80, *place, 4.0, 2)
    matches = crossmatch(*left, *right, 0.8, one_to_one=one_to_one)
    assert len(matches.left_row) > 20
    _assert_same(matches, _brute_force(left, right, 0.8, one_to_one))


@settings(max_examples=60, deadline=None)
@given(
    n=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    seed=st.integers(0, 2**32 - 1),
    place=st.sampled_from(PLACES),
    log_radius=st.floats(-2, 5.5),
    chunk_size=st.integers(1, 13),
)
def test_any_radius_and_chunk_agree_with_brute_force(n, seed, place, log_radius, chunk_size):
    radius = 10**log_radius
    spread = min(2 * radius, 300_000)
    left, right = _crowd(n[0], *place, spread, seed), _crowd(n[1], *place, spread, seed + 1)
    matches = crossmatch(*left, *right, radius, chunk_size=chunk_size)
    _assert_same(matches, _brute_force(left, right, radius))
    if len(matches.left_row):
        assert matches.distance_arcsec.max() <= radius


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_pairs_depend_neither_on_order_nor_on_side(seed):
    left, right = np.array(_crowd(30, 0.0, -89.9999, 3.0, seed)), np.array(_crowd(25, 0.0, -89.9999, 3.0, seed + 1))
    pairs = _as_dict(crossmatch(*left, *right, 1.0))
    shuffled = np.random.default_rng(seed).permutation(30), np.random.default_rng(seed).permutation(25)
    again = crossmatch(*left[:, shuffled[0]], *right[:, shuffled[1]], 1.0)
    assert {int(shuffled[0][i]): int(shuffled[1][j]) for i, j, _ in zip(*again, strict=True)} == {
        i: j for i, (j, _) in pairs.items()
    }
    swapped = crossmatch(*right, *left, 1.0)
    assert {int(j): (int(i), d) for i, j, d in zip(*swapped, strict=True)} == pairs


def test_the_closer_pair_goes_first_and_the_other_takes_what_is_left():
    # Left 0 is nearest to right 0, which belongs to left 1; so left 0 gets right 1.
    left = ([10.0, 10.0], [0.4 / 3600, 0.1 / 3600])
    right = ([10.0, 10.0], [0.0, 1.0 / 3600])
    assert {i: j for i, (j, _) in _as_dict(crossmatch(*left, *right, 1.0)).items()} == {0: 1, 1: 0}
    nearest = crossmatch(*left, *right, 1.0, one_to_one=False)
    assert nearest.right_row.tolist() == [0, 0]


def test_equal_distances_go_by_row():
    once, twice = ([10.0], [0.0]), ([10.0, 10.0], [0.0, 0.0])
    assert crossmatch(*once, *twice).right_row.tolist() == [0]
    assert crossmatch(*twice, *once).left_row.tolist() == [0]
    matches = crossmatch(*twice, *twice)
    assert matches.left_row.tolist() == matches.right_row.tolist() == [0, 1]


def test_nearest_agrees_with_astropy_over_the_whole_sky():
    rng = np.random.default_rng(5)
    left, right = (
        SkyCoord(rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n))), unit="deg") for n in (3000, 4000)
    )
    row, distance, _ = left.match_to_catalog_sky(right)
    matches = crossmatch(left.ra.deg, left.dec.deg, right.ra.deg, right.dec.deg, 3600.0, one_to_one=False)
    near = distance.arcsec <= 3600
    np.testing.assert_array_equal(matches.left_row, np.flatnonzero(near))
    np.testing.assert_array_equal(matches.right_row, row[near])
    np.testing.assert_allclose(matches.distance_arcsec, distance.arcsec[near], rtol=1e-9)


@pytest.mark.parametrize("place", [(0.0001, 4.7), (269.45, -89.9999), (12.0, -33.0)])
def test_a_fast_star_is_found_where_astropy_says_it_went(place):
    pm = np.array([-798.58, 10328.12])  # Barnard's star
    motion = {"pm_ra_cosdec": pm[0] * u.mas / u.yr, "pm_dec": pm[1] * u.mas / u.yr, "radial_velocity": 0 * u.km / u.s}
    epochs = Time([2016.0, 2001.3], format="jyear", scale="tcb")
    star = SkyCoord(*(place * u.deg), distance=1.83 * u.pc, obstime=epochs[0], **motion)
    then = star.apply_space_motion(new_obstime=epochs[1])
    one = [[place[0]], [place[1]], [then.ra.deg], [then.dec.deg]]
    moved = crossmatch(*one, left_pm_mas_yr=([pm[0]], [pm[1]]), left_epoch_yr=2016.0, right_epoch_yr=[2001.3])
    assert moved.right_row.tolist() == [0]
    assert moved.distance_arcsec[0] < 1e-4
    assert len(crossmatch(*one).left_row) == 0


def test_each_row_is_compared_at_its_own_epochs():
    rng = np.random.default_rng(9)
    n = 200
    ra, dec = _crowd(n, 359.99, -60.0, 600.0, 3)
    pm = rng.normal(0, 3000, (2, n))
    since, until = 2016.0 + rng.uniform(-1, 1, n), rng.uniform(2014, 2021, n)
    order = rng.permutation(n)
    step = (until - since) / 3.6e6
    there = np.stack([ra + step * pm[0] / np.cos(np.radians(dec)), dec + step * pm[1]])[:, order]
    matches = crossmatch(
        ra, dec, *there, 0.2, left_pm_mas_yr=tuple(pm), left_epoch_yr=since, right_epoch_yr=until[order]
    )
    np.testing.assert_array_equal(order[matches.right_row], np.arange(n))
    assert matches.distance_arcsec.max() < 0.01
    assert len(crossmatch(ra, dec, *there, 0.2).left_row) < n / 2


def test_missing_values():
    nan = np.nan
    ra, dec = np.ma.array([10.0, 20.0, 30.0, 40.0], mask=[0, 1, 0, 0]), [0.0, 0.0, nan, 0.0]
    right = ([40.0, 30.0, 20.0, 10.0, nan], np.ma.array([0.0, 0.0, 0.0, 0.0, 0.0]))
    assert crossmatch(ra, dec, *right).left_row.tolist() == [0, 3]
    pm = np.ma.array([1e6, 1.0, 1.0, 1e6], mask=[1, 0, 0, 0]), [0.0, 0.0, 0.0, nan]
    still = crossmatch(ra, dec, *right, left_pm_mas_yr=pm, left_epoch_yr=2016.0, right_epoch_yr=2000.0)
    assert still.left_row.tolist() == [0, 3]
    known = ([1000.0] * 4, [0.0] * 4)
    epochs = {"left_epoch_yr": [nan, 2016.0, 2016.0, 2016.0], "right_epoch_yr": [2006.0, nan, nan, 2006.0, nan]}
    moved = crossmatch(ra, dec, *right, 20.0, left_pm_mas_yr=known, **epochs)
    np.testing.assert_allclose(moved.distance_arcsec, [0.0, 10.0], atol=1e-6)
    unknown = crossmatch([40.0], [0.0], [40.0], [0.0], 20.0, left_pm_mas_yr=([1000.0], [0.0]), left_epoch_yr=2016.0,
                         right_epoch_yr=[nan])  # fmt: skip
    assert len(unknown.left_row) == 1


def test_dates_are_not_taken_for_years():
    one = [[10.0], [0.0]]
    with pytest.raises(ValueError, match=r"right_epoch_yr holds 57388.5: .*julian_year"):
        crossmatch(*one, *one, left_pm_mas_yr=([1.0], [1.0]), left_epoch_yr=2016.0, right_epoch_yr=[57388.5])


def test_empty_sides():
    for left, right in ((([], []), ([1.0], [1.0])), (([1.0], [1.0]), ([], [])), (([], []), ([], []))):
        matches = crossmatch(*left, *right)
        assert [len(part) for part in matches] == [0, 0, 0]


def test_julian_years():
    np.testing.assert_allclose(julian_year([51544.5, 57388.5]), Time([51544.5, 57388.5], format="mjd").jyear)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius_arcsec": 0.0}, "radius_arcsec is 0.0"),
        ({"radius_arcsec": np.nan}, "radius_arcsec is nan"),
        ({"left_dec_deg": [1.0, 2.0]}, r"left_dec_deg has the shape \(2,\) for 1 rows"),
        ({"left_pm_mas_yr": ([1.0], [1.0])}, "without left_epoch_yr"),
        ({"chunk_size": 0}, "chunk_size is 0"),
    ],
)
def test_refusals(change, message):
    arguments = {name: [1.0] for name in ("left_ra_deg", "left_dec_deg", "right_ra_deg", "right_dec_deg")}
    with pytest.raises(ValueError, match=message):
        crossmatch(**(arguments | change))
