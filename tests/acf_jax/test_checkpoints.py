import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acf_jax import checkpoints
from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import TrainingDomain
from acf_jax.checkpoints import SCORE, CheckpointError
from acf_jax.data.scaling import InputScaling
from acf_jax.errors import differences
from acf_jax.inference import fitted
from acf_jax.inference.loading import load
from acf_jax.labels import LabelScaling
from acf_jax.models import acf
from acf_jax.training.config import as_training_config
from configs import demo

TARGETS = ("teff", "logg")
LABEL_SCALING = LabelScaling(TARGETS, (5500.0, 4.0), (700.0, 0.6))
ROW = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
INPUT_SCALING = InputScaling("uvgriz", "whitened", (3.0,) * 6, (ROW,) * 6, "log", (0.1, 0.2), (0.3, 0.4))


def make_config():
    config = demo.get_config()
    config.model.update({"targets": TARGETS, "embed_dim": 8, "num_heads": (2, 2, 2, 2), "depths": (1, 1, 1, 1)})
    return as_training_config(config).to_dict()


def make_params(seed):
    """Some arrays; no checkpoint cares which."""
    rng = np.random.default_rng(seed)
    return {"dense": {"kernel": rng.normal(size=(3, 2)).astype(np.float32), "bias": np.zeros(2, np.float32)}}


