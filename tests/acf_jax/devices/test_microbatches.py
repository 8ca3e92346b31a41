"""A batch in parts gives what the whole batch gives."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acf_jax.devices.microbatches import CPU_STARS, gradients_of_mean, map_microbatches, microbatch_size


def star_losses(params, batch):
    return ((jnp.tanh(batch["x"] @ params["w"]) - batch["y"]) ** 2).sum(axis=-1)


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    return {"w": draw(5, 3)}, {"x": draw(12, 5), "y": draw(12, 3)}


@pytest.mark.parametrize("size", [1, 3, 4, 12])
def test_gradient_is_that_of_the_mean_over_the_whole_batch(problem, size):
    params, batch = problem
    losses, gradients = jax.jit(gradients_of_mean, static_argnums=(0, 1))(star_losses, size, *problem)
    expected = jax.grad(lambda params: star_losses(params, batch).mean())(params)
    np.testing.assert_allclose(losses, star_losses(params, batch), rtol=1e-6)
    chex.assert_trees_all_close(gradients, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 12])
def test_mapping_keeps_stars_in_order(problem, size):
    _, batch = problem
    mapped = map_microbatches(lambda batch: {"sum": batch["x"].sum(axis=1), "y": batch["y"]}, size, batch)
    np.testing.assert_allclose(mapped["sum"], batch["x"].sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(mapped["y"], batch["y"])


def test_only_a_part_is_in_memory_at_a_time():
    x = jnp.zeros((64, 1000))
    function = lambda x: jnp.sin(x[:, :, None] * jnp.arange(50.0)).sort(axis=2).sum(axis=(1, 2))  # noqa: E731
    temporary = {
        size: jax.jit(lambda x, size=size: map_microbatches(function, size, x))
        .lower(x)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for size in (4, 64)
    }
    assert temporary[4] < temporary[64] / 8


@pytest.mark.parametrize(
    ("n_stars", "size"), [(128, CPU_STARS), (48, 24), (CPU_STARS, CPU_STARS), (8, 8), (1, 1), (127, 127), (34, 17)]
)
def test_a_cpu_takes_about_32_stars(n_stars, size):
    assert microbatch_size(n_stars) == size


def test_an_accelerator_takes_all(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert microbatch_size(128) == 128
    assert microbatch_size(128, 16) == 16


@pytest.mark.parametrize("requested", [3, -1, 256])
def test_a_size_that_does_not_divide_is_refused(requested):
    with pytest.raises(ValueError, match=f"microbatch_size = {requested} must divide the 128 stars"):
        microbatch_size(128, requested)
