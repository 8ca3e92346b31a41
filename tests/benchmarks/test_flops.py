import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from acf_jax.models import cswin
from acf_jax.models.cswin import CSWin, CSWinConfig
from benchmarks.flops import multiply_adds

PAPERS_MULTIPLY_ADDS = 1_197_075_456  # an image through the backbone, as the authors' code has it
STAMP = jax.ShapeDtypeStruct((1, 48, 48, 6), jnp.float32)


def backbone_params(model):
    return jax.eval_shape(model.init, jax.random.key(0), STAMP)


def lepe_multiply_adds(config, size=48):
    """Nine a token and channel, in every block; written elementwise, they are not in `multiply_adds`."""
    maps = [(size // 2**stage) ** 2 * config.embed_dim * 2 ** (stage - 1) for stage in range(1, len(config.depths) + 1)]
    return sum(9 * depth * tokens_and_channels for depth, tokens_and_channels in zip(config.depths, maps, strict=True))


def test_the_papers_backbone():
    model = CSWin()
    counted = multiply_adds(model.apply, backbone_params(model), STAMP)
    assert counted + lepe_multiply_adds(model.config) == PAPERS_MULTIPLY_ADDS


def test_xlas_cost_analysis_agrees_but_for_elementwise_operations_and_padding(monkeypatch):
    """Lowered, not compiled; without scans, whose bodies XLA counts once."""
    monkeypatch.setattr(cswin, "UNROLLED_DEPTH", max(CSWinConfig().depths))
    model = CSWin()
    cost = jax.jit(model.apply).lower(backbone_params(model), STAMP).cost_analysis()
    assert cost["flops"] / 2 == pytest.approx(PAPERS_MULTIPLY_ADDS, rel=0.01)


def test_matrix_products():
    x, y = jnp.zeros((5, 3, 7)), jnp.zeros((5, 7, 2))
    assert multiply_adds(jnp.matmul, x, y) == 5 * 3 * 7 * 2
    assert multiply_adds(lambda x, y: jnp.einsum("bij,bjk->ki", jnp.sin(x) + 1, y), x, y) == 5 * 3 * 7 * 2
    assert multiply_adds(lambda x: jnp.exp(x).sum() + x.mean(), x) == 0


@pytest.mark.parametrize(("groups", "expected"), [(1, 2 * 4 * 4 * 3 * 3 * 6 * 12), (6, 2 * 4 * 4 * 3 * 3 * 1 * 12)])
def test_convolutions(groups, expected):
    """Outputs times the kernel's size: 2 images of 4 x 4, 3 x 3 pixels of a group's channels, 12 channels out."""
    layer = nn.Conv(12, (3, 3), strides=2, padding=1, feature_group_count=groups)
    images = jnp.zeros((2, 8, 8, 6))
    params = jax.eval_shape(layer.init, jax.random.key(0), images)
    assert multiply_adds(layer.apply, params, images) == expected


def square(x):
    return x @ x


MATRIX = np.eye(3, dtype=np.float32)
ONE_PRODUCT = 27


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (jax.jit(square), 1),
        (lambda x: jax.lax.scan(lambda carry, _: (square(carry), None), x, length=5)[0], 5),
        (lambda x: jax.lax.fori_loop(0, 4, lambda _, x: square(x), x), 4),
        (lambda x: jax.lax.cond(x[0, 0] > 0, square, lambda x: square(square(x)), x), 2),
        (lambda x: jax.vmap(square)(jnp.stack([x, x])), 2),
        (lambda x: jax.vjp(square, x)[1](x), 3),
        (lambda x: jax.vjp(jax.checkpoint(lambda x: jnp.sin(square(x))), x)[1](x), 4),
        (lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1, jnp.sin, x), 0),
    ],
    ids=["jit", "scan", "fori_loop", "cond", "vmap", "gradient", "remat", "elementwise while"],
)
def test_what_holds_other_computations(function, products):
    assert multiply_adds(function, MATRIX) == products * ONE_PRODUCT


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="while loop holds matrix products"):
        multiply_adds(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1, square, x), MATRIX)
