"""Builds of the real configs, against a loopback server that speaks the archives' addresses over the mock sky."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from astropy.table import Table

from datasets.archives import http
from datasets.build.__main__ import main
from datasets.build.packing import BuildError
from datasets.build.prepare import build, selected_only
from datasets.build.scan import STRATA
from datasets.files import load_array
from datasets.mock_sky.archive import MockArchive
from datasets.samples.selection import CATALOGUE, HIGH_QUALITY, LOW_QUALITY, first_failed
from datasets.stamps import StampError, make_stamp
from datasets.surveys.base import Sources
from datasets.surveys.catalogue import CatalogueSurvey
from datasets.surveys.stars import one_row_per_star
from tests.loopback import Faults, serve

ROOT = Path(__file__).parents[3]
SKY = MockArchive(seed=1, n_stars=118)  # of which 34 are of low quality: a whole part and a short one
FEW = 12  # of these, some in every split, where more would show no more
TABLES = {name: SKY.table(name) for name in ("dr4.master", "gaia", "galah")}
STARS = one_row_per_star(*TABLES.values())
COMMON = STARS["sobject_id"] >= 0  # what GALAH and SkyMapper have in common


@pytest.fixture(scope="module")
def galah(tmp_path_factory):
    path = tmp_path_factory.mktemp("galah") / "GALAH_DR3_main_allstar_v2.fits"
    table = TABLES["galah"].copy()
    for name in table.colnames:  # FITS has no dex
        table[name].unit = None
    table.write(path)
    return path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1780000000")
    pauses = http.Client.__init__.__kwdefaults__
    monkeypatch.setitem(pauses, "backoff_s", 0.01)
    monkeypatch.setitem(pauses, "timeout_s", 5.0)


def sources_of(server, **more):
    addresses = {name: getattr(server, name) for name in ("skymapper_tap_url", "cutout_url", "gaia_tap_url")}
    return Sources(rate_per_s=10_000.0, contact="test@example.org", **addresses, **{k: str(v) for k, v in more.items()})


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def selected(cuts):
    """object_id of the mock stars that pass the cuts, in order of object_id."""
    passes = (
        COMMON & (first_failed(STARS, cuts) == len(cuts))
        if cuts != CATALOGUE
        else first_failed(STARS, cuts) == len(cuts)
    )
    return np.sort(STARS["object_id"][passes])


def examples_of(folder):
    """Of all splits."""
    builder = tfds.builder_from_directory(folder)
    return [example for split in builder.info.splits for example in builder.as_data_source(split)]


def rejected_of(folder):
    return pyarrow.parquet.read_table(folder / "rejected.parquet").to_pydict()


def assert_stamps_of_the_mock_sky(folder):
    """Every example has the stamp that the mock archive gives without a network, and what has none is rejected."""
    ebmv = dict(zip(STARS["object_id"], STARS["ebmv_sfd"], strict=True))
    for example in examples_of(folder):
        position = float(example["ra"]), float(example["dec"])
        expected = make_stamp(SKY, int(example["object_id"]), *position, float(ebmv[example["object_id"]]))
        np.testing.assert_allclose(example["stamp"], expected.flux, rtol=1e-5, atol=1e-5 * expected.flux.max())
        np.testing.assert_array_equal(example["n_detections"], expected.n_detections)


# Low quality: a few dozen stars.


@pytest.fixture(scope="module")
def clean(galah, tmp_path_factory):
    """A server without faults, and a cache of its answers."""
    os.environ["SOURCE_DATE_EPOCH"] = "1780000000"
    with serve(SKY) as server:
        yield server, tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def low_quality(clean, galah, tmp_path_factory):
    """The folder of a build through no faults, and the requests it took."""
    server, cache = clean
    folder = build("low_quality", data_dir=tmp_path_factory.mktemp("clean"), workers=1, progress=False,
                   sources=sources_of(server, galah=galah, cache=cache))  # fmt: skip
    return folder, server.requests


@pytest.fixture(scope="module")
def few(low_quality, clean, galah, tmp_path_factory):
    """The folder of a build of `FEW` stars through no faults."""
    server, cache = clean
    return build("low_quality", n_stars=FEW, data_dir=tmp_path_factory.mktemp("few"), workers=1, progress=False,
                 sources=sources_of(server, galah=galah, cache=cache))  # fmt: skip


def test_a_sample_is_what_its_cuts_say(low_quality):
    folder, _ = low_quality
    examples, rejected = examples_of(folder), rejected_of(folder)
    found = [int(example["object_id"]) for example in examples] + rejected["object_id"]
    np.testing.assert_array_equal(np.sort(found), selected(LOW_QUALITY))
    assert not set(found) & set(selected(HIGH_QUALITY).tolist())
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["n_scanned"] - sum(cut["removed"] for cut in metadata["selection"]) == len(found)
    assert metadata["provenance"]["date"] == "2026-05-28"
    assert "dr4.master" in metadata["provenance"]["query"]
    assert_stamps_of_the_mock_sky(folder)


def test_the_client_is_polite(low_quality):
    _, requests = low_quality
    assert {request.headers["user-agent"] for request in requests} == {requests[0].headers["user-agent"]}
    assert "test@example.org" in requests[0].headers["user-agent"]
    cutouts = [request.key for request in requests if request.path.endswith("get_image")]
    assert len(cutouts) == len(set(cutouts)), "nothing is asked for twice"


def test_ten_per_cent_of_faults_change_nothing(few, galah, tmp_path):
    plan = [("sync.*photometry", kind, 1) for kind in ("overflow", "duplicate_row", "null_row")]
    kinds = ["reset", "429", "503", "html", "gateway_text", "truncated", "cut_short", "other_size", "clipped"]
    with serve(SKY, Faults(rate=0.1, kinds=kinds, seed=3, plan=plan, retry_after_s=0)) as server:
        through_faults = build("low_quality", n_stars=FEW, data_dir=tmp_path, workers=1, progress=False,
                               sources=sources_of(server, galah=galah))  # fmt: skip
        faults = server.counts()["fault"]
        assert 0.05 * len(server.requests) < sum(n for kind, n in faults.items() if kind), faults
        assert set(faults) >= {*kinds, "duplicate_row", "null_row", "overflow"}
    theirs, ours = (json.loads((f / "metadata.json").read_text()) for f in (through_faults, few))
    assert theirs["fingerprint"] == ours["fingerprint"]
    assert theirs["selection"] == ours["selection"]
    assert rejected_of(through_faults) == rejected_of(few)


def test_a_star_that_the_service_fails_is_tried_again_and_then_rejected(few, galah, tmp_path):
    first = {int(e["object_id"]): SKY.detections(int(e["object_id"]))[0] for e in examples_of(few)}
    victims = [object_id for object_id, detection in first.items() if detection.use_in_clipped][:2]
    frames = [f"IMAGE={first[victim].image_id}-{first[victim].ccd:02d}.*" for victim in victims]
    # The first of them recovers before it is tried again, the second never does.
    plan = [(f"get_image.*{frames[0]}FORMAT|FORMAT.*{frames[0]}", "503", 5), (frames[1], "503", None)]
    with serve(SKY, Faults(plan=plan)) as server:
        tried = build("low_quality", n_stars=FEW, data_dir=tmp_path, workers=1, progress=False,
                      sources=sources_of(server, galah=galah))  # fmt: skip
    rejected = dict(zip(*(rejected_of(tried)[name] for name in ("object_id", "reason")), strict=True))
    assert "given up after 5 tries" in rejected[victims[1]]
    assert victims[0] not in rejected
    assert len(rejected) == len(rejected_of(few)["object_id"]) + 1


def test_a_dead_service_stops_the_build_and_rejects_nobody(galah, tmp_path):
    options = {"config": "low_quality", "n_stars": FEW, "data_dir": tmp_path, "workers": 1, "progress": False}
    with serve(SKY, Faults(rate=1.0, kinds=["503"], tries=100, plan=[("sync", "slow", None)], slow_s=0)) as server:
        sources = sources_of(server, galah=galah)
        with pytest.raises(BuildError, match=r"out of reach.*Nothing finished is lost: the same command goes on"):
            build(sources=sources, **options)
        server.faults = Faults()
        folder = build(sources=sources, **options)
    assert all("given up" not in reason for reason in rejected_of(folder)["reason"])
    with pytest.raises(BuildError, match=r"out of reach.*Nothing finished is lost"):  # nobody answers any more
        build(sources=sources, **options | {"config": "high_quality"})


def test_an_unwritable_cache_is_told(galah, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with serve(SKY) as server, pytest.raises(BuildError, match=r"cache.*: Not a directory\. Nothing finished is lost"):
        build("low_quality", data_dir=tmp_path, workers=1, progress=False,
              sources=sources_of(server, galah=galah, cache=tmp_path / "cache"))  # fmt: skip


# Catalogue: paged by object_id, and drawn from.


def test_the_catalogue_is_paged_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(CatalogueSurvey, "page_size", 7)
    everybody = selected(CATALOGUE)
    with serve(SKY) as server:
        sources = sources_of(server)
        drawn = build("catalogue", n_stars=9, data_dir=tmp_path / "9", workers=1, progress=False, sources=sources)
        n_pages = sum("TOP" in str(request.params) for request in server.requests)
        more, _ = selected_only("catalogue", 10**6, tmp_path / "all", 0, 1, sources)
    assert n_pages > len(everybody) / 7
    ids = load_array(more.selected, "object_id").tolist()
    np.testing.assert_array_equal(np.sort(ids), everybody)
    some = [example["object_id"] for example in examples_of(drawn)] + rejected_of(drawn)["object_id"]
    assert len(some) == 9
    assert set(some) < set(ids)
    metadata = json.loads((drawn / "metadata.json").read_text())
    assert metadata["n_not_drawn"] == len(everybody) - 9
    by_archive = {cut["cut"] for cut in metadata["selection"] if cut["removed"] is None}
    assert {"flags", "class_star", "latitude"} <= by_archive
    assert "parallax" not in by_archive
    assert set(STRATA) <= set(examples_of(drawn)[0])
    assert_stamps_of_the_mock_sky(drawn)


# A user's own stars.


def test_every_row_of_a_users_table_comes_out(tmp_path):
    rows = np.array(list(itertools.islice(filter(has_stamp, range(len(STARS["object_id"]))), 4)))
    ids = [STARS["object_id"][rows[0]], 123, *[0] * 5]
    table = Table(
        {
            "RA": [*STARS["raj2000"][rows], STARS["raj2000"][rows[0]], 10.0, np.nan],
            "Dec": [*STARS["dej2000"][rows], STARS["dej2000"][rows[0]] + 0.3 / 3600, 80.0, 0.0],
            "parallax": np.ma.array([7.5, *[0] * 6], mask=[False, *[True] * 6]),
            "parallax_error": np.ma.array([0.1, *[0] * 6], mask=[False, *[True] * 6]),
            "object_id": np.ma.array(ids, mask=[False, False, *[True] * 5], dtype=np.int64),
        }
    )
    path = tmp_path / "mine.csv"
    table.write(path)
    with serve(SKY) as server:
        folder = build("stars", data_dir=tmp_path, workers=1, progress=False, sources=sources_of(server, table=path))
    examples = {int(example["input_row"]): example for example in examples_of(folder)}
    rejected = dict(zip(*(rejected_of(folder)[name] for name in ("input_row", "reason")), strict=True))
    assert sorted([*examples, *rejected]) == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(rejected) == [1, 5, 6]
    assert "no position" in rejected[6]
    assert "SkyMapper DR4 has no star within 1 arcsec of this position (10.0000000, 80.0000000 deg)" in rejected[5]
    assert rejected[1] == "SkyMapper DR4 has no star of this object_id (123)"
    assert [int(examples[row]["object_id"]) for row in (0, 2, 3, 4)] == STARS["object_id"][rows[[0, 2, 3, 0]]].tolist()
    assert examples[0]["parallax"] == 7.5
    assert [int(examples[row]["own_parallax"]) for row in (0, 2, 3, 4)] == [1, 0, 0, 0]
    assert examples[2]["parallax"] == np.float32(STARS["parallax"][rows[2]])
    assert np.isnan(examples[0]["teff"])
    assert_stamps_of_the_mock_sky(folder)


def has_stamp(row):
    try:
        position = STARS["raj2000"][row], STARS["dej2000"][row]
        return bool(make_stamp(SKY, int(STARS["object_id"][row]), *position, float(STARS["ebmv_sfd"][row])))
    except StampError:
        return False


# The command.


def command(server, galah, data_dir, *options):
    urls = [f"--{name}-url={getattr(server, f'{key}_url')}" for name, key in
            (("skymapper-tap", "skymapper_tap"), ("cutout", "cutout"), ("gaia-tap", "gaia_tap"))]  # fmt: skip
    return ["--config", "low_quality", f"--galah={galah}", f"--data-dir={data_dir}", "--rate=10000", *urls, *options]


def test_dry_run_says_what_is_to_come_and_is_taken_up(low_quality, clean, galah, tmp_path, capsys):
    server, cache = clean
    server.forget()
    options = command(server, galah, tmp_path, "--workers=1", f"--cache={cache}")
    assert main([*options, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert sum("sync" in request.path for request in server.requests) > 1
    server.forget()
    assert main(options) == 0
    assert not server.requests, "all stars are selected, and all cutouts are in the cache"
    assert f"{len(selected(LOW_QUALITY))} stars" in said
    assert all(word in said for word in ("requests", "GB", "hours"))
    assert contents(tmp_path / "smss_stamps/low_quality/2.0.0").keys() == contents(low_quality[0]).keys()


def test_killed_twice_and_resumed_through_faults_is_identical(low_quality, galah, tmp_path):
    faults = Faults(rate=0.02, kinds=["reset", "503", "html", "truncated", "clipped"], seed=1)
    with serve(SKY, faults) as server:
        options = command(server, galah, tmp_path, "--workers=2")
        arguments = [sys.executable, "-m", "datasets.build", *options]
        for _ in range(2):
            n_before = len(server.requests)
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
            process = subprocess.Popen(arguments, cwd=ROOT, **quiet)
            wait_until(lambda before=n_before: len(server.requests) > before + 100, process)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert main([*options, "--workers=1"]) == 0
    resumed = json.loads((tmp_path / "smss_stamps/low_quality/2.0.0/metadata.json").read_text())
    assert resumed["fingerprint"] == json.loads((low_quality[0] / "metadata.json").read_text())["fingerprint"]


def wait_until(happened, process):
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--config", "high_quality"], "takes its labels from GALAH+ DR3: get GALAH_DR3_main_allstar_v2.fits"),
        (["--config", "stars"], "needs a table of yours"),
        (["--config", "stars", "--table", "nowhere.csv"], "--table nowhere.csv: there is no such file"),
        (["--config", "catalogue", "--rate", "0"], "must be positive"),
        (["--config", "catalogue", "--contact", "(me)"], "must be plain ASCII"),
    ],
)
def test_what_cannot_be_built_is_told(options, sentence, tmp_path, capsys):
    assert main([*options, "--data-dir", str(tmp_path)]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,dec\na,1\n", "mine.csv has no columns ra and dec (in degrees); it has"),
        ("ra,dec\n12h,-30\n", "column ra is 12h in row 0: not a number"),
        ("ra,dec\n12.5,-30\n", "these may be hours"),
        ("ra,dec\n", "mine.csv has no rows"),
        ("ra,dec,object_id\n112.5,-30,a\n", "column object_id"),
    ],
)
def test_a_table_that_is_none_is_told(text, sentence, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    nowhere = ["--skymapper-tap-url", "http://127.0.0.1:9/tap"]
    assert main(["--config", "stars", "--table", str(path), "--data-dir", str(tmp_path), *nowhere]) == 1
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("datasets.build: ")
    assert sentence in error
