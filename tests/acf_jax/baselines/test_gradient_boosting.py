"""Features against worked values; gradient boosting against a synthetic sky whose relation is known."""

import numpy as np
import pytest

from acf_jax.baselines import gradient_boosting

BANDS = "uvgriz"
COEFFICIENTS = {"u": 4.0, "v": 3.5, "g": 3.0, "r": 2.0, "i": 1.5, "z": 1.0}
# Change of the absolute magnitude per unit of (Teff - 5500) / 600, [Fe/H] and log g - 4: an invented but smooth sky.
TEFF_SLOPES = np.array([-1.2, -1.1, -0.6, -0.35, -0.25, -0.2])
FE_H_SLOPES = np.array([0.3, 0.45, 0.1, 0.03, 0.0, 0.0])


def synthetic_stars(n, seed):
    """Magnitudes that follow from the parameters, so that colours give Teff and [Fe/H], and parallax log g."""
    rng = np.random.default_rng(seed)
    teff, fe_h, logg = rng.uniform(4500, 7000, n), rng.uniform(-1, 0.4, n), rng.uniform(1.5, 4.8, n)
    absolute = 4.5 + 2.5 * (logg - 4.4) + 0.5
    parallax, ebmv = 10 ** rng.uniform(-0.5, 1, n), rng.uniform(0, 0.3, n)
    mag = (absolute - 5 * np.log10(parallax) + 10)[:, None] + np.outer((teff - 5500) / 600, TEFF_SLOPES)
    mag += np.outer(fe_h, FE_H_SLOPES) + np.outer(ebmv, list(COEFFICIENTS.values())) + rng.normal(0, 0.01, (n, 6))
    stars = {"teff": teff, "fe_h": fe_h, "logg": logg, "psf_mag": mag, "ebmv_sfd": ebmv, "parallax": parallax}
    stars["parallax_error"] = 0.01 + 0 * parallax
    return {name: values.astype(np.float32) for name, values in stars.items()}


def predict(train, stars, targets=("teff", "logg", "fe_h"), **settings):
    baselines = gradient_boosting.PhotometricBaselines(BANDS, COEFFICIENTS, **settings)
    answers = baselines.predict(train, stars, targets)
    return {name: dict(zip(targets, answer.T, strict=True)) for name, answer in answers.items()}


def test_features_by_hand():
    star = {
        "psf_mag": np.array([[16.2, 15.85, 14.3, 13.7, 13.4, 13.2]]), "ebmv_sfd": np.array([0.1]),
        "parallax": np.array([10.0]), "parallax_error": np.array([0.1]),
    }  # fmt: skip
    features = gradient_boosting.photometric_features(star, BANDS, COEFFICIENTS, use_parallax=True)
    expected = {
        "u_0": 15.8, "v_0": 15.5, "g_0": 14.0, "r_0": 13.5, "i_0": 13.25, "z_0": 13.1,
        "u-v": 0.3, "v-g": 1.5, "g-r": 0.5, "r-i": 0.25, "i-z": 0.15,
        # 10 mas are 100 pc, a distance modulus of 5.
        "log_parallax": 1.0, "log_parallax_error": -1.0,
        "M_u": 10.8, "M_v": 10.5, "M_g": 9.0, "M_r": 8.5, "M_i": 8.25, "M_z": 8.1,
    }  # fmt: skip
    assert features.keys() == expected.keys()
    for name, value in expected.items():
        assert features[name][0] == pytest.approx(value, abs=1e-12), name


def test_nothing_of_the_parallax_without_it():
    star = synthetic_stars(3, 0)
    without = {name: value for name, value in star.items() if "parallax" not in name}
    assert len(gradient_boosting.photometric_features(without, BANDS, COEFFICIENTS, use_parallax=False)) == 11


def test_missing_values_stay_missing():
    star = synthetic_stars(3, 0)
    star["psf_mag"][1, 0] = np.nan
    star["parallax"][2] = -0.2
    features = gradient_boosting.photometric_features(star, BANDS, COEFFICIENTS, use_parallax=True)
    missing = {name: list(np.flatnonzero(np.isnan(value))) for name, value in features.items() if np.isnan(value).any()}
    assert missing == {
        "u_0": [1], "u-v": [1], "log_parallax": [2], "M_u": [1, 2],
        **{f"M_{band}": [2] for band in "vgriz"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def sky():
    return synthetic_stars(2000, 1), synthetic_stars(500, 2)


@pytest.fixture(scope="module")
def predictions(sky):
    return predict(*sky)


def test_recovers_a_synthetic_relation(sky, predictions):
    _, stars = sky
    with_parallax, without = (predictions[name] for name in gradient_boosting.BASELINES)
    scatter = {target: np.std(with_parallax[target] - stars[target]) for target in with_parallax}
    # The labels' own spread is 720 K, 0.95 and 0.40.
    assert scatter["teff"] < 60
    assert scatter["logg"] < 0.12
    assert scatter["fe_h"] < 0.12
    # Magnitudes alone cannot tell a near dwarf from a distant giant here.
    assert np.std(without["logg"] - stars["logg"]) > 4 * scatter["logg"]
    assert np.std(without["teff"] - stars["teff"]) < 60


def test_a_star_depends_on_neither_its_company_nor_its_labels(sky, predictions):
    train, stars = sky
    few = {field: stars[field][10:12] for field in gradient_boosting.PHOTOMETRY_FIELDS}
    again = predict(train, few, targets=("teff",))
    for name in gradient_boosting.BASELINES:
        np.testing.assert_array_equal(again[name]["teff"], predictions[name]["teff"][10:12])


def test_photometry_and_labels_may_have_gaps(sky):
    train, stars = ({name: values.copy() for name, values in s.items()} for s in sky)
    rng = np.random.default_rng(3)
    for s in (train, stars):
        s["psf_mag"][rng.random(s["psf_mag"].shape) < 0.05] = np.nan
    train["teff"][::7] = np.nan
    predicted = predict(train, stars, targets=("teff",))["gradient boosting"]["teff"]
    assert np.isfinite(predicted).all()
    assert np.std(predicted - stars["teff"]) < 150


def test_a_band_that_no_star_has(sky):
    train, stars = ({name: values.copy() for name, values in s.items()} for s in sky)
    train["psf_mag"][:, 1] = stars["psf_mag"][:, 1] = np.nan
    predicted = predict(train, stars, targets=("teff",))["gradient boosting"]["teff"]
    assert np.std(predicted - stars["teff"]) < 150
