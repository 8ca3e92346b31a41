"""From a run's checkpoint to calibrated errors beside it."""

import numpy as np
import pytest

from acf_jax import checkpoints, mc_dropout, run_calibration, training
from acf_jax.input_pipeline import open_dataset
from tests.acf_jax import tiny_dataset, tiny_run


def save_untrained(data_dir, run_dir, **changes):
    """A checkpoint of a tiny network before its first step, which spares the test the compilation of a step."""
    run, _ = tiny_run.make_run(data_dir, **changes)
    state = training.create_state(run)
    with checkpoints.open_manager(run_dir, create=True) as manager:
        sidecar = run.sidecar(0, [{"step": 0, checkpoints.SCORE: 1.0}])
        checkpoints.save(manager, 0, params=state.params, optimizer=state.optimizer, iterator={}, sidecar=sidecar)


@pytest.mark.parametrize("heteroscedastic", [False, True])
def test_a_run_is_calibrated_once_on_its_calibration_split(tmp_path, monkeypatch, heteroscedastic):
    monkeypatch.setattr(run_calibration, "N_SAMPLES", 8)
    folder = tiny_dataset.write_stars(tmp_path / "data", n_calibration=300)
    save_untrained(tmp_path / "data", tmp_path / "run", model__heteroscedastic=heteroscedastic)
    dataset = open_dataset(folder)
    calibration = run_calibration.calibrate(tmp_path / "run", dataset, progress=False)
    trained = checkpoints.load_model(tmp_path / "run")
    assert trained.error_calibration == calibration

    # An untrained network knows nothing of a star: what is left is the scatter of the labels.
    stars = dataset.arrays("calibration")
    inputs = (stars[name] for name in ("stamp", "parallax", "parallax_error", "object_id"))
    prediction = mc_dropout.predict(trained, *inputs, n_samples=8)
    lower, upper = prediction.interval(0.9)
    for i, target in enumerate(trained.targets):
        covered = (lower[:, i] <= stars[target]) & (stars[target] <= upper[:, i])
        assert 0.86 <= covered.mean() <= 0.97
        assert np.median(prediction.calibrated_std[:, i]) == pytest.approx(stars[target].std(), rel=0.35)

    monkeypatch.setattr(run_calibration, "predict_split", None)  # which a second time is not needed
    assert run_calibration.calibrate(tmp_path / "run", dataset) == calibration


def test_too_few_stars_leave_a_run_uncalibrated(tmp_path, monkeypatch):
    monkeypatch.setattr(run_calibration, "N_SAMPLES", 8)
    folder = tiny_dataset.write_stars(tmp_path / "data", n_calibration=10)
    save_untrained(tmp_path / "data", tmp_path / "run")
    assert run_calibration.calibrate(tmp_path / "run", open_dataset(folder), progress=False) is None
    assert checkpoints.load_model(tmp_path / "run").error_calibration is None
