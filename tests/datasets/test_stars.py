import numpy as np
import pytest
from astropy.table import MaskedColumn, Table, join

from datasets.selection import HIGH_QUALITY, first_failed
from datasets.stars import best_spectra, catalogue_fields, match, one_row_per_star, plain


def spectra(rows):
    names = ("sobject_id", "dr3_source_id", "snr_c3_iraf", "flag_sp", "flag_fe_h")
    return Table(rows=rows, names=names)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([(1, 5, 40.0, 0, 0), (2, 5, 60.0, 0, 0)], 2),  # the higher signal-to-noise ratio
        ([(1, 5, 40.0, 0, 0), (2, 5, 60.0, 1, 0)], 1),  # a flag outweighs it
        ([(1, 5, 40.0, 0, 0), (2, 5, 60.0, 0, 4)], 1),
        ([(1, 5, 40.0, 1, 0), (2, 5, 60.0, 8, 0)], 2),  # all flagged: the ratio again
        ([(2, 5, 60.0, 0, 0), (1, 5, 60.0, 0, 0)], 1),  # a tie: the lower sobject_id
        ([(1, 5, np.nan, 0, 0), (2, 5, 1.0, 0, 0)], 2),  # an unknown ratio is the lowest
    ],
)
def test_one_spectrum_of_several_is_used(rows, chosen):
    table = spectra(rows)
    assert table["sobject_id"][best_spectra(table)].tolist() == [chosen]


def test_match_tells_neighbouring_int64_apart():
    ids = np.array([2**62 + 1, 2**62 + 3, 2**62 + 2])
    assert match(np.array([2**62 + 2, 2**62 + 4, -1, 2**62 + 1]), ids).tolist() == [2, -1, -1, 0]
    assert match(np.array([1, -1]), np.array([], np.int64)).tolist() == [-1, -1]
    assert match(np.array([-1]), np.array([-1, 3])).tolist() == [-1], "a missing id is nobody's"


def test_missing_values_become_nan_or_minus_one():
    table = Table({"a": MaskedColumn([1.0, 2.0], mask=[False, True]), "b": MaskedColumn([1, 2], mask=[True, False])})
    table["c"] = np.array([3, 4], ">f4")
    table["d"] = MaskedColumn(np.array([3, 4], np.uint8), mask=[True, False])
    np.testing.assert_array_equal(plain(table, "a", "t"), [1.0, np.nan])
    np.testing.assert_array_equal(plain(table, "b", "t"), [-1, 2])
    np.testing.assert_array_equal(plain(table, "d", "t"), [-1, 4])
    assert plain(table, "c", "t").dtype == np.dtype("=f4")
    with pytest.raises(ValueError, match="t has no column nowhere"):
        plain(table, "nowhere", "t")


def test_rows_are_joined_as_astropy_joins_them(small_sky):
    from datasets import parts

    tables = parts._archive("mock", 0).tables_of_block(3)
    shuffle = np.random.default_rng(0).permutation
    gaia, galah = tables["gaia"], tables["galah"]
    gaia, galah = gaia[shuffle(len(gaia))[5:]], galah[shuffle(len(galah))[5:]]  # some stars without, in any order
    stars = one_row_per_star(tables["dr4.master"], gaia, galah, tables["truth"])
    gaia["gaia_dr3_id1"], galah["gaia_dr3_id1"] = gaia["source_id"], galah["dr3_source_id"]
    expected = join(tables["dr4.master"]["object_id", "gaia_dr3_id1"], gaia, "gaia_dr3_id1", join_type="left")
    expected = join(expected, galah, "gaia_dr3_id1", join_type="left")
    expected.sort("object_id")
    np.testing.assert_array_equal(stars["object_id"], expected["object_id"])
    for name in ("source_id", "sobject_id"):
        np.testing.assert_array_equal(stars[name], expected[name].filled(-1))
    for name in ("parallax", "bp_rp", "teff", "snr_c3_iraf"):
        np.testing.assert_array_equal(stars[name], expected[name].filled(np.nan))
    without = expected["source_id"].mask
    assert (first_failed(stars)[without] == [cut.name for cut in HIGH_QUALITY].index("gaia")).all()


def test_fields_keep_position_and_bands(small_sky):
    from datasets import parts

    stars = one_row_per_star(*list(parts._archive("mock", 0).tables_of_block(0).values()))
    fields = catalogue_fields(stars)
    np.testing.assert_array_equal(fields["ra"], 359.9 + 1e-9 * np.arange(50))
    assert fields["ra"].dtype == np.float64
    np.testing.assert_array_equal(fields["psf_mag"][7], np.float32([12.007, 13.007, 14.007, 15.007, 16.007, 17.007]))
    np.testing.assert_array_equal(np.isnan(fields["bp_rp"]), np.arange(50) % 5 == 0)
    assert np.isnan(fields["self_dist1"]).all()
