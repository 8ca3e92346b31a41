"""A catalogue from a network and a dataset to its file: what its numbers may depend on, and that no star is lost."""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest

from acf_jax.catalogue import making, predicting
from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files.formats import read_provenance
from acf_jax.catalogue.flags import Flag
from acf_jax.catalogue.making import Options, make_plan
from acf_jax.catalogue.rows import Z_95
from acf_jax.catalogue.star_facts import StarFacts, dataset_without_stamps
from acf_jax.data.prepared import DatasetError, open_dataset
from acf_jax.inference.fingerprint import network_fingerprint
from acf_jax.inference.loading import load
from tests.acf_jax.catalogue import tiny_catalogue

TARGETS = ("teff", "logg", "fe_h")
N_STARS, N_REJECTED = 50, 4
NUMBERS = [c.name for c in columns(TARGETS) if c.is_float]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Networks, stars and their dataset."""
    return World(tmp_path_factory.mktemp("world"))


class World:
    def __init__(self, folder: Path):
        self.folder = folder
        self.networks = tiny_catalogue.make_networks(folder)
        self.acf = {"ACF": self.networks["ACF"]}
        self.stars = tiny_catalogue.make_stars(N_STARS)
        self.rejected = tiny_catalogue.make_rejected(N_REJECTED)
        self.dataset = open_dataset(tiny_catalogue.write_dataset(folder / "data", self.stars, self.rejected))


def make(networks, dataset, folder: Path, *, suffix="parquet", **options) -> Path | None:
    """The catalogue's file."""
    options = {"n_samples": tiny_catalogue.N_SAMPLES, "shard_size": 12, "batch_size": 8, "progress": False} | options
    files = making.make_catalogue(
        networks, dataset, folder, [folder / f"catalogue.{suffix}"], folder / "ReadMe", Options(**options)
    )
    return files[0] if files else None


def read(path: Path) -> dict[str, np.ndarray]:
    """Columns, NaN for nulls of floats."""
    table = pq.read_table(path)
    return {
        name: table[name].to_numpy().astype(float) if name in NUMBERS else np.array(table[name].to_pylist(), object)
        for name in table.column_names
    }


def by_id(rows, names=NUMBERS):
    order = np.argsort(rows["object_id"].astype(np.int64))
    return {name: rows[name][order] for name in names}


def trained_elsewhere(trained, fingerprint):
    """The same network, as if trained on the dataset of that fingerprint."""
    return dataclasses.replace(trained, sidecar=trained.sidecar | {"dataset": {"fingerprint": fingerprint}})


@pytest.fixture(scope="module")
def made(world):
    """The catalogue that the others are compared with."""
    return read(make(world.acf, world.dataset, world.folder / "reference"))


def test_numbers_are_those_of_the_library_asked_directly(world, made):
    assert made["object_id"].tolist() == [*world.stars["object_id"], *world.rejected["object_id"]]
    expected = tiny_catalogue.predict(world.networks["ACF"], world.stars)
    ends = {68: expected.interval(0.6827), 95: expected.interval(0.95)}
    assert np.ptp(expected.mean, axis=0).min() > 0
    for i, target in enumerate(TARGETS):
        found = {name: made[name][:N_STARS] for name in made}
        tolerance = {"rtol": 2e-5, "atol": 2e-5 * expected.std[:, i].max()}
        np.testing.assert_allclose(found[target], expected.mean[:, i], **tolerance)
        np.testing.assert_allclose(found[f"e_{target}_mc"], expected.std[:, i], rtol=2e-4)
        np.testing.assert_allclose(found[f"e_{target}_cal"], expected.calibrated_std[:, i], rtol=1e-5)
        np.testing.assert_array_equal(found[f"e_{target}"], found[f"e_{target}_cal"])
        for level, (lower, upper) in ends.items():
            np.testing.assert_allclose(found[f"{target}_lo{level}"], lower[:, i], **tolerance)
            np.testing.assert_allclose(found[f"{target}_hi{level}"], upper[:, i], **tolerance)


