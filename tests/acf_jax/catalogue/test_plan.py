"""The plan: how rows are divided, and that nobody goes on with another's work."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acf_jax.catalogue import plan as plans
from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.plan import Plan, settle, today

DATASET = {"name": "smss_stamps", "config": "mock", "version": "2.0.0", "fingerprint": "f" * 64}


def make_plan(n_stars=25, shard_size=10, **changes):
    values = {
        "n_samples": 100, "seed": 0, "batch_size": 128, "dataset": DATASET, "networks": {"ACF": "a" * 64},
        "errors": {"ACF": "e" * 64},
        "targets": ("teff",), "has_input_row": False,
    }  # fmt: skip
    return Plan(n_stars=n_stars, shard_size=shard_size, **(values | changes))


@given(n_stars=st.integers(1, 5000), shard_size=st.integers(1, 700), n_processes=st.integers(1, 9))
def test_every_row_is_in_one_shard_and_every_shard_in_one_share(n_stars, shard_size, n_processes):
    plan = make_plan(n_stars, shard_size)
    rows = [row for shard in range(plan.n_shards) for row in plan.rows(shard)]
    assert rows == list(range(n_stars))
    assert all(0 < len(plan.rows(shard)) <= shard_size for shard in range(plan.n_shards))
    shares = [plan.shards_of(process, n_processes) for process in range(n_processes)]
    assert sorted(shard for share in shares for shard in share) == list(range(plan.n_shards))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_first_plan_stays_and_tells_the_date(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert settle(make_plan(), tmp_path / "deep/out") == "2001-09-09"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1100000000")
    assert today() == "2004-11-09"
    assert settle(make_plan(), tmp_path / "deep/out") == "2001-09-09"
    assert [path.name for path in (tmp_path / "deep/out").iterdir()] == ["plan.json"]


def test_the_date_is_the_clocks_without_an_epoch(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(plans.time, "time", lambda: 86_400 * 365.0)
    assert today() == "1971-01-01"


@pytest.mark.parametrize("links", [True, False])
def test_processes_that_begin_together_settle_on_one_plan(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(plans.os, "link", refuse_to_link)
    with ThreadPoolExecutor(8) as pool:
        dates = list(pool.map(lambda _: settle(make_plan(), tmp_path / "out"), range(40)))
    assert len(set(dates)) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan.json"]


def refuse_to_link(*paths):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"n_stars": 26}, ["- n_stars: 25", "+ n_stars: 26"]),
        ({"networks": {"ACF": "b" * 64}}, [f"- networks.ACF: {'a' * 64}", f"+ networks.ACF: {'b' * 64}"]),
        ({"dataset": DATASET | {"version": "3.0.0"}}, ["- dataset.version: 2.0.0", "+ dataset.version: 3.0.0"]),
        ({"targets": ("teff", "logg")}, ["- targets: ['teff']", "+ targets: ['teff', 'logg']"]),
    ],
)
def test_a_folder_of_another_catalogue_is_refused_with_what_differs(tmp_path, changes, lines):
    settle(make_plan(), tmp_path)
    with pytest.raises(CatalogueError) as error:
        settle(dataclasses.replace(make_plan(), **changes), tmp_path)
    first, *found, last = str(error.value).splitlines()
    assert first == f"{tmp_path} holds a catalogue that is made otherwise (- there, + now):"
    assert [line.strip() for line in found] == lines
    assert last == "Give another --out, or the same settings to go on with it."


@pytest.mark.parametrize("text", ["", '{"n_stars": 2', "{}", "[]", "3"])
def test_a_damaged_plan_is_one_sentence(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(CatalogueError, match=r"plan.json is damaged: delete .* and give the command again"):
        settle(make_plan(), tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(CatalogueError, match=r"file/out cannot be written \(Not a directory\)"):
        settle(make_plan(), tmp_path / "file/out")

    def fill_the_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plans.os, "fsync", fill_the_disk)
    with pytest.raises(CatalogueError, match=r"cannot be written \(No space left on device\)"):
        settle(make_plan(), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_plan_is_json_that_people_can_read(tmp_path):
    settle(make_plan(), tmp_path)
    told = json.loads((tmp_path / "plan.json").read_text())
    assert told["dataset"] == DATASET
    assert (told["n_stars"], told["shard_size"], told["targets"]) == (25, 10, ["teff"])
