"""Builds of the small archive of conftest.py, of which everything is known, and of the real mock sky by command."""

import contextlib
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from datasets.build import parts, prepare, scan
from datasets.build.__main__ import build, main
from datasets.build.checksums import damaged_files
from datasets.build.packing import BuildError
from datasets.files import load
from datasets.skymapper import EXTINCTION_COEFFICIENTS
from datasets.smss_stamps.configs import TRAINING_SPLITS

ROOT = Path(__file__).parents[3]
N_STARS = 75  # two whole parts and a short one
MAIN = ["--config", "mock", "--stars", str(N_STARS), "--workers", "1", "--data-dir"]


def small_build(data_dir, **options):
    return build(n_stars=N_STARS, data_dir=data_dir, workers=1, progress=False, **options)


def metadata_of(folder):
    return json.loads((folder / "metadata.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_selected_star_is_an_example_or_rejected_with_its_reason(small_sky, tmp_path, capsys):
    assert main([*MAIN, str(tmp_path)]) == 0
    folder = tmp_path / "smss_stamps/mock/2.0.0"
    selected = 2_000_000_000_000_000_000 + np.array([star for star in range(200) if star % 3 != 0][:N_STARS])
    rejected = pyarrow.parquet.read_table(folder / "rejected.parquet").to_pydict()
    assert rejected["object_id"] == selected[selected % 10 == 4].tolist()
    assert set(rejected["reason"]) == {"no r-band detection with use_in_clipped = 1"}
    metadata = json.loads((folder / "metadata.json").read_text())
    removed = {cut["cut"]: cut["removed"] for cut in metadata["selection"] if cut["removed"]}
    n_looked_at = int(selected[-1] % 1000) + 1
    assert removed == {"flags": -(-n_looked_at // 3)}
    assert metadata["n_scanned"] == n_looked_at == N_STARS + sum(removed.values())
    printed = {line[:50].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines() if line[50:]}
    n_examples = N_STARS - len(rejected["object_id"])
    assert printed["examples"] == str(n_examples) == str(sum(int(printed[split]) for split in TRAINING_SPLITS))
    assert printed["without a stamp (rejected.parquet)"] == f"-{len(rejected['object_id'])}"
    assert not list(folder.parent.glob("*parts*")), "the work folder is gone"


def interruptions():
    def in_scan(monkeypatch):
        monkeypatch.setattr(scan, "scan_block", fail_after(parts.scan_block, 1))

    def in_parts(monkeypatch):
        monkeypatch.setattr(prepare, "make_part", fail_after(parts.make_part, 1))

    def between_bytes(monkeypatch):
        monkeypatch.setattr(os, "replace", fail_after(os.replace, 4))

    def in_packing(monkeypatch):
        monkeypatch.setattr("datasets.smss_stamps.smss_stamps_dataset_builder.load", fail_after(load, 2))

    def before_publishing(monkeypatch):
        monkeypatch.setattr(os, "replace", fail_after(os.replace, 8))

    return [in_scan, in_parts, between_bytes, in_packing, before_publishing]


def fail_after(function, n_calls):
    calls = []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) > n_calls:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    return failing


@pytest.mark.parametrize("interrupt", interruptions())
def test_an_interrupted_build_ends_identical(interrupt, small_sky, tmp_path):
    whole = contents(small_build(tmp_path / "whole"))
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch)
        with pytest.raises(KeyboardInterrupt):
            small_build(tmp_path / "broken")
    assert not (tmp_path / "broken/smss_stamps/mock/2.0.0").exists()
    assert contents(small_build(tmp_path / "broken")) == whole


def test_finished_parts_are_not_made_again(small_sky, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "make_part", fail_after(parts.make_part, 2))
        with pytest.raises(KeyboardInterrupt):
            small_build(tmp_path)
    asked = []
    stamp = parts.make_stamp
    monkeypatch.setattr(parts, "make_stamp", lambda archive, star, *a, **k: asked.append(star) or stamp(None, star, *a))
    monkeypatch.setattr(scan, "scan_block", None)
    small_build(tmp_path)
    assert len(asked) == N_STARS - 2 * parts.PART_SIZE


def test_prepared_already(small_sky, tmp_path, capsys):
    folder = small_build(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main([*MAIN, str(tmp_path)]) == 0
    assert "Already prepared" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert main([*MAIN, str(tmp_path), "--seed", "3"]) == 1
    assert "is prepared already, with seed = 0; for seed = 3 delete" in capsys.readouterr().err
    for option, told in (
        ("--sky table", "'sky': 'table'"),
        ("--aligner reproject", "'aligner': 'reproject'"),
        ("--splits paper", "splits = paper"),
    ):
        assert main([*MAIN, str(tmp_path), *option.split()]) == 1
        there, wanted = capsys.readouterr().err.split("; for ")
        assert "is prepared already" in there
        assert told not in there
        assert told in wanted
    recipe_before = metadata_of(folder)
    del recipe_before["provenance"]["recipe"]["splits"]  # as builds wrote it before there was a choice
    (folder / "metadata.json").write_text(json.dumps(recipe_before))
    assert main([*MAIN, str(tmp_path)]) == 0


def test_a_second_build_of_the_same_folder_refuses(small_sky, tmp_path, capsys):
    parent = tmp_path / "smss_stamps/mock"
    parent.mkdir(parents=True)
    lock = parent / ".2.0.0.lock"
    lock.write_text("123456")
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main([*MAIN, str(tmp_path)]) == 1
        assert "is being built already by process 123456; wait for it" in capsys.readouterr().err
    assert main([*MAIN, str(tmp_path)]) == 0, "a lock that nobody holds is no obstacle"


@contextlib.contextmanager
def largest_file(n_bytes):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("n_bytes", [1_000_000, 2_100_000])  # too small for a part; for a shard
def test_a_failed_write_is_told_and_survived(n_bytes, small_sky, tmp_path):
    with largest_file(n_bytes), pytest.raises(BuildError, match=r"File too large.*the same command goes on"):
        small_build(tmp_path / "full")
    assert contents(small_build(tmp_path / "full")) == contents(small_build(tmp_path / "roomy"))


def test_a_full_disk_is_seen_before_any_work(small_sky, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(BuildError, match=r"has 0.0 GB free, and 75 stars take up to .* GB more"):
        small_build(tmp_path)


def test_bad_requests_are_refused_in_a_sentence(small_sky, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "other/smss_stamps/mock/2.0.0").mkdir(parents=True)
    for options, sentence in [
        ([*MAIN, str(tmp_path / "file")], "Not a directory"),
        ([*MAIN, str(tmp_path / "other")], "is not a dataset of this builder; move it away"),
        ([*MAIN, str(tmp_path), "--stars", "0"], "must be positive"),
        ([*MAIN, str(tmp_path), "--stars", "1"], "would be empty with 1 stars; ask for more"),
        ([*MAIN, str(tmp_path / "none"), "--verify"], "is not prepared"),
        (["--config", "catalogue", "--splits", "paper"], "--splits paper: the config catalogue has no labels"),
    ]:
        assert main(options) == 1
        *_, error = capsys.readouterr().err.splitlines()
        assert error.startswith("datasets.build: ")
        assert sentence in error
    with pytest.raises(BuildError, match="there is no config 'mok'; there are mock, mock_large"):
        build("mok", data_dir=tmp_path)


def test_a_sky_without_a_good_star_ends(small_sky, tmp_path, monkeypatch):
    survey = parts.open_survey("mock", 0, None)
    tables = survey.tables_of_block(0)
    tables["dr4.master"]["flags"] = 1
    monkeypatch.setattr(type(survey), "tables_of_block", lambda self, index: tables)
    with pytest.raises(BuildError, match="none of the 2,000 stars looked at passes the selection"):
        small_build(tmp_path)


def test_verify_finds_a_changed_byte(small_sky, tmp_path, capsys):
    folder = small_build(tmp_path)
    assert main([*MAIN, str(tmp_path), "--verify"]) == 0
    subprocess.run(["sha256sum", "--check", "--quiet", "checksums.txt"], cwd=folder, check=True)
    shard = next(folder.glob("*validation*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    (folder / "rejected.parquet").unlink()
    assert damaged_files(folder) == ["rejected.parquet", shard.name]
    assert main([*MAIN, str(tmp_path), "--verify"]) == 1
    assert shard.name in capsys.readouterr().err


# The mock sky itself, with processes.

N_MOCK_STARS = 80


def command(data_dir, n_stars=N_MOCK_STARS):
    options = ["--config", "mock", "--stars", str(n_stars), "--workers", "2", "--data-dir", str(data_dir)]
    return [sys.executable, "-m", "datasets.build", *options]


def start_until_a_part_is_there(data_dir, n_stars=N_MOCK_STARS):
    """The running command, in a process group of its own, and the file of what it says."""
    said = data_dir.with_suffix(".said")
    # Tests that run in the background of a script ignore ctrl-C, and what they start would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with open(said, "w") as output:  # a file, because a pipe that nobody reads fills up
            process = subprocess.Popen(
                command(data_dir, n_stars), cwd=ROOT, stderr=output, stdout=output, start_new_session=True
            )
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not list(data_dir.glob("smss_stamps/mock/*parts*/part-*.npz")):
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, said


def wait_until_all_have_ended(group):
    deadline = time.monotonic() + 60
    while True:
        listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        states = [line.split()[1] for line in listed.splitlines() if int(line.split()[0]) == group]
        if all(state.startswith("Z") for state in states):
            return
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def mock_dataset(tmp_path_factory):
    """The prepared folder of a build of the mock sky that nothing disturbed, by one process."""
    return build(n_stars=N_MOCK_STARS, data_dir=tmp_path_factory.mktemp("whole"), workers=1, progress=False)


def test_stamps_hold_the_injected_flux(mock_dataset):
    examples = tfds.builder_from_directory(mock_dataset).as_data_source("train")
    flux = np.array([example["stamp"].sum(axis=(0, 1)) for example in examples])
    reddened = np.array([example["true_mag"] for example in examples])
    extinction = np.outer([example["ebmv_sfd"] for example in examples], list(EXTINCTION_COEFFICIENTS.values()))
    # A star's noise is some 0.02 mag in u and v, and 64 stars have a median good to an eighth of that.
    np.testing.assert_allclose(np.median(23.9 - 2.5 * np.log10(flux) - (reddened - extinction), axis=0), 0, atol=0.015)


def test_the_papers_way_makes_the_same_stars_with_another_sky_level(mock_dataset, tmp_path):
    """By table and reproject, in 8:2: stamps differ by one number a band, mostly below 0.5 % of the whole flux."""
    paper = parts.Choices(aligner="reproject", sky="table", splits="paper")
    folder = build(n_stars=16, data_dir=tmp_path, workers=1, progress=False, choices=paper)
    builder, ours = (tfds.builder_from_directory(each) for each in (folder, mock_dataset))
    by_id = {e["object_id"]: (e["stamp"], s) for s in TRAINING_SPLITS for e in ours.as_data_source(s)}
    assert list(builder.info.splits) == ["train", "validation"]
    off = []
    for split in builder.info.splits:
        for example in builder.as_data_source(split):
            stamp, our_split = by_id[example["object_id"]]
            assert (split == "validation") == (our_split == "validation")
            difference = example["stamp"] - stamp
            core = difference[16:32, 16:32].reshape(-1, 6)  # farther out not every detection reaches
            level = np.median(core, axis=0)
            assert np.quantile(np.abs(core - level), 0.75) < 1e-6 * stamp.max()
            off.append(48**2 * level / stamp.sum(axis=(0, 1)))
    assert len(off) == 16
    assert 0.0005 < np.median(np.abs(off)) < 0.005, "the sky's share of a star's flux that the two disagree about"
    assert 0.005 < np.quantile(np.abs(off), 0.9) < 0.05, "of faint stars, mostly in u and v"
    metadata, readme = metadata_of(folder), (folder / "README.md").read_text()
    assert metadata["provenance"]["recipe"]["stamps"] == {"aligner": "reproject", "sky": "table"}
    assert metadata["provenance"]["recipe"]["splits"] == "paper"
    assert set(pyarrow.parquet.read_table(folder / "stars.parquet")["split"].to_pylist()) == {"train", "validation"}
    description = json.loads((folder / "croissant.json").read_text())["description"]
    for text in (readme, description):
        assert "the survey's table (`background`); frames are aligned by astropy's reproject" in text
        assert "% 10: train if below 8, validation if above" in text


def test_killed_and_resumed_is_identical_for_any_number_of_workers(mock_dataset, tmp_path):
    data_dir = tmp_path / "killed"
    process, _ = start_until_a_part_is_there(data_dir)
    process.kill()
    process.wait()
    wait_until_all_have_ended(process.pid)  # the workers with their parent
    done = subprocess.run(command(data_dir), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Prepared in" in done.stdout
    assert contents(data_dir / "smss_stamps/mock/2.0.0") == contents(mock_dataset)


def test_ctrl_c_stops_in_a_sentence_and_keeps_parts(tmp_path):
    # More stars than could be finished before the signal arrives.
    process, said = start_until_a_part_is_there(tmp_path / "data", n_stars=640)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to parent and workers
    assert process.wait(timeout=60) == 130, said.read_text()
    assert "stopped. The same command goes on from here." in said.read_text()
    assert "Traceback" not in said.read_text()
    wait_until_all_have_ended(process.pid)
    assert list(tmp_path.glob("data/smss_stamps/mock/*parts*/part-*.npz"))
