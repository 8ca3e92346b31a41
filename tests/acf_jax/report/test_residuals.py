"""Residuals of the validation split."""

import numpy as np

from acf_jax.report.residuals import references, residuals
from tests.acf_jax.report.stand_in_context import TARGETS, draw_stars, make_context, truth, without_truth


def test_the_truth_is_a_reference_where_it_is_known(tmp_path):
    stars = draw_stars(40)
    answers = {"ACF": truth(stars)}
    assert references(make_context(tmp_path, stars, answers)) == ("label", "truth")
    assert references(make_context(tmp_path, without_truth(stars), answers)) == ("label",)


def test_a_residual_is_prediction_minus_reference(tmp_path):
    stars = draw_stars(40)
    offsets = np.array([10, 0.1, -0.2])
    context = make_context(tmp_path, stars, {"ACF": truth(stars) + offsets})
    for target, offset in zip(TARGETS, offsets, strict=True):
        np.testing.assert_allclose(residuals(context, "ACF", "truth")[target], offset, atol=1e-9)
        expected = stars[f"true_{target}"] + offset - stars[target]
        np.testing.assert_allclose(residuals(context, "ACF", "label")[target], expected, atol=1e-9)
