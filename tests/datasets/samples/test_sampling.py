import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samples.sampling import allocate, sky_edges, stratified


def _stars(n, seed=0):
    rng = np.random.default_rng(seed)
    magnitude = np.round(rng.uniform(9, 20, n))  # many on an edge
    magnitude[rng.uniform(size=n) < 0.03] = np.nan
    return {
        "object_id": rng.permutation(10 * n)[:n].astype(np.int64) + 2**62,
        "phot_g_mean_mag": magnitude,
        "bp_rp": np.ma.array(rng.normal(1.0, 0.5, n), mask=rng.uniform(size=n) < 0.02),
        "raj2000": rng.uniform(0, 360, n),
        "dej2000": np.degrees(np.arcsin(rng.uniform(-1, 0, n))),
    }


EDGES = {"phot_g_mean_mag": [12.0, 14.0, 16.0], "bp_rp": [0.5, 1.0]}


def _strata(stars, edges):
    """Each star's stratum, worked out one star at a time."""
    strata = []
    for row in range(len(stars["object_id"])):
        values = [stars[name][row] for name in edges]
        strata.append(
            tuple(
                None if value is np.ma.masked or np.isnan(value) else sum(value >= edge for edge in edges[name])
                for name, value in zip(edges, values, strict=True)
            )
        )
    return strata


@settings(max_examples=40, deadline=None)
@given(size=st.integers(0, 400), seed=st.integers(0, 2**64 - 1))
def test_the_total_is_exact_and_every_stratum_keeps_its_share_to_within_a_star(size, seed):
    stars = _stars(400)
    rows = stratified(stars, EDGES, n=size, seed=seed)
    assert len(rows) == len(set(rows.tolist())) == size
    assert (np.diff(rows) > 0).all()
    strata = _strata(stars, EDGES)
    for stratum in set(strata):
        share = sum(strata[row] == stratum for row in rows)
        assert abs(share - size * strata.count(stratum) / 400) < 1


@settings(max_examples=20, deadline=None)
@given(size=st.integers(0, 300), seed=st.integers(0, 1000), shuffle=st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_matter(size, seed, shuffle):
    stars = _stars(300)
    order = np.random.default_rng(shuffle).permutation(300)
    shuffled = {name: values[order] for name, values in stars.items()}
    ids = stars["object_id"][stratified(stars, EDGES, n=size, seed=seed)]
    again = shuffled["object_id"][stratified(shuffled, EDGES, n=size, seed=seed)]
    assert sorted(ids) == sorted(again)


def test_a_seed_is_one_sample_and_another_seed_another():
    stars = _stars(1000)
    one, again, other = (stratified(stars, EDGES, n=300, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert 50 < len(np.intersect1d(one, other)) < 150  # 90 by chance


def test_every_star_is_drawn_equally_often():
    stars = _stars(200)
    drawn = np.zeros(200)
    for seed in range(600):
        drawn[stratified(stars, {}, fraction=0.25, seed=seed)] += 1
    # Each count is binomial (600, 1/4); the counts sum to a fixed number, so chi2 has 199 degrees of freedom.
    chi2 = ((drawn - 150) ** 2 / (600 * 0.25 * 0.75)).sum()
    assert abs(chi2 - 199) < 5 * np.sqrt(2 * 199)


def test_ids_in_sequence_are_not_drawn_in_sequence():
    stars = {"object_id": np.arange(10_000)}
    rows = stratified(stars, {}, n=1000, seed=0)
    gaps = np.diff(rows)
    # Of a random tenth, 9 gaps in 10 are longer than 1; their mean is 10 and so, nearly, is their standard deviation.
    assert abs((gaps == 1).mean() - 0.1) < 0.04
    assert abs(gaps.std() - np.sqrt(90)) < 1.0


def test_the_papers_ratio():
    stars = _stars(9178)
    edges = {"phot_g_mean_mag": np.arange(9.0, 20.5, 0.5), "bp_rp": np.arange(0.0, 3.25, 0.25)}
    assert len(stratified(stars, edges, fraction=1 / 9)) == 1020
    rows = stratified(stars, edges, n=1000)
    for name in ("phot_g_mean_mag", "bp_rp"):
        values = np.ma.masked_invalid(stars[name])
        # A plain random sample of 1000 stars would stray by 0.1 and 0.016 mag (one sigma).
        assert abs(values[rows].mean() - values.mean()) < 0.05 * values.std()


def test_every_part_of_the_sky_keeps_its_share():
    stars = _stars(5000)
    rows = stratified(stars, {}, n=500, sky=("raj2000", "dej2000"))
    cells = _strata(stars, dict(zip(("raj2000", "dej2000"), sky_edges(12, 16), strict=True)))
    assert len(set(cells)) == 96  # the southern half of 192
    for cell in set(cells):
        assert abs(sum(cells[row] == cell for row in rows) - 0.1 * cells.count(cell)) < 1


def test_sky_cells_are_of_equal_area():
    longitude, latitude = sky_edges(6, 8)
    area = np.outer(np.diff(np.radians(longitude)), np.diff(np.sin(np.radians(latitude))))
    np.testing.assert_allclose(area, 4 * np.pi / 48)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 10**7), max_size=30), part=st.floats(0, 1), seed=st.integers(0, 5))
def test_allocation(counts, part, seed):
    size = int(part * sum(counts))
    share = allocate(np.array(counts, np.int64), size, seed)
    assert share.sum() == size
    assert (share <= counts).all()
    for got, count in zip(share, counts, strict=True):
        assert abs(int(got) * sum(counts) - size * count) < max(sum(counts), 1)


def test_equal_remainders_do_not_favour_the_first():
    first = [allocate(np.ones(10), 5, seed)[:5].sum() for seed in range(40)]
    assert min(first) < 2.5 < max(first)


def test_nothing_to_draw_from():
    empty = {"object_id": np.array([], np.int64), "bp_rp": np.array([])}
    assert len(stratified(empty, {"bp_rp": [1.0]}, fraction=0.5)) == 0


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"n": 11}, "a sample of 11 stars is asked for, and there are 10"),
        ({}, {"n": -1}, "a sample of -1 stars"),
        ({}, {}, "either as n or as a fraction"),
        ({}, {"n": 1, "fraction": 0.1}, "either as n or as a fraction"),
        ({}, {"fraction": 1.5}, "fraction is 1.5"),
        ({}, {"n": 1, "seed": -1}, "seed is -1"),
        ({}, {"n": 1, "edges": {"g": [1.0]}}, "there is no column g; there are object_id, "),
        ({}, {"n": 1, "edges": {"bp_rp": [1.0, 1.0]}}, "edges of bp_rp do not ascend"),
        ({"bp_rp": [1.0]}, {"n": 1}, r"column bp_rp has the shape \(1,\) for 10 stars"),
        ({"object_id": np.zeros(10, int)}, {"n": 1}, "holds 0 more than once"),
        ({"object_id": np.zeros(10)}, {"n": 1}, "holds float64"),
        ({"object_id": np.ma.array(range(10), mask=[0, 0, 1] + 7 * [0])}, {"n": 1}, "missing in row 2"),
    ],
)
def test_refusals(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        stratified(_stars(10) | change, **({"edges": EDGES} | arguments))
