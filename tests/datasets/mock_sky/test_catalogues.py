import numpy as np
import pytest

from datasets.skymapper import BANDS, EXTINCTION_COEFFICIENTS
from datasets.smss_stamps.fields import TRUTH_FIELDS


def filled(column):
    return np.ma.filled(np.ma.asarray(column).astype(float), np.nan)


def columns(table, *names):
    return np.stack([filled(table[name]) for name in names], axis=1)


@pytest.fixture(scope="module")
def first_spectra(tables):
    galah = tables["galah"]
    return galah[np.asarray(galah["sobject_id"]) % 100 == 0]


@pytest.fixture(scope="module")
def cuts(tables, first_spectra):
    """The high-quality sample's cuts, each as what it keeps."""
    master, gaia = tables["master"], tables["gaia"]
    parallax, error = filled(gaia["parallax"]), filled(gaia["parallax_error"])
    return {
        "latitude": np.abs(filled(master["glat"])) >= 10,
        "flag_sp": np.asarray(first_spectra["flag_sp"]) == 0,
        "flag_fe_h": np.asarray(first_spectra["flag_fe_h"]) == 0,
        "snr": filled(first_spectra["snr_c3_iraf"]) > 30,
        "flags": np.asarray(master["flags"]) == 0,
        "class_star": filled(master["class_star"]) >= 0.6,
        **{f"{band}_ngood": np.asarray(master[f"{band}_ngood"]) >= 1 for band in BANDS},
        "neighbours": ~(filled(master["self_dist1"]) < 15),
        "parallax": (parallax > 0) & (error / np.where(parallax > 0, parallax, 1) < 0.3),
        "gaia match": filled(master["gaia_dr3_dist1"]) <= 1,
    }


def test_each_cut_removes_stars_that_no_other_cut_removes(cuts):
    for name, kept in cuts.items():
        others = np.all([k for other, k in cuts.items() if other != name], axis=0)
        assert (others & ~kept).any(), name


def test_a_good_part_of_the_sky_is_of_high_quality(cuts):
    assert 0.25 < np.all(list(cuts.values()), axis=0).mean() < 0.45


def test_tables_join(tables):
    master, photometry, images = tables["master"], tables["photometry"], tables["images"]
    assert len(np.unique(master["object_id"])) == len(master)
    assert len(np.unique(images["image_id"])) == len(images)
    assert set(np.unique(photometry["object_id"])) <= set(np.asarray(master["object_id"]))
    np.testing.assert_array_equal(np.sort(photometry["image_id"]), np.sort(images["image_id"]))
    gaia_id = tables["master"]["gaia_dr3_id1"]
    matched = ~np.ma.getmaskarray(gaia_id)
    same = np.isin(np.asarray(gaia_id)[matched], np.asarray(tables["gaia"]["source_id"]))
    assert 0.98 < same.mean() < 1
    spectra = tables["galah"]["dr3_source_id"]
    assert 0 < np.ma.getmaskarray(spectra).mean() < 0.01
    assert np.isin(spectra.compressed(), np.asarray(tables["gaia"]["source_id"])).all()


def test_mean_magnitudes_are_those_of_the_good_detections(tables):
    master, photometry = tables["master"], tables["photometry"]
    good = photometry[np.asarray(photometry["use_in_clipped"]) == 1]
    for row in range(0, len(master), 501):
        own = good[np.asarray(good["object_id"]) == master["object_id"][row]]
        for band in BANDS:
            detections = own[np.asarray(own["filter"]) == band]
            assert len(detections) == master[f"{band}_ngood"][row]
            if len(detections):
                weight = np.asarray(detections["e_mag_psf"]) ** -2.0
                mean = np.average(np.asarray(detections["mag_psf"]), weights=weight)
                assert filled(master[f"{band}_psf"])[row] == pytest.approx(mean, abs=0.03)
            else:
                assert np.ma.is_masked(master[f"{band}_psf"][row])


@pytest.mark.parametrize(
    ("band", "median"), [("u", 0.014), ("v", 0.012), ("g", 0.007), ("r", 0.0065), ("i", 0.005), ("z", 0.0055)]
)
def test_magnitude_errors_at_14_to_15(tables, band, median):
    g = filled(tables["master"]["g_psf"])
    error = filled(tables["master"][f"e_{band}_psf"])[(g > 14) & (g < 15)]
    assert np.nanmedian(error) == pytest.approx(median, rel=0.25)


