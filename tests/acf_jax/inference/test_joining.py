"""Joined networks answer as each does alone."""

import json
import subprocess

import numpy as np
import pytest

from acf_jax.bundle.writing import write_bundle
from acf_jax.checkpoints import CheckpointError
from acf_jax.inference.fingerprint import network_fingerprint
from acf_jax.inference.loading import load
from tests.acf_jax.bundle.tiny_bundle import N_SAMPLES, SIZE_PX, make_run, make_stars

OPTIONS = {"n_samples": N_SAMPLES, "progress": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A network of one label and one of two, which reads more; not in the order of the labels."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "fe_h", 1, model__targets=("fe_h",), model__heteroscedastic=True, model__embed_dim=16)
    two = {"model__targets": ("teff", "logg"), "model__growth_curve": True, "model__heteroscedastic": True}
    make_run(folder / "two", 2, **two)
    return [folder / "fe_h", folder / "two"]


@pytest.fixture(scope="module")
def joined(runs):
    return load(runs)


@pytest.fixture(scope="module")
def stars():
    made = make_stars(5)
    return {"stamp": made.pop("stamps"), **made}


def test_each_network_answers_as_it_does_alone(runs, joined, stars):
    answer = joined.predict(**stars, samples=True, **OPTIONS)
    assert answer.targets == ("teff", "logg", "fe_h")
    for run in runs:
        alone = load(run).predict(**stars, samples=True, **OPTIONS)
        at = [answer.targets.index(target) for target in alone.targets]
        for name in ("mean", "std", "noise_std", "samples", "calibrated_std"):
            ours, theirs = getattr(answer, name)[..., at], getattr(alone, name)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max(), err_msg=name)
        for ours, theirs in zip(answer.interval(0.9), alone.interval(0.9), strict=True):
            np.testing.assert_allclose(ours[:, at], theirs, rtol=1e-4)


def test_a_star_that_cannot_be_read_costs_no_other(joined, stars):
    spoiled = dict(stars, parallax=stars["parallax"].copy())
    spoiled["parallax"][2] = np.nan
    answer, whole = (joined.predict(**inputs, **OPTIONS) for inputs in (spoiled, stars))
    np.testing.assert_array_equal(np.isnan(answer.mean).all(axis=1), [False, False, True, False, False])
    np.testing.assert_array_equal(answer.mean[[0, 1, 3, 4]], whole.mean[[0, 1, 3, 4]])


def test_a_star_is_as_far_from_the_training_stars_as_the_network_furthest_away_says(runs, joined, stars):
    alone = [load(runs[1]), load(runs[0])]  # in the labels' order
    n, *_ = ends = np.cumsum([network.model.config.backbone.num_features for network in alone])
    features = np.random.default_rng(0).normal(size=(5, ends[-1]))
    distances = [
        network.training_domain.distance(part, stars["stamp"])
        for network, part in zip(alone, (features[:, :n], features[:, n:]), strict=True)
    ]
    np.testing.assert_array_equal(joined.training_domain.distance(features, stars["stamp"]), np.maximum(*distances))
    # As make_run has them, by the place of a label in its network; flags of the catalogue read them by label.
    assert joined.training_domain.error_limits == {"teff": 310, "logg": 0.3, "fe_h": 310}
    assert joined.training_domain.label_min == {"teff": 3900, "logg": 0.5, "fe_h": 3900}
    assert joined.training_domain.label_max == {"teff": 7900, "logg": 4.9, "fe_h": 7900}


def test_the_order_of_the_folders_does_not_matter(runs, joined):
    assert network_fingerprint(load(runs[::-1])) == network_fingerprint(joined)


def test_a_network_says_that_it_was_joined_and_how_each_was_trained(joined):
    assert "2 joined" in repr(joined)
    assert joined.config_of("fe_h")["model"]["embed_dim"] == 16
    assert joined.config_of("logg")["model"]["embed_dim"] == 8


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model__targets": ("logg",), "model__heteroscedastic": True}, "two of the networks predict logg"),
        ({"model__targets": ("fe_h",)}, "some of the networks predict the labels' noise and some do not"),
        (
            {"model__targets": ("fe_h",), "model__heteroscedastic": True, "model__use_parallax": False},
            "some of the networks read the parallax and some do not",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused_in_a_sentence(runs, tmp_path, changes, sentence):
    other = make_run(tmp_path / "other", **changes)
    with pytest.raises(CheckpointError, match=f"other cannot be joined: {sentence}"):
        load([runs[1], other])


def test_no_folder_is_refused_in_a_sentence():
    with pytest.raises(CheckpointError, match="No folder was given"):
        load([])


def test_networks_of_two_datasets_are_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.acf_jax.bundle.tiny_bundle.FINGERPRINT", "f" * 64)
    other = make_run(tmp_path / "other", model__targets=("fe_h",), model__heteroscedastic=True)
    with pytest.raises(CheckpointError, match=r"teff and fe_h were trained on different datasets .*ffffffffffff.*both"):
        load([runs[1], other])


def test_a_bundle_of_joined_networks_holds_each(runs, joined, stars, tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(runs, folder, n_samples=N_SAMPLES, size_px=SIZE_PX)  # compares the exported function with the network
    from_bundle = load(folder)
    assert network_fingerprint(from_bundle) == network_fingerprint(joined)
    answer, ours = (network.predict(**stars, **OPTIONS) for network in (from_bundle, joined))
    np.testing.assert_array_equal(answer.mean, ours.mean)
    np.testing.assert_array_equal(answer.calibrated_std, ours.calibrated_std)
    alone = load(folder / "teff_logg")
    assert network_fingerprint(alone) == network_fingerprint(load(runs[1]))
    subprocess.run(["sha256sum", "--quiet", "--check", "checksums.txt"], cwd=folder, check=True)
    described = json.loads((folder / "bundle.json").read_text())
    assert (described["format_version"], described["members"]) == (2, ["teff_logg", "fe_h"])
    assert "2 networks, one for each label" in (folder / "README.md").read_text().replace("\n", " ")
    (folder / "fe_h" / "parameters.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"fe_h/parameters\.safetensors missing, or not as in checksums"):
        load(folder)
