import numpy as np
import pytest
from astropy.table import MaskedColumn, Table, join

from datasets.samples.selection import HIGH_QUALITY, first_failed
from datasets.smss_stamps.fields import FIELDS, INPUT_FIELDS, TRUTH_FIELDS
from datasets.surveys.stars import (
    MASTER_COLUMNS,
    best_spectra,
    catalogue_fields,
    is_nearest,
    match,
    one_row_per_star,
    plain,
)

N_STARS = 50


def sky_tables():
    """Stars 0, 1, 2, ... whose values tell the star."""
    star, one = np.arange(N_STARS), np.ones(N_STARS)
    source_id = 5_000_000_000_000_000_000 + 3 * star
    master = {name: one for name in MASTER_COLUMNS} | {f"{f}_psf": 12 + i + star / 1000 for i, f in enumerate("uvgriz")}
    master |= {"object_id": 2**61 + star, "raj2000": 359.9 + 1e-9 * star, "gaia_dr3_id1": source_id}
    master |= {"flags": 0 * star, "self_dist1": MaskedColumn(one, mask=one > 0)}
    gaia = {name: 1.0 * star for name in ("parallax", "parallax_error", "ruwe", "phot_g_mean_mag")}
    gaia |= {"source_id": source_id, "bp_rp": MaskedColumn(one, mask=star % 5 == 0)}
    galah = {name: 1.0 * star for name in ("teff", "logg", "fe_h", "e_teff", "e_logg", "e_fe_h", "snr_c3_iraf")}
    galah |= {"sobject_id": star, "dr3_source_id": source_id, "flag_sp": 0 * star, "flag_fe_h": 0 * star}
    truth = {name: np.ones((N_STARS, *field.shape)) for name, field in TRUTH_FIELDS.items()}
    tables = {"dr4.master": master, "gaia": gaia, "galah": galah, "truth": {"object_id": 2**61 + star, **truth}}
    return {name: Table(columns) for name, columns in tables.items()}


def spectra(rows):
    names = ("sobject_id", "dr3_source_id", "snr_c3_iraf", "flag_sp", "flag_fe_h", "fe_h")
    table = Table(rows=[(*row, 0.0)[: len(names)] for row in rows], names=names)
    table["teff"], table["logg"] = 5000.0, 4.0
    return table


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([(1, 5, 40.0, 0, 0), (2, 5, 60.0, 0, 0)], 2),  # the higher signal-to-noise ratio
        ([(1, 5, 40.0, 0, 0), (2, 5, 60.0, 1, 0)], 1),  # a flag outweighs it
        ([(1, 5, 40.0, 0, 0), (2, 5, 60.0, 0, 4)], 1),
        ([(1, 5, 40.0, 1, 0), (2, 5, 60.0, 8, 0)], 2),  # all flagged: the ratio again
        ([(2, 5, 60.0, 0, 0), (1, 5, 60.0, 0, 0)], 1),  # a tie: the lower sobject_id
        ([(1, 5, np.nan, 0, 0), (2, 5, 1.0, 0, 0)], 2),  # an unknown ratio is the lowest
        ([(1, 5, np.inf, 0, 0), (2, 5, 1.0, 0, 0)], 2),
        ([(1, 5, 60.0, 0, 0, np.nan), (2, 5, 40.0, 1, 1, 0.0)], 2),  # no spectrum without labels, if another has them
        ([(1, 5, 60.0, 1, 0), (2, 5, 40.0, 0, 1)], 2),  # flag_sp weighs more than flag_fe_h
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["dr4.master"].rename_column("glat", "GLAT"), r"dr4\.master has no column glat; it has .*GLAT"),
        (lambda t: t["gaia"].rename_column("parallax", "paralax"), "gaia has no column parallax; it has paralax, "),
        (lambda t: t["galah"].remove_column("flag_fe_h"), "galah has no column flag_fe_h; it has .*flag_sp"),
        (lambda t: t["truth"].remove_column("true_ebv"), "truth has no column true_ebv; it has "),
        (lambda t: t["truth"].keep_columns([]), "truth has no column object_id; it has none"),
        (lambda t: t["galah"].replace_column("teff", np.full(N_STARS, "hot")), "teff of the table galah holds <U3"),
        (
            lambda t: t["gaia"].replace_column("source_id", np.ones(N_STARS)),
            "source_id of the table gaia .* rounds",
        ),
        (lambda t: t["dr4.master"].replace_column("gaia_dr3_id1", np.ones(N_STARS)), "dr4.master holds float64"),
    ],
)
def test_an_unfit_column_is_named_with_its_table(change, message):
    tables = sky_tables()
    change(tables)
    with pytest.raises(ValueError, match=message):
        one_row_per_star(*tables.values())


