import numpy as np
import pytest

from datasets.mock_sky.stars.neighbours import (
    CATALOGUE_LIMIT_G,
    FAINTEST_G,
    RADIUS_ARCSEC,
    RESOLVED_ARCSEC,
    contaminating_flux,
    contamination,
    nearest_catalogued,
)


@pytest.fixture(scope="module")
def neighbours(blocks):
    return np.concatenate([block.neighbours for block in blocks])


def moffat(x, y, fwhm):
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
    return (1 + (x**2 + y**2) / alpha**2) ** -3


@pytest.mark.parametrize("separation", [0.0, 1.0, 2.6, 5.0, 8.0, 14.0])
def test_contamination_is_that_of_a_least_squares_psf_fit(separation):
    """Fit the star's profile alone to the pixels of a neighbour, on a fine grid."""
    x, y = np.meshgrid(np.arange(-60, 60, 0.1), np.arange(-60, 60, 0.1))
    star, neighbour = moffat(x, y, 2.6), moffat(x - separation, y, 2.6)
    fitted = (star * neighbour).sum() / (star * star).sum()
    found = contamination(np.array([separation]), np.array([2.6]))[0]
    assert found == pytest.approx(fitted, rel=0.01, abs=2e-4)


def test_a_third_of_the_stars_have_a_catalogued_neighbour_within_15_arcsec(blocks):
    found = [nearest_catalogued(block.stars, block.neighbours) for block in blocks]
    object_id, distance = (np.concatenate(values) for values in zip(*found, strict=True))
    assert np.isfinite(distance).mean() == pytest.approx(1 / 3, abs=0.05)
    np.testing.assert_array_equal(np.isfinite(distance), object_id > 0)
    assert np.nanmax(distance) < 15
    assert np.nanmin(distance) > RESOLVED_ARCSEC


def test_nearest_is_the_nearest(blocks):
    block = blocks[3]
    object_id, distance = nearest_catalogued(block.stars, block.neighbours)
    for row in range(0, 256, 7):
        own = block.neighbours[block.neighbours["star"] == block.stars["star"][row]]
        own = own[own["catalogued"]]
        r = np.hypot(own["dx_arcsec"], own["dy_arcsec"])
        if (r < 15).any():
            assert distance[row] == r.min()
            assert object_id[row] == own["object_id"][r.argmin()]
        else:
            assert np.isnan(distance[row])


def test_neighbours_are_spread_evenly_over_the_disc(neighbours):
    r = np.hypot(neighbours["dx_arcsec"], neighbours["dy_arcsec"])
    assert r.max() <= RADIUS_ARCSEC
    assert np.mean(r < RADIUS_ARCSEC / 2) == pytest.approx(0.25, abs=0.02)
    assert abs(neighbours["dx_arcsec"].mean()) < 0.5
    assert abs(neighbours["dy_arcsec"].mean()) < 0.5


def test_stamps_hold_as_many_catalogued_neighbours_as_the_surveys(blocks):
    """About 0.1 to 1.7 per 24 arcsec stamp, growing towards the plane."""
    count, latitude = [], []
    for block in blocks:
        n = block.neighbours[block.neighbours["catalogued"]]
        inside = (np.abs(n["dx_arcsec"]) < 12) & (np.abs(n["dy_arcsec"]) < 12)
        count.append(np.bincount(n["star"][inside] - block.stars["star"][0], minlength=256))
        latitude.append(np.abs(block.stars["glat"]))
    count, latitude = np.concatenate(count), np.concatenate(latitude)
    assert 0.07 < count[latitude > 60].mean() < count[latitude < 20].mean() < 1.7


def test_faint_ones_outnumber_bright_ones(neighbours):
    g = neighbours["mag"][:, 2]
    assert g.max() <= FAINTEST_G + 1e-9
    ratio = ((g > 17) & (g < 18)).sum() / ((g > 16) & (g < 17)).sum()
    assert ratio == pytest.approx(10**0.22, rel=0.15)
    assert not neighbours["catalogued"][g > CATALOGUE_LIMIT_G].any()
    assert (neighbours["object_id"][~neighbours["catalogued"]] == -1).all()
    catalogued = neighbours["object_id"][neighbours["catalogued"]]
    assert len(np.unique(catalogued)) == len(catalogued)


def test_contaminating_flux_is_the_sum_over_neighbours(blocks):
    block = blocks[1]
    row, fwhm, band = np.arange(256), np.full(256, 3.0), np.full(256, 1)
    found = contaminating_flux(block.stars, block.neighbours, row, fwhm, band)
    for star in range(0, 256, 17):
        own = block.neighbours[block.neighbours["star"] == block.stars["star"][star]]
        share = contamination(np.hypot(own["dx_arcsec"], own["dy_arcsec"]), np.full(len(own), 3.0))
        flux = 10 ** (-0.4 * (own["mag"][:, 1] - block.stars["mag"][star, 1]))
        assert found[star] == pytest.approx((share * flux).sum(), rel=1e-9)
