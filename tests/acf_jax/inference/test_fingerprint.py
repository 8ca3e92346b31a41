import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from acf_jax.inference.fingerprint import named_parameters, network_fingerprint
from acf_jax.inference.loading import load
from tests.acf_jax.bundle.tiny_bundle import make_run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def trained(run_dir):
    return load(run_dir)


def test_it_is_the_same_wherever_the_parameters_lie(run_dir, trained):
    expected = network_fingerprint(trained)
    assert len(expected) == 64
    on_host = dataclasses.replace(trained, params=jax.tree.map(np.asarray, trained.params))
    assert network_fingerprint(on_host) == expected
    code = (
        "import dataclasses, json, jax\n"
        "from acf_jax.devices import sharding\n"
        "from acf_jax.inference import fingerprint\n"
        "from acf_jax.inference.loading import load\n"
        f"trained = load({str(run_dir)!r})\n"
        "trained = dataclasses.replace(trained, params=sharding.on_all_devices(trained.params))\n"
        "print(json.dumps([jax.local_device_count(), fingerprint.network_fingerprint(trained)]))"
    )
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [4, expected]


def test_whatever_changes_the_answers_changes_it(trained):
    def with_parameter(change):
        flat, tree = jax.tree.flatten(trained.params)
        flat[3] = change(np.array(flat[3]))
        return dataclasses.replace(trained, params=jax.tree.unflatten(tree, flat))

    def next_number(array):
        array.flat[-1] = np.nextafter(array.flat[-1], np.float32(np.inf))
        return array

    model = trained.model
    others = [
        with_parameter(next_number),
        with_parameter(lambda array: array.reshape(1, *array.shape)),
        with_parameter(lambda array: array.view(np.int32)),
        dataclasses.replace(trained, params={name + "_": values for name, values in trained.params.items()}),
        dataclasses.replace(trained, model=model.clone(config=dataclasses.replace(model.config, dropout_rate=0.1))),
        dataclasses.replace(trained, bands="uvgrzi"),
        dataclasses.replace(trained, targets=("logg", "teff", "fe_h")),
        dataclasses.replace(trained, input_scaling=dataclasses.replace(trained.input_scaling, center=(0.0, 0.1))),
        dataclasses.replace(trained, label_scaling=dataclasses.replace(trained.label_scaling, mean=(1.0, 2.0, 3.0))),
    ]
    fingerprints = {network_fingerprint(each) for each in (trained, *others)}
    assert len(fingerprints) == 1 + len(others)


def test_what_does_not_change_the_answers_does_not_change_it(trained):
    other = dataclasses.replace(trained, step=99, sidecar={}, error_calibration=None, training_domain=None)
    assert network_fingerprint(other) == network_fingerprint(trained)


def test_parameters_are_named_by_their_path(trained):
    names = named_parameters(trained.params)
    assert {"astrometric/kernel", "head_2/bias", "backbone/patch_embed/conv/kernel"} <= set(names)
    assert len(names) == len(jax.tree.leaves(trained.params))
