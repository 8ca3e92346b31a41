"""How residuals and their moments are written."""

import numpy as np
import pytest

from acf_jax.metrics.bootstrap import Estimate
from acf_jax.report.words import enumerated, in_words, residuals, with_interval
from tests.acf_jax.report.stand_in_context import TARGETS, draw_stars, make_context, truth


@pytest.mark.parametrize(
    ("words", "expected"), [(["a"], "a"), (["a", "b"], "a and b"), (iter("abc"), "a, b and c"), ([], "none")]
)
def test_words_are_enumerated(words, expected):
    assert enumerated(words) == expected


def test_moments_carry_unit_sign_and_interval():
    estimate = Estimate(0.07, 0.0649, 0.0751, 0.002, 900)
    assert with_interval(estimate, "dex", "+") == "+0.070 [+0.065, +0.075]"
    assert with_interval(Estimate(*[float("nan")] * 4, n=0), "K") == "-"
    assert in_words(-0.04, "teff", "+") == "+0.0 K"  # what rounds to zero has no sign of its own
    assert in_words(0.1234, "fe_h") == "0.123 dex"


def test_a_residual_is_prediction_minus_reference(tmp_path):
    stars = draw_stars(40)
    offsets = np.array([10, 0.1, -0.2])
    context = make_context(tmp_path, stars, {"ACF": truth(stars) + offsets})
    for target, offset in zip(TARGETS, offsets, strict=True):
        np.testing.assert_allclose(residuals(context, "ACF", "truth")[target], offset, atol=1e-9)
        expected = stars[f"true_{target}"] + offset - stars[target]
        np.testing.assert_allclose(residuals(context, "ACF", "label")[target], expected, atol=1e-9)
