import dataclasses

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from datasets.build.packing import NoStampError
from datasets.build.prepare import build
from datasets.mock_sky import finding
from datasets.mock_sky.archive import MockArchive
from datasets.surveys.base import Sources
from datasets.surveys.mock_table import MockTableSurvey
from datasets.surveys.opening import open_survey
from datasets.surveys.stars import one_row_per_star
from datasets.surveys.table import TableSurvey
from tests.loopback import serve

N_STARS = 700  # three blocks of the sky, and the last not whole
SKY = MockArchive(seed=3, n_stars=N_STARS)
TABLES = {name: SKY.table(name) for name in ("dr4.master", "gaia", "truth")}
STARS = one_row_per_star(TABLES["dr4.master"], TABLES["gaia"], truth=TABLES["truth"])


def _write(path, rows, head="ra,dec,object_id,source_id,parallax,parallax_error"):
    path.write_text("\n".join([head, *rows]) + "\n")
    return Sources(table=str(path))


def _gathered(survey):
    """All rows of a survey, in order of input_row."""
    blocks = [survey.stars(block) for block in survey.blocks()]
    stars = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    order = np.argsort(stars["input_row"])
    np.testing.assert_array_equal(stars["input_row"][order], np.arange(len(order)))
    return {name: values[order] for name, values in stars.items()}


@pytest.fixture
def small_search(monkeypatch):
    monkeypatch.setattr(finding, "SEARCHED_STARS", 1024)
    monkeypatch.setattr(finding.stars_by_position, "__defaults__", (1.0, 1024))


def test_every_row_over_the_mock_sky_is_the_star_that_was_meant(tmp_path, small_search, monkeypatch):
    monkeypatch.setattr(MockTableSurvey, "block_size", 64)
    rng = np.random.default_rng(0)
    meant = rng.integers(N_STARS, size=300)  # some of them twice
    meant = meant[STARS["source_id"][meant] != -1]
    rows = []
    for number, row in enumerate(meant):
        ra, dec = STARS["raj2000"][row], STARS["dej2000"][row] + 0.3 / 3600
        ids = STARS["object_id"][row], STARS["source_id"][row]
        rows.append((f"{ra:.9f},{dec:.9f},,,,", f",,{ids[0]},,,", f",,,{ids[1]},2.5,0.1")[number % 3])
    found = _gathered(MockTableSurvey(3, _write(tmp_path / "t.csv", rows)))
    for name in ("object_id", "source_id", "raj2000", "phot_g_mean_mag", "true_teff", "true_mag"):
        np.testing.assert_array_equal(found[name], STARS[name][meant], err_msg=name)
    own = np.arange(len(meant)) % 3 == 2
    np.testing.assert_array_equal(found["own_parallax"], own)
    np.testing.assert_array_equal(found["parallax"], np.where(own, 2.5, STARS["parallax"][meant]))


def test_what_the_mock_sky_does_not_have_is_told(tmp_path, small_search):
    there = int(STARS["object_id"][0])
    never = finding.OBJECT_ID_BASE + finding.OBJECT_ID_STEP * finding.N_STARS
    rows = ["100,80,,,,", f",,{there + 1},,,", f",,{never},,,", f",,,{STARS['source_id'][5] + 64},,", ",,,12,,"]
    rows += [f",,,{STARS['source_id'][5] + (1 << 35)},,", "abc,-30,,,,", ",,,,,", f",,{there},,,"]
    survey = MockTableSurvey(3, _write(tmp_path / "t.csv", rows))
    found = _gathered(survey)
    assert found["object_id"].tolist() == [-1] * 8 + [there]
    assert np.isnan(found["true_mag"][:8]).all()
    reasons = [survey.why_not_found(row) for row in range(8)]
    assert reasons[0].startswith(
        "the mock sky has no star within 1 arcsec of this position (100.0000000, 80.0000000 deg"
    )
    assert reasons[1] == f"the mock sky has no star of this object_id ({there + 1})"
    assert reasons[4] == "the mock sky has no star of this source_id (12)"
    assert reasons[6] == "ra is not a number ('abc')"
    assert reasons[7] == "the table has no position for it"


