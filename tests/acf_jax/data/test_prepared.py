import dataclasses
import json
import re

import numpy as np
import pytest

from acf_jax.data.prepared import (
    SAMPLES,
    DatasetError,
    InMemoryExamples,
    find_dataset,
    how_to_prepare,
    open_dataset,
    ordered_batches,
    training_batches,
)
from datasets.build import __main__ as build_command
from datasets.build import prepare
from datasets.build.packing import BuildError
from datasets.build.parts import OURS
from datasets.smss_stamps.configs import CONFIGS
from tests.acf_jax import tiny_dataset

STARS = {"train": tiny_dataset.make_stars(20, seed=1), "validation": tiny_dataset.make_stars(7, seed=2)}
FIELDS = ("object_id", "stamp", "teff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_dataset.write(tmp_path_factory.mktemp("data"), STARS)


@pytest.fixture(params=["disk", "memory"])
def examples(folder, request):
    on_disk = open_dataset(folder).examples("train", FIELDS)
    return on_disk if request.param == "disk" else InMemoryExamples(on_disk)


def test_arrays_are_what_was_written(folder):
    dataset = open_dataset(folder)
    for split, stars in STARS.items():
        arrays = dataset.arrays(split)
        assert arrays.keys() == stars.keys()
        for name, values in stars.items():
            np.testing.assert_array_equal(arrays[name], np.asarray(values, arrays[name].dtype))
        assert arrays["object_id"].dtype == np.int64
        assert arrays["stamp"].dtype == arrays["teff"].dtype == np.float32
    some = dataset.arrays("train", ("teff",), indices=[5, 2])
    assert list(some) == ["teff"]
    np.testing.assert_array_equal(some["teff"], STARS["train"]["teff"][[5, 2]].astype(np.float32))


def test_facts_of_the_dataset(folder):
    dataset = open_dataset(folder)
    assert (dataset.bands, dataset.fingerprint, dataset.n_examples("validation")) == ("uvgriz", "abc", 7)
    facts = {"name": "smss_stamps", "config": "mock", "version": "1.0.0", "fingerprint": "abc", "folder": str(folder)}
    assert dataset.describe() == facts


def test_a_dataset_says_how_its_stamps_were_made_and_refuses_a_network_of_another_sky_level(folder):
    silent = open_dataset(folder)
    recipes = [{"stamps": {"aligner": a, "sky": s}} for a, s in (("fast", "cutout"), ("reproject", "table"))]
    plain, table = (
        dataclasses.replace(silent, metadata=silent.metadata | {"provenance": {"recipe": recipe}}) for recipe in recipes
    )
    assert [plain.describe(), table.describe()] == [silent.describe() | recipe for recipe in recipes]
    silent.check_stamps(table.describe())
    plain.check_stamps(silent.describe())  # a checkpoint of the time when there was no choice
    for dataset in (plain, table):
        dataset.check_stamps(dataset.describe())
    table.check_stamps({"stamps": {"aligner": "fast", "sky": "table"}})  # the aligners make the same stamps
    words = "trained on stamps built with `--sky {}`, those of .* were built with `--sky {}`"
    with pytest.raises(DatasetError, match=words.format("table", "cutout")):
        plain.check_stamps(table.describe())
    with pytest.raises(DatasetError, match=words.format("cutout", "table")):
        table.check_stamps(plain.describe())


def test_the_way_to_every_sample_can_be_gone_as_it_is_told(tmp_path, monkeypatch):
    assert set(SAMPLES) == set(CONFIGS)
    monkeypatch.chdir(tmp_path)
    for name in SAMPLES:
        way = how_to_prepare(name, "--data-dir here")
        (command,) = re.findall("`python -m datasets.build (.*)`", way)
        options = build_command._parser().parse_args(command.split())
        assert (options.config, options.data_dir) == (name, "here")
        if options.galah:  # to be downloaded first
            with pytest.raises(BuildError, match="no such file"):
                prepare.plan(name, 5, "here", 0, 1, build_command._sources(options), OURS)
            assert way.startswith(f"download {options.galah} from https://")
        files = [tmp_path / file for file in (options.galah, options.table) if file]
        for file in files:
            file.touch()
        prepare.plan(name, 5, "here", 0, 1, build_command._sources(options), OURS)
        for file in files:
            file.unlink()


def test_every_epoch_is_another_permutation_and_no_star_is_left_out(examples):
    batches = training_batches(examples, batch_size=8, seed=3)
    ids = np.concatenate([next(batches)["object_id"] for _ in range(10)]).reshape(4, 20)
    for epoch in ids:
        np.testing.assert_array_equal(np.sort(epoch), STARS["train"]["object_id"])
    assert len({tuple(epoch) for epoch in ids}) == 4


def test_rows_of_a_batch_belong_together(examples):
    batch = next(training_batches(examples, batch_size=8, seed=3))
    rows = np.searchsorted(STARS["train"]["object_id"], batch["object_id"])
    np.testing.assert_array_equal(batch["stamp"], STARS["train"]["stamp"][rows].astype(np.float32))
    np.testing.assert_array_equal(batch["teff"], STARS["train"]["teff"][rows].astype(np.float32))


def test_a_restored_iterator_goes_on_with_the_very_next_batch(examples):
    batches = training_batches(examples, batch_size=8, seed=3)
    for _ in range(4):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    expected = [next(batches)["object_id"] for _ in range(3)]
    restored = training_batches(examples, batch_size=8, seed=3)
    restored.set_state(state)
    np.testing.assert_array_equal([next(restored)["object_id"] for _ in range(3)], expected)


def test_memory_and_disk_give_the_same_batches_and_another_seed_others(folder):
    on_disk = open_dataset(folder).examples("train", FIELDS)
    first, same, other = (
        next(training_batches(source, batch_size=8, seed=seed))["object_id"]
        for source, seed in ((on_disk, 3), (InMemoryExamples(on_disk), 3), (on_disk, 4))
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_ordered_batches_count_every_star_once(examples):
    batches = list(ordered_batches(examples, batch_size=8))
    assert [n_real for _, n_real in batches] == [8, 8, 4]
    assert {len(batch["object_id"]) for batch, _ in batches} == {8}
    ids = np.concatenate([batch["object_id"][:n_real] for batch, n_real in batches])
    np.testing.assert_array_equal(ids, STARS["train"]["object_id"])


def test_the_newest_version_is_found(tmp_path):
    for version in ("1.9.0", "1.10.0", "1.2.0", "2.0.0.incomplete"):
        (tmp_path / "smss_stamps/mock" / version).mkdir(parents=True)
        (tmp_path / "smss_stamps/mock" / version / "dataset_info.json").touch()
    assert find_dataset(tmp_path, "smss_stamps", "mock").name == "1.10.0"


def test_refusals(folder, tmp_path):
    whole_way = (
        r"not prepared .*: download GALAH\S+ from https\S+, then `python .* high_quality --galah GALAH.* Or train"
    )
    with pytest.raises(DatasetError, match=whole_way):
        find_dataset(tmp_path, "smss_stamps", "high_quality")
    with pytest.raises(DatasetError, match=r"there is no such sample, see `python -m datasets.build --help`"):
        find_dataset(tmp_path, "smss_stamps", "mok")
    with pytest.raises(DatasetError, match=r"no prepared dataset: `python -m datasets.build --config mock`"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no field age; it has fe_h, logg, object_id"):
        open_dataset(folder).arrays("train", ("age",))
    with pytest.raises(DatasetError, match="no split 'test'; it has train, validation"):
        open_dataset(folder).n_examples("test")


def test_a_relative_folder_is_the_one_of_the_working_directory(tmp_path, monkeypatch):
    for name in ("here", "there"):
        tiny_dataset.write(tmp_path / name, {"validation": tiny_dataset.make_stars(2, 0)}, fingerprint=name)
    for name in ("here", "there"):
        monkeypatch.chdir(tmp_path / name)
        assert open_dataset("smss_stamps/mock/1.0.0").fingerprint == name
