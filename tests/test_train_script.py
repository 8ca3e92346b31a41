"""The script as users run it: its refusals, and a training that is killed and goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from acf_jax import checkpoints
from acf_jax.inference.loading import load
from tests.acf_jax import tiny_dataset

ROOT = Path(__file__).parents[1]
TINY = """
from tests.acf_jax.tiny_run import make_config


def get_config():
    return make_config()
"""
N_STEPS = 12  # of make_config


def start(*arguments: str, cache_dir: Path | None = None) -> subprocess.Popen:
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache_dir or ROOT / ".jax_cache"),
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles sooner
    }
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True)


def test_refusals_are_one_sentence(tmp_path):
    started = {
        'Did you mean "batch_size"': start("--config=configs/demo.py", "--config.bach_size=4"),
        "there is no config file configs/demmo.py; there are configs/acf.py": start("--config=configs/demmo.py"),
        f"--config high_quality --galah GALAH_DR3_main_allstar_v2.fits --data-dir {tmp_path}`; then": start(
            "--config=configs/acf.py", f"--data_dir={tmp_path}"
        ),
    }
    for sentence, process in started.items():
        _, error = process.communicate(timeout=100)
        assert process.returncode == 1
        assert sentence in error
        assert error.startswith("train.py: ")
        assert "Traceback" not in error


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """Two runs of one config: `whole`; `killed` by SIGKILL soon after its second checkpoint, and continued."""
    folder = tmp_path_factory.mktemp("trainings")
    tiny_dataset.write_stars(folder / "data")
    (folder / "tiny.py").write_text(TINY)

    def begin(name):
        arguments = (f"--config={folder}/tiny.py", f"--data_dir={folder}/data", f"--workdir={folder}/{name}")
        return start(*arguments, cache_dir=folder / "cache")

    def finish(name):
        process = begin(name)
        output, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        return output

    finish("whole")
    victim = begin("killed")
    while not (folder / "killed/checkpoints/4").exists():
        assert victim.poll() is None, victim.communicate()
        time.sleep(0.001)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    with checkpoints.open_manager(folder / "killed") as manager:
        killed_at = manager.latest_step()
    return {"folder": folder, "killed_at": killed_at, "output": finish("killed")}


def stored(run_dir: Path) -> tuple:
    """Everything in a run's last checkpoint."""
    with checkpoints.open_manager(run_dir) as manager:
        step = manager.latest_step()
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = [
            jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                manager.item_metadata(step)[item].tree,
            )
            for item in ("params", "optimizer")
        ]
        return checkpoints.restore_training(manager, step, *like), checkpoints.read_sidecar(manager, step)


def test_a_killed_training_ends_bit_identical(trainings):
    assert 4 <= trainings["killed_at"] < N_STEPS
    assert f"from step {trainings['killed_at']} of {N_STEPS}" in trainings["output"]
    (params, optimizer, iterator), sidecar = stored(trainings["folder"] / "whole")
    (params_2, optimizer_2, iterator_2), sidecar_2 = stored(trainings["folder"] / "killed")
    jax.tree.map(np.testing.assert_array_equal, params_2, params)
    jax.tree.map(np.testing.assert_array_equal, optimizer_2, optimizer)
    assert iterator_2 == iterator
    assert json.dumps(sidecar_2) == json.dumps(sidecar)
    assert len(sidecar["history"]) == N_STEPS // 2


def test_the_run_says_what_to_do_next_and_can_be_loaded(trainings):
    run_dir = trainings["folder"] / "killed"
    assert f"Next: `python evaluate.py --checkpoint {run_dir} --data_dir" in trainings["output"]
    assert "validation sigma teff" in trainings["output"]
    trained = load(run_dir, "latest")
    assert trained.step == N_STEPS
    stamps = trained.input_scaling.stamps(np.ones((2, 48, 48, 6), np.float32))
    astrometry = trained.input_scaling.astrometry(np.ones(2), np.ones(2))
    shapes = jax.eval_shape(lambda: trained.model.apply({"params": trained.params}, stamps, astrometry, True))
    assert shapes.shape == (2, 3)
    assert list((run_dir / "tensorboard").glob("events.out.tfevents.*"))
