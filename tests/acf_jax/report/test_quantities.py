"""The bins hold every star that has a value, and are named as they are cut."""

import numpy as np
import pytest

from acf_jax.report.quantities import is_crowded, parallax_snr, quantities, without_sparse_ends
from tests.acf_jax.report.stand_in_context import TARGETS, draw_stars


def by_key(stars, prefix=""):
    return {quantity.key: quantity for quantity in quantities(stars, TARGETS, "uvgriz", prefix)}


@pytest.mark.parametrize("prefix", ["", "true_"])
def test_every_finite_value_is_in_one_bin(prefix):
    stars = draw_stars()
    stars["ebmv_sfd"][:3] = 0, 5, np.nan
    stars["parallax"][:3] = -2, 100, 0.3
    stars["self_dist1"][:2] = 4, 14.9
    found = by_key(stars, prefix)
    assert list(found) == ["teff", "logg", "fe_h", "g_mag", "ebmv_sfd", "parallax_snr", "crowded"]
    for quantity in found.values():
        bins = np.digitize(quantity.x, quantity.edges)
        finite = np.isfinite(quantity.x)
        assert ((bins >= 1) & (bins < len(quantity.edges)))[finite].all()
        assert (np.diff(quantity.edges) > 0).all()
    np.testing.assert_array_equal(found["teff"].x, stars[f"{prefix}teff"])
    np.testing.assert_array_equal(found["g_mag"].x, stars["psf_mag"][:, 2])


def test_bins_are_named_by_their_edges():
    found = by_key(draw_stars())
    names = {key: [quantity.bin_name(i) for i in range(len(quantity.edges) - 1)] for key, quantity in found.items()}
    assert names["teff"][1] == "4,500 to 5,000"
    assert names["logg"][-1] == "4.5 to 5.0"
    assert "-1.00 to -0.75" in names["fe_h"]
    assert (names["g_mag"][0], names["g_mag"][-1]) == ("11.0 to 11.5", "14.0 to 14.5")
    assert names["ebmv_sfd"] == ["below 0.02", "0.02 to 0.05", "0.05 to 0.10", "0.10 to 0.20", "0.20 or more"]
    assert names["parallax_snr"] == ["below 20", "20 to 50", "50 to 100", "100 to 200", "200 or more"]
    assert found["teff"].axis == "label Teff (K)"
    assert found["parallax_snr"].axis == "parallax S/N"
    assert by_key(draw_stars(), "true_")["teff"].axis == "true Teff (K)"


def test_sparse_ends_are_merged_inwards_and_no_star_is_lost():
    x = np.repeat([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], [4, 7, 3, 20, 9, 0])
    np.testing.assert_array_equal(without_sparse_ends([0, 1, 2, 3, 4, 5, 6], x), [0, 2, 3, 6])
    np.testing.assert_array_equal(without_sparse_ends([0, 1, 2, np.inf], x[:4]), [0, np.inf])
    np.testing.assert_array_equal(without_sparse_ends([0, 1], np.array([np.nan])), [0, 1])


def test_crowding_by_the_nearest_neighbour():
    stars = draw_stars(5)
    assert "crowded" not in by_key(stars)
    stars["self_dist1"][:] = np.nan, 14.99, 15.0, 3.0, np.inf
    assert is_crowded(stars).tolist() == [False, True, False, True, False]
    crowded = by_key(stars)["crowded"]
    assert [crowded.bin_name(i) for i in range(2)] == ["isolated", "crowded"]
    assert crowded.x.tolist() == [0, 1, 0, 1, 0]


def test_a_parallax_without_a_usable_error_has_no_signal_to_noise():
    stars = {"parallax": np.array([1.0, -2, 3, np.nan]), "parallax_error": np.array([0.1, 0.5, 0, 0.1])}
    np.testing.assert_allclose(parallax_snr(stars), [10, -4, np.nan, np.nan])
