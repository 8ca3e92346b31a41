"""The config: the paper's numbers written down a second time, its checks, and its way through dictionaries."""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from acf_jax.training.config import OptimizerConfig, TrainingConfig, TrainingError, as_training_config
from configs import acf, acpf, demo

CONFIGS = sorted(path.stem for path in (Path(acf.__file__).parent).glob("*.py") if path.stem != "__init__")

# The paper, as printed: section, field, value.
PAPER = [
    ("2.2", "dataset.config", "high_quality"),
    ("3.3", "dataset.bands", "uvgriz"),
    ("3.1.4", "model.embed_dim", 64),
    ("3.1.4", "model.depths", (2, 4, 32, 2)),
    ("3.1.4", "model.stripe_widths", (1, 2, 3, 3)),
    ("3.1.4", "model.pooling", "mean"),
    ("3.3", "model.use_parallax", True),
    ("3.3", "model.astrometric_features", 128),
    ("3.4.1", "model.dropout_rate", 0.2),
    ("3.4.1", "num_epochs", 300),
    ("3.4.1", "batch_size", 128),
    ("3.4.1", "optimizer.schedule", "staircase"),
    ("3.4.1", "optimizer.learning_rate", 0.0001),
    ("3.4.1", "optimizer.decay_rate", 0.8),
    ("3.4.1", "optimizer.decay_epochs", 50),
    ("3.4.1", "optimizer.beta1", 0.99),
    ("3.4.1", "optimizer.beta2", 0.999),
    ("3.4.1", "optimizer.l2", 0.00005),
    ("3.4.2", "augment.flips", True),
]
# The CSWin Transformer's own (Dong et al. 2022), which the paper takes over; and what is off in the published run.
OURS = {
    "model.num_heads": (2, 4, 8, 16), "model.mlp_ratio": 4, "model.weight_std": 0.02, "model.drop_path_rate": 0,
    "model.growth_curve": False, "model.heteroscedastic": False, "model.dtype": "float32", "backbone_weights": "",
    "num_steps": 0, "optimizer.warmup_steps": 0, "optimizer.clip_norm": 0,
}  # fmt: skip


def field(config, name):
    for part in name.split("."):
        config = config[part]
    return config


def fields(config, prefix=""):
    """Names of all fields, as on the command line."""
    return {
        name
        for key, value in config.items()
        for name in (fields(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else {prefix + key})
    }


def fields_set_by(setter):
    config = ConfigDict({part: {} for part in ("dataset", "model", "input", "augment", "optimizer")})
    setter(config)
    return fields(config)


@pytest.mark.parametrize(("section", "name", "value"), [*PAPER, *(("", *item) for item in OURS.items())])
def test_configs_acf_is_the_paper(section, name, value):
    assert field(acf.get_config(), name) == value, f"Sec. {section}"


def test_every_field_is_marked_as_the_papers_or_as_ours():
    printed, ours = fields_set_by(acf.set_printed), fields_set_by(acf.set_ours)
    assert printed == {name for _, name, _ in PAPER}
    assert not printed & ours
    assert printed | ours == fields(TrainingConfig().to_config_dict())


def test_the_published_config_is_the_defaults():
    assert acf.get_config().to_dict() == TrainingConfig().to_config_dict().to_dict()


def test_the_papers_prediction_module_has_three_layers():
    assert len(as_training_config(acf.get_config()).model.head_widths) + 1 == 3


def test_the_acpf_differs_by_its_branch_alone():
    ours, theirs = (as_training_config(module.get_config()).to_dict() for module in (acpf, acf))
    assert (ours["model"].pop("use_parallax"), theirs["model"].pop("use_parallax")) == (False, True)
    assert ours == theirs


@pytest.mark.parametrize("name", CONFIGS)
def test_every_file_makes_a_config_that_comes_back_from_json(name):
    config = as_training_config(importlib.import_module(f"configs.{name}").get_config())
    assert as_training_config(json.loads(json.dumps(config.to_dict()))) == config
    assert as_training_config(config.to_config_dict()) == config
    assert as_training_config(config) is config


def test_an_older_run_lacks_a_field_and_did_what_its_default_says():
    stored = as_training_config(demo.get_config()).to_dict()
    del stored["backbone_weights"], stored["model"]["pooling"], stored["augment"]
    assert as_training_config(stored) == as_training_config(demo.get_config())


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        (TrainingConfig, "batch_size", 0, "batch_size = 0 must be at least 1"),
        (TrainingConfig, "log_every_steps", 0, "log_every_steps = 0 must be at least 1"),
        (TrainingConfig, "checkpoint_every_steps", -1, "checkpoint_every_steps = -1"),
        (OptimizerConfig, "beta1", 1.0, "optimizer.beta1 = 1.0 must be at least 0 and below 1"),
        (OptimizerConfig, "learning_rate", -1e-3, "optimizer.learning_rate = -0.001"),
        (OptimizerConfig, "decay_epochs", 0, "optimizer.decay_epochs = 0 must be above 0"),
        (OptimizerConfig, "schedule", "cosine", "staircase, warmup_cosine"),
    ],
)
def test_each_part_checks_itself(part, name, value, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(part(), **{name: value})


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"bach_size": 4}, "there is no field bach_size; there are augment, "),
        ({"optimizer": {"beta3": 0.5}}, "there is no field optimizer.beta3"),
        ({"model": {"depth": (1,)}}, "depth"),
        ({"model": {"num_heads": (3, 2)}}, "num_heads"),
        ({"num_epochs": 0.0}, "both 0"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(stored, words):
    with pytest.raises(TrainingError, match=words):
        as_training_config(stored)
