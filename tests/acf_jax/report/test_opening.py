"""Folders that do not belong together are refused in a sentence."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from acf_jax.data.prepared import DatasetError, PreparedDataset
from acf_jax.inference.parts import NetworkParts
from acf_jax.report import opening
from acf_jax.report.opening import EvaluationError

SPLITS = {"train": 7, "calibration": 1, "validation": 2}


def network(fingerprint="a" * 64, targets=("teff", "logg"), use_parallax=True, growth_curve=False):
    config = SimpleNamespace(use_parallax=use_parallax, growth_curve=growth_curve)
    sidecar = {"dataset": {"fingerprint": fingerprint, "config": "mock"}}
    network = SimpleNamespace(model=SimpleNamespace(config=config), targets=targets, sidecar=sidecar)
    network.name = NetworkParts.name.fget(network)
    return network


def dataset(fingerprint="a" * 64, splits=SPLITS, config="mock", sky="cutout"):
    metadata = {"fingerprint": fingerprint, "provenance": {"recipe": {"stamps": {"sky": sky}}}}
    return PreparedDataset(Path("data"), "smss_stamps", config, "2.0.0", metadata, splits, ())


RUNS = {
    "demo": network(),
    "acpf": network(use_parallax=False),
    "seed_1": network(),
    "growth": network(growth_curve=True),
    "low": network("b" * 64),
    "one_target": network(targets=("teff",)),
}


@pytest.fixture(autouse=True)
def _runs(monkeypatch):
    def open_same_dataset(trained, data_dir):
        fingerprint = trained.sidecar["dataset"]["fingerprint"]
        return dataset(fingerprint=fingerprint)

    monkeypatch.setattr(opening, "load", lambda folder: RUNS[Path(folder).name])
    monkeypatch.setattr(opening, "open_same_dataset", open_same_dataset)


def test_networks_are_named_by_what_they_are_and_where_that_is_not_enough_by_their_folder():
    context = opening.open_context("runs/demo", others=["runs/acpf", "runs/seed_1", "runs/growth"])
    assert list(context.networks) == ["ACF", "ACPF", "ACF (seed_1)", "ACF-growth"]
    assert context.out_dir == Path("runs/demo/evaluation")


def test_a_network_of_the_low_quality_sample_has_a_name_of_its_own():
    context = opening.open_context("runs/demo", low_quality=["runs/low"])
    assert context.low_quality.fingerprint == "b" * 64
    assert list(context.low_quality_networks) == ["ACF (low)"]
    assert context.network("ACF (low)") is RUNS["low"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"others": ["runs/low"]}, "runs/low was trained on another dataset"),
        ({"others": ["runs/one_target"]}, "runs/one_target predicts teff, not teff, logg"),
        ({"low_quality": ["runs/seed_1"]}, "is of the dataset that is evaluated, not of the low-quality sample"),
    ],
)
def test_what_does_not_belong_together_is_refused(arguments, sentence):
    with pytest.raises(EvaluationError, match=sentence):
        opening.open_context("runs/demo", **arguments)


def test_a_dataset_divided_as_the_papers_is_evaluated_and_one_without_training_stars_refused(monkeypatch):
    splits = {"train": 8, "validation": 2}
    monkeypatch.setattr(opening, "open_same_dataset", lambda trained, data_dir: dataset(splits=splits))
    assert opening.open_context("runs/demo").dataset.splits == splits
    splits.pop("train")
    with pytest.raises(EvaluationError, match="data has no train stars"):
        opening.open_context("runs/demo")


@pytest.mark.parametrize(("config", "wanted"), [("mock_large", "mock_low_quality"), ("high_quality", "low_quality")])
def test_the_low_quality_sample_that_is_named_is_of_the_same_sky(monkeypatch, config, wanted):
    monkeypatch.setattr(opening, "open_same_dataset", lambda trained, data_dir: dataset(config=config))
    with pytest.raises(EvaluationError, match=rf"To prepare that: .*`python -m datasets.build --config {wanted}\b"):
        opening.open_context("runs/demo", low_quality=["runs/seed_1"])


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_beside_the_low_quality_dataset_is_not_dropped_in_silence(tmp_path, order):
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(EvaluationError, match="give that alone, and runs by a further --low-quality"):
        opening.open_context("runs/demo", low_quality=[[str(tmp_path), "runs/low"][::order]])


def test_a_low_quality_sample_with_another_sky_level_is_refused(monkeypatch):
    def open_same_dataset(trained, data_dir):
        fingerprint = trained.sidecar["dataset"]["fingerprint"]
        return dataset(fingerprint=fingerprint, sky="table" if fingerprint[0] == "b" else "cutout")

    monkeypatch.setattr(opening, "open_same_dataset", open_same_dataset)
    with pytest.raises(DatasetError, match="trained on stamps built with `--sky cutout`, those of data were built"):
        opening.open_context("runs/demo", low_quality=["runs/low"])