def save(manager, step, score, params, **changes):
    sidecar = {
        "format_version": checkpoints.FORMAT_VERSION,
        "code_version": "0.1.0",
        "config": make_config(),
        "targets": list(TARGETS),
        "bands": "uvgriz",
        "label_scaling": LABEL_SCALING.to_dict(),
        "input_scaling": INPUT_SCALING.to_dict(),
        "validation": {SCORE: score},
    }
    optimizer = {"mu": jax.tree.map(np.zeros_like, params)}
    iterator = {"next_index": step}
    checkpoints.save(manager, step, params=params, optimizer=optimizer, iterator=iterator, sidecar=sidecar | changes)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run whose second checkpoint of four is the best."""
    folder = tmp_path_factory.mktemp("run")
    with checkpoints.open_manager(folder, create=True) as manager:
        for step, score in ((1, 0.9), (2, 0.3), (3, 0.5), (4, 0.4)):
            save(manager, step, score, make_params(step))
    return folder


def assert_trees_equal(tree, expected):
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


def test_the_latest_and_the_best_are_kept(run_dir):
    with checkpoints.open_manager(run_dir) as manager:
        assert sorted(manager.all_steps()) == [2, 4]
        assert checkpoints.find_step(manager, "best") == 2
        assert checkpoints.find_step(manager, "latest") == 4


@pytest.mark.parametrize(("which", "step"), [("best", 2), ("latest", 4)])
def test_a_loaded_model_is_the_saved_one(run_dir, which, step):
    trained = load(run_dir, which)
    assert trained.step == step
    assert_trees_equal(trained.params, make_params(step))
    assert trained.model.config == acf.ACFConfig(
        backbone=acf.CSWinConfig(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(2, 2, 2, 2), weight_std=0.1),
        targets=TARGETS,
    )
    assert (trained.targets, trained.bands) == (TARGETS, "uvgriz")
    assert (trained.label_scaling, trained.input_scaling) == (LABEL_SCALING, INPUT_SCALING)


def test_training_goes_on_from_what_was_saved(run_dir):
    like = jax.tree.map(jnp.asarray, make_params(0))
    with checkpoints.open_manager(run_dir) as manager:
        params, optimizer, iterator = checkpoints.restore_training(manager, 4, like, {"mu": like})
    assert_trees_equal(params, make_params(4))
    assert_trees_equal(optimizer, {"mu": jax.tree.map(jnp.zeros_like, like)})
    assert iterator == {"next_index": 4}


def test_an_unfinished_checkpoint_is_ignored_and_cleared(run_dir, tmp_path):
    with checkpoints.open_manager(tmp_path, create=True) as manager:
        save(manager, 1, 0.5, {"a": jnp.ones(3)})
    leftover = tmp_path / "checkpoints/2.orbax-checkpoint-tmp"
    leftover.mkdir()
    with checkpoints.open_manager(tmp_path) as manager:
        assert manager.latest_step() == 1
    with checkpoints.open_manager(tmp_path, create=True):
        deadline = time.monotonic() + 60  # Orbax clears in the background
        while leftover.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_refusals(run_dir, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="it is not a run's folder"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="ask for 'best' or 'latest'"):
        load(run_dir, "worst")
    with checkpoints.open_manager(tmp_path, create=True) as manager:
        with pytest.raises(CheckpointError, match="no checkpoint yet"):
            load(tmp_path)
        save(manager, 1, 0.5, {"a": jnp.ones(3)}, format_version=checkpoints.FORMAT_VERSION + 1, code_version="9.0")
    with pytest.raises(CheckpointError, match=r"has format 2, written by ACF-JAX 9\.0; this code reads"):
        load(tmp_path)


def test_differences_name_each_side():
    old = {"batch_size": 32, "model": {"depths": [1, 1], "only_old": 1}}
    new = {"batch_size": 32, "model": {"depths": [1, 2], "only_new": 2}}
    assert differences(old, new) == [
        "- model.depths: [1, 1]",
        "+ model.depths: [1, 2]",
        "+ model.only_new: 2",
        "- model.only_old: 1",
    ]
    assert differences(json.loads(json.dumps(old)), old) == []


def error_calibration():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(200, 2))
    return ErrorCalibration.fit(mean, np.full((200, 2), 0.1), None, mean + rng.normal(0, 0.3, (200, 2)), TARGETS)


def test_calibrated_errors_belong_to_one_checkpoint(run_dir):
    calibration = error_calibration()
    fitted.write_error_calibration(run_dir, 2, calibration)
    assert load(run_dir, "best").error_calibration == calibration
    assert load(run_dir, "latest").error_calibration is None
    assert [path.name for path in run_dir.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("text", ["", "{}", '{"step": 2}', '{"step": 2, "levels": [1]}', "[]"])
def test_damaged_calibrated_errors_are_refused_in_a_sentence(tmp_path, text):
    (tmp_path / fitted.ERROR_CALIBRATION).write_text(text)
    with pytest.raises(CheckpointError, match=r"error_calibration.json is damaged: delete it"):
        fitted.read_error_calibration(tmp_path, 2)


def training_domain():
    rng = np.random.default_rng(0)
    limits = {target: 0.5 + i for i, target in enumerate(TARGETS)}
    points = [rng.normal(size=(100, d)) for d in (4, 6, 4, 6)]
    return TrainingDomain.fit(*points, label_min=limits, label_max=limits, error_limits=limits)


def test_a_training_domain_belongs_to_one_checkpoint(run_dir):
    domain = training_domain()
    fitted.write_training_domain(run_dir, 2, domain)
    stored = load(run_dir, "best").training_domain
    arrays = domain.to_arrays()
    assert all(np.array_equal(values, arrays[name]) for name, values in stored.to_arrays().items())
    assert stored.summary() == domain.summary()
    assert load(run_dir, "latest").training_domain is None
    assert [path.name for path in run_dir.iterdir() if path.suffix == ".part"] == []


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):  # in the middle, which holds an array
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda _: b"", lambda _: b"no archive"])
def test_a_damaged_training_domain_is_refused_in_a_sentence(tmp_path, damage):
    fitted.write_training_domain(tmp_path, 2, training_domain())
    path = tmp_path / fitted.TRAINING_DOMAIN
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"training_domain.npz is damaged: delete it"):
        fitted.read_training_domain(tmp_path, 2)


def test_a_training_domain_without_one_of_its_arrays_is_refused_in_a_sentence(tmp_path):
    arrays = training_domain().to_arrays()
    del arrays["quantile"]
    np.savez(tmp_path / fitted.TRAINING_DOMAIN, step=2, **arrays)
    with pytest.raises(CheckpointError, match=r"training_domain.npz is damaged: delete it"):
        fitted.read_training_domain(tmp_path, 2)