def test_magnitudes_scatter_about_the_truth_as_their_errors_say(tables, cuts):
    good = np.all(list(cuts.values()), axis=0)
    for number, band in enumerate(BANDS):
        residual = filled(tables["master"][f"{band}_psf"]) - np.asarray(tables["truth"]["true_mag"])[:, number]
        pull = (residual / filled(tables["master"][f"e_{band}_psf"]))[good]
        assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.1)
        assert abs(np.median(residual[good])) < 0.002


def test_neighbours_light_is_in_the_magnitudes(tables, blocks):
    residual = filled(tables["master"]["r_psf"]) - np.asarray(tables["truth"]["true_mag"])[:, 3]
    error = filled(tables["master"]["e_r_psf"])
    light = np.zeros((2, len(residual)))  # relative to the star's own, within 2 arcsec and within reach
    for block in blocks:
        n = block.neighbours
        share = 10 ** (-0.4 * (n["mag"][:, 3] - block.stars["mag"][n["star"] - block.stars["star"][0], 3]))
        near = np.hypot(n["dx_arcsec"], n["dy_arcsec"]) < 2
        np.add.at(light[0], n["star"][near], share[near])
        np.add.at(light[1], n["star"], share)
    blended = (light[0] > 0.01) & np.isfinite(residual)
    assert blended.sum() >= 8
    # That near, the fit takes in most of the neighbour, and never more than all light there is.
    residual, error, light = residual[blended], error[blended], light[:, blended]
    assert 0.4 < np.median(-residual / (2.5 * np.log10(1 + light[0]))) < 1.1
    assert (-residual <= 2.5 * np.log10(1 + light[1]) + 5 * error).all()


def test_reddening_is_known_as_well_as_the_map_allows(tables, stars):
    """The SFD column is that of the whole line of sight: right behind the dust, too much inside it."""
    excess = filled(tables["master"]["ebmv_sfd"]) - stars["ebv"]
    height = stars["distance_pc"] * np.abs(np.sin(np.radians(stars["glat"])))
    behind = (height > 500) & (np.abs(stars["glat"]) > 10)
    assert abs(np.median(excess[behind])) < 0.002
    assert np.median(excess[(height < 100) & (np.abs(stars["glat"]) > 10)]) > 0.005
    mean_error = np.mean(excess[np.abs(stars["glat"]) > 10]) * EXTINCTION_COEFFICIENTS["g"]
    assert 0 < mean_error < 0.06


def test_nulls_are_null(tables):
    master = tables["master"]
    for name in ("u_psf", "self_id1", "self_dist1", "gaia_dr3_id1", "gaia_dr3_dist1"):
        assert np.ma.getmaskarray(master[name]).any()
        assert not np.ma.getmaskarray(master[name]).all()
    for table in tables.values():
        for name in table.colnames:
            if np.asarray(table[name]).dtype.kind == "f":
                visible = np.ma.asarray(table[name]).compressed()
                assert np.isfinite(visible).all(), name
    np.testing.assert_array_equal(np.ma.getmaskarray(master["self_id1"]), np.ma.getmaskarray(master["self_dist1"]))


def test_types_and_units(tables):
    for table, name in (
        ("master", "object_id"),
        ("photometry", "image_id"),
        ("gaia", "source_id"),
        ("galah", "sobject_id"),
    ):
        assert tables[table][name].dtype == np.int64
    assert tables["master"]["raj2000"].dtype == np.float64
    assert tables["gaia"]["parallax"].dtype == np.float64
    assert tables["gaia"]["parallax_error"].dtype == np.float32
    assert str(tables["gaia"]["parallax"].unit) == "mas"
    assert str(tables["images"]["fwhm"].unit) == "arcsec"
    assert str(tables["galah"]["teff"].unit) == "K"
    assert (np.asarray(tables["galah"]["sobject_id"]) < 2**53).all()


def test_truth_has_its_fields(tables, stars):
    truth = tables["truth"]
    for name, field in TRUTH_FIELDS.items():
        assert truth[name].shape[1:] == field.shape
    np.testing.assert_array_equal(truth["true_teff"], stars["teff"])
    np.testing.assert_array_equal(truth["object_id"], tables["master"]["object_id"])


