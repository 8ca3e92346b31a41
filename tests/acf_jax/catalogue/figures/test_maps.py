"""Rows become maps: every star counts once, in a map or under a reason."""

import numpy as np
import pytest

from acf_jax.catalogue.figures.maps import (
    CELLS_OF_RING,
    NONE,
    RING_DEG,
    GalaxyMap,
    KielMap,
    SkyMap,
    fill,
    flag_names,
    needed_columns,
)
from acf_jax.catalogue.flags import Flag
from tests.acf_jax.catalogue import galaxy

ALL = (SkyMap, KielMap, GalaxyMap)


def filled(rows, excluded=NONE, n_batches=3):
    maps = [kind() for kind in ALL]
    parts = np.array_split(np.arange(len(rows["flags"])), n_batches)
    batches = ({name: values[part] for name, values in rows.items()} for part in parts)
    fill(maps, batches, excluded)
    return maps


def test_every_star_is_in_a_map_or_under_one_reason():
    sky, kiel, milky_way = (one_map.tally for one_map in filled(galaxy.rows_of()))
    assert (sky.n_used, sky.left_out) == (3000, {})
    assert (kiel.n_used, kiel.left_out) == (2960, {"no result": 40})
    assert milky_way.left_out == {"no result": 40, "parallax not above 5 times its error": 55}
    assert milky_way.n_used == 3000 - 40 - 55


def test_stars_with_an_excluded_flag_are_counted_and_nowhere_else():
    for one_map in filled(galaxy.rows_of(), Flag.CROWDED | Flag.SATURATED):
        assert one_map.tally.left_out["flagged"] == 300
        assert one_map.tally.n_used + sum(one_map.tally.left_out.values()) == 3000
        shown = one_map.stars if isinstance(one_map, SkyMap) else one_map.fe_h.stars
        assert shown.counts.sum() == one_map.tally.n_used


def test_every_reason_is_told():
    rows = {name: values[100:106].copy() for name, values in galaxy.rows_of().items()}
    rows["flags"][:] = 0
    rows["fe_h"][0] = rows["raj2000"][1] = rows["glat"][1] = rows["parallax"][2] = rows["parallax_error"][3] = np.nan
    rows["parallax"][4], rows["parallax_error"][4] = 0.001, 0.0001  # at 1000 kpc
    rows["teff"][5] = 99_999
    sky, kiel, milky_way = (one_map.tally.left_out for one_map in filled(rows))
    assert sky == {"no position": 1}
    assert kiel == {"no result": 1, "outside the figure's cells": 1}
    assert milky_way == {"no result": 1, "no position": 1, "no parallax": 2, "outside the figure's cells": 1}


@pytest.mark.parametrize("n_batches", [1, 60])
def test_batches_do_not_matter(n_batches):
    one, other = filled(galaxy.rows_of(), n_batches=3), filled(galaxy.rows_of(), n_batches=n_batches)
    np.testing.assert_array_equal(one[0].stars.counts, other[0].stars.counts)
    for a, b in zip(one[1:], other[1:], strict=True):
        np.testing.assert_array_equal(a.fe_h.medians(), b.fe_h.medians())
        assert a.tally == b.tally


def test_the_skys_cells_are_of_one_area_and_cover_it():
    assert (np.diff(np.sin(np.radians(RING_DEG.edges))) / CELLS_OF_RING).std() * 41_253 / 2 < 0.05
    edges = RING_DEG.edges[:-1] + 1
    n_stars = 200_000
    random = np.random.default_rng(1)
    sky = SkyMap()
    b_deg = np.degrees(np.arcsin(random.uniform(-1, 1, n_stars)))
    sky.add({"glon": random.uniform(0, 360, n_stars), "glat": b_deg})
    density = sky.density_per_deg2(np.arange(0.25, 360, 0.5))
    # An even sky: the mean over each ring is that of the whole, within what stars in so many cells scatter.
    expected = n_stars / 41_252.96
    sigma = np.sqrt(expected / (41_252.96 / 180 * np.pi / 90 * np.cos(np.radians(edges)) * 90))
    assert np.all(np.abs(density.mean(axis=0) - expected) < 5 * sigma)


def test_a_star_is_found_where_it_is_even_at_the_poles_and_across_the_meridian():
    places = [(0.0, 90.0), (359.9, -90.0), (-0.1, 11.0), (-1e-17, 20.0), (180.0, 0.0)]
    for l_deg, b_deg in places:
        sky = SkyMap()
        sky.add({"glon": np.array([l_deg]), "glat": np.array([b_deg])})
        assert sky.tally.n_used == 1
        ring = min(int((b_deg + 90) // 2), 89)
        density = sky.density_per_deg2(np.array([l_deg % 360]))
        assert density[0, ring] == pytest.approx(1 / 4, rel=0.3)
        assert np.count_nonzero(density) == 1


def test_the_columns_asked_for_are_those_of_the_maps_and_the_flags():
    assert needed_columns([SkyMap()]) == ["flags", "glon", "glat"]
    assert needed_columns([kind() for kind in ALL]).count("fe_h") == 1
    assert flag_names(Flag.CROWDED | Flag.NO_RESULT) == ["NO_RESULT", "CROWDED"]
