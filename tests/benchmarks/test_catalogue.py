"""The benchmark of the catalogue, on a tiny network and dataset."""

import json

import pytest

from benchmarks import catalogue
from tests.acf_jax.catalogue import tiny_catalogue


@pytest.fixture
def data_dir(tmp_path):
    tiny_catalogue.write_dataset(tmp_path / "data", tiny_catalogue.make_stars(20))
    return tmp_path / "data"


def test_every_part_and_the_whole(tmp_path, data_dir, monkeypatch, capsys):
    monkeypatch.setattr(catalogue, "BURST_S", 0.01)
    run_dir = tiny_catalogue.make_network(tmp_path / "run")
    options = ("--batch", "8", "--stars", "40", "--repeats", "1", "--json")
    catalogue.main(["--checkpoint", str(run_dir), "--data-dir", str(data_dir), *options])
    *table, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)

    parts = ("read", "copy", "forward", "samples", "write")
    assert all(figures[f"{part}_stars_per_s"] > 0 for part in parts)
    assert (figures["n_stars"], figures["batch_size"]) == (48, 8)  # whole shards of whole batches
    slower = min(figures["read_stars_per_s"], figures["forward_stars_per_s"])
    assert figures["whole_over_slower_part"] == pytest.approx(slower / figures["stars_per_s"], rel=1e-2)
    assert {line.split()[0] for line in table} == set(figures)


def test_a_network_of_a_config_has_errors_and_a_domain():
    trained = catalogue.random_network("configs/demo.py")
    assert trained.error_calibration is not None
    assert trained.training_domain is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "no.py"], "no.py: there is no such file"),
        (["--stars", "0"], "--stars 0: give at least 1"),
    ],
)
def test_impossible_options_get_a_sentence(arguments, sentence, capsys):
    with pytest.raises(SystemExit):
        catalogue.main(arguments)
    assert sentence in capsys.readouterr().err


def test_a_dataset_that_is_not_there_gets_a_sentence(tmp_path, capsys):
    assert catalogue.main(["--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("benchmarks.catalogue: The dataset smss_stamps/mock is not prepared")
