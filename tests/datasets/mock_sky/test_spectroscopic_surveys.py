"""The mock APOGEE and LAMOST, judged through the code that reads the real tables, against what was put in."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from acf_jax.surveys.known import SURVEYS
from acf_jax.surveys.matching import match
from acf_jax.surveys.reading import read_entries
from datasets.mock_sky.__main__ import main
from datasets.mock_sky.spectroscopic_surveys import LABELS, PRECISION, mock_table, observed_fraction, write_mock_table


def make_stars(n=4000, seed=0):
    """Cool giants and dwarfs, of solar metallicity, over the survey's sky."""
    rng = np.random.default_rng(seed)
    giant = rng.random(n) < 0.4
    return {
        "object_id": rng.permutation(n) + 2**40,
        "source_id": np.arange(n) + 2**61,
        "ra": rng.uniform(0, 360, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 0.03, n))),
        "true_teff": np.where(giant, rng.uniform(4400, 5200, n), rng.uniform(4800, 6000, n)).astype(np.float32),
        "true_logg": np.where(giant, rng.uniform(1.5, 3.2, n), rng.uniform(4.2, 4.7, n)).astype(np.float32),
        "true_fe_h": rng.uniform(-0.8, 0.3, n).astype(np.float32),
        "psf_mag": (rng.uniform(10, 14, n)[:, None] + np.zeros(6)).astype(np.float32),
    }


@pytest.mark.parametrize("survey", ["apogee", "lamost"])
def test_the_readers_find_the_injected_noise_and_zero_points(survey, tmp_path):
    stars = make_stars(12_000)
    path = tmp_path / "new_folder/table.fits"
    write_mock_table(survey, stars, 3, path)
    matched = match(read_entries(survey, path), [stars])
    assert matched.is_mock is True
    n = len(matched)
    assert n > 500
    for label in LABELS:
        residual = matched.labels[label] - stars[f"true_{label}"][matched.row]
        zero_point, noise = PRECISION[survey].zero_point[label], PRECISION[survey].noise[label]
        assert noise * 0.95 < residual.std() < noise * 1.6  # low S/N adds to the noise
        assert residual.mean() == pytest.approx(zero_point, abs=5 * residual.std() / np.sqrt(n))
        standardised = (residual - zero_point) / matched.labels[f"e_{label}"]
        assert standardised.std() == pytest.approx(1, abs=5 / np.sqrt(2 * n))


def test_the_cuts_take_away_the_flagged_spectra_that_scatter_more():
    stars = make_stars(12_000)
    table = mock_table("apogee", stars, 0)
    row = {source_id: i for i, source_id in enumerate(stars["source_id"].tolist())}
    truth = stars["true_logg"][[row[i] for i in table["GAIAEDR3_SOURCE_ID"].tolist()]]
    measured = table["LOGG"] > -9000
    residual = np.asarray(table["LOGG"] - truth)
    flagged = np.asarray(table["STARFLAG"] != 0)
    assert 0.08 < flagged.mean() < 0.16
    assert residual[flagged & measured].std() > 3 * residual[~flagged & measured].std()
    assert (table["FE_H"][~measured] < -9000).all()
    assert (table["FE_H_FLAG"][table["FE_H"] < -9000] != 0).all()


@pytest.mark.parametrize("survey", ["apogee", "lamost"])
def test_an_entry_hangs_on_its_star_and_the_seed_alone(survey):
    stars = make_stars(2000)
    chosen = np.random.default_rng(1).permutation(2000)[:700]
    whole, part = (mock_table(survey, s, 5) for s in (stars, {name: v[chosen] for name, v in stars.items()}))
    dec = "DEC" if survey == "apogee" else "dec"
    rows = {tuple(entry): None for entry in whole.as_array().tolist()}
    assert 0 < len(part) < len(whole)
    assert all(tuple(entry) in rows for entry in part.as_array().tolist())
    assert not np.isin(mock_table(survey, stars, 6)[dec], whole[dec]).any()


