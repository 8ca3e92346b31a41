import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from acf_jax.bundle import __main__ as command
from acf_jax.bundle import writing
from acf_jax.bundle.writing import BundleError, write_bundle
from acf_jax.checkpoints import CheckpointError
from acf_jax.inference import bundle_files, fingerprint
from acf_jax.inference.bundle_files import CHECKSUMS, write_checksums
from acf_jax.inference.loading import load
from tests.acf_jax.bundle.tiny_bundle import FINGERPRINT, N_SAMPLES, SIZE_PX, make_run, tree_equal, write_metrics

ROOT = Path(__file__).parents[3]
OPTIONS = {"n_samples": N_SAMPLES, "size_px": SIZE_PX}
WITH_JAX_ALONE = """
import runpy, sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

ALLOWED = {"jax", "jaxlib", "flatbuffers", "numpy", "ml_dtypes", "opt_einsum", "scipy"} | sys.stdlib_module_names

class OnlyJax(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        allowed = name.split(".")[0] in ALLOWED or name.startswith("_sysconfigdata")
        return PathFinder.find_spec(name, path, target) if allowed else None

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, OnlyJax]
for forbidden in ("flax", "safetensors", "orbax", "acf_jax"):
    try:
        __import__(forbidden)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{forbidden} can be imported")
example, answer = sys.argv[1:]
sys.argv = [example]
found = runpy.run_path(example, run_name="__main__")
import numpy as np
np.savez(answer, mean=found["mean"], std=found["std"])
"""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("run"))
    write_metrics(folder / "evaluation")
    return folder


