"""The benchmark on a tiny network: a head trained anew on its features learns what an untrained one cannot know."""

import json

import jax
import pytest

from benchmarks import frozen_backbone
from tests.acf_jax import tiny_dataset
from tests.acf_jax.tiny_run import save_untrained


@pytest.fixture(autouse=True)
def _cache_of_compiled_programs():
    """Leaves JAX as it was."""
    folder = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", folder)


def test_a_new_head_learns_from_the_features_of_a_network_that_has_learned_nothing(tmp_path, capsys):
    tiny_dataset.write_stars(tmp_path / "data", n_train=200, n_calibration=40, n_validation=60)
    save_untrained(tmp_path / "data", tmp_path / "run", model__growth_curve=True)
    frozen_backbone.main(["--checkpoint", str(tmp_path / "run"), "--steps", "400", "--json"])
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    stds = result["std"]
    assert list(stds) == ["the whole network", "features and scalars", "scalars alone"]
    assert result["network"] == "ACF-growth"
    assert result["sample"] == "mock sky, validation split, 60 stars"
    for target in ("teff", "logg"):
        assert stds["scalars alone"][target] < 0.6 * stds["the whole network"][target]
    assert any(line.startswith("| scalars alone") for line in lines)
