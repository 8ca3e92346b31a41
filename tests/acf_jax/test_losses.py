import jax
import numpy as np

from acf_jax.losses import smooth_l1


def test_golden_values():
    residual = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0], np.float32)
    np.testing.assert_allclose(smooth_l1(residual), [0, 0.125, 0.125, 0.5, 0.5, 1.5, 2.5], rtol=1e-7)


def test_gradient_is_the_residual_clipped_at_one():
    residual = np.linspace(-3, 3, 61, dtype=np.float32)
    gradient = jax.vmap(jax.grad(smooth_l1))(residual)
    np.testing.assert_allclose(gradient, np.clip(residual, -1, 1), atol=1e-7)
