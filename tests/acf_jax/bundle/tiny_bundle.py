"""A run's folder whose network has random parameters, with all that a trained one has, and stars for it."""

import json
from pathlib import Path

import jax
import numpy as np

from acf_jax import checkpoints
from acf_jax.calibration.errors import ErrorCalibration
from acf_jax.calibration.training_domain import TrainingDomain
from acf_jax.checkpoints import SCORE
from acf_jax.data.scaling import InputScaling
from acf_jax.inference import fitted
from acf_jax.inference.parts import model_from_config
from acf_jax.labels import LabelScaling
from acf_jax.models.acf import init_params
from acf_jax.training.config import as_training_config
from tests.acf_jax.tiny_run import make_config

SIZE_PX, N_SAMPLES, STEP = 16, 15, 7
FINGERPRINT = "0123456789abcdef" * 4
UNITS = {"teff": (5500.0, 900.0), "logg": (4.0, 0.6), "fe_h": (-0.3, 0.4)}  # mean and std


def make_run(folder: Path, seed: int = 0, **changes) -> Path:
    """Writes a run with one checkpoint, its calibrated errors and its training domain; `changes` of the config."""
    config = as_training_config(make_config(**changes)).to_dict()
    model = model_from_config(config)
    targets = model.config.targets
    mean, std = zip(*(UNITS[target] for target in targets), strict=True)
    scaling = input_scaling(model.config)
    params = init_params(model, seed, (SIZE_PX, SIZE_PX, 6))
    sidecar = {
        "format_version": checkpoints.FORMAT_VERSION,
        "code_version": "0.1.0",
        "config": config,
        "targets": list(targets),
        "bands": "uvgriz",
        "label_scaling": LabelScaling(targets, mean, std).to_dict(),
        "input_scaling": scaling.to_dict(),
        "dataset": {
            "name": "smss_stamps", "config": "mock", "version": "1.0.0", "fingerprint": FINGERPRINT,
            "folder": str(folder / "data/smss_stamps/mock/1.0.0"),
        },
        "step": STEP,
        "num_steps": 12,
        "validation": {SCORE: 0.5, "truth": {"teff": {"std": 80.0}}},
        "history": [{"step": STEP}],
    }  # fmt: skip
    with checkpoints.open_manager(folder, create=True) as manager:
        checkpoints.save(
            manager, STEP, params=params, optimizer={"mu": np.zeros(2)}, iterator={"next_index": 0}, sidecar=sidecar
        )
    fitted.write_error_calibration(folder, STEP, error_calibration(targets, model.config.heteroscedastic))
    fitted.write_training_domain(folder, STEP, training_domain(targets, model.config.backbone.num_features))
    return folder


def input_scaling(config) -> InputScaling:
    """As fitted to made-up stars."""
    stars = make_stars(40, seed=5, size_px=48)
    return InputScaling.fit(
        stars["stamps"], stars["parallax"], stars["parallax_error"], bands="uvgriz",
        use_parallax=config.use_parallax, use_growth_curve=config.growth_curve,
    )  # fmt: skip


def error_calibration(targets, with_noise=False) -> ErrorCalibration:
    generator = np.random.default_rng(0)
    mean = generator.normal(size=(200, len(targets)))
    labels = mean + generator.normal(0, 0.3, mean.shape)
    return ErrorCalibration.fit(mean, np.full(mean.shape, 0.1), mean**2 if with_noise else None, labels, targets)


def training_domain(targets, n_features) -> TrainingDomain:
    generator = np.random.default_rng(1)
    features, profiles = generator.normal(size=(2, 80, n_features)), generator.normal(size=(2, 80, 18))
    limits = {
        name: dict(zip(targets, values, strict=False))
        for name, values in (
            ("label_min", (3900, 0.5, -2.5)),
            ("label_max", (7900, 4.9, 0.5)),
            ("error_limits", (310, 0.3, 0.4)),
        )
    }
    return TrainingDomain.fit(features[0], profiles[0], features[1], profiles[1], **limits)


def make_stars(n_stars: int, seed: int = 1, size_px: int = SIZE_PX) -> dict[str, np.ndarray]:
    """Arguments of `mc_dropout.predict`: an image that differs from star to star, on noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size_px, :size_px] - size_px // 2
    flux = 10 ** generator.uniform(1, 2.5, (n_stars, 1, 1, 6))
    image = flux * np.exp(-(x**2 + y**2) / 8)[None, :, :, None]
    return {
        "stamps": (image + generator.normal(0, 1, image.shape)).astype(np.float32),
        "parallax": generator.uniform(0.5, 5, n_stars).astype(np.float32),
        "parallax_error": generator.uniform(0.01, 0.05, n_stars).astype(np.float32),
        "object_id": generator.integers(0, 2**62, n_stars),
    }


def write_metrics(folder: Path, **changes) -> Path:
    """A `metrics.json` as far as cards need one, in `folder`."""
    moments = {
        "n": 321, "offset": -8.4, "std": 107.4, "mad_std": 96.4, "rmse": 107.7, "coverage_68": 0.61, "coverage_95": 0.88
    }  # fmt: skip
    metrics = {
        "sample": "mock sky, validation split", "mock": True, "n_stars": 321, "network": "ACF",
        "checkpoint": {"folder": "/somebodys/home/runs/tiny", "step": STEP},
        "dataset": {"name": "smss_stamps", "config": "mock", "version": "1.0.0", "fingerprint": FINGERPRINT},
        "mc_dropout": {"n_samples": 100, "seed": 0}, "code_version": {"training": "0.1.0", "evaluation": "0.1.0"},
        "units": {"teff": "K"}, "n_without_prediction": 0, "residuals_by_g": {},
        "results": {"ACF": {"label": {"teff": moments}, "truth": {}}},
    } | changes  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def tree_equal(tree, other) -> bool:
    return jax.tree.structure(tree) == jax.tree.structure(other) and all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    )
