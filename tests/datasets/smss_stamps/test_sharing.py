"""A prepared folder, copied elsewhere, is read by who has neither this repository nor TensorFlow."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.build.packing import pack
from datasets.smss_stamps.configs import CONFIGS
from tests.datasets.build.parts_by_hand import write_parts

ROOT = Path(__file__).parents[3]
N_STARS = 40

READER = """
import importlib.util, sys
from pathlib import Path

folder, result, root = sys.argv[1:]
assert not any(Path(entry or ".").resolve() == Path(root) for entry in sys.path)
assert not any(importlib.util.find_spec(name) for name in ("datasets", "tests", "tensorflow"))
import numpy as np
import tensorflow_datasets as tfds

builder = tfds.builder_from_directory(folder)
arrays = {}
for split in builder.info.splits:
    examples = builder.as_data_source(split)
    for name, feature in builder.info.features.items():
        arrays[f"{split}/{name}"] = np.array([example[name] for example in examples], feature.np_dtype)
np.savez(result, **arrays)
assert not {"tensorflow", "datasets", "acf_jax"} & {name.split(".")[0] for name in sys.modules}
print(builder.info.metadata["fingerprint"], builder.info.homepage, builder.info.description.splitlines()[0])
"""


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed here")
@pytest.mark.parametrize("name", ["mock", "high_quality", "low_quality", "stars"])
def test_every_field_of_every_example_reads_back_equal(name, tmp_path):
    job, expected = write_parts(tmp_path / "job", name, N_STARS)
    folder = shutil.copytree(pack(job, N_STARS, progress=False), tmp_path / "copied" / "under another name")
    shutil.rmtree(tmp_path / "job")
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, folder, tmp_path / "read.npz", ROOT],
        **{"cwd": tmp_path, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    fingerprint, homepage, *description = done.stdout.split()
    assert fingerprint in (folder / "metadata.json").read_text()
    assert (homepage, description) == ("https://skymapper.anu.edu.au", ["#", "smss_stamps"])
    config = CONFIGS[name]
    splits = np.array([config.split_of(object_id) for object_id in expected["object_id"]])
    with np.load(tmp_path / "read.npz") as arrays:
        assert {tuple(key.split("/")) for key in arrays} == {(s, f) for s in config.splits for f in config.fields()}
        for split in config.splits:
            for field, values in expected.items():
                found = arrays[f"{split}/{field}"]
                np.testing.assert_array_equal(found, values[splits == split], err_msg=field)
                assert found.dtype == values.dtype == config.fields()[field].dtype
