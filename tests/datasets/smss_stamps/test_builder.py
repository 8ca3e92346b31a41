"""What `pack` makes of finished parts: metadata, tables, README, splits, counts."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from astropy.table import Table

from datasets import smss_stamps
from datasets.build.checksums import damaged_files
from datasets.build.packing import BuildError, pack
from datasets.build.parts import Choices
from datasets.build.readme import field_table
from datasets.smss_stamps.configs import CONFIGS, TRAINING_SPLITS, split_of
from datasets.smss_stamps.fields import FIELDS, INPUT_FIELDS, TRUTH_FIELDS
from tests.datasets.build.parts_by_hand import PROVENANCE, write_parts

N_STARS = 75  # two whole parts and a short one
N_REJECTED = 8


def packed(folder, config="high_quality", n_stars=N_STARS, **options):
    job, examples = write_parts(folder, config, n_stars, **options)
    return pack(job, n_stars, progress=False), examples


@pytest.fixture(scope="module", params=CONFIGS)
def prepared(request, tmp_path_factory):
    folder, examples = packed(tmp_path_factory.mktemp("work") / "job", request.param)
    return CONFIGS[request.param], folder, examples


def metadata_of(folder):
    return json.loads((folder / "metadata.json").read_text())


def test_every_config_has_its_fields_and_splits(prepared):
    config, folder, examples = prepared
    builder = tfds.builder_from_directory(folder)
    assert set(builder.info.features) == set(examples) == set(config.fields())
    assert ("true_teff" in examples) == config.name.startswith("mock")
    assert ("input_row" in examples) == (config.name in ("stars", "mock_stars"))
    splits = {"catalogue": ["catalogue"], "stars": ["stars"], "mock_stars": ["stars"]}
    assert list(builder.info.splits) == splits.get(config.name, list(TRAINING_SPLITS))
    read = [int(e["object_id"]) for split in builder.info.splits for e in builder.as_data_source(split)]
    assert sorted(read) == examples["object_id"].tolist()
    assert sum(split.num_examples for split in builder.info.splits.values()) == N_STARS - N_REJECTED


def test_metadata_explain_every_field(prepared):
    config, folder, _ = prepared
    metadata = metadata_of(folder)
    assert metadata["bands"] == "uvgriz"
    assert metadata["units"] == {name: field.unit for name, field in config.fields().items()}
    assert all(metadata["descriptions"][name] for name in config.fields())
    assert metadata["provenance"] == PROVENANCE
    assert metadata["n_stars"] == N_STARS
    assert metadata["n_rejected"] == N_REJECTED


def test_licence_and_citations_are_the_configs(prepared):
    config, folder, _ = prepared
    info, readme = tfds.builder_from_directory(folder).info, (folder / "README.md").read_text()
    assert (info.redistribution_info.license == "BSD-3-Clause, as the code that generates it") == config.is_mock
    for text in (info.citation, readme):
        assert ("choi2016" in text) == config.is_mock
        assert all(key in text for key in ("acf2025", "onken2024", "10.25914/5M47-S621", "gaia2021", "buder2021"))
        assert text.count("{") == text.count("}")
    if not config.is_mock:
        assert "ESA/Gaia/DPAC" in readme
        assert "CC BY 4.0" in info.redistribution_info.license


def test_readme_of_a_prepared_folder(prepared):
    config, folder, _ = prepared
    readme = (folder / "README.md").read_text()
    assert field_table(config.fields()) in readme
    rows = dict(
        line[2:-2].split(" | ") for line in readme.splitlines() if line.startswith("| ") and line.count("|") == 3
    )
    counts = {label.strip("*"): int(n.replace(",", "")) for label, n in rows.items() if n.replace(",", "").isdigit()}
    assert counts["looked at"] - counts["fail: flags = 0"] - counts["not drawn"] == counts["selected"] == N_STARS
    assert counts["examples"] + counts["rejected"] == counts["selected"]
    assert counts["no &#124; stamp for &lt;it>"] == N_REJECTED, "the reasons, made fit for a table"
    assert rows["fail: G &lt; 16"].startswith("not looked at")
    for text in ("- date: `2026-05-17`", "- tap: `https://example.org/tap`", "      WHERE flags = 0", "ab" * 32):
        assert text in readme
    assert metadata_of(folder)["fingerprint"] in readme


def test_star_table_has_every_example_and_its_place(prepared):
    config, folder, examples = prepared
    table = pyarrow.parquet.read_table(folder / "stars.parquet")
    np.testing.assert_array_equal(table["object_id"], examples["object_id"])
    for name, field in config.fields().items():
        if len(field.shape) <= 1:
            found = (
                np.stack([table[f"{name}_{band}"] for band in "uvgriz"], -1) if field.shape else table[name].to_numpy()
            )
            np.testing.assert_array_equal(found, examples[name], err_msg=name)
            assert found.dtype == field.dtype
    builder = tfds.builder_from_directory(folder)
    sources = {split: builder.as_data_source(split) for split in config.splits}
    rows = zip(table["split"].to_pylist(), table["index"].to_pylist(), table["object_id"].to_pylist(), strict=True)
    for split, index, object_id in rows:
        assert sources[split][index]["object_id"] == object_id
        assert config.split_of(object_id) == split


@pytest.mark.filterwarnings("ignore:No table..len..split found in metadata")
def test_star_table_carries_units_for_the_virtual_observatory(prepared):
    table = Table.read(prepared[1] / "stars.parquet", format="parquet.votable")
    assert (table["ra"].unit, table["psf_mag_u"].unit, table["parallax"].unit) == ("deg", "mag", "mas")
    assert (table["teff"].unit, table["logg"].unit) == ("K", None)
    assert "surface gravity" in table["logg"].description


def test_packing_again_gives_the_same_bytes(prepared, tmp_path):
    config, folder, _ = prepared
    again, _ = packed(tmp_path / "job", config.name)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_checksums_cover_every_file(prepared):
    folder = prepared[1]
    listed = [line.split("  ")[1] for line in (folder / "checksums.txt").read_text().splitlines()]
    assert sorted([*listed, "checksums.txt"]) == sorted(path.name for path in folder.iterdir())
    assert {"README.md", "croissant.json", "stars.parquet", "rejected.parquet", "metadata.json"} <= set(listed)
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "checksums.txt"], cwd=folder, check=True)
    assert damaged_files(folder) == []


def test_rejected_stars_are_listed_with_their_reasons(prepared):
    rejected = pyarrow.parquet.read_table(prepared[1] / "rejected.parquet").to_pydict()
    assert len(rejected["object_id"]) == N_REJECTED
    assert not set(rejected["object_id"]) & set(prepared[2]["object_id"].tolist())
    assert set(rejected["reason"]) == {"no | stamp\nfor <it>"}


def test_fingerprint_is_of_the_content(tmp_path):
    def fingerprint(name, **options):
        return metadata_of(packed(tmp_path / name, **options)[0])["fingerprint"]

    first = fingerprint("first")
    assert fingerprint("more", n_stars=N_STARS + 1) != first
    assert fingerprint("other", rejected=lambda row: row % 10 == 3) != first
    assert fingerprint("config", config="stars") != first
    choices = [{"sky": "table"}, {"aligner": "reproject"}, {"splits": "paper"}]
    others = [fingerprint(f"choice {i}", choices=Choices(**choice)) for i, choice in enumerate(choices)]
    assert len({first, *others}) == 4


def test_counts_that_do_not_add_up_are_refused(tmp_path):
    job, _ = write_parts(tmp_path / "job", "high_quality", N_STARS)
    with np.load(job.part(1)) as part:
        arrays = dict(part)
    np.savez(job.part(1), **arrays | {"rejected_row": arrays["rejected_row"][:-1]})
    with pytest.raises(BuildError, match=r"do not add up: 67 examples and 7 rejected stars of 75 selected"):
        pack(job, N_STARS, progress=False)
    np.savez(job.part(1), **arrays | {"rejected_row": arrays["rejected_row"] + 1})  # as many, but not the ones
    with pytest.raises(BuildError, match=r"do not add up"):
        pack(job, N_STARS, progress=False)


def test_nothing_to_pack_is_said_in_a_sentence(tmp_path):
    job, _ = write_parts(
        tmp_path / "rejected", "catalogue", 20, rejected=lambda row: True, reason="no r-band detection"
    )
    with pytest.raises(BuildError, match="none of the 20 selected stars has a stamp; of most: no r-band detection"):
        pack(job, 20, progress=False)
    job, _ = write_parts(tmp_path / "none", "stars", 0)
    with pytest.raises(BuildError, match="no star is selected for the config stars"):
        pack(job, 0, progress=False)


def test_an_empty_split_is_refused_only_where_there_are_several(tmp_path):
    with pytest.raises(BuildError, match=r"the split [a-z]+ would be empty with 1 stars; ask for more"):
        packed(tmp_path / "two", "high_quality", 1)
    folder, _ = packed(tmp_path / "one", "stars", 1)
    assert len(tfds.builder_from_directory(folder).as_data_source("stars")) == 1


def test_a_star_given_twice_is_there_twice(tmp_path):
    """A user's table may name one star in two rows."""
    job, _ = write_parts(tmp_path / "job", "stars", 40)
    for path in (job.selected, *job.parts(40)):
        with np.load(path) as file:
            arrays = dict(file)
        arrays["object_id"] = np.where(arrays["object_id"] % 2 == 1, arrays["object_id"] - 1, arrays["object_id"])
        np.savez(path, **arrays)
    folder = pack(job, 40, progress=False)
    read = [int(example["object_id"]) for example in tfds.builder_from_directory(folder).as_data_source("stars")]
    assert len(read) == 36
    assert len(set(read)) < 36


