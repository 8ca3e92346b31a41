"""The command line of predict.py: killed and resumed, shared by processes, on a full disk, and what it refuses."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

import predict
from acf_jax.catalogue.files.formats import read_columns
from acf_jax.catalogue.making import BATCH_SIZE, BATCH_SIZE_ON_CPU, SHARD_SIZE
from acf_jax.checkpoints import FORMAT_VERSION
from acf_jax.commands import predict as installed
from acf_jax.devices import cores
from tests.acf_jax.catalogue import tiny_catalogue
from tests.acf_jax.catalogue.tiny_catalogue import ROOT, script

N_STARS, N_REJECTED = 120, 4
SETTINGS = ("--samples", tiny_catalogue.N_SAMPLES, "--batch", 4, "--shard-size", 4)
N_SHARDS = (N_STARS + N_REJECTED) // 4
# Runs the command that follows a limit in bytes, beyond which no file can grow: to a program, a disk that is full.
WITH_SMALL_FILES = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(autouse=True)
def _as_the_script_runs(monkeypatch):
    """Leaves JAX as it was, and gives this process's catalogues the same date as the others'."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", tiny_catalogue.script_environment()["SOURCE_DATE_EPOCH"])
    monkeypatch.setattr(cores, "split_cores", lambda: None)
    folder = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folders of networks and of a dataset."""
    folder = tmp_path_factory.mktemp("world")
    tiny_catalogue.make_network(folder / "acf")
    tiny_catalogue.make_network(folder / "acpf", model__use_parallax=False)
    stars, rejected = tiny_catalogue.make_stars(N_STARS), tiny_catalogue.make_rejected(N_REJECTED)
    tiny_catalogue.write_dataset(folder / "data", stars, rejected)
    return folder


def arguments(world, out, *more):
    """Of the command line, all as texts."""
    given = ("--checkpoint", world / "acf", "--dataset", "smss_stamps/mock", "--data_dir", world / "data")
    return [str(value) for value in (*given, "--out", out, *SETTINGS, *more)]


@pytest.fixture(scope="module")
def uninterrupted(world):
    """The folder of a catalogue made in one go, by a process of its own."""
    finished(script(*arguments(world, world / "uninterrupted")))
    return world / "uninterrupted"


def finished(process: subprocess.Popen) -> str:
    """What it printed."""
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_catalogue_that_was_killed_twice_equals_an_uninterrupted_one_bit_for_bit(world, uninterrupted, tmp_path):
    out, delays_s = tmp_path / "out", np.random.default_rng().uniform(0, 0.03, 2)
    for n_before, delay_s in zip((1, 5), delays_s, strict=True):
        process = script(*arguments(world, out))
        while process.poll() is None and len(shards(out)) < n_before:
            time.sleep(0.001)
        time.sleep(delay_s)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert n_before <= len(shards(out)) < N_SHARDS
        assert not (out / "catalogue.parquet").exists()
    (out / "shards/.shard-000030.parquet.00000000.part").write_bytes(b"PAR1")  # killed while it was writing
    printed = finished(script(*arguments(world, out)))
    assert printed.startswith(f"Made {out / 'catalogue.parquet'}, {out / 'ReadMe'}.")
    assert files_of(out) == files_of(uninterrupted)
    assert pq.read_metadata(out / "catalogue.parquet").num_rows == N_STARS + N_REJECTED


def shards(out):
    return list((out / "shards").glob("shard-*.parquet"))


def test_shares_make_the_same_catalogue(world, uninterrupted, tmp_path, capsys):
    for share, words in (("1/2", "This share is done."), ("0/2", f"Made {tmp_path / 'catalogue.parquet'}")):
        assert predict.main(arguments(world, tmp_path, "--shard", share)) == 0
        assert capsys.readouterr().out.startswith(words)
    assert files_of(tmp_path) == files_of(uninterrupted)


def test_the_number_of_devices_does_not_change_a_star(world, uninterrupted, tmp_path):
    four = tiny_catalogue.script_environment(JAX_NUM_CPU_DEVICES="4")
    finished(script(*arguments(world, tmp_path), env=four))
    expected, found = (pq.read_table(folder / "catalogue.parquet") for folder in (uninterrupted, tmp_path))
    for name in expected.column_names:
        if name[:4] in ("teff", "logg", "fe_h", "e_te", "e_lo", "e_fe", "doma"):
            ours, theirs = (table[name].to_numpy().astype(float) for table in (found, expected))
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5 * np.nanmax(np.abs(theirs)), err_msg=name)
        else:
            assert found[name].equals(expected[name])


def test_a_full_disk_is_one_sentence_and_loses_nothing_that_was_finished(world, uninterrupted, tmp_path):
    limit = (uninterrupted / "catalogue.parquet").stat().st_size - 1
    assert limit > max(path.stat().st_size for path in shards(uninterrupted))

    process = script(*arguments(world, tmp_path), under=[sys.executable, "-c", WITH_SMALL_FILES, str(limit)])
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(r"^predict.py: The disk is full: .*catalogue.parquet could not be written", error, re.MULTILINE)
    assert "Traceback" not in error
    assert len(shards(tmp_path)) == N_SHARDS
    assert predict.main(arguments(world, tmp_path)) == 0
    assert files_of(tmp_path) == files_of(uninterrupted)


def test_processes_of_one_job_share_the_work_by_jax_distributed(world, uninterrupted, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    processes = []
    for i in range(2):  # as Slurm would tell them
        job = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2", "SLURM_PROCID": str(i)}
        job |= {"SLURM_LOCALID": str(i), "JAX_COORDINATOR_ADDRESS": coordinator}
        environment = tiny_catalogue.script_environment(**job)
        processes.append(script(*arguments(world, tmp_path, "--distributed"), env=environment))
    printed = [finished(process) for process in processes]
    assert any("Made " in text for text in printed), printed
    assert files_of(tmp_path) == files_of(uninterrupted)


def test_distributed_outside_of_a_job_is_one_sentence(world, tmp_path, capsys):
    error = refused(capsys, *arguments(world, tmp_path, "--distributed"))
    assert error.startswith("--distributed: jax.distributed finds no job")
    assert "--shard I/N" in error


def test_one_file_of_a_dataset(world, tmp_path):
    out = tmp_path / "stars.fits"
    assert predict.main(arguments(world, out)) == 0
    rows = next(read_columns(out, ["object_id", "teff"]))
    assert len(rows["object_id"]) == N_STARS + N_REJECTED
    assert np.isfinite(rows["teff"]).sum() == N_STARS
    assert (tmp_path / "stars.ReadMe").exists()


def test_all_formats_are_made_of_one_catalogue(world, tmp_path, capsys):
    formats = [name for name in installed.FORMATS if name != "xml"]
    assert predict.main(arguments(world, tmp_path, "--format", ",".join(formats), "--acpf", world / "acpf")) == 0
    assert capsys.readouterr().out.startswith("Made ")
    teff = [
        np.concatenate([rows["teff"] for rows in read_columns(tmp_path / f"catalogue.{name}", ["teff"])])
        for name in formats
    ]
    for values in teff:
        np.testing.assert_allclose(values, teff[0], atol=0.051)


def refused(capsys, *given, status=1):
    """The one sentence on stderr."""
    capsys.readouterr()
    assert predict.main([str(value) for value in given]) == status
    error = capsys.readouterr().err
    assert error.startswith("predict.py: ")
    return error.removeprefix("predict.py: ")


def with_other(options, **changes):
    """The same command line with another value for some options."""
    for name, value in changes.items():
        options = [
            str(value) if before == f"--{name}" else text for before, text in zip(["", *options], options, strict=False)
        ]
    return options


def test_what_is_not_there_is_named(world, tmp_path, capsys):
    given = arguments(world, tmp_path / "out")
    assert "none: no such folder" in refused(capsys, *with_other(given, checkpoint=tmp_path / "none"))
    assert "smss_stamps/none is not prepared" in refused(capsys, *with_other(given, dataset="smss_stamps/none"))
    assert "give smss_stamps/CONFIG" in refused(capsys, *with_other(given, dataset="mock"))
    assert not (tmp_path / "out").exists()


def test_two_networks_without_parallax_are_refused(world, tmp_path, capsys):
    given = with_other(arguments(world, tmp_path / "out", "--acpf", world / "acpf"), checkpoint=world / "acpf")
    assert refused(capsys, *given).startswith("--acpf is for the stars without a parallax")
    given = arguments(world, tmp_path / "out", "--acpf", world / "acf")
    assert refused(capsys, *given).startswith("--acpf is for the stars without a parallax")


def test_a_checkpoint_of_a_newer_version_is_refused(world, tmp_path, capsys):
    run = shutil.copytree(world / "acf", tmp_path / "run")
    (path,) = run.glob("checkpoints/*/sidecar/metadata")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": FORMAT_VERSION + 1}))
    given = with_other(arguments(world, tmp_path / "out"), checkpoint=run)
    assert f"has format {FORMAT_VERSION + 1}" in refused(capsys, *given)


def test_stamps_in_other_bands_are_refused(world, tmp_path, capsys):
    stars = tiny_catalogue.make_stars(6)
    folder = tiny_catalogue.write_dataset(tmp_path / "data", stars, bands="griuvz")
    given = with_other(arguments(world, tmp_path / "out"), dataset=folder)
    assert refused(capsys, *given).startswith("The network reads stamps in the bands uvgriz, those of ")


@pytest.mark.parametrize("name", ["stars.parquet", "rejected.parquet"])
@pytest.mark.parametrize(("damage", "word"), [("delete", "is missing"), ("truncate", "cannot be read")])
def test_tables_that_are_missing_or_damaged_are_named(world, tmp_path, capsys, name, damage, word):
    folder = shutil.copytree(world / "data/smss_stamps/mock/1.0.0", tmp_path / "smss_stamps/mock/1.0.0")
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    if damage == "delete":
        path.unlink()
    given = with_other(arguments(world, tmp_path / "out"), dataset=folder)
    error = refused(capsys, *given)
    assert error.startswith(f"{path} {word}")
    assert error.count("\n") == 1


def test_a_folder_with_another_catalogue_or_a_damaged_plan_is_refused(world, tmp_path, capsys):
    assert predict.main(arguments(world, tmp_path)) == 0
    assert "- seed: 0\n  + seed: 1\n" in refused(capsys, *arguments(world, tmp_path, "--seed", "1"))
    (tmp_path / "plan.json").write_text('{"n_stars": 12')
    assert "plan.json is damaged" in refused(capsys, *arguments(world, tmp_path))


def test_a_place_that_cannot_be_written_is_named(world, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file/out"
    assert refused(capsys, *arguments(world, out)).startswith(f"{out} cannot be written (Not a directory)")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shard", "4/4"], "'4/4' is not a share: 0/4, 1/4, 2/4 and 3/4 are the shares of four."),
        (["--shard", "0/2", "--distributed"], "not allowed with"),
        (["--samples", "1"], "--samples 1: give 2 or more."),
        (["--batch", "0"], "--batch 0: give 1 or more."),
        (["--format", "parquet,xls"], "there is no xls"),
    ],
)
def test_wrong_options_end_with_status_2(capsys, options, words):
    with pytest.raises(SystemExit) as exit_:
        predict.main(["--checkpoint", "a", "--dataset", "b", "--out", "c", *options])
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


def test_the_file_of_a_users_table_needs_a_suffix_that_is_known(capsys):
    for options in (["--out", "out.xls"], ["--out", "out.csv", "--shard", "0/2"]):
        with pytest.raises(SystemExit):
            predict.main(["--checkpoint", "a", "--stars", "b.csv", *options])
    error = capsys.readouterr().err
    assert "of a table's stars give a file: .parquet, .fits" in error
    assert "--stars is one process's work" in error


def test_the_script_refuses_without_a_traceback(world, tmp_path):
    process = script(*with_other(arguments(world, tmp_path), checkpoint=tmp_path / "none"))
    out, error = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert error.startswith("predict.py: ")
    assert error.count("\n") == 1


def test_the_installed_command_says_that_tables_need_a_clone(capsys):
    assert installed.main(["--checkpoint", "a", "--stars", "b.csv", "--out", "c.csv"]) == 1
    assert capsys.readouterr().err.startswith("acf-predict: --stars needs a clone")


def test_help_teaches():
    done = subprocess.run([sys.executable, "predict.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for word in (
        "python predict.py --checkpoint runs/acf --dataset",
        "--shard 0/4",
        "--distributed",
        "--stars",
        "--acpf",
        f"(default: {BATCH_SIZE_ON_CPU} on a CPU, else {BATCH_SIZE})",
        f"(default: {SHARD_SIZE})",
    ):
        assert word in " ".join(done.stdout.split())