@pytest.fixture(scope="module")
def bundle(run_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(run_dir, folder, **OPTIONS)
    return folder


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


# What is in it.


def test_a_bundle_loads_as_the_run_that_it_was_made_of(run_dir, bundle):
    ours, theirs = load(run_dir), load(bundle)
    assert tree_equal(ours.params, theirs.params)
    for name in ("model", "targets", "bands", "input_scaling", "label_scaling", "step", "error_calibration"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name, array in ours.training_domain.to_arrays().items():
        np.testing.assert_array_equal(array, theirs.training_domain.to_arrays()[name])
    assert theirs.sidecar["config"] == ours.sidecar["config"]
    assert fingerprint.network_fingerprint(ours) == fingerprint.network_fingerprint(theirs)


def test_a_run_without_calibration_or_domain_makes_a_bundle_without(run_dir, tmp_path):
    bare = shutil.copytree(run_dir, tmp_path / "bare", ignore=shutil.ignore_patterns("*.json", "*.npz", "evaluation"))
    shutil.copytree(run_dir / "checkpoints", bare / "checkpoints", dirs_exist_ok=True)
    written = write_bundle(bare, tmp_path / "out", **OPTIONS)
    assert written.error_calibration is None
    assert written.training_domain is None
    card = (tmp_path / "out" / bundle_files.MODEL_CARD).read_text()
    assert "Not measured: this bundle was written without an evaluation." in card
    assert "The errors are not calibrated" in card


def test_the_command_writes_a_bundle_anew_from_a_bundle_and_says_what_is_in_it(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "write_bundle", lambda *arguments: write_bundle(*arguments, **OPTIONS))
    assert command.main([str(bundle), "--out", str(tmp_path / "again")]) == 0
    printed = capsys.readouterr().out
    assert all(path.name in printed for path in (tmp_path / "again").iterdir())
    for name in (bundle_files.DESCRIPTION, bundle_files.PARAMETERS, bundle_files.MODEL_CARD, bundle_files.METRICS):
        assert (tmp_path / "again" / name).read_bytes() == (bundle / name).read_bytes(), name


def test_no_folder_of_this_machine_is_published(run_dir, bundle):
    texts = [path for path in bundle.iterdir() if path.suffix in (".json", ".md", ".py", ".txt", ".jaxexport")]
    assert len(texts) == 6
    for path in texts:
        content = path.read_bytes()
        for private in (str(run_dir), "/somebodys/home", str(ROOT), sys.prefix):
            assert private.encode() not in content, (path.name, private)


def test_sha256sum_agrees_with_the_checksums(bundle):
    done = subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("OK") == len(list(bundle.iterdir())) - 1


def test_the_card_says_what_was_measured_on_which_sample(bundle):
    card = (bundle / bundle_files.MODEL_CARD).read_text()
    described = json.loads((bundle / bundle_files.DESCRIPTION).read_text())
    for words in (
        "**Trained on a mock sky.**", "mock sky, validation split, n = 321", "107.4",
        described["fingerprint"], FINGERPRINT,
        "| Teff (K)     |  3900 |     7900 |         310 |", "log g < 1 and [Fe/H] <= -1", "license: bsd-3-clause",
        "calibrated on 200 stars",
    ):  # fmt: skip
        assert words in card, words


def test_the_card_cites_what_the_project_asks_to_be_cited(bundle):
    card, citation = (bundle / bundle_files.MODEL_CARD).read_text(), (ROOT / "CITATION.cff").read_text()
    fields = dict(line.strip(" -").split(": ", 1) for line in citation.splitlines() if ": " in line)
    assert fields["license"] == "BSD-3-Clause"
    for name in ("license", "version", "start", "doi", "title"):  # the last title is the paper's
        assert fields[name].strip('"') in card, name
    assert citation.splitlines()[1].removeprefix("title: ").strip('"') in card


# The exported function.


def test_the_example_runs_with_jax_alone_and_answers_as_the_network_does(bundle, tmp_path):
    stars = np.load(bundle / bundle_files.EXAMPLE_STARS)
    script = tmp_path / "with_jax_alone.py"
    script.write_text(WITH_JAX_ALONE)
    arguments = [sys.executable, "-I", str(script), str(bundle / bundle_files.EXAMPLE), str(tmp_path / "answer.npz")]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= len(stars["object_id"])
    answer = np.load(tmp_path / "answer.npz")
    np.testing.assert_allclose((answer["mean"] - stars["mean"]) / stars["std"], 0, atol=1e-3)
    np.testing.assert_allclose(answer["std"], stars["std"], rtol=1e-3)


def test_a_function_that_answers_otherwise_is_not_published(run_dir, bundle, tmp_path, monkeypatch):
    trained = load(run_dir)
    other = dataclasses.replace(trained, params=jax.tree.map(lambda leaf: 1.02 * leaf, trained.params))
    monkeypatch.setattr(writing, "load", lambda source: other)
    monkeypatch.setattr(writing, "export_prediction", lambda *_: (bundle / bundle_files.EXPORTED).read_bytes())
    with pytest.raises(BundleError, match="answers otherwise than the network"):
        write_bundle(run_dir, tmp_path / "out", **OPTIONS)
    assert not list(tmp_path.iterdir())


# Refusals.


@pytest.mark.parametrize(
    "name", [bundle_files.PARAMETERS, bundle_files.TRAINING_DOMAIN, bundle_files.EXPORTED, bundle_files.MODEL_CARD]
)
def test_an_altered_or_missing_file_is_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} missing, or not as in checksums\.txt: fetch the bundle anew"):
        load(copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} missing"):
        load(copy)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format_version": 1}', "\x00"])
def test_a_damaged_description_is_refused_in_a_sentence(copy, text):
    (copy / bundle_files.DESCRIPTION).write_text(text)
    with pytest.raises(CheckpointError, match=r"bundle\.json is damaged: fetch"):
        load(copy)
    (copy / bundle_files.DESCRIPTION).unlink()
    with pytest.raises(CheckpointError, match=r"bundle\.json is missing: fetch"):
        load(copy)


@pytest.mark.parametrize("text", [None, "", "nonsense\n", "\ufffe"])
def test_damaged_checksums_are_refused_in_a_sentence(copy, text):
    (copy / CHECKSUMS).unlink()
    if text is not None:
        (copy / CHECKSUMS).write_text(text, encoding="utf-16")
    with pytest.raises(CheckpointError, match=r"checksums\.txt"):
        load(copy)


def change_description(folder, change):
    described = json.loads((folder / bundle_files.DESCRIPTION).read_text())
    change(described)
    (folder / bundle_files.DESCRIPTION).write_text(json.dumps(described))
    write_checksums(folder)


@pytest.mark.parametrize(("place", "known"), [((), 2), (("checkpoint",), 1)], ids=["bundle", "checkpoint"])
def test_a_newer_format_is_refused_in_a_sentence(copy, place, known):
    def make_newer(described):
        part = described[place[0]] if place else described
        part["format_version"], described["code_version"] = 99, "9.1"

    change_description(copy, make_newer)
    with pytest.raises(
        CheckpointError, match=rf"format 99, written by ACF-JAX 9\.1; this code reads formats up to {known}"
    ):
        load(copy)


def test_files_of_two_networks_are_refused_though_their_checksums_agree(copy, tmp_path):
    change_description(copy, lambda described: described["checkpoint"]["label_scaling"].update(mean=[1.0, 2.0, 3.0]))
    with pytest.raises(CheckpointError, match="are not of one network"):
        load(copy)


def test_whole_files_that_hold_no_network_are_refused_in_a_sentence(copy):
    (copy / bundle_files.PARAMETERS).write_bytes(b"no safetensors")
    write_checksums(copy)
    with pytest.raises(CheckpointError, match="holds no network that can be read"):
        load(copy)


def test_where_there_is_neither_run_nor_bundle_the_sentence_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")


def test_an_evaluation_of_another_network_is_refused(run_dir, tmp_path):
    for i, (changes, words) in enumerate(
        [
            ({"checkpoint": {"folder": "x", "step": 8}}, "measured on step 8"),
            ({"dataset": {"fingerprint": "f" * 64}}, "trained on dataset ffffffffffff"),
        ]
    ):
        folder = write_metrics(tmp_path / str(i), **changes)
        with pytest.raises(BundleError, match=words):
            write_bundle(run_dir, tmp_path / "out", folder, **OPTIONS)
    (tmp_path / "0" / "metrics.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        write_bundle(run_dir, tmp_path / "out", tmp_path / "0", **OPTIONS)
    with pytest.raises(BundleError, match=r"evaluate\.py"):
        write_bundle(run_dir, tmp_path / "out", tmp_path / "nowhere", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_in_one_line(run_dir, bundle, tmp_path, capsys):
    for arguments, words in (
        ([run_dir, "--out", bundle], "is there already"),
        ([tmp_path / "nowhere", "--out", tmp_path / "out"], "no such folder"),
        ([run_dir, "--out", tmp_path / "out", "--evaluation", tmp_path], "metrics.json is missing"),
    ):
        assert command.main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(run_dir, tmp_path, monkeypatch, capsys):
    def fill(*_):
        raise OSError(28, "No space left on device", "parameters.safetensors")

    monkeypatch.setattr(writing, "_write_files", fill)
    assert command.main([str(run_dir), "--out", str(tmp_path / "out")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_predicting_needs_what_pip_install_gives_and_no_more(bundle):
    not_installed = "'grain', 'optax', 'tensorflow_datasets', 'astropy', 'matplotlib', 'jinja2', 'sklearn', 'absl.app'"
    code = (
        f"import sys, numpy as np, acf_jax; network = acf_jax.load({str(bundle)!r})\n"
        f"stars = np.load({str(bundle / bundle_files.EXAMPLE_STARS)!r})\n"
        "inputs = [stars[name] for name in ('stamp', 'parallax', 'parallax_error', 'object_id')]\n"
        "network.predict(*inputs, n_samples=2)\n"
        f"assert not {{{not_installed}}} & set(sys.modules), set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