@pytest.mark.parametrize(
    ("object_id", "digest"),
    [(1, "3304bc7bb02905fd"), (2**63 - 1, "2c0b0468b8065655")],  # b2sum -l 64 of the 8 bytes
)
def test_split_is_the_documented_hash(object_id, digest):
    number = int.from_bytes(bytes.fromhex(digest), "little")
    splits = [*["train"] * 7, "calibration", *["validation"] * 2]
    assert split_of(object_id) == splits[number % 10]


def test_the_papers_division_has_the_same_validation_stars():
    ours, paper = CONFIGS["high_quality"], CONFIGS["high_quality"].divided("paper")
    pairs = {(ours.split_of(object_id), paper.split_of(object_id)) for object_id in range(100)}
    assert pairs == {("train", "train"), ("calibration", "train"), ("validation", "validation")}
    assert CONFIGS["stars"].divided("paper") == CONFIGS["stars"]


@pytest.mark.parametrize(("split", "fraction"), [("train", 0.7), ("calibration", 0.1), ("validation", 0.2)])
def test_splits_are_seven_to_one_to_two(split, fraction):
    n = sum(split_of(object_id) == split for object_id in range(10**15, 10**15 + 20_000))
    assert abs(n - 20_000 * fraction) < 4 * (20_000 * fraction * (1 - fraction)) ** 0.5


def test_readme_of_the_package_has_the_fields():
    readme = Path(smss_stamps.__file__).with_name("README.md")
    table = field_table(FIELDS | TRUTH_FIELDS | INPUT_FIELDS)
    assert table in readme.read_text(), "paste field_table() of build/readme.py into the README"
