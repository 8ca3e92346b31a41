import numpy as np
import pytest
from astropy.table import Table

from acf_jax.inference.prediction import Prediction


@pytest.fixture
def prediction():
    return Prediction(
        mean=np.array([[5512.4, 4.312], [4810.0, 2.504], [np.nan, np.nan]], np.float32),
        std=np.array([[23.1, 0.052], [40.7, 0.061], [np.nan, np.nan]], np.float32),
        targets=("teff", "logg"),
        units=("K", "dex"),
        finite=np.array([True, True, False]),
        object_id=np.array([7, 2**62, 8]),
    )


def test_few_stars_are_printed_one_by_one(prediction):
    assert repr(prediction).splitlines() == [
        "Prediction of 3 stars, 1 without (inputs not finite)",
        "          object_id   teff (K)     logg (dex)",
        "                  7  5512 ± 23  4.312 ± 0.052",
        "4611686018427387904  4810 ± 41  2.504 ± 0.061",
        "                  8  nan ± nan      nan ± nan",
    ]


def test_many_stars_are_summed_up():
    generator = np.random.default_rng(0)
    mean, std = generator.normal(5500, 10, (12345, 1)), np.full((12345, 1), 50.0)
    mean[3] = std[3] = np.nan
    text = repr(Prediction(mean, std, ("teff",), ("K",), np.isfinite(mean[:, 0]))).splitlines()
    assert text[0] == "Prediction of 12,345 stars, 1 without (inputs not finite)"
    assert text[1].split() == ["5", "%", "median", "95", "%", "median", "std"]
    name, unit, low, median, high, sigma = text[2].split()
    assert (name, unit, median, sigma) == ("teff", "(K)", "5500", "50")
    assert int(high) - int(low) == pytest.approx(2 * 16.4, abs=2)
    assert len(text) == 3


@pytest.mark.parametrize(
    ("n", "first_line"), [(0, "Prediction of 0 stars"), (1, "Prediction of 1 star, 1 without (inputs not finite)")]
)
def test_nothing_to_show_is_shown_too(n, first_line):
    nothing = Prediction(*np.full((2, n, 1), np.nan), ("teff",), ("K",), np.zeros(n, bool))
    assert repr(nothing).splitlines()[0] == first_line


def test_columns_make_a_table(prediction):
    table = Table(prediction.columns())
    assert table.colnames == ["object_id", "teff", "teff_std", "logg", "logg_std", "finite"]
    np.testing.assert_array_equal(table["logg_std"], prediction.std[:, 1])
    np.testing.assert_array_equal(table["object_id"], prediction.object_id)


def test_both_terms_of_the_variance_add_up(prediction):
    both = Prediction(**{**vars(prediction), "tau_inverse": np.array([30.0**2, 0.0])})
    np.testing.assert_allclose(both.predictive_std[:2, 0], np.hypot([23.1, 40.7], 30), rtol=1e-6)
    np.testing.assert_array_equal(both.predictive_std[:, 1], prediction.std[:, 1])
    assert list(both.columns())[1:4] == ["teff", "teff_std", "teff_predictive_std"]
    assert prediction.predictive_std is None
