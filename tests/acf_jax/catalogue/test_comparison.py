"""A catalogue against surveys whose differences from it are known."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from matplotlib.figure import Figure

from acf_jax.catalogue.__main__ import main
from acf_jax.catalogue.files import formats
from acf_jax.catalogue.flags import Flag
from tests.acf_jax.catalogue import galaxy
from tests.acf_jax.report.records import by_quantity

OFFSET, NOISE = {"teff": -40.0, "logg": 0.05, "fe_h": 0.1}, {"teff": 110.0, "logg": 0.2, "fe_h": 0.15}
COLUMNS = {"teff": "TEFF", "logg": "LOGG", "fe_h": "FE_H"}
N, N_TRAINED = galaxy.N_STARS, 1200


@pytest.fixture(scope="module")
def rows():
    """The stars of `galaxy` with ids; every 2.5th was trained on, which shows in its numbers."""
    rows = galaxy.rows_of()
    rows["object_id"][:], rows["source_id"][:] = 300_000_000_000_000_001 + np.arange(N), 2**62 + 1 + np.arange(N)
    rows["flags"][-N_TRAINED:] |= Flag.TRAINED_ON.value
    return rows


@pytest.fixture(scope="module")
def apogee(rows, tmp_path_factory):
    """An allStar of all stars with that noise; of those trained on with none. Ids of the half of it, in another order.

    Star 100 lies 2 arcsec off, star 101 has a second visit, star 102 one that is flagged.
    """
    rng = np.random.default_rng(5)
    table = {"RA": rows["raj2000"], "DEC": rows["dej2000"], "STARFLAG": np.zeros(N, int), "FE_H_FLAG": np.zeros(N, int)}
    table["GAIAEDR3_SOURCE_ID"] = np.where((np.arange(N) % 2 == 1) | (np.arange(N) == 100), rows["source_id"], -9999)
    for target, column in COLUMNS.items():
        noise = np.where(rows["flags"] & Flag.TRAINED_ON.value, 0.0, NOISE[target] * rng.normal(size=N))
        answer = np.where(np.isfinite(rows[target]), rows[target], {"teff": 5000.0}.get(target, 0.0))
        table[column] = answer - OFFSET[target] + noise
        table[f"{column}_ERR"] = np.full(N, 0.6 * NOISE[target])
    table = Table(table)
    table["DEC"][100] -= 2 / 3600
    table["STARFLAG"][102] = 4
    table.add_row(table[101])
    table["TEFF"][-1] += 50_000  # which must not be taken: it lies farther off
    table["DEC"][-1] += 0.3 / 3600
    path = tmp_path_factory.mktemp("survey") / "allStar.fits"
    table[rng.permutation(N + 1)].write(path)
    return path


@pytest.fixture(scope="module")
def catalogue(rows, tmp_path_factory):
    return galaxy.write(tmp_path_factory.mktemp("catalogue") / "catalogue.parquet", rows)


@pytest.fixture
def nothing_saved(monkeypatch):
    """Saving takes longest, and another test looks at it."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def told(folder):
    return json.loads((folder / "compare.json").read_text())


