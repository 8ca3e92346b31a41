"""The Croissant file, judged by its reference implementation."""

import hashlib
import json
import subprocess
import sys

import pyarrow.parquet
import pytest

from datasets.build.packing import pack
from datasets.smss_stamps.configs import CONFIGS
from tests.datasets.build.parts_by_hand import FIRST_ID, write_parts

pytest.importorskip("mlcroissant")

N_STARS = 40

# In a process of its own: mlcroissant and what it imports warn about themselves.
READER = """
import json, sys
import mlcroissant
from absl import logging

said = []
logging.get_absl_logger().addFilter(lambda record: said.append(record.getMessage()))
dataset = mlcroissant.Dataset(sys.argv[1] + "/croissant.json")
def plain(value):
    return value.decode() if isinstance(value, bytes) else value.item() if hasattr(value, "item") else value
def records(name):
    return [{key: plain(value) for key, value in record.items()} for record in dataset.records(name)]
found = {name: records(name) for name in ("stars", "rejected", "fields")}
issues = dataset.metadata.ctx.issues
print(json.dumps({"records": found, "errors": list(issues.errors), "warnings": list(issues.warnings), "said": said}))
"""


@pytest.fixture(scope="module", params=["mock", "high_quality", "stars"])
def prepared(request, tmp_path_factory):
    job, examples = write_parts(tmp_path_factory.mktemp("work") / "job", request.param, N_STARS)
    return CONFIGS[request.param], pack(job, N_STARS, progress=False), examples


@pytest.fixture(scope="module")
def read(prepared, tmp_path_factory):
    """What mlcroissant makes of the folder."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, prepared[1]],
        **{"cwd": tmp_path_factory.mktemp("elsewhere"), "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def document_of(folder):
    return json.loads((folder / "croissant.json").read_text())


def test_mlcroissant_validates_it(prepared, read):
    assert read["errors"] == []
    # The mock sky is drawn, not observed: it has no date.
    missing = [warning for warning in read["warnings"] if prepared[0].is_mock and "datePublished" in warning]
    assert read["warnings"] == missing
    assert not [line for line in read["said"] if "@context" in line]


def test_mlcroissant_reads_every_star(prepared, read):
    _, folder, examples = prepared
    table = pyarrow.parquet.read_table(folder / "stars.parquet")
    stars = {name: [record[f"stars/{name}"] for record in read["records"]["stars"]] for name in table.column_names}
    assert stars["object_id"] == examples["object_id"].tolist()
    assert min(stars["object_id"]) >= FIRST_ID, "not through floats"
    for name, values in table.to_pydict().items():
        assert stars[name] == [None if value != value else value for value in values], name  # NaN
    rejected = read["records"]["rejected"]
    assert len(rejected) + len(stars["object_id"]) == N_STARS
    assert {record["rejected/reason"] for record in rejected} == {"no | stamp\nfor <it>"}


def test_every_field_is_described_with_its_unit(prepared, read):
    config, folder, _ = prepared
    described = {record["fields/name"]: record for record in read["records"]["fields"]}
    assert described.keys() == config.fields().keys()
    for name, field in config.fields().items():
        record = described[name]
        assert (record["fields/type"], record["fields/unit"]) == (field.dtype, field.unit)
        assert record["fields/shape"] == ",".join(map(str, field.shape))
        assert record["fields/description"] == field.description
    stars = {field["name"]: field for field in document_of(folder)["recordSet"][0]["field"]}
    assert (stars["ra"]["unitText"], stars["psf_mag_v"]["unitText"], stars["logg"]["unitText"]) == ("deg", "mag", "dex")
    assert "unitText" not in stars["ruwe"]
    assert list(stars) == pyarrow.parquet.read_schema(folder / "stars.parquet").names


def test_every_file_is_there_with_its_checksum(prepared):
    folder = prepared[1]
    files = {file["name"]: file for file in document_of(folder)["distribution"]}
    assert files.keys() == {path.name for path in folder.iterdir()} - {"croissant.json", "checksums.txt"}
    for name, file in files.items():
        data = (folder / name).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"


def test_licence_and_citations(prepared):
    config, folder, _ = prepared
    document = document_of(folder)
    assert ("creativecommons.org/licenses/by/4.0" in document["license"]) == (not config.is_mock)
    assert "onken2024" in document["citeAs"]
    assert ("ESA/Gaia/DPAC" in document["description"]) == (not config.is_mock)
    assert document["datePublished"] == "2026-05-17"
