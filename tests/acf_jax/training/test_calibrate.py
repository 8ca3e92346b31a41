"""From a run's checkpoint to calibrated errors and the training domain beside it."""

import numpy as np
import pytest

from acf_jax.data.prepared import open_dataset
from acf_jax.inference import fitted, mc_dropout
from acf_jax.inference.loading import load
from acf_jax.training import calibrate
from tests.acf_jax import tiny_dataset, tiny_run


@pytest.mark.parametrize("heteroscedastic", [False, True])
def test_a_run_is_calibrated_once_on_its_calibration_split(tmp_path, monkeypatch, heteroscedastic):
    monkeypatch.setattr(calibrate, "N_SAMPLES", 8)
    folder = tiny_dataset.write_stars(tmp_path / "data", n_train=60, n_calibration=300)
    tiny_run.save_untrained(tmp_path / "data", tmp_path / "run", model__heteroscedastic=heteroscedastic)
    dataset = open_dataset(folder)
    calibration = calibrate.calibrate(tmp_path / "run", dataset, progress=False)
    trained = load(tmp_path / "run")
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

    monkeypatch.setattr(calibrate, "predict_split", None)  # which a second time is not needed
    assert calibrate.calibrate(tmp_path / "run", dataset) == calibration


def test_too_few_stars_leave_a_run_uncalibrated(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "N_SAMPLES", 8)
    folder = tiny_dataset.write_stars(tmp_path / "data", n_calibration=10)
    tiny_run.save_untrained(tmp_path / "data", tmp_path / "run")
    assert calibrate.calibrate(tmp_path / "run", open_dataset(folder), progress=False) is None
    trained = load(tmp_path / "run")
    assert trained.error_calibration is None
    assert trained.training_domain is None


@pytest.fixture(scope="module")
def calibrated_run(tmp_path_factory):
    """The dataset and the folder of an untrained network's run, with what `calibrate` adds."""
    folder = tmp_path_factory.mktemp("calibrated")
    dataset = open_dataset(tiny_dataset.write_stars(folder / "data", n_train=150, n_calibration=120, n_validation=100))
    tiny_run.save_untrained(folder / "data", folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "N_SAMPLES", 8)
        calibrate.calibrate(folder / "run", dataset, progress=False)
    return dataset, folder / "run"


def encode(trained, stamps):
    scaled = trained.input_scaling.stamps(stamps.astype(np.float32))
    return np.asarray(trained.model.apply({"params": trained.params}, scaled, method="encode"))


def test_a_run_knows_its_training_domain(calibrated_run):
    dataset, run_dir = calibrated_run
    trained = load(run_dir)
    domain, labels = trained.training_domain, dataset.arrays("train", trained.targets)
    assert (domain.n_train, domain.n_held_out) == (150, 120)
    for target in trained.targets:
        assert (domain.label_min[target], domain.label_max[target]) == (labels[target].min(), labels[target].max())
    stamps = dataset.arrays("validation", ("stamp",))["stamp"]
    assert (domain.distance(encode(trained, stamps), stamps) > 1).mean() <= 0.1
    assert (domain.distance(encode(trained, 0 * stamps), 0 * stamps) > 1).all()


def test_large_errors_are_those_of_one_calibration_star_in_a_hundred(calibrated_run):
    dataset, run_dir = calibrated_run
    trained, stars = load(run_dir), dataset.arrays("calibration")
    inputs = (stars[name] for name in ("stamp", "parallax", "parallax_error", "object_id"))
    errors = mc_dropout.predict(trained, *inputs, n_samples=8, progress=False).calibrated_std
    for target, column in zip(trained.targets, errors.T, strict=True):
        assert 1 <= (column > trained.training_domain.error_limits[target]).sum() <= 2  # of 120


def test_a_run_calibrated_by_older_code_gets_the_domain_it_lacks_and_keeps_its_errors(calibrated_run, monkeypatch):
    dataset, run_dir = calibrated_run
    before, domain_file = load(run_dir), run_dir / fitted.TRAINING_DOMAIN
    errors_file = (run_dir / fitted.ERROR_CALIBRATION).read_bytes()
    domain_file.unlink()
    assert load(run_dir).training_domain is None
    monkeypatch.setattr(calibrate, "N_SAMPLES", 8)
    assert calibrate.calibrate(run_dir, dataset, progress=False) == before.error_calibration
    assert (run_dir / fitted.ERROR_CALIBRATION).read_bytes() == errors_file
    again, arrays = load(run_dir).training_domain, before.training_domain.to_arrays()
    assert all(np.array_equal(values, arrays[name]) for name, values in again.to_arrays().items())


def test_stars_whose_inputs_are_not_finite_say_nothing_of_the_domain(tmp_path):
    stars = {split: tiny_dataset.make_stars(60, seed) for seed, split in enumerate(("train", "calibration"))}
    dataset = open_dataset(tiny_dataset.write(tmp_path / "data", stars))
    tiny_run.save_untrained(tmp_path / "data", tmp_path / "run")
    trained = load(tmp_path / "run")
    features, profiles = calibrate.describe_stars(trained, dataset, "train", 1_000, progress=False)
    stars["train"]["stamp"][3, 5, 5, 2] = np.nan
    spoilt = open_dataset(tiny_dataset.write(tmp_path / "spoilt", stars))
    left = calibrate.describe_stars(trained, spoilt, "train", 1_000, progress=False)
    assert len(features) == len(profiles) == 60
    np.testing.assert_allclose(left[0], np.delete(features, 3, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(left[1], np.delete(profiles, 3, axis=0), rtol=1e-5, atol=1e-5)
    few = calibrate.describe_stars(trained, dataset, "train", 20, progress=False)
    assert len(few[0]) == 20