def test_offset_and_scatter_are_those_put_in_and_stars_trained_on_are_left_out(catalogue, apogee, rows, capsys):
    assert main(["compare", str(catalogue), "--apogee", str(apogee)]) == 0
    folder = catalogue.parent / "compare/allStar"
    found, printed = told(folder), capsys.readouterr().out
    teff = rows["teff"] - OFFSET["teff"]
    n = found["counts"]["stars compared"]
    out = {step: count for step, count in found["counts"].items() if count and step.startswith("left out")}
    assert out == {
        "left out: not STARFLAG = 0": 1,
        "left out: not TEFF >= 4000 K": out["left out: not TEFF >= 4000 K"],
        "left out: further entries of a star": 1,
        "left out: no parameters in the catalogue": galaxy.N_WITHOUT_RESULT,
        "left out: trained on": N_TRAINED - int((teff[-N_TRAINED:] < 4000).sum()),
    }
    assert found["counts"]["entries in the table"] - sum(out.values()) == n
    assert found["counts"]["paired by Gaia id"] == N // 2 + 2
    assert found["counts"]["paired by position, within 1 arcsec"] == N // 2 - 1
    for target in COLUMNS:
        r = by_quantity(found, target=target)
        assert r["n"] == n
        assert r["offset"] == pytest.approx(OFFSET[target], abs=5 * NOISE[target] / np.sqrt(n))
        assert r["std"] == pytest.approx(NOISE[target], rel=5 / np.sqrt(2 * n))
        assert r["mad_std"] == pytest.approx(NOISE[target], rel=10 / np.sqrt(2 * n))
        assert r["label_error"] == pytest.approx(0.6 * NOISE[target])
        assert r["std_without_it"] == pytest.approx(0.8 * NOISE[target], rel=9 / np.sqrt(2 * n))
        flat = [p for p in found["trends"] if p["target"] == target and p["along"] != target]
        assert len(flat) == 2 * 12
        errors = [(p["median"] - OFFSET[target]) / (1.25 * NOISE[target] / np.sqrt(p["n"])) for p in flat]
        assert np.abs(errors).max() < 5
        assert f"{r['std']:.{1 if target == 'teff' else 3}f}" in printed
    assert {m["group"] for m in found["measurements"]} == {"not trained on"}
    assert (found["survey"], found["is_mock"], found["sample"]) == ("APOGEE DR17", False, galaxy.PROVENANCE["sample"])
    assert found["paper"] == {"n": 39_550, "std": {"logg": 0.13}}
    assert list(found["figures"]) == ["figure_11", "figure_11_trends"]
    for name in found["figures"]:
        assert (folder / f"{name}.png").read_bytes()[1:4] == b"PNG"
        assert (folder / f"{name}.pdf").read_bytes()[:4] == b"%PDF"
    assert "0.13" in printed
    assert "The paper compared 39,550 stars" in printed


@pytest.mark.usefixtures("nothing_saved")
def test_another_format_in_other_batches_says_the_same(rows, catalogue, apogee, tmp_path, monkeypatch):
    other, read = galaxy.write(tmp_path / "stars.csv", rows), formats.read_columns
    assert main(["compare", str(catalogue), "--apogee", str(apogee), "--out", str(tmp_path / "a")]) == 0
    monkeypatch.setattr(formats, "read_columns", lambda *asked, **_: read(*asked[:2], batch_rows=700))
    assert main(["compare", str(other), "--apogee", str(apogee), "--out", str(tmp_path / "b")]) == 0
    a, b = told(tmp_path / "a"), told(tmp_path / "b")
    assert a["counts"] == b["counts"]
    values = np.array([[m["value"] for m in one["measurements"]] for one in (a, b)], float)
    np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-4)  # a text has fewer digits


def test_stars_trained_on_are_marked_on_demand_and_told_apart(catalogue, apogee, monkeypatch, capsys):
    drawn = {}
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.setdefault(len(drawn), figure))
    assert main(["compare", str(catalogue), "--apogee", str(apogee), "--with-trained", "--good"]) == 0
    found = told(catalogue.parent / "compare/allStar")
    groups = {
        group: by_quantity(found, target="logg", group=group) for group in ("not trained on", "trained on", "all")
    }
    assert groups["trained on"]["std"] < 1e-6
    assert groups["trained on"]["offset"] == pytest.approx(OFFSET["logg"], abs=1e-6)
    assert groups["not trained on"]["std"] == pytest.approx(NOISE["logg"], rel=0.1)
    assert groups["all"]["n"] == groups["trained on"]["n"] + groups["not trained on"]["n"]
    assert found["stars_left_out_by_flags"][0] == "NO_RESULT"
    assert found["counts"]["left out: flagged"] > 300
    grey = [line for axes in drawn[0].axes for line in axes.lines if line.get_label() == "trained on"]
    assert [len(line.get_xdata()) for line in grey] == 3 * [groups["trained on"]["n"]]
    for figure in drawn.values():
        figure.draw_without_rendering()
        texts = [figure._suptitle, *(axes.xaxis.label for axes in figure.axes)]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert min(box.y0 for box in boxes) > 0  # no label is cut off by the page
        assert max(box.y1 for box in boxes) < figure.bbox.y1
    assert "trained on      log g (dex)" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_saved")
