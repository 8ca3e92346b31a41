import json

import numpy as np
import pytest

from acf_jax.labels import LABELS, LabelScaling, check_targets

LABEL_ROWS = np.array([[4000.0, 1.0], [6000.0, 4.0], [8000.0, 4.0]])


def test_golden_values():
    scaling = LabelScaling.fit(LABEL_ROWS, ("teff", "logg"))
    assert scaling.mean == (6000.0, 3.0)
    np.testing.assert_allclose(scaling.std, (np.sqrt(8e6 / 3), np.sqrt(2)), rtol=1e-12)
    standardised = scaling.standardise(LABEL_ROWS)
    np.testing.assert_allclose(standardised.mean(0), 0, atol=1e-7)
    np.testing.assert_allclose(standardised.std(0), 1, rtol=1e-6)


def test_invert_undoes_standardise_also_after_json():
    scaling = LabelScaling.fit(LABEL_ROWS, ("teff", "logg"))
    restored = LabelScaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    assert restored == scaling
    np.testing.assert_allclose(restored.invert(scaling.standardise(LABEL_ROWS)), LABEL_ROWS, rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "message"),
    [([5000, np.nan, 6000], "1 of the 3 training labels teff"), ([5000, 5000, 5000], "are equal")],
)
def test_useless_labels_are_refused(column, message):
    with pytest.raises(ValueError, match=message):
        LabelScaling.fit(np.array(column, float)[:, None], ("teff",))


@pytest.mark.parametrize("targets", [("tef",), (), ("teff", "teff")])
def test_unknown_missing_or_repeated_targets_are_refused(targets):
    with pytest.raises(ValueError, match="must be one or more different labels of teff, logg, fe_h"):
        check_targets(targets)


def test_units():
    assert LABELS == {"teff": "K", "logg": "dex", "fe_h": "dex"}
