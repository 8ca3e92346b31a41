"""How residuals and their moments are written."""

import pytest

from acf_jax.metrics.bootstrap import Estimate
from acf_jax.report.words import enumerated, in_words, low_quality_way, ratio, with_interval, with_unit


@pytest.mark.parametrize(
    ("words", "expected"), [(["a"], "a"), (["a", "b"], "a and b"), (iter("abc"), "a, b and c"), ([], "none")]
)
def test_words_are_enumerated(words, expected):
    assert enumerated(words) == expected


def test_the_way_to_the_low_quality_sample_is_that_of_the_sky():
    prepare, train, ask = low_quality_way(is_mock=True)
    assert prepare == "`python -m datasets.build --config mock_low_quality`"
    assert "configs/demo.py --config.dataset.config=mock_low_quality --workdir runs/demo_low_quality`" in train
    assert "`--low-quality runs/demo_low_quality`" in ask
    prepare, train, ask = low_quality_way(is_mock=False)
    assert prepare.startswith("download GALAH_DR3_main_allstar_v2.fits from https://")
    assert "configs/acf.py --config.dataset.config=low_quality --workdir runs/acf_low_quality`" in train
    assert "mock" not in prepare + train + ask


def test_moments_carry_unit_sign_and_interval():
    estimate = Estimate(0.07, 0.0649, 0.0751, 0.002, 900)
    assert with_interval(estimate, "dex", "+") == "+0.070 [+0.065, +0.075]"
    assert with_interval(Estimate(*[float("nan")] * 4, n=0), "K") == "-"
    assert in_words(-0.04, "teff", "+") == "+0.0 K"  # what rounds to zero has no sign of its own
    assert in_words(0.1234, "fe_h") == "0.123 dex"
    assert ratio(Estimate(1.106, 1.04, 1.17, 0.03, 900)) == "1.11 [1.04, 1.17]"
    assert ratio(Estimate(*[float("nan")] * 4, n=0)) == "-"
    assert with_unit("logg") == "log g (dex)"
