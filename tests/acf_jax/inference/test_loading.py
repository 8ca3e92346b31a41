import jax
import jax.numpy as jnp
from safetensors.numpy import save

from acf_jax.inference.fingerprint import named_parameters
from acf_jax.inference.loading import read_params
from tests.acf_jax.bundle.tiny_bundle import tree_equal


def test_parameters_of_any_precision_survive(tmp_path):
    params = {"head_0": {"kernel": jnp.linspace(0, 1, 12).reshape(3, 4), "bias": jnp.zeros(4)}, "scale": jnp.ones(())}
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)  # noqa: B023 - called at once
        path = tmp_path / "parameters.safetensors"
        path.write_bytes(save(named_parameters(params)))
        assert tree_equal(read_params(path), params)