def test_parallax_errors(tables, stars):
    gaia = tables["gaia"]
    g, error = filled(gaia["phot_g_mean_mag"]), filled(gaia["parallax_error"])
    single = filled(gaia["ruwe"]) < 1.1
    expected = 0.018 + 0.006 * np.maximum(g - 13, 0)
    assert np.nanmedian((error / expected)[single]) == pytest.approx(1.0, abs=0.05)
    pull = (filled(gaia["parallax"]) - stars["parallax_mas"]) / error
    assert np.nanstd(pull) == pytest.approx(1.0, abs=0.05)
    assert 0 < np.isnan(pull).mean() < 0.02
    assert 0.02 < np.nanmean(filled(gaia["ruwe"]) > 1.4) < 0.12


def test_labels_err_as_galahs_do(tables, first_spectra):
    usable = (np.asarray(first_spectra["flag_sp"]) == 0) & (np.asarray(first_spectra["flag_fe_h"]) == 0)
    truth = columns(tables["truth"], "true_teff", "true_logg", "true_fe_h")[usable]
    residual = columns(first_spectra, "teff", "logg", "fe_h")[usable] - truth
    quoted = columns(first_spectra, "e_teff", "e_logg", "e_fe_h")[usable]
    scatter = 1.4826 * np.median(np.abs(residual), axis=0)
    assert 55 < scatter[0] < 90
    assert 0.03 < scatter[1] < 0.1
    assert 0.06 < scatter[2] < 0.1
    assert (np.abs(residual.mean(axis=0)) < [3, 0.003, 0.004]).all()
    assert (np.median(quoted, axis=0) > scatter).all()
    assert np.median(quoted[:, 1]) == pytest.approx(0.19, abs=0.04)


def test_repeat_spectra_share_a_part_of_their_error(tables, stars):
    galah = tables["galah"]
    identifier = np.asarray(galah["sobject_id"])
    star, visit = identifier % 10**9 // 100, identifier % 100
    assert len(np.unique(identifier)) == len(galah)
    assert len(galah) / len(np.unique(star)) == pytest.approx(1.13, abs=0.03)
    second = np.flatnonzero(visit == 1)
    np.testing.assert_array_equal(star[second - 1], star[second])
    np.testing.assert_array_equal(galah["star_id"][second - 1], galah["star_id"][second])
    teff = filled(galah["teff"]) - stars["teff"][star]
    pairs = np.stack([teff[second - 1], teff[second]])[:, np.isfinite(teff[second - 1] + teff[second])]
    assert (pairs[0] != pairs[1]).all()
    assert 0.3 < np.corrcoef(pairs)[0, 1] < 0.9


def test_galah_flags_what_it_cannot_measure(tables):
    galah = tables["galah"]
    teff = filled(galah["teff"])
    flagged = np.asarray(galah["flag_sp"]) != 0
    assert flagged[(teff < 4000) | (teff > 8000)].all()
    assert 0.1 < flagged.mean() < 0.25
    assert 0.01 < (np.asarray(galah["flag_fe_h"]) != 0).mean() < 0.1
    assert flagged[np.isnan(teff)].all()


def test_names_follow_positions(tables):
    master, galah = tables["master"], tables["galah"]
    for row in range(0, len(master), 997):
        name = str(master["smss_j"][row])
        ra = 15 * (int(name[6:8]) + int(name[8:10]) / 60 + float(name[10:15]) / 3600)
        sign = -1 if name[15] == "-" else 1
        dec = sign * (int(name[16:18]) + int(name[18:20]) / 60 + float(name[20:]) / 3600)
        assert name.startswith("SMSS J")
        assert ra == pytest.approx(master["raj2000"][row], abs=15 * 0.011 / 3600)
        assert dec == pytest.approx(master["dej2000"][row], abs=0.11 / 3600)
        assert len(str(galah["star_id"][row])) == 16


def test_class_star(tables):
    index = filled(tables["master"]["class_star"])
    assert 0.9 < np.median(index) <= 1
    assert 0.01 < (index < 0.6).mean() < 0.08
