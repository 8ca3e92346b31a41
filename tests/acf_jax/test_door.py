"""What `import acf_jax` offers: quickly, all of it."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import acf_jax
from acf_jax.data.prepared import DatasetError
from tests.acf_jax import tiny_dataset, tiny_run

PUBLIC = [name for name in acf_jax.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with `data/smss_stamps/mock` and `runs/demo`, as a user has them after the demo."""
    folder = tmp_path_factory.mktemp("workplace")
    sizes = {"train": 40, "calibration": 10, "validation": 10}
    splits = {name: tiny_dataset.photographed(n, seed) for seed, (name, n) in enumerate(sizes.items())}
    tiny_dataset.write(folder / "data", splits)
    tiny_run.save_untrained(folder / "data", folder / "runs/demo")
    return folder


@pytest.fixture
def network(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return acf_jax.load("runs/demo")


def test_the_import_is_light():
    """No JAX, no NumPy: what takes long comes when it is asked for."""
    code = (
        "import sys, json; before = set(sys.modules); import acf_jax\n"
        "print(json.dumps([sorted(name.partition('.')[0] for name in set(sys.modules) - before), dir(acf_jax)]))"
    )
    loaded, listed = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"jax", "numpy", "flax", "orbax", "astropy", "matplotlib"} & set(loaded)
    assert set(listed) == set(acf_jax.__all__)


def test_what_is_not_there_is_one_sentence():
    with pytest.raises(AttributeError, match=r"acf_jax has no train_network; it has ACF, ACFConfig, .*train\."):
        _ = acf_jax.train_network


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_has_an_example(name):
    """Which tests/test_readme.py runs."""
    assert ">>> " in getattr(acf_jax, name).__doc__


def test_a_network_says_what_it_is_in_a_few_lines(network):
    lines = repr(network).splitlines()
    assert lines[0] == "ACF        stamps in u v g r i z, parallax -> teff (K), logg (dex), fe_h (dex)"
    assert lines[2] == "trained on smss_stamps/mock/1.0.0"
    assert lines[4] == "errors     not calibrated"
    assert len(lines) == 5
    n_parameters = sum(np.size(leaf) for leaf in jax.tree.leaves(network.params))
    assert f"{n_parameters:,} parameters, 16 features, step 0" in lines[1]
    assert network._repr_html_().count("<tr>") == 5
    assert "-&gt; teff (K)" in network._repr_html_()


def test_a_split_is_predicted_as_its_stars_are(network):
    dataset = acf_jax.open_dataset("smss_stamps/mock")
    stars = dataset.arrays("validation", ("stamp", "parallax", "parallax_error", "object_id"))
    of_split = network.predict_split(dataset, "validation", n_samples=8, progress=False)
    of_stars = network.predict(**stars, n_samples=8)
    np.testing.assert_array_equal(of_split.mean, of_stars.mean)
    np.testing.assert_array_equal(of_split.std, of_stars.std)
    np.testing.assert_array_equal(of_split.object_id, stars["object_id"])
    assert of_split.reason == (None,) * 10
    assert list(of_split.columns()["reason"]) == [""] * 10


def test_a_split_of_other_bands_is_refused(network, tmp_path):
    stars = tiny_dataset.make_stars(3, 0)
    other = acf_jax.open_dataset(tiny_dataset.write(tmp_path, {"validation": stars}, bands="griz"))
    with pytest.raises(ValueError, match="has stamps in griz, this network reads uvgriz"):
        network.predict_split(other, "validation")


def test_a_split_with_another_sky_level_is_refused(network, tmp_path):
    provenance = {"recipe": {"stamps": {"aligner": "fast", "sky": "table"}}}
    folder = tiny_dataset.write(tmp_path, {"validation": tiny_dataset.make_stars(3, 0)}, provenance=provenance)
    with pytest.raises(DatasetError, match="network was trained on stamps built with `--sky cutout`"):
        network.predict_split(acf_jax.open_dataset(folder), "validation")


def test_features_are_the_backbones_and_a_bad_stamp_has_none(network):
    stamps = tiny_dataset.make_stars(5, 3)["stamp"].astype(np.float32)
    expected = network.model.apply({"params": network.params}, network.input_scaling.stamps(stamps), method="encode")
    features = network.features(stamps, batch_size=2)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    stamps[3, 20, 20, 1] = np.nan
    again = network.features(stamps, batch_size=2)
    assert np.isnan(again[3]).all()
    np.testing.assert_array_equal(again[[0, 1, 2, 4]], features[[0, 1, 2, 4]])
    assert network.features(stamps[:0]).shape == (0, 16)
    with pytest.raises(ValueError, match="Stamps have 4 bands"):
        network.features(stamps[..., :4])


def test_a_dataset_opens_by_name_or_folder(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    by_name = acf_jax.open_dataset("smss_stamps/mock")
    assert acf_jax.open_dataset(by_name.folder).folder == by_name.folder
    with pytest.raises(Exception, match="smss_stamps/mok is not prepared in data"):
        acf_jax.open_dataset("smss_stamps/mok")
    with pytest.raises(Exception, match="runs/demo holds no prepared dataset"):
        acf_jax.open_dataset("runs/demo")
