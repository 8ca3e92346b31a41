"""Which trainings a command asks for, and their folders."""

import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from acf_jax.commands import train
from acf_jax.devices import cores
from acf_jax.training import loop

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections


@pytest.fixture
def trained(monkeypatch):
    """The labels of every training that was started, by its folder."""
    found = {}
    for module, name in ((cores, "split_cores"), (train, "keep_compiled_programs")):  # they last as long as the process
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(loop, "train", lambda config, workdir, data_dir: found.update({workdir: config.model.targets}))
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"runs/demo": ("teff", "logg", "fe_h")}),
        (["--config.batch_size=64"], {"runs/demo": ("teff", "logg", "fe_h")}),
        (["--config.model.targets=('logg',)"], {"runs/demo_logg": ("logg",)}),  # not into the joint network's folder
        (["--config.model.targets=('logg',)", "--workdir=mine"], {"mine": ("logg",)}),
        (
            ["--network_per_label"],
            {"runs/demo_teff": ("teff",), "runs/demo_logg": ("logg",), "runs/demo_fe_h": ("fe_h",)},
        ),
        (
            ["--network_per_label", "--workdir=mine", "--config.model.targets=('teff','fe_h')"],
            {"mine_teff": ("teff",), "mine_fe_h": ("fe_h",)},
        ),
    ],
)
def test_default_folders_do_not_collide(trained, monkeypatch, capsys, options, expected):
    # Fields of a config are looked for here.
    monkeypatch.setattr(sys, "argv", ["train.py", "--config=configs/demo.py", *options])
    with flagsaver.flagsaver():
        flags.FLAGS(sys.argv)
        train.start(["train.py"])
    assert trained == expected
    told = f"python evaluate.py --checkpoint {' '.join(expected)}"
    assert (told in capsys.readouterr().out) == (len(expected) > 1)
