import jax
import numpy as np
from scipy.stats import norm

from acf_jax.training.losses import noise_nll, smooth_l1


def test_golden_values():
    residual = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0], np.float32)
    np.testing.assert_allclose(smooth_l1(residual), [0, 0.125, 0.125, 0.5, 0.5, 1.5, 2.5], rtol=1e-7)


def test_gradient_is_the_residual_clipped_at_one():
    residual = np.linspace(-3, 3, 61, dtype=np.float32)
    gradient = jax.vmap(jax.grad(smooth_l1))(residual)
    np.testing.assert_allclose(gradient, np.clip(residual, -1, 1), atol=1e-7)


def test_noise_nll_is_the_gaussian_likelihood_but_for_a_constant():
    residual, variance = np.array([0.0, 0.5, -2.0], np.float32), np.array([1.0, 0.2, 9.0], np.float32)
    expected = -norm.logpdf(residual, scale=np.sqrt(variance)) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(noise_nll(residual, variance), expected, rtol=1e-6)


def test_noise_nll_teaches_the_variance_and_not_the_value():
    residual = np.random.default_rng(0).normal(0, 3, 10_000).astype(np.float32)
    to_residual, to_variance = jax.grad(lambda r, v: noise_nll(r, v).mean(), argnums=(0, 1))(residual, np.float32(9))
    assert not to_residual.any()
    assert abs(to_variance) < 5e-3 / 9  # at its best, where the variance is that of the residuals, to their noise
