"""Columns against worked values; principal components against a singular value decomposition done here."""

import numpy as np
import pytest

from acf_jax.baselines import features as tabular

BANDS = "uvgriz"
COEFFICIENTS = {"u": 4.0, "v": 3.5, "g": 3.0, "r": 2.0, "i": 1.5, "z": 1.0}
STAR = {
    "psf_mag": np.array([[16.2, 15.85, 14.3, 13.7, 13.4, 13.2]]), "ebmv_sfd": np.array([0.1]),
    "parallax": np.array([10.0]), "parallax_error": np.array([0.1]),
}  # fmt: skip
DEREDDENED = {"u_0": 15.8, "v_0": 15.5, "g_0": 14.0, "r_0": 13.5, "i_0": 13.25, "z_0": 13.1}
ABSOLUTE = {"M_u": 10.8, "M_v": 10.5, "M_g": 9.0, "M_r": 8.5, "M_i": 8.25, "M_z": 8.1}  # 100 pc: five less
COLOURS = {"u-v": 0.3, "v-g": 1.5, "g-r": 0.5, "r-i": 0.25, "i-z": 0.15}
PARALLAX = {"log_parallax": 1.0, "log_parallax_error": -1.0}


@pytest.mark.parametrize(
    ("inputs", "use_parallax", "expected"),
    [
        ("magnitudes", False, DEREDDENED),
        ("magnitudes", True, ABSOLUTE | PARALLAX),
        ("colours", False, COLOURS),
        ("colours", True, COLOURS | PARALLAX),
        ("magnitudes + colours", False, DEREDDENED | COLOURS),
        ("magnitudes + colours", True, ABSOLUTE | COLOURS | PARALLAX),
    ],
)
def test_columns_by_hand(inputs, use_parallax, expected):
    columns = tabular.photometric_inputs(STAR, BANDS, COEFFICIENTS, inputs, use_parallax)
    assert list(columns) == list(expected)
    assert {name: values[0] for name, values in columns.items()} == pytest.approx(expected, abs=1e-12)


def test_other_inputs_are_refused():
    with pytest.raises(ValueError, match=r"inputs = 'spectra' must be one of magnitudes, colours"):
        tabular.photometric_inputs(STAR, BANDS, COEFFICIENTS, "spectra", use_parallax=False)


def test_components_stand_beside_the_parallax():
    stars = {"parallax": np.array([10.0, -1.0]), "parallax_error": np.array([0.1, 0.1])}
    columns = tabular.image_inputs(np.array([[1.0, 2.0], [3.0, 4.0]]), stars, use_parallax=True)
    expected = [[1, 2, 1, -1], [3, 4, np.nan, -1]]
    np.testing.assert_allclose(tabular.table(columns), expected, atol=1e-12)
    assert list(tabular.image_inputs(np.zeros((2, 3)), {}, use_parallax=False)) == [
        "component_1", "component_2", "component_3",
    ]  # fmt: skip


def test_what_is_not_finite_is_missing():
    np.testing.assert_array_equal(
        tabular.table({"a": [1.0, np.inf], "b": [-np.inf, np.nan]}), [[1, np.nan], [np.nan, np.nan]]
    )


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 30)) @ rng.normal(size=(30, 40)) + 100 * rng.normal(size=40)


def test_components_are_those_of_a_singular_value_decomposition(features):
    train, others = features[:150], features[150:]
    components = tabular.FeatureReduction(train, n_components=5)(others)
    mean, std = train.mean(axis=0), train.std(axis=0)
    _, _, axes = np.linalg.svd((train - mean) / std, full_matrices=False)
    expected = ((others - mean) / std) @ axes[:5].T
    np.testing.assert_allclose(np.abs(components), np.abs(expected), rtol=1e-6)


def test_a_star_does_not_depend_on_its_company(features):
    reduction = tabular.FeatureReduction(features[:150])
    assert reduction(features).shape == (200, 16)
    np.testing.assert_allclose(reduction(features[150:151]), reduction(features)[150:151], rtol=1e-9)


def test_as_many_components_as_the_features_have():
    rng = np.random.default_rng(1)
    reduction = tabular.FeatureReduction(rng.normal(size=(50, 3)) @ rng.normal(size=(3, 7)), n_components=3)
    assert reduction.explained_variance == pytest.approx(1)
    assert tabular.FeatureReduction(rng.normal(size=(50, 7)))(np.zeros((2, 7))).shape == (2, 7)


def test_a_star_without_features_harms_no_other(features):
    train = features[:150]
    broken = np.vstack([np.full((1, 40), np.nan), train])
    components = tabular.FeatureReduction(broken)(broken)
    assert np.isnan(components[0]).all()
    np.testing.assert_array_equal(components[1:], tabular.FeatureReduction(train)(train))


def test_one_star_has_no_principal_components():
    with pytest.raises(ValueError, match="1 training stars have features"):
        tabular.FeatureReduction(np.zeros((1, 4)))
