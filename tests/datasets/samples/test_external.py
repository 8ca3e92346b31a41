"""Another survey's labels: which entry a star gets, what is cut and counted, and how a file's columns are found."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from datasets.archives.apogee import read_apogee
from datasets.samples.external import columns_from, matched_labels
from datasets.tables.local import TableError

ARCSEC = 1 / 3600


def apogee_file(path, **columns):
    """An allStar table of good entries at (10 deg, -30 deg), except for what `columns` say."""
    n = len(next(iter(columns.values())))
    defaults = {
        "APOGEE_ID": [f"2M{i:016d}" for i in range(n)],
        **{"RA": np.full(n, 10.0), "DEC": np.full(n, -30.0), "SNR": np.full(n, 200.0)},
        **{"STARFLAG": np.zeros(n, np.int64), "ASPCAPFLAG": np.zeros(n, np.int64), "FE_H_FLAG": np.zeros(n, np.int32)},
        **{"TEFF": 5000.0 + np.arange(n), "LOGG": np.full(n, 4.0), "FE_H": np.full(n, -0.2)},
        **{"TEFF_ERR": np.full(n, 60.0), "LOGG_ERR": np.full(n, 0.05), "FE_H_ERR": np.full(n, 0.01)},
        "GAIAEDR3_SOURCE_ID": np.arange(1, n + 1),
    }
    Table(defaults | columns).write(path)
    return path


def lamost_file(path, **columns):
    n = len(next(iter(columns.values())))
    defaults = {"ra": np.full(n, 10.0), "dec": np.full(n, 5.0), "teff": np.full(n, 5500.0)}
    defaults |= {"logg": np.full(n, 4.2), "fe_h": np.zeros(n)}
    Table(defaults | columns).write(path)
    return path


def test_a_star_gets_the_nearest_entry_that_passes_the_cuts(tmp_path):
    path = apogee_file(
        tmp_path / "allStar.fits",
        # Star 0 has a flagged, a good and a farther good visit; star 1 an entry too far off; star 2 one at the edge.
        DEC=np.array([-30, -30, -30, -40, -50]) + ARCSEC * np.array([0.1, 0.3, -0.5, 1.2, 0.9]),
        STARFLAG=np.array([4, 0, 0, 0, 0]),
    )
    matched = matched_labels("apogee", path, np.full(3, 10.0), np.array([-30.0, -40.0, -50.0]))
    assert matched["row"].tolist() == [0, 2]
    assert matched["teff"].tolist() == [5001, 5004]
    assert matched["e_teff"].tolist() == [60, 60]
    assert matched["survey"] == "APOGEE DR17"
    assert matched["is_mock"] is False
    assert matched["counts"] == {
        "entries in the table": 5,
        "within 1 arcsec of a star": 4,
        "left out: not STARFLAG = 0": 1,
        "left out: not FE_H_FLAG = 0": 0,
        "left out: not TEFF >= 4000 K": 0,
        "left out: further entries of a star": 1,
        "stars compared": 2,
    }


def test_apogees_cuts_are_the_papers(tmp_path):
    rng = np.random.default_rng(0)
    n = 200
    teff = np.where(rng.random(n) < 0.1, -9999.0, rng.uniform(3500, 5000, n))
    flags = {"STARFLAG": (rng.random(n) < 0.2).astype(np.int64), "FE_H_FLAG": (rng.random(n) < 0.2).astype(np.int32)}
    flags["STARFLAG"][0], flags["FE_H_FLAG"][0], teff[0] = 0, 0, 4000.0  # at the edge
    path = apogee_file(
        tmp_path / "allStar.fits",
        RA=np.arange(n) * 1.0,
        TEFF=teff,
        LOGG=np.where(rng.random(n) < 0.2, -9999.0, 3.0),
        **flags,
    )
    order = rng.permutation(n)  # the stars come in another order than the table
    matched = matched_labels("apogee", path, order * 1.0, np.full(n, -30.0))
    table = read_apogee(path)
    kept = (flags["STARFLAG"] == 0) & (flags["FE_H_FLAG"] == 0) & (teff >= 4000)
    assert (np.diff(matched["row"]) > 0).all()
    assert sorted(order[matched["row"]]) == np.flatnonzero(kept).tolist()
    np.testing.assert_array_equal(matched["teff"], table["TEFF"][order[matched["row"]]])
    expected = np.ma.asarray(table["LOGG"], float).filled(np.nan)[order[matched["row"]]]
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(matched["logg"], expected)  # a star without one label keeps the others
    counts = matched["counts"]
    left_out = sum(count for step, count in counts.items() if step.startswith("left out"))
    assert counts["within 1 arcsec of a star"] - left_out == counts["stars compared"] == kept.sum()


def test_pairs_are_those_that_astropy_finds(tmp_path):
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(359.99, 360.01, 300) % 360, rng.uniform(-0.01, 0.01, 300)
    shift = rng.normal(0, 0.8 * ARCSEC, (2, 300))
    path = lamost_file(
        tmp_path / "lsp3.fits", ra=(ra + shift[0]) % 360, dec=dec + shift[1], teff=5000 + np.arange(300.0)
    )
    matched = matched_labels("lamost", path, ra, dec)
    table = Table.read(path)
    nearest, distance, _ = SkyCoord(table["ra"], table["dec"], unit="deg").match_to_catalog_sky(
        SkyCoord(ra * u.deg, dec * u.deg)
    )
    best = {}
    for entry in np.argsort(distance.arcsec):
        if distance.arcsec[entry] <= 1:
            best.setdefault(int(nearest[entry]), 5000.0 + entry)
    assert 100 < len(best) < 300
    assert dict(zip(matched["row"].tolist(), matched["teff"].tolist(), strict=True)) == best


def test_lamost_is_cut_to_the_networks_range_of_temperatures(tmp_path):
    teff = np.array([3999.0, 4000.0, 8000.0, 8001.0, -9999.0])
    path = lamost_file(tmp_path / "lsp3.csv", ra=10.0 + np.arange(5), teff=teff, e_teff=np.full(5, 90.0))
    matched = matched_labels("lamost", path, 10.0 + np.arange(5), np.full(5, 5.0))
    assert matched["teff"].tolist() == [4000, 8000]
    assert matched["e_teff"].tolist() == [90, 90]
    assert np.isnan(matched["e_logg"]).all()  # the file quotes none
    assert matched["counts"]["left out: not Teff within 4000 to 8000 K"] == 3


def test_a_file_with_other_column_names_is_read_when_they_are_said(tmp_path):
    path = tmp_path / "lsp3.fits"
    Table(
        {"RAJ2000": [10.0, 20], "DEJ2000": [5.0, 5], "Teff": [5100.0, 5200], "log_g_": [4.0, 2], "__Fe_H_": [0, -1.0]}
    ).write(path)
    with pytest.raises(TableError, match=r"has no column ra; it has .*RAJ2000.*ra=RAJ2000,dec=DEJ2000"):
        matched_labels("lamost", path, [20.0], [5.0])
    columns = columns_from("ra=RAJ2000, dec=DEJ2000,teff=Teff,logg=log_g_,fe_h=__Fe_H_")
    matched = matched_labels("lamost", path, [20.0], [5.0], lamost_columns=columns)
    assert (matched["teff"].tolist(), matched["fe_h"].tolist()) == ([5200], [-1])


@pytest.mark.parametrize("text", ["ra", "ra=", "temperature=Teff", ""])
def test_a_mapping_that_names_no_column_is_refused(text):
    with pytest.raises(ValueError, match="names no column: write NAME=COLUMN with NAME one of ra, dec, teff"):
        columns_from(text)


def test_no_star_in_common_is_no_error(tmp_path):
    path = apogee_file(tmp_path / "allStar.fits", RA=np.array([100.0]))
    matched = matched_labels("apogee", path, [10.0], [-30.0])
    assert matched["row"].shape == matched["teff"].shape == (0,)
    assert matched["counts"]["stars compared"] == 0


def test_an_unknown_survey_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="no survey 'rave': give one of apogee, lamost"):
        matched_labels("rave", tmp_path / "rave.fits", [10.0], [5.0])
    with pytest.raises(TableError, match=r"there is no file .*lsp3\.fits"):
        matched_labels("lamost", tmp_path / "lsp3.fits", [10.0], [5.0])
