"""The benchmark of the network, on a tiny one; what it says of devices that are not at hand."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from acf_jax.models.acf import ACF, init_params
from acf_jax.training.config import as_training_config
from benchmarks import network
from benchmarks.device import peak_flop_per_s
from tests.acf_jax import tiny_dataset, tiny_run

ONE_BLOCK = {"model__depths": (1,), "model__num_heads": (2,), "model__stripe_widths": (1,)}  # compiles soon
TINY = f"""
from tests.acf_jax.tiny_run import make_config

def get_config():
    return make_config(**{ONE_BLOCK})
"""
BATCH = 4


def options(*arguments):
    return network.parse_arguments(list(arguments))


def test_every_part_of_a_tiny_network(tmp_path, monkeypatch, capsys):
    tiny_dataset.write_stars(tmp_path / "data")
    (tmp_path / "tiny.py").write_text(TINY)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    data = ("--dataset", "mock", "--data-dir", str(tmp_path / "data"))
    config = ("--config", str(tmp_path / "tiny.py"), "--batch", str(BATCH), "--dtypes", "float32", "--repeats", "1")
    network.main([*config, *data, "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)

    parts = ("forward", "mc100", "train_step", "train_loop")
    for part in parts:
        assert any(line.startswith(f"| {part} | float32 |") for line in table)
        assert figures[f"{part}_images_per_s"] == pytest.approx(1e3 * BATCH / figures[f"{part}_ms"], rel=1e-3)
        assert figures[f"{part}_ms"] > 0
    for part in parts[:3]:
        assert figures[f"{part}_compile_s"] > 0
        assert figures[f"{part}_mfu"] is None
    assert figures["mc100_over_forward"] > 0
    assert figures["mc100_ms"] > 0
    assert figures["batch_size"] == BATCH
    assert " core" in figures["device"]
    assert figures["peak_memory_source"] == "compiled program"
    assert not (tmp_path / "cache").exists()

    config = tiny_run.make_config(**ONE_BLOCK)
    params = init_params(ACF(as_training_config(config).model), 0)
    n_params = figures["parameters"]
    assert n_params == sum(leaf.size for leaf in params_leaves(params))
    # Parameters and Adam's two moments, with the gradient beside them at one time or another; the stamps of a batch.
    assert figures["train_step_peak_memory_bytes"] > 4 * (3 * n_params + BATCH * 48 * 48 * 6)
    assert figures["train_step_peak_memory_bytes"] > figures["forward_peak_memory_bytes"] > 4 * BATCH * 48 * 48 * 6
    assert figures["multiply_adds_per_image"] > 24 * 24 * 7 * 7 * 6 * config.model.embed_dim  # the patch embedding's


def params_leaves(tree):
    return [leaf for value in tree.values() for leaf in (params_leaves(value) if isinstance(value, dict) else [value])]


def test_a_dataset_that_is_not_prepared_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(network, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))  # starts sooner
    assert network.main(["--config", "configs/demo.py", "--dataset", "mock", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("benchmarks.network: The dataset smss_stamps/mock is not prepared in")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "1"], "--batch 1: give at least 2."),
        (["--repeats", "0"], "--repeats 0: give at least 1."),
        (["--config", "configs/none.py"], "--config configs/none.py: there is no such file."),
        (["--dtypes", "float16"], "invalid choice: 'float16'"),
    ],
)
def test_wrong_options_are_refused(arguments, words, capsys):
    with pytest.raises(SystemExit):
        network.main(arguments)
    assert words in capsys.readouterr().err


def test_options_reach_the_config():
    config = network.make_config(
        options("--batch", "64", "--dataset", "mock", "--in-memory", "--remat", "blocks"), "bfloat16"
    )
    assert (config.batch_size, config.dataset.config, config.cache_in_memory) == (64, "mock", True)
    assert (config.model.dtype, config.model.remat) == ("bfloat16", "blocks")
    published = network.make_config(options(), "float32")
    assert (published.batch_size, published.model.depths, published.cache_in_memory) == (128, (2, 4, 32, 2), False)
    backbone = as_training_config(network.make_config(options("--remat", "blocks"), "bfloat16")).model.backbone
    assert (backbone.dtype, backbone.param_dtype, backbone.remat) == ("bfloat16", "float32", "blocks")


def test_bfloat16_has_its_own_place_in_the_json(capsys):
    both = {
        dtype: network.figures("forward", 128, seconds, 9.0, 2_000_000_000, at_peak_s=0.1)
        for dtype, seconds in (("float32", 0.8), ("bfloat16", 0.4))
    }
    network.report(options("--parts", "forward", "--json"), {"device": "NVIDIA H200"}, both)
    lines = capsys.readouterr().out.splitlines()
    assert "| forward | float32 | 160.0 | 800.0 | 9.0 | 2.00 | 12.5 |" in lines
    figures = json.loads(lines[-1])
    assert figures["forward_images_per_s"] == 160
    assert figures["bfloat16"]["forward_images_per_s"] == 320
    assert figures["bfloat16"]["forward_mfu"] == 0.25


def test_calls_are_timed():
    short_s, long_s = network.seconds_per_call([lambda: time.sleep(0.02), lambda: time.sleep(0.06)], repeats=3)
    assert short_s == pytest.approx(0.02, rel=0.5)
    assert short_s < long_s


@pytest.mark.parametrize(
    ("device_kind", "bfloat16", "float32"),
    [
        ("NVIDIA H200", 989.5, 494.5),
        ("NVIDIA H100 80GB HBM3", 989.5, 494.5),
        ("NVIDIA H100 PCIe", 756, 378),
        ("NVIDIA A100-SXM4-80GB", 312, 156),
        ("NVIDIA L40S", 362, 183),
        ("NVIDIA L4", 121, 60),
        ("Tesla V100-SXM2-16GB", None, 15.7),
        ("NVIDIA A10G", None, None),  # another product than the A10
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, None),
        ("cpu", None, None),
    ],
)
def test_peaks_are_those_of_the_data_sheets(device_kind, bfloat16, float32):
    for dtype, tflop_per_s in (("bfloat16", bfloat16), ("float32", float32)):
        peak = peak_flop_per_s(device_kind, dtype)
        assert peak == (None if tflop_per_s is None else pytest.approx(1e12 * tflop_per_s))