def test_the_last_star_of_the_mock_sky_can_be_made():
    last = finding.OBJECT_ID_BASE + finding.OBJECT_ID_STEP * (finding.N_STARS - 1)
    assert finding.stars_by_object_id(np.array([last])).tolist() == [finding.N_STARS - 1]
    assert MockArchive(seed=3).table("dr4.master", [last])["object_id"].tolist() == [last]


def test_positions_are_those_of_dr4_master():
    ra, dec = (np.asarray(TABLES["dr4.master"][name])[600:] for name in ("raj2000", "dej2000"))
    np.testing.assert_array_equal(finding.stars_by_position(3, ra, dec, 1e-6, 1024), np.arange(600, N_STARS))
    assert finding.stars_by_position(3, ra, dec, 1.0, 512).tolist() == [-1] * 100


def test_a_build_of_a_table_over_the_mock_sky(tmp_path, small_search):
    rows = [f",,{STARS['object_id'][row]},,," for row in (3, 600, 3, 5)] + ["abc,1,,,,", "1,2"]
    sources = _write(tmp_path / "mine.csv", rows)
    folder = build("mock_stars", data_dir=tmp_path, seed=3, workers=1, sources=sources, progress=False)
    examples = list(tfds.builder_from_directory(folder).as_data_source("stars"))
    rejected = pyarrow.parquet.read_table(folder / "rejected.parquet").to_pydict()
    assert sorted([int(e["input_row"]) for e in examples] + rejected["input_row"]) == list(range(6))
    reasons = dict(zip(rejected["input_row"], rejected["reason"], strict=True))
    assert reasons[4] == "ra is not a number ('abc')"
    assert reasons[5].startswith("the row has other cells")
    of_row = {int(e["input_row"]): e for e in examples}
    np.testing.assert_array_equal(of_row[0]["stamp"], of_row[2]["stamp"])
    assert of_row[0]["true_teff"] == np.float32(STARS["true_teff"][3])


def test_a_table_without_a_single_stamp_hands_over_the_reasons(tmp_path):
    sources = _write(tmp_path / "mine.csv", ["200,1,12x,,,", ",,77,,,"])
    with pytest.raises(NoStampError, match="none of the 2 selected stars has a stamp") as error:
        build("mock_stars", data_dir=tmp_path, seed=3, workers=1, sources=sources, progress=False)
    table = error.value.rejected.to_pydict()
    reasons = dict(zip(table["input_row"], table["reason"], strict=True))
    assert reasons == {
        0: "object_id is not an integer of 64 bits ('12x')",
        1: "the mock sky has no star of this object_id (77)",
    }


def test_proper_motions_take_positions_to_the_mean_epoch(tmp_path):
    """Stars that move by 3 arcsec a year are where dr4.master has them only at its mean_epoch."""
    master = TABLES["dr4.master"][:4]
    moving, epoch = [], 1991.25
    years = 2000 + (np.asarray(master["mean_epoch"]) - 51544.5) / 365.25 - epoch
    for row in range(4):
        ra, dec = master["raj2000"][row], master["dej2000"][row] - 3.0 * years[row] / 3600
        moving.append(f"{ra:.9f},{dec:.9f},0,3000,{epoch if row < 3 else ''}")
    sources = _write(tmp_path / "t.csv", moving, "ra,dec,pmra,pmdec,ref_epoch")
    with serve(MockArchive(seed=3, n_stars=160)) as server:
        addresses = {name: getattr(server, name) for name in ("skymapper_tap_url", "cutout_url", "gaia_tap_url")}
        sources = dataclasses.replace(sources, cache=str(tmp_path / "cache"), rate_per_s=10_000.0, **addresses)
        found = _gathered(TableSurvey(sources))
    assert found["object_id"].tolist() == [*master["object_id"][:3].tolist(), -1]


def test_surveys_of_tables_are_opened_by_their_config(tmp_path):
    assert isinstance(
        open_survey("mock_stars", 3, _write(tmp_path / "t.csv", ["200,1,12x,,,", ",,77,,,"])), MockTableSurvey
    )
