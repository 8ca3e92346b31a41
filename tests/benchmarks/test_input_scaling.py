"""The table of the input-scaling comparison, from results written by hand."""

import numpy as np
import pytest

from acf_jax.data.scaling import PARALLAX_METHODS, STAMP_METHODS
from benchmarks.input_scaling import G_EDGES_MAG, VARIANTS, markdown, read_config, summarise


def result(variant: str, seed: int, teff: float) -> dict:
    offsets = [0.1, 0.0, -0.1]
    return {"variant": variant, "seed": seed, "steps": 10, "n": 7, "teff": teff, "logg": 0.1, "fe_h": 0.2} | {
        "logg_offset_by_g": offsets
    }


def test_every_variant_is_a_scaling_that_there_is():
    assert {settings["stamp_method"] for settings in VARIANTS.values()} <= set(STAMP_METHODS)
    assert {settings["parallax_method"] for settings in VARIANTS.values()} <= set(PARALLAX_METHODS)


def test_seeds_are_averaged_and_their_scatter_told():
    (row,) = summarise([result("linear, log parallax", seed, teff) for seed, teff in enumerate((100.0, 110.0, 120.0))])
    assert row["teff"] == pytest.approx(110)
    assert row["teff_scatter"] == pytest.approx(np.std([100, 110, 120], ddof=1))
    assert len(row["logg_offset_by_g"]) == len(G_EDGES_MAG) - 1
    assert "110 ± 10" in markdown([row])


def test_one_seed_has_no_scatter():
    (row,) = summarise([result("asinh, log parallax", 0, 90.0)])
    assert row["teff_scatter"] is None
    assert "±" not in markdown([row])


def test_the_demo_is_what_is_varied():
    assert read_config("configs/demo.py").dataset.config == "mock"