def test_lamost_is_northern_and_apogee_prefers_giants():
    stars = make_stars(8000)
    lamost = mock_table("lamost", stars, 0)
    assert lamost["dec"].min() > -10.01
    assert stars["dec"].min() < -80
    apogee = mock_table("apogee", stars, 0)
    seen = np.isin(stars["source_id"], apogee["GAIAEDR3_SOURCE_ID"])
    giant = stars["true_logg"] < 3.7
    assert seen[giant].mean() > 2 * seen[~giant].mean()
    expected = observed_fraction("apogee", stars["true_teff"], stars["true_logg"], stars["dec"])
    assert seen.mean() == pytest.approx(expected.mean(), abs=5 * np.sqrt(0.25 / 8000))
    assert len(apogee) > seen.sum()  # some stars have two entries


def test_hot_and_metal_poor_stars_are_harder():
    stars = make_stars(4000)
    stars["dec"] = np.full(4000, 1.0)
    stars["true_teff"][:2000], stars["true_fe_h"][:2000] = 7500, -2.0
    table = mock_table("lamost", stars, 0)
    table = table[table["teff"] > 0]  # those measured
    hard = table["fe_h"] < -1.2
    assert table["e_teff"][hard].mean() > 1.5 * table["e_teff"][~hard].mean()
    assert table["e_fe_h"][hard].mean() > 2 * table["e_fe_h"][~hard].mean()


def test_the_columns_are_those_of_the_survey(tmp_path):
    stars = make_stars(300)
    write_mock_table("apogee", stars, 0, tmp_path / "allStar.fits")
    entries = read_entries("apogee", tmp_path / "allStar.fits")
    there = set(Table.read(tmp_path / "allStar.fits").colnames)
    assert set(SURVEYS["apogee"].columns.values()) < there
    assert np.isin(entries.columns["source_id"], stars["source_id"]).all()


def test_a_survey_that_saw_none_of_the_stars_makes_an_empty_table(tmp_path):
    stars = make_stars(50)
    stars["dec"] = np.full(50, -60.0)
    assert write_mock_table("lamost", stars, 0, tmp_path / "lsp3.fits") == 0
    matched = match(read_entries("lamost", tmp_path / "lsp3.fits"), [stars])
    assert len(matched) == 0
    assert matched.is_mock is True


def test_real_stars_and_unknown_surveys_are_refused():
    stars = make_stars(5)
    with pytest.raises(ValueError, match="no mock survey 'rave': give one of apogee, lamost"):
        mock_table("rave", stars, 0)
    del stars["true_teff"]
    with pytest.raises(ValueError, match="only a mock sky's have"):
        mock_table("apogee", stars, 0)


def test_the_command_writes_the_table_of_a_prepared_datasets_stars(tmp_path, capsys):
    stars = make_stars(300)
    folder = tmp_path / "data/smss_stamps/mock/2.0.0"
    folder.mkdir(parents=True)
    columns = {name: stars[name] for name in stars if name != "psf_mag"}
    columns |= {f"psf_mag_{band}": stars["psf_mag"][:, i] for i, band in enumerate("uvgriz")}
    pq.write_table(pa.table(columns), folder / "stars.parquet")
    asked = ["survey", "apogee", "--dataset", "smss_stamps/mock", "--data-dir", str(tmp_path / "data"), "--seed", "4"]
    assert main([*asked, "--out", str(tmp_path / "mock.fits")]) == 0
    expected = mock_table("apogee", stars, 4)
    written = Table.read(tmp_path / "mock.fits", character_as_bytes=False)
    assert written.as_array().tolist() == expected.as_array().tolist()
    assert f"{len(expected)} entries of a mock APOGEE" in capsys.readouterr().out

    pq.write_table(pa.table({"object_id": [1]}), folder / "stars.parquet")
    for change, words in ((folder, "have no true parameters"), (tmp_path, "there is no dataset")):
        assert main([*asked[:2], "--dataset", str(change), "--out", str(tmp_path / "none.fits")]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "none.fits").exists()
