"""What the report tells of its making, and what it keeps to itself."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import acf_jax
from acf_jax.data.prepared import PreparedDataset
from acf_jax.report import provenance
from acf_jax.report.context import Context, Options
from tests.acf_jax.report.report_by_hand import GATHERED

HOME = "/home/somebody/private"
PRINT = "f" * 64


def dataset(config="mock", fingerprint=PRINT):
    metadata = {
        "bands": list("uvgriz"), "fingerprint": fingerprint, "units": {"stamp": "uJy / pix"},
        "provenance": {"archive": "mock sky", "recipe": {"stars": 90, "dust_map": f"{HOME}/dust.fits"}},
        "selection": [{"cut": "snr", "description": "snr_c3_iraf > 30", "removed": 25}],
    }  # fmt: skip
    folder = Path(HOME) / "data/smss_stamps" / config
    return PreparedDataset(
        folder, "smss_stamps", config, "2.0.0", metadata, {"train": 70, "validation": 20}, ("stamp", "true_teff")
    )


def network(**config):
    described = dataset().describe()
    sidecar = {
        "config": config,
        "dataset": described,
        "num_steps": 200,
        "code_version": "0.1.0",
        "jax_version": "0.10.2",
    }
    params = {"dense": {"kernel": np.zeros((3, 4)), "bias": np.zeros(4)}}
    return SimpleNamespace(sidecar=sidecar, step=150, params=params)


@pytest.fixture
def gathered(tmp_path):
    context = Context(
        dataset(),
        {"ACF": network(backbone_weights=f"{HOME}/cswin.safetensors", depths=[1, 2]), "ACPF": network()},
        tmp_path,
        Options(n_samples=20, seed=3),
        low_quality=dataset("mock_low_quality", "e" * 64),
        low_quality_networks={"ACF": network()},
    )
    return provenance.gather(context, ["python", "evaluate.py", "--checkpoint", "runs/my demo"])


def test_every_network_and_dataset_is_told_of(gathered):
    acf = gathered["networks"]["ACF"]
    assert (acf["step"], acf["num_steps"], acf["n_parameters"]) == (150, 200, 16)
    assert acf["dataset"] == {"name": "smss_stamps", "config": "mock", "version": "2.0.0", "fingerprint": PRINT}
    assert list(gathered["networks"]) == ["ACF", "ACPF", "ACF, low quality"]
    assert gathered["datasets"]["evaluated"]["splits"] == {"train": 70, "validation": 20}
    assert gathered["datasets"]["low_quality"]["fingerprint"] == "e" * 64
    assert gathered["options"] == {"n_samples": 20, "seed": 3, "n_trials": 20, "n_bootstrap": 1000}


def test_the_command_can_be_pasted_into_a_shell(gathered):
    assert gathered["command"] == "python evaluate.py --checkpoint 'runs/my demo'"


def test_no_folder_or_host_but_the_commands_is_told(gathered):
    stored = json.dumps(gathered)
    assert HOME not in stored
    assert gathered["networks"]["ACF"]["config"]["backbone_weights"] == "cswin.safetensors"
    assert gathered["datasets"]["evaluated"]["provenance"]["recipe"]["dust_map"] == "dust.fits"
    assert str(Path(acf_jax.__file__).parents[1]) not in stored
    assert platform.node() not in stored


def test_it_survives_json(gathered):
    assert json.loads(json.dumps(gathered, allow_nan=False)) == gathered


def test_versions_are_those_installed(gathered):
    assert gathered["software"]["python"] == platform.python_version()
    assert gathered["software"]["numpy"] == np.__version__
    assert gathered["software"]["jax"] == version("jax")


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-at-all"))
    assert list(provenance.software()) == ["python", "numpy"]


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_commit_is_told_and_whether_files_differ_from_it(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "first")
    state = provenance.git_state(tmp_path)
    assert state["commit"] == (tmp_path / ".git/refs/heads/main").read_text().strip()
    assert state["changed"] is False
    (tmp_path / "untracked.txt").write_text("results\n")
    assert provenance.git_state(tmp_path)["changed"] is False
    (tmp_path / "code.py").write_text("a = 2\n")
    assert provenance.git_state(tmp_path)["changed"] is True


def test_the_commit_of_a_project_around_the_code_is_not_its_own(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "site-packages").mkdir()
    assert provenance.git_state(tmp_path / "site-packages") is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_state(tmp_path) is None


def test_facts_say_it_in_words():
    facts = dict(provenance.facts(GATHERED))
    assert facts["Code"] == f"ACF-JAX 0.1.0, commit `{'0123456789' * 4}` with changes"
    assert facts["Network ACF"] == (
        "519,000 parameters, step 1,500 of 2,000; trained by ACF-JAX 0.1.0, JAX 0.10.2, on smss_stamps/mock 2.0.0, "
        "fingerprint `0123456789ab`"
    )
    assert facts["Dataset, evaluated"].endswith("; stars: train 22,400, validation 1,211")
    assert facts["Machine"] == "Linux x86_64, 2 processors; JAX on 1 x cpu"


def test_options_are_printed_whatever_they_are():
    options = {"n_samples": 1000, "progress": True, "rate": 0.001, "only": None}
    facts = dict(provenance.facts({**GATHERED, "options": options}))
    assert facts["Options"] == "n_samples 1,000, progress True, rate 0.001, only None"


def test_facts_do_without_what_an_older_checkpoint_lacks():
    older = {**GATHERED["networks"]["ACF"], "num_steps": None, "code_version": None, "jax_version": None}
    facts = dict(provenance.facts({**GATHERED, "git": None, "networks": {"ACF": older}}))
    assert facts["Network ACF"].startswith("519,000 parameters, step 1,500, on smss_stamps/mock")
    assert facts["Code"] == "ACF-JAX 0.1.0"


def test_listings_have_a_line_for_each_value():
    assert dict(provenance.listings(GATHERED)) == {
        "Config of ACF": "model.depths: [1, 2]\nmodel.embed_dim: 16\ncomment:\n  first line\n  second <line>",
        "Making of the dataset, evaluated": (
            "provenance.archive: mock sky\nprovenance.recipe.stars: 32000\n"
            "selection.1.cut: snr\nselection.1.removed: 25"
        ),
    }
