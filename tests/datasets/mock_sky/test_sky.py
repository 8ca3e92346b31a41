import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from datasets.mock_sky import catalogues
from datasets.mock_sky.sky import BLOCK_SIZE, MockSky, object_id_of_star, star_of_object_id


def digits_of_star_17():
    block = MockSky(0).block(0)
    star, exposure = block.stars[17], block.exposures[block.exposures["star"] == 17][0]
    return [float(v) for v in (star["teff"], star["fe_h"], star["ra"], star["mag"][1], exposure["mag_psf"])]


def same(first, second):
    for name in first.dtype.names:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_block_is_the_same_whatever_was_asked_before():
    ahead, later = MockSky(5), MockSky(5)
    first = [ahead.block(index) for index in (0, 3)]
    for index in (7, 6, 3, 2, 1):  # more than are kept
        later.block(index)
    for block, again in zip(first, [later.block(0), later.block(3)], strict=True):
        for part in ("stars", "neighbours", "exposures"):
            same(getattr(block, part), getattr(again, part))


def test_a_block_is_the_same_in_another_process():
    # Spawned, not forked: nothing of this process, its random state or its caches, goes along.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        theirs = pool.submit(MockSky(0).block, 0).result()
    ours = MockSky(0).block(0)
    for part in ("stars", "neighbours", "exposures"):
        same(getattr(theirs, part), getattr(ours, part))


def test_star_17_never_changes():
    """Recorded values; a change of the sky's recipe must be meant, for every prepared dataset changes with it."""
    np.testing.assert_allclose(
        digits_of_star_17(),
        [4870.049658686305, -0.25758693966462, 140.79747203141235, 15.132805235890148, 12.397365812690541],
        rtol=1e-9,
    )


def test_tables_of_a_block_are_the_same_each_time():
    block = MockSky(2).block(4)
    for make in (catalogues.master, catalogues.photometry, catalogues.images, catalogues.gaia, catalogues.galah):
        first, again = make(block), make(block)
        for name in first.colnames:
            np.testing.assert_array_equal(np.ma.filled(first[name]), np.ma.filled(again[name]))


def test_another_seed_is_another_sky():
    one, other = MockSky(0).block(0), MockSky(1).block(0)
    for name in ("teff", "ra", "distance_pc", "ebv"):
        assert not np.isin(one.stars[name], other.stars[name]).any()
    assert not np.isin(one.exposures["fwhm"], other.exposures["fwhm"]).any()
    assert not np.isin(one.neighbours["dx_arcsec"], other.neighbours["dx_arcsec"]).any()


def test_blocks_of_a_sky_differ_and_number_on():
    sky = MockSky(0)
    first, second = sky.block(0).stars, sky.block(1).stars
    np.testing.assert_array_equal(second["star"], BLOCK_SIZE + np.arange(BLOCK_SIZE))
    assert not np.isin(first["teff"], second["teff"]).any()


def test_object_ids_lead_back_to_their_stars(blocks):
    for block in blocks[:2]:
        for star, object_id in zip(block.stars["star"], block.stars["object_id"], strict=True):
            assert star_of_object_id(object_id) == star
            assert object_id_of_star(star) == object_id
    neighbour = next(int(n) for n in blocks[0].neighbours["object_id"] if n > 0)
    for wrong in (neighbour, 5, -1):
        with pytest.raises(ValueError, match="not a star of the mock sky"):
            star_of_object_id(wrong)


def test_ids_are_large_and_unique(stars):
    for name in ("object_id", "source_id"):
        assert len(np.unique(stars[name])) == len(stars)
        assert (stars[name] > 2**32).all()
    assert stars["source_id"].max() > 2**53  # so large that a float would lose digits, as Gaia's


@pytest.mark.parametrize(("ask", "message"), [
    (lambda: MockSky(-1), "seed is -1"),
    (lambda: MockSky(0).block(-1), "block -1"),
    (lambda: MockSky(0).block(10**7), "has time for"),
])  # fmt: skip
def test_impossible_requests_are_refused_in_a_sentence(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


def test_a_block_cannot_be_changed_by_mistake():
    with pytest.raises(ValueError, match="read-only"):
        MockSky(0).block(0).stars["teff"][0] = 0


def test_a_sky_travels_to_worker_processes():
    again = pickle.loads(pickle.dumps(MockSky(3)))
    same(again.block(0).stars, MockSky(3).block(0).stars)
