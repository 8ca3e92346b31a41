import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from acf_jax.calibration import predictive_variance
from acf_jax.calibration.predictive_variance import fit, from_length_scale

PAPER = {"keep_probability": 0.8, "n_stars": round(0.8 * 106_145), "l2_coefficient": 5e-5}


def test_the_papers_numbers_give_eleven_label_variances():
    """2 x 84,916 x 5e-5 / 0.8 = 10.61: why the term is off by default."""
    assert from_length_scale(1, **PAPER) == pytest.approx(10.6145)
    assert from_length_scale(10, **PAPER) == pytest.approx(0.106145)


def test_the_labels_variance_gives_the_units():
    in_units = from_length_scale(10, **PAPER, label_std=(900.0, 0.6))
    np.testing.assert_allclose(in_units, 0.106145 * np.array([900.0**2, 0.6**2]))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"length_scale": 0}, "length_scale = 0 must be positive"),
        ({"n_stars": -1}, "n_stars = -1 must be positive"),
        ({"l2_coefficient": float("nan")}, "l2_coefficient = nan must be positive"),
        ({"keep_probability": 1.2}, "keep_probability = 1.2 must be above 0 and at most 1"),
    ],
)
def test_impossible_priors_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_length_scale(**{"length_scale": 1, **PAPER, **changes})


def test_without_monte_carlo_variance_it_is_the_mean_squared_residual():
    generator = np.random.default_rng(1)
    prediction, labels = generator.normal(size=(50, 2)), generator.normal(size=(50, 2)) * [1, 300]
    expected = np.mean((prediction - labels) ** 2, axis=0)
    for n_samples in (1, 7):
        samples = np.broadcast_to(prediction, (n_samples, 50, 2))
        np.testing.assert_allclose(fit(samples, labels), expected, rtol=1e-6)


def test_the_noise_of_simulated_labels_is_found():
    """Labels that are one of the star's samples and noise; per target, in its own units."""
    generator = np.random.default_rng(2)
    n_stars, noise, scatter = 6000, np.array([80.0, 0.05, 0.3]), np.array([40.0, 0.05, 0.1])
    centre = generator.normal(size=(n_stars, 3)) * [900, 0.6, 0.4]
    samples = centre + scatter * generator.normal(size=(30, n_stars, 3))
    chosen = samples[generator.integers(30, size=n_stars), np.arange(n_stars)]
    labels = chosen + noise * generator.normal(size=(n_stars, 3))
    tau_inverse = fit(samples, labels)
    # 5 sigma of a variance from n residuals, whose own scatter the samples' scatter widens by (1 + s^2 / noise^2).
    error = 5 * np.sqrt(2 / n_stars) * (1 + scatter**2 / noise**2)
    assert (np.abs(tau_inverse / noise**2 - 1) < error).all()
    # Read as a mean of squared residuals, the samples' scatter would be in it.
    assert (np.mean((samples.mean(axis=0) - labels) ** 2, axis=0)[:2] > 1.15 * tau_inverse[:2]).all()


@pytest.mark.parametrize("seed", range(12))
def test_no_other_variance_is_likelier(seed):
    """Few stars, some with a sample close to their label: the likelihood may have several maxima."""
    generator = np.random.default_rng(seed)
    samples, labels = generator.normal(size=(4, 3, 1)), generator.normal(size=(3, 1))
    samples[0, :2] = labels[:2] + 10.0 ** generator.uniform(-4, -1, (2, 1))
    tau_inverse = fit(samples, labels)

    def log_likelihood(variance):
        """Of the mixture of normal distributions about the samples (Gal & Ghahramani 2016, Eq. 8), less a constant."""
        return logsumexp(norm.logpdf(labels, samples, np.sqrt(variance)), axis=0).sum()

    others = [log_likelihood(variance) for variance in np.geomspace(1e-10, 1e3, 2000)]
    assert log_likelihood(tau_inverse) >= max(others) - 1e-9


def test_units_scale_with_the_labels():
    generator = np.random.default_rng(3)
    samples, labels = generator.normal(size=(10, 40, 1)), generator.normal(size=(40, 1))
    np.testing.assert_allclose(fit(100 * samples, 100 * labels), 1e4 * fit(samples, labels), rtol=1e-5)


def test_stars_without_label_or_prediction_are_left_out():
    generator = np.random.default_rng(4)
    samples, labels = generator.normal(size=(10, 40, 1)), generator.normal(size=(40, 1))
    expected = fit(samples[:, 2:], labels[2:])
    samples[:, 0], labels[1] = np.nan, np.nan
    np.testing.assert_array_equal(fit(samples, labels), expected)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("samples", "labels", "sentence"),
    [
        (np.ones((5, 3)), np.ones((5, 3)), "must be \\(n_samples, n, n_targets\\)"),
        (np.ones((5, 4, 1)), np.ones((3, 1)), r"samples \(5, 4, 1\) and labels \(3, 1\)"),
        (np.full((5, 4, 1), np.nan), np.ones((4, 1)), "no star has both"),
        (np.ones((5, 4, 1)), np.ones((4, 1)), "are these labels predictions"),
    ],
)
def test_what_cannot_be_fitted_is_refused(samples, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        predictive_variance.fit(samples, labels)
