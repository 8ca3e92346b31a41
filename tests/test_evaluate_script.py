"""The command line of evaluate.py: what it prints, what it refuses, with what exit status."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pyarrow.parquet
import pytest

import evaluate
from acf_jax.commands import evaluate as installed
from acf_jax.errors import ACFError
from acf_jax.inference import mc_dropout
from acf_jax.inference.loading import load
from acf_jax.report import quick
from acf_jax.report.quick import EvaluationError
from acf_jax.report.section import MissingPieceError
from tests.acf_jax import tiny_dataset, tiny_run

ROOT = Path(evaluate.__file__).parent


@pytest.fixture(autouse=True)
def _cache_of_compiled_programs():
    """Leaves JAX as it was: main() points it to the clone's cache."""
    folder = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture
def calls(monkeypatch):
    """Stands in for the evaluation, which has tests of its own: records its arguments."""
    recorded = []

    def stand_in(*args, **kwargs):
        recorded.append((args, kwargs))
        moments = {"n": 9, "offset": 1.25, "std": 90.0, "mad_std": 80.0, "rmse": 90.1}
        moments |= {"coverage_68": 0.5, "coverage_95": 0.75}
        return {
            "sample": "mock sky, validation split", "network": "ACF", "n_stars": 9, "n_without_prediction": 0,
            "mock": True, "caveat": "",
            "checkpoint": {"folder": args[0], "step": 7}, "mc_dropout": {"n_samples": 100, "seed": 0},
            "dataset": {"name": "smss_stamps", "config": "mock", "version": "1.0.0", "fingerprint": "f" * 64},
            "code_version": {"evaluation": "0.1.0"}, "units": {"teff": "K"}, "residuals_by_g": {},
            "results": {"ACF": {"label": {"teff": moments}, "truth": {}}},
        }  # fmt: skip

    monkeypatch.setattr(quick, "evaluate", stand_in)
    return recorded


def test_prints_the_table_and_what_to_do_next(calls, capsys):
    assert evaluate.main(["--checkpoint", "runs/demo"]) == 0
    assert calls == [
        ((["runs/demo"], None, Path("runs/demo/evaluation")), {"n_samples": 100, "seed": 0, "baselines": True})
    ]
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("| Teff (K)"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "Teff (K)", "ACF", "+1.2", "90.0", "80.0", "90.1", "50.0 %", "75.0 %", "9",
    ]  # fmt: skip
    assert lines[-2] == "Tables, predictions and figures are in runs/demo/evaluation."
    assert lines[-1].startswith("Next: ")


def test_options_reach_the_evaluation(calls):
    options = ["--data_dir", "elsewhere", "--out", "results", "--samples", "20", "--seed", "3", "--no-baselines"]
    evaluate.main(["--checkpoint", "runs/demo", *options])
    assert calls == [((["runs/demo"], "elsewhere", Path("results")), {"n_samples": 20, "seed": 3, "baselines": False})]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--checkpoint"),
        (["--checkpoint", "runs/demo", "--samples", "1"], "--samples 1: a standard deviation needs 2 samples or more."),
        (["--checkpoint", "runs/demo", "--samples", "many"], "invalid int value: 'many'"),
        (["--checkpoint", "runs/demo", "--seed", "-1"], "--seed -1"),
        (["--checkpoint", "runs/demo", "--sample_size", "5"], "--sample_size"),
    ],
)
def test_wrong_options_end_with_status_2(calls, capsys, options, words):
    with pytest.raises(SystemExit) as exit_:
        evaluate.main(options)
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err
    assert not calls


def test_no_such_run_is_one_sentence(tmp_path, capsys):
    assert evaluate.main(["--checkpoint", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"evaluate.py: {tmp_path}/none: no such folder.")
    assert "train.py" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EvaluationError("The stamps do not fit."), "evaluate.py: The stamps do not fit.\n"),
        (PermissionError(13, "Permission denied", "/out"), "evaluate.py: /out: Permission denied.\n"),
        (OSError(28, "No space left on device"), "evaluate.py: runs/demo/evaluation: No space left on device.\n"),
    ],
)
def test_refusals_are_one_line(monkeypatch, capsys, error, line):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(quick, "evaluate", refuse)
    assert evaluate.main(["--checkpoint", "runs/demo"]) == 1
    assert capsys.readouterr().err == line


def test_a_network_from_checkpoint_to_files(tmp_path, monkeypatch, capsys):
    """Real checkpoint, dataset and network; what it predicts does not depend on the order or number of stars."""
    numbers = {"train": 60, "calibration": 20, "validation": 21}
    splits = {name: tiny_dataset.photographed(n, seed) for seed, (name, n) in enumerate(numbers.items())}
    tiny_dataset.write(tmp_path / "data", splits)
    tiny_run.save_untrained(tmp_path / "data", tmp_path / "run")

    assert evaluate.main(["--checkpoint", str(tmp_path / "run"), "--samples", "8", "--no-baselines"]) == 0
    assert "# ACF, mock sky, validation split, n = 21" in capsys.readouterr().out
    table = pyarrow.parquet.read_table(tmp_path / "run/evaluation/predictions.parquet")
    stars = splits["validation"]
    np.testing.assert_array_equal(table["object_id"].to_numpy(), stars["object_id"])
    assert table["reason"].null_count == 21
    rows = [13, 4, 20]
    expected = mc_dropout.predict(
        load(tmp_path / "run"),
        *(stars[name][rows].astype(np.float32) for name in ("stamp", "parallax", "parallax_error")),
        stars["object_id"][rows],
        n_samples=8,
    )
    for i, target in enumerate(("teff", "logg", "fe_h")):
        predicted, std = (table[f"{target}_{what}"].to_numpy()[rows] for what in ("predicted", "std"))
        np.testing.assert_allclose(predicted, expected.mean[:, i], rtol=1e-5)
        np.testing.assert_allclose(std, expected.std[:, i], rtol=1e-3)
        assert (std > 0).all()

    # Without the coefficients the tiny dataset cannot be dereddened, and says so.
    assert evaluate.main(["--checkpoint", str(tmp_path / "run"), "--samples", "8"]) == 1
    assert "no extinction_coefficients" in capsys.readouterr().err


def test_without_a_clone_the_suite_says_what_needs_one(tmp_path):
    stars = {"object_id": np.arange(3), "phot_g_mean_mag": np.arange(3.0)}
    context = SimpleNamespace(stars=lambda: stars, is_mock=True, out_dir=tmp_path)
    options = installed.parse_arguments(["--checkpoint", "runs/demo"])
    assert installed.external_labels(context, options, None) == {}
    options.lamost = "lamost.fits"  # of the user's own files it needs none
    with pytest.raises(ACFError, match=r"there is no file lamost\.fits"):
        installed.external_labels(context, options, None)
    with pytest.raises(MissingPieceError, match=r"Fig\. 2 needs a clone of the repository"):
        installed.stamps_section(context, None)


def test_help_teaches():
    done = subprocess.run([sys.executable, "evaluate.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("python evaluate.py --checkpoint runs/demo", "predictions.parquet", "figure_9.png", "--no-baselines"):
        assert word in done.stdout