def test_of_many_columns_some_are_listed():
    with pytest.raises(ValueError, match=r"it has column_1, .* and 470 more$") as error:
        plain(Table({f"column_{i}": [0] for i in range(500)}), "colum_1", "t")
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("missing", MASTER_COLUMNS)
def test_every_column_asked_for_is_needed(missing):
    tables = sky_tables()
    assert set(tables["dr4.master"].colnames) == set(MASTER_COLUMNS), "and no other is"
    tables["dr4.master"].remove_column(missing)
    with pytest.raises(ValueError, match=f"dr4.master has no column {missing};"):
        one_row_per_star(*tables.values())


def test_a_source_belongs_to_the_nearest_of_its_objects():
    #            far  near   tie  tie    unknown          no source
    gaia_id = [7, 7, 8, 8, 9, 9, 9, -1, -1]
    distance = [0.3, 0.1, 0.2, 0.2, np.nan, np.nan, 14.0, 0.1, np.nan]
    object_id = [1, 2, 4, 3, 6, 5, 7, 8, 9]
    nearest = [False, True, False, True, False, False, True, True, True]
    rows = np.random.default_rng(0).permutation(9)
    shuffled = (np.array(values)[rows] for values in (gaia_id, distance, object_id))
    assert is_nearest(*shuffled).tolist() == np.array(nearest)[rows].tolist()


def test_objects_that_share_a_source_have_one_match_among_them():
    tables = sky_tables()
    master = tables["dr4.master"]
    master["gaia_dr3_id1"][[3, 5]] = master["gaia_dr3_id1"][4]
    master["gaia_dr3_dist1"] = 0.1 * np.arange(N_STARS)
    master["gaia_dr3_dist1"][5] = 0.2
    stars = one_row_per_star(*tables.values())
    np.testing.assert_array_equal(stars["source_id"][3:6], [-1, -1, tables["gaia"]["source_id"][4]])
    np.testing.assert_array_equal(stars["sobject_id"][3:7], [-1, -1, 4, 6])
    np.testing.assert_array_equal(stars["parallax"][3:7], [np.nan, np.nan, 4.0, 6.0])
    np.testing.assert_array_equal(stars["true_ebv"], np.ones(N_STARS), "the truth is the object's own")
    assert (first_failed(stars)[3:5] == [cut.name for cut in HIGH_QUALITY].index("gaia")).all()


def test_without_galah_no_star_has_a_spectrum():
    tables = sky_tables()
    stars, labelled = one_row_per_star(tables["dr4.master"], tables["gaia"]), one_row_per_star(*tables.values())
    for name in labelled.keys() - TRUTH_FIELDS.keys():
        assert stars[name].dtype == labelled[name].dtype
        missing = np.full(N_STARS, np.nan if stars[name].dtype.kind == "f" else -1)
        np.testing.assert_array_equal(stars[name], missing if name in tables["galah"].colnames else labelled[name])
    assert np.isnan(catalogue_fields(stars)["teff"]).all()


def test_empty_tables_have_no_stars():
    stars = one_row_per_star(*(table[:0] for table in sky_tables().values()))
    assert {len(values) for values in stars.values()} == {0}
    assert len(catalogue_fields(stars)["ra"]) == 0


def test_rows_are_joined_as_astropy_joins_them():
    tables = sky_tables()
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


def test_fields_keep_position_and_bands():
    fields = catalogue_fields(one_row_per_star(*sky_tables().values()))
    np.testing.assert_array_equal(fields["ra"], 359.9 + 1e-9 * np.arange(N_STARS))
    assert fields["ra"].dtype == np.float64
    np.testing.assert_array_equal(fields["psf_mag"][7], np.float32([12.007, 13.007, 14.007, 15.007, 16.007, 17.007]))
    np.testing.assert_array_equal(np.isnan(fields["bp_rp"]), np.arange(N_STARS) % 5 == 0)
    assert np.isnan(fields["self_dist1"]).all()


def test_fields_are_those_of_the_tables_and_what_further_ones_there_are():
    tables = sky_tables()
    stars = one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"])
    of_stamp = {"stamp", "mask", "n_detections", "n_dropped", "fwhm", "n_masked_pixels"}
    assert set(catalogue_fields(stars)) == set(FIELDS) - of_stamp
    of_table = {"input_row": np.arange(N_STARS)[::-1].astype(np.int32), "own_parallax": np.arange(N_STARS) % 2}
    with_row = catalogue_fields(stars | of_table)
    assert set(with_row) == set(FIELDS) - of_stamp | set(INPUT_FIELDS)
    np.testing.assert_array_equal(with_row["input_row"], np.arange(N_STARS)[::-1])
    assert with_row["input_row"].dtype == np.int64
    assert set(catalogue_fields(one_row_per_star(*tables.values()))) == set(FIELDS) - of_stamp | set(TRUTH_FIELDS)
