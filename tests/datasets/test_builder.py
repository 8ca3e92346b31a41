import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import parts
from datasets.build import build
from datasets.parts import catalogue_fields, one_row_per_star
from datasets.smss_stamps.configs import split_of
from datasets.smss_stamps.fields import FIELDS, TRUTH_FIELDS, field_table

READER = """
import json, sys
import numpy as np
import tensorflow_datasets as tfds

builder = tfds.builder_from_directory(sys.argv[1])
arrays = {}
for split in ("train", "validation"):
    examples = builder.as_data_source(split)
    for name in builder.info.features:
        arrays[f"{split}/{name}"] = np.array([example[name] for example in examples])
np.savez(sys.argv[2], **arrays)
assert "tensorflow" not in sys.modules and not any(name.split(".")[0] == "datasets" for name in sys.modules)
print(builder.info.metadata["fingerprint"], builder.info.citation.count("@article"), builder.info.homepage)
print(builder.info.description.splitlines()[0])
"""


@pytest.fixture
def prepared(small_sky, tmp_path):
    return build(n_stars=75, data_dir=tmp_path / "data", workers=1, progress=False)


def test_reads_back_exactly_without_the_code(prepared, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = prepared.rename(elsewhere / "anything")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    read = subprocess.run(
        [sys.executable, "-c", READER, moved, elsewhere / "read.npz"],
        **{"cwd": elsewhere, "env": env, "check": True, "capture_output": True, "text": True},
    ).stdout.split()
    fingerprint = json.loads((moved / "metadata.json").read_text())["fingerprint"]
    assert read == [fingerprint, "6", "https://skymapper.anu.edu.au", "#", "smss_stamps"]

    archive = parts._archive("mock", 0)
    blocks = [catalogue_fields(one_row_per_star(*archive.tables_of_block(i).values())) for i in range(3)]
    expected = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    star = expected["object_id"] % 1000
    keep = (star % 3 != 0) & (star % 10 != 4) & (np.cumsum(star % 3 != 0) <= 75)
    expected = {name: values[keep] for name, values in expected.items()}
    stamps = [parts.make_stamp(None, int(object_id), 0, 0, 0) for object_id in expected["object_id"]]
    expected |= {"stamp": np.stack([s.flux for s in stamps]), "mask": np.stack([s.mask for s in stamps])}
    expected |= {name: np.stack([getattr(s, name) for s in stamps]) for name in ("n_detections", "fwhm")}
    splits = np.array([split_of(object_id) for object_id in expected["object_id"]])
    with np.load(elsewhere / "read.npz") as arrays:
        assert {name.split("/")[1] for name in arrays} == FIELDS.keys() | TRUTH_FIELDS.keys()
        for split in ("train", "validation"):
            for name, values in expected.items():
                found = arrays[f"{split}/{name}"]
                # TFDS returns Python numbers for scalars: float64 arrays hold a float32's value exactly.
                np.testing.assert_array_equal(found.astype(values.dtype), values[splits == split], err_msg=name)
                assert found.shape[1:] == (FIELDS | TRUTH_FIELDS)[name].shape
            assert arrays[f"{split}/ra"].dtype == np.float64
            assert arrays[f"{split}/stamp"].dtype == np.float32


def test_metadata_explain_every_field(prepared):
    metadata = json.loads((prepared / "metadata.json").read_text())
    fields = FIELDS | TRUTH_FIELDS
    assert metadata["bands"] == "uvgriz"
    assert metadata["units"] == {name: field.unit for name, field in fields.items()}
    assert all(metadata["descriptions"][name] for name in fields)
    assert metadata["provenance"]["seed"] == 0


def test_fingerprint_is_of_the_content(small_sky, tmp_path, monkeypatch):
    def fingerprint(name, **options):
        folder = build(data_dir=tmp_path / name, workers=1, progress=False, **({"n_stars": 40} | options))
        return json.loads((folder / "metadata.json").read_text())["fingerprint"]

    first = fingerprint("first")
    assert fingerprint("again") == first
    assert fingerprint("more", n_stars=41) != first
    stamp = parts.make_stamp

    def one_pixel_changed(archive, object_id, *position, **settings):
        made = stamp(archive, object_id, *position, **settings)
        if object_id % 1000 == 20:
            made.flux[3, 4, 5] += 1
        return made

    monkeypatch.setattr(parts, "make_stamp", one_pixel_changed)
    assert fingerprint("pixel") != first


@pytest.mark.parametrize(
    ("object_id", "digest"),
    [(1, "3304bc7bb02905fd"), (2**63 - 1, "2c0b0468b8065655")],  # b2sum -l 64 of the 8 bytes
)
def test_split_is_the_documented_hash(object_id, digest):
    number = int.from_bytes(bytes.fromhex(digest), "little")
    assert split_of(object_id) == ("train" if number % 10 < 8 else "validation")


def test_splits_are_eight_to_two():
    n_train = sum(split_of(object_id) == "train" for object_id in range(10**15, 10**15 + 20_000))
    assert abs(n_train - 16_000) < 4 * (20_000 * 0.8 * 0.2) ** 0.5


def test_readme_has_the_fields():
    readme = Path(build.__code__.co_filename).with_name("smss_stamps") / "README.md"
    assert field_table() in readme.read_text(), "paste field_table() of fields.py into the README"