def test_without_calibration_the_intervals_are_a_gaussians(world, tmp_path):
    bare = dataclasses.replace(world.networks["ACF"], error_calibration=None, training_domain=None)
    rows = read(make({"ACF": bare}, world.dataset, tmp_path))
    done = slice(0, N_STARS)
    for target in TARGETS:
        value, error = rows[target][done], rows[f"e_{target}_mc"][done]
        assert np.isnan(rows[f"e_{target}_cal"].astype(float)).all()
        np.testing.assert_array_equal(rows[f"e_{target}"][done], error)
        for level, width in ((68, 1.0), (95, Z_95)):
            tolerance = {"rtol": 1e-6, "atol": 1e-5 * error.max()}
            np.testing.assert_allclose(rows[f"{target}_lo{level}"][done], value - width * error, **tolerance)
            np.testing.assert_allclose(rows[f"{target}_hi{level}"][done], value + width * error, **tolerance)
    assert np.isnan(rows["domain_distance"]).all()
    assert all(flags & Flag.UNCALIBRATED for flags in rows["flags"][done])


@pytest.mark.parametrize(
    "options",
    [{"shard_size": 1}, {"batch_size": 3, "shard_size": 1000}, {"batch_size": 50, "shard_size": 17}],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()),
)
def test_shard_size_and_batch_size_do_not_change_a_star(world, made, tmp_path, options):
    rows = read(make(world.acf, world.dataset, tmp_path, **options))
    assert rows["object_id"].tolist() == made["object_id"].tolist()
    assert_equal_to_rounding(rows, made)


def test_order_and_company_do_not_change_a_star(world, made, tmp_path):
    rows = np.random.default_rng(0).permutation(N_STARS)[:20]
    few = {name: values[rows] for name, values in world.stars.items()}
    dataset = open_dataset(tiny_catalogue.write_dataset(tmp_path / "data", few))
    found = read(make(world.acf, dataset, tmp_path / "out"))
    assert_equal_to_rounding(found, {name: made[name][rows] for name in made})


def assert_equal_to_rounding(rows, expected):
    for name in NUMBERS:
        # Relative to the column's scale, too: a metallicity near zero has lost its digits to the scale of [Fe/H].
        scale = np.nanmax(np.abs(expected[name]))
        np.testing.assert_allclose(rows[name], expected[name], rtol=2e-4, atol=2e-5 * scale, err_msg=name)
    for name in ("smss_j", "source_id", "flags", "reason"):
        np.testing.assert_array_equal(rows[name], expected[name])


