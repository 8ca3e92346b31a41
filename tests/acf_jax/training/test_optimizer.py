import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acf_jax.models.acf import ACF, ACFConfig, init_params
from acf_jax.models.cswin import CSWinConfig
from acf_jax.training.config import OptimizerConfig
from acf_jax.training.optimizer import adam_with_l2, learning_rate_schedule
from configs import demo


def options(**changes):
    return OptimizerConfig(**changes)


def test_staircase_is_the_papers():
    """At 0, 49.99, 50, 99.99, 100, 299 and 299.99 epochs of 100 steps."""
    schedule = learning_rate_schedule(options(), num_steps=30_000, steps_per_epoch=100)
    steps = [0, 4_999, 5_000, 9_999, 10_000, 29_900, 29_999]
    expected = 1e-4 * 0.8 ** np.array([0, 0, 1, 1, 2, 5, 5])
    np.testing.assert_allclose([schedule(step) for step in steps], expected, rtol=1e-5)


def test_warmup_cosine_rises_to_the_peak_and_ends_at_zero():
    config = options(schedule="warmup_cosine", learning_rate=2e-3, warmup_steps=100)
    schedule = learning_rate_schedule(config, num_steps=1100, steps_per_epoch=10)
    expected = [0, 1e-3, 2e-3, 1e-3, 0]
    np.testing.assert_allclose([schedule(s) for s in (0, 50, 100, 600, 1100)], expected, rtol=1e-5, atol=1e-9)


def test_a_warm_up_as_long_as_the_training_is_refused():
    with pytest.raises(ValueError, match="warmup_steps = 9 must be below the 9 steps"):
        learning_rate_schedule(options(schedule="warmup_cosine", warmup_steps=9), num_steps=9, steps_per_epoch=1)


def adam_reference(parameter, gradients, rates, config):
    """PyTorch's Adam with weight_decay, in float64, as its documentation writes it."""
    first = second = 0.0
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = gradient + config.l2 * parameter
        first = config.beta1 * first + (1 - config.beta1) * gradient
        second = config.beta2 * second + (1 - config.beta2) * gradient**2
        corrected = first / (1 - config.beta1**t), second / (1 - config.beta2**t)
        parameter = parameter - rate * corrected[0] / (np.sqrt(corrected[1]) + config.epsilon)
    return parameter


@pytest.mark.parametrize("l2", [0.0, 5e-5, 0.5])
def test_adam_with_l2_is_pytorchs(l2):
    config = options(l2=l2, learning_rate=1e-2, decay_epochs=2)
    schedule = learning_rate_schedule(config, num_steps=100, steps_per_epoch=10)
    optimizer = adam_with_l2(config, schedule)
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=5), rng.normal(size=(40, 5)) * 1e-2
    params = {"bias": jnp.asarray(start, jnp.float32)}
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update({"bias": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
    expected = adam_reference(start, gradients, [float(schedule(t)) for t in range(40)], config)
    np.testing.assert_allclose(params["bias"], expected, rtol=1e-4, atol=1e-5)


def test_l2_goes_through_adams_scaling_and_reaches_every_parameter():
    """In AdamW a parameter without gradient would shrink by rate * l2; here its first step is the full rate.

    In every kernel, bias and LayerNorm of an ACF.
    """
    model = ACF(ACFConfig(backbone=CSWinConfig(embed_dim=4, depths=(2, 1), num_heads=(2, 2), stripe_widths=(2, 2))))
    params = jax.tree.map(lambda leaf: 0.5 + np.arange(leaf.size).reshape(leaf.shape) % 3, init_params(model, 0))
    names = {jax.tree_util.keystr(path[-1:], simple=True) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert names == {"kernel", "bias", "scale"}
    optimizer = adam_with_l2(options(), optax.constant_schedule(1e-2))
    zeros = jax.tree.map(np.zeros_like, params)
    updates = jax.jit(lambda params: optimizer.update(zeros, optimizer.init(params), params)[0])(params)
    for update in jax.tree.leaves(updates):
        np.testing.assert_allclose(update, -1e-2, rtol=1e-3)


def test_clipping_bounds_the_gradient_but_not_the_l2_term():
    params = {"bias": jnp.array([3.0, -4.0])}
    gradient = {"bias": jnp.array([30.0, 40.0])}
    clipped = {"bias": jnp.array([0.6, 0.8])}

    def moments(clip_norm, gradient):
        optimizer = adam_with_l2(options(clip_norm=clip_norm, l2=0.1), optax.constant_schedule(1.0))
        _, state = optimizer.update(gradient, optimizer.init(params), params)
        return optax.tree.get(state, "mu")["bias"]

    np.testing.assert_allclose(moments(1.0, gradient), moments(0.0, clipped), rtol=1e-5)
    assert demo.get_config().optimizer.clip_norm == 1.0