def test_stars_of_another_datasets_training_are_known_by_that_dataset(rows, apogee, tmp_path, capsys):
    network = {"fingerprint": "f" * 64, "trained_on": {"fingerprint": "a"}}
    provenance = galaxy.PROVENANCE | {"dataset": {"fingerprint": "b"}, "networks": {"ACF": network}}
    unflagged = rows | {"flags": rows["flags"] & ~np.int32(Flag.TRAINED_ON.value)}
    path = galaxy.write(tmp_path / "c.parquet", unflagged, provenance=provenance)
    assert main(["compare", str(path), "--apogee", str(apogee), "--out", str(tmp_path)]) == 0
    assert "--training FOLDER, that dataset's, tells them." in capsys.readouterr().out
    assert told(tmp_path)["counts"]["left out: trained on"] == 0
    split = np.where(np.arange(N) < 500, "train", "validation")
    pq.write_table(pa.table({"object_id": rows["object_id"], "split": split}), tmp_path / "stars.parquet")
    asked = ["compare", str(path), "--apogee", str(apogee), "--out", str(tmp_path)]
    assert main([*asked, "--training", str(tmp_path)]) == 0
    assert "--training FOLDER" not in capsys.readouterr().out
    cool = int((rows["teff"][:500] - OFFSET["teff"] < 4300).sum())
    assert 450 - galaxy.N_WITHOUT_RESULT - cool < told(tmp_path)["counts"]["left out: trained on"] <= 460
    assert main([*asked, "--training", str(tmp_path / "nowhere")]) == 1
    assert "give the folder of a prepared dataset" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_saved")
def test_a_table_of_ones_own_and_ids_of_another_release(rows, catalogue, tmp_path, capsys):
    Table({"id": rows["source_id"] + 5000, "RAJ2000": rows["raj2000"], "DEJ2000": rows["dej2000"],
           "feh": np.where(np.isnan(rows["fe_h"]), 0, rows["fe_h"]) + 0.25}).write(tmp_path / "own.csv")  # fmt: skip
    asked = ["compare", str(catalogue), "--table", str(tmp_path / "own.csv"), "--out", str(tmp_path / "out")]
    asked += ["--columns", "source_id=id,ra=RAJ2000,dec=DEJ2000,fe_h=feh"]
    assert main(asked) == 0
    assert "3,000 entries lie at a star, but have the Gaia id of another" in capsys.readouterr().out
    assert told(tmp_path / "out")["figures"] == {}
    assert main([*asked, "--by-position"]) == 0
    found = told(tmp_path / "out")
    assert found["survey"] == "own"
    assert list(found["figures"]) == ["comparison_own", "comparison_own_trends"]
    assert {m["target"] for m in found["measurements"]} == {"fe_h"}
    assert by_quantity(found)["offset"] == pytest.approx(-0.25, abs=1e-6)
    assert found["counts"]["stars compared"] == N - N_TRAINED - galaxy.N_WITHOUT_RESULT


def test_what_cannot_be_compared_ends_in_one_sentence(catalogue, tmp_path, capsys):
    Table({"ra": [1.0], "dec": [2.0], "logg": [3.0]}).write(tmp_path / "own.csv")
    only_teff = galaxy.write(tmp_path / "teff.parquet", galaxy.rows_of(targets=("teff",)), targets=("teff",))
    nobody = galaxy.write(tmp_path / "nobody.parquet", {name: v[:0] for name, v in galaxy.rows_of().items()})
    for path, words in (
        (only_teff, "has teff and the survey's table logg: there is no parameter to compare."),
        (nobody, "has no rows."),
        (tmp_path / "nowhere", "There is no catalogue"),
    ):
        assert main(["compare", str(path), "--table", str(tmp_path / "own.csv"), "--out", str(tmp_path)]) == 1
        message = capsys.readouterr().err
        assert words in message
        assert message.count("\n") == 1
    assert main(["compare", str(catalogue), "--lamost", str(tmp_path / "own.csv")]) == 1
    assert "has no column teff, fe_h" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", str(catalogue), "--table", str(tmp_path / "own.csv"), "--columns", "Teff=T"])
    assert "'Teff=T' names no column: write NAME=COLUMN" in capsys.readouterr().err