def test_shares_in_any_order_make_the_same_file_bit_for_bit(world, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    alone = make(world.acf, world.dataset, tmp_path / "alone")
    for process in (2, 0, 3):
        assert make(world.acf, world.dataset, tmp_path / "shared", process=process, n_processes=4) is None
    together = make(world.acf, world.dataset, tmp_path / "shared", process=1, n_processes=4)
    assert together.read_bytes() == alone.read_bytes()
    assert shards_of(tmp_path / "shared") == shards_of(tmp_path / "alone")


def test_shares_at_the_same_time_make_the_same_file_bit_for_bit(world, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    alone = make(world.acf, world.dataset, tmp_path / "alone", shard_size=4)
    with ThreadPoolExecutor(3) as pool:
        arguments = {"shard_size": 4, "n_processes": 3}
        shares = [
            pool.submit(make, world.acf, world.dataset, tmp_path / "shared", process=process, **arguments)
            for process in range(3)
        ]
        assert any(share.result() for share in shares)
    assert (tmp_path / "shared/catalogue.parquet").read_bytes() == alone.read_bytes()


def test_a_finished_catalogue_is_not_made_again(world, tmp_path, monkeypatch):
    make(world.acf, world.dataset, tmp_path)
    before = shards_of(tmp_path)
    monkeypatch.setattr(making, "predict_shards", None)
    assert make(world.acf, world.dataset, tmp_path, suffix="csv").name == "catalogue.csv"
    assert shards_of(tmp_path) == before


@pytest.mark.parametrize("kept", [0.6, 0.0], ids=["truncated", "empty"])
def test_a_damaged_shard_is_made_anew(world, tmp_path, kept):
    make(world.acf, world.dataset, tmp_path)
    before = shards_of(tmp_path)
    path = tmp_path / "shards/shard-000001.parquet"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    make(world.acf, world.dataset, tmp_path)
    assert shards_of(tmp_path) == before


def test_what_killed_processes_left_is_swept_when_the_catalogue_is_put_together(world, tmp_path):
    left = [tmp_path / "shards/.shard-000001.parquet.0a1b2c3d.part", tmp_path / ".catalogue.parquet.0a1b2c3d.part"]
    (tmp_path / "shards").mkdir()
    for path in left:
        path.write_bytes(b"half a shard")
    assert make(world.acf, world.dataset, tmp_path, process=0, n_processes=2) is None
    assert all(path.exists() for path in left)
    make(world.acf, world.dataset, tmp_path, process=1, n_processes=2)
    assert not list(tmp_path.rglob("*.part"))


def shards_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def test_another_catalogue_in_the_folder_is_refused_with_what_differs(world, tmp_path):
    make(world.acf, world.dataset, tmp_path)
    with pytest.raises(CatalogueError) as error:
        make(world.acf, world.dataset, tmp_path, n_samples=7, seed=3)
    lines = str(error.value).splitlines()
    assert lines[1:5] == ["  - n_samples: 6", "  + n_samples: 7", "  - seed: 0", "  + seed: 3"]
    with pytest.raises(CatalogueError, match=r"\+ networks.ACPF"):
        make(world.networks, world.dataset, tmp_path)


def test_errors_fitted_anew_make_another_catalogue(world, tmp_path):
    make(world.acf, world.dataset, tmp_path)
    refitted = dataclasses.replace(world.networks["ACF"], error_calibration=None)
    with pytest.raises(CatalogueError, match=r"made otherwise[^§]*- errors\.ACF: [0-9a-f]{64}\n  \+ errors\.ACF: "):
        make({"ACF": refitted}, world.dataset, tmp_path)


@pytest.mark.parametrize("is_of_training", [False, True])
def test_stars_that_the_network_was_trained_on_are_flagged(world, tmp_path, is_of_training):
    fingerprint = world.dataset.fingerprint if is_of_training else "another"
    rows = read(make({"ACF": trained_elsewhere(world.networks["ACF"], fingerprint)}, world.dataset, tmp_path))
    flagged = (rows["flags"].astype(int) & Flag.TRAINED_ON) != 0
    expected = world.stars["split"] == "train" if is_of_training else np.zeros(N_STARS, bool)
    np.testing.assert_array_equal(flagged[:N_STARS], expected)
    assert not flagged[N_STARS:].any()


def test_a_table_of_which_no_star_has_a_stamp_comes_out_all_the_same(world, tmp_path):
    rejected = pyarrow.table(
        {
            "input_row": [2, 0, 1],
            "object_id": [-1, 7, -1],
            "source_id": [-1, -1, 9],
            "ra": [np.nan, 10.0, 20.0],
            "dec": [np.nan, -10.0, -20.0],
            "reason": ["ra is not a number ('abc')", "no usable detection", "not there"],
        }
    )
    dataset = dataset_without_stamps(tmp_path / "none", rejected, "uvgriz", "mock_stars", "mock sky")
    rows = read(make(world.networks, dataset, tmp_path / "made"))
    assert rows["input_row"].tolist() == [0, 1, 2]
    assert rows["reason"].tolist() == ["no usable detection", "not there", "ra is not a number ('abc')"]
    assert all(flags & Flag.NO_RESULT for flags in rows["flags"])
    assert np.isnan(rows["teff"]).all()


def test_networks_that_do_not_fit_are_refused(world, tmp_path):
    acf = world.networks["ACF"]
    with pytest.raises(CatalogueError, match=r"in the bands uvgrzi, those of .* are in uvgriz"):
        make({"ACF": dataclasses.replace(acf, bands="uvgrzi")}, world.dataset, tmp_path)
    recipe = {"stamps": {"aligner": "fast", "sky": "table"}}
    by_table = dataclasses.replace(world.dataset, metadata=world.dataset.metadata | {"provenance": {"recipe": recipe}})
    with pytest.raises(DatasetError, match="trained on stamps built with `--sky cutout`"):
        make({"ACF": acf}, by_table, tmp_path)
    facts = StarFacts(by_table.folder, by_table.bands)
    plan = make_plan({"ACF": acf}, by_table, facts, Options())
    assert set(plan.dataset) == {"name", "config", "version", "fingerprint"}
    other = dataclasses.replace(world.networks["ACPF"], targets=("teff",))
    with pytest.raises(CatalogueError, match=r"different labels \(ACF: teff, logg, fe_h; ACPF: teff\)"):
        make({"ACF": acf, "ACPF": other}, world.dataset, tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_network_a_label_makes_a_catalogue_of_that_label(world, tmp_path):
    network = load(tiny_catalogue.make_network(tmp_path / "run", model__targets=("logg",)))
    path = make({"ACF": network}, world.dataset, tmp_path / "out")
    assert pq.read_schema(path).names == [column.name for column in columns(("logg",))]
    expected = tiny_catalogue.predict(network, world.stars).mean[:, 0]
    np.testing.assert_allclose(read(path)["logg"][:N_STARS], expected, rtol=2e-5)


def test_provenance_names_the_sample_and_no_place_of_this_machine(world, tmp_path):
    told = read_provenance(make(world.acf, world.dataset, tmp_path))
    assert told["sample"] == "mock sky, smss_stamps/mock 1.0.0, 54 stars"
    assert told["networks"]["ACF"]["fingerprint"] == network_fingerprint(world.networks["ACF"])
    assert (told["n_samples"], told["seed"], told["dataset"]["fingerprint"]) == (6, 0, "f" * 64)
    assert str(world.folder) not in json.dumps(told)


def test_shards_before_one_that_cannot_be_written_stay(world, tmp_path, monkeypatch):
    def write_two(path, *rest, write=predicting.write_shard):
        if path.name > "shard-000001.parquet":
            raise CatalogueError(f"The disk is full: {path}.")
        write(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(predicting, "write_shard", write_two)
        with pytest.raises(CatalogueError, match=r"The disk is full: .*shard-000002.parquet"):
            make(world.acf, world.dataset, tmp_path)
    assert list(shards_of(tmp_path)) == ["shard-000000.parquet", "shard-000001.parquet"]
    make(world.acf, world.dataset, tmp_path)
    assert shards_of(tmp_path) == shards_of(world.folder / "reference")


@pytest.mark.parametrize("has_input_rows", [False, True])
def test_a_dataset_of_stars_without_stamps_is_a_catalogue_of_reasons(world, tmp_path, has_input_rows):
    few = tiny_catalogue.make_stars(6)
    none = {name: values[:0] for name, values in few.items()}
    rejected = tiny_catalogue.make_rejected(5)
    places = (np.arange(0), np.array([4, 0, 3, 1, 2])) if has_input_rows else None
    folder = tiny_catalogue.write_dataset(tmp_path / "data", few)
    tiny_catalogue.write_tables(folder, none, rejected, input_rows=places)
    rows = read(make(world.acf, open_dataset(folder), tmp_path / "out", shard_size=2))
    order = [1, 3, 4, 2, 0] if has_input_rows else range(5)
    assert rows["reason"].tolist() == rejected["reason"][list(order)].tolist()
    assert all(flags & Flag.NO_RESULT for flags in rows["flags"])
    assert np.isnan(rows["teff"]).all()


def test_a_dataset_of_no_stars_at_all_is_refused(world, tmp_path):
    none = {name: values[:0] for name, values in world.stars.items()}
    folder = tiny_catalogue.write_dataset(tmp_path / "data", tiny_catalogue.make_stars(6))
    tiny_catalogue.write_tables(folder, none, tiny_catalogue.make_rejected(0))
    with pytest.raises(CatalogueError, match="holds no star: there is nothing to predict"):
        make(world.acf, open_dataset(folder), tmp_path / "out")


def test_memory_does_not_grow_with_the_number_of_stars(world, tmp_path):
    folder = tiny_catalogue.write_dataset(tmp_path / "data", world.stars)
    program = [sys.executable, "-m", "tests.acf_jax.catalogue.peak_memory"]
    command = [*program, world.folder / "acf", folder, tmp_path / "out", "1000", "6000"]
    done = subprocess.run(command, cwd=tiny_catalogue.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout)
    assert many - few < 20  # the stamps alone of the 5,000 stars by which they differ are 31 MB
