"""Flat records of what was measured, and how they are selected."""

import json

import numpy as np
import pytest

from acf_jax.metrics.bootstrap import Estimate
from acf_jax.metrics.measurements import Measurement, distinct, estimates, from_metrics, select, to_dicts
from acf_jax.metrics.residuals import residual_metrics


def measured(method, target, value, quantity="std"):
    return Measurement(method, target, "label", quantity, Estimate(value, value - 1, value + 1, 0.5, 9))


FOUND = [measured("ACF", "teff", 90.0), measured("trees", "teff", 95.0), measured("ACF", "logg", 2.0),
         measured("ACF", "teff", -3.0, "offset")]  # fmt: skip


def test_measurements_are_selected_by_any_field_in_their_order():
    assert select(FOUND, method="ACF", quantity="std") == [FOUND[0], FOUND[2]]
    assert select(FOUND, method="ACF", group="crowded") == []
    stds = estimates(FOUND, "target", method="ACF", quantity="std")
    assert {target: std.value for target, std in stds.items()} == {"teff": 90.0, "logg": 2.0}
    assert distinct(FOUND, "method") == ["ACF", "trees"]


def test_two_of_one_name_are_refused():
    with pytest.raises(ValueError, match="3 measurements have 2 values of target: select by more fields"):
        estimates(FOUND, "target", method="ACF")


def test_a_record_is_flat_json_without_nan():
    metrics = residual_metrics(np.array([1.0, 3.0, np.nan]), np.array([0.0, 0.0, 0.0]))
    found = from_metrics(metrics, method="ACF", target="teff", reference="truth", group="crowded")
    records = {m["quantity"]: m for m in to_dicts(found)}
    json.dumps(list(records.values()), allow_nan=False)
    assert records["offset"] == {
        "method": "ACF", "target": "teff", "reference": "truth", "quantity": "offset", "sample": "",
        "group": "crowded", "inputs": "", "against": "", "value": 2.0, "lower": None, "upper": None, "error": None,
        "n": 2,
    }  # fmt: skip
    assert records["n_without_prediction"]["value"] == 1
    assert records["coverage_68"]["value"] is None
    assert "n" not in records
