"""The golden features however the network is run: with and without jit, under vmap and under pmap.

A script, because several CPU devices must be asked for before JAX starts: `test_cswin_variants.py` runs it.
"""

import chex
import jax
import jax.numpy as jnp
from absl.testing import absltest

from acf_jax.models.cswin import CSWin
from tests.golden.comparison import FLOAT64_TOLERANCE, PRECISIONS, golden_params, golden_quantities, golden_stamps

N_DEVICES = 2


class Variants(chex.TestCase):
    """In float64."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(jax.enable_x64(True))
        cls.params, cls.stamps = golden_params("float64"), jnp.asarray(golden_stamps())

    @staticmethod
    def features(params, stamps):
        return CSWin(PRECISIONS["float64"].config).apply({"params": params}, stamps)

    def assert_golden(self, features):
        golden = golden_quantities()["features"]
        chex.assert_type(features, jnp.float64)
        chex.assert_trees_all_close(features, golden, rtol=0, atol=FLOAT64_TOLERANCE * abs(golden).max())

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_batch(self):
        self.assert_golden(self.variant(self.features)(self.params, self.stamps))

    @chex.variants(with_pmap=True)
    def test_a_batch_shared_by_the_devices(self):
        options = {"in_axes": (None, 0), "broadcast_args_to_devices": False, "reduce_fn": None}
        shares = self.stamps.reshape(N_DEVICES, -1, *self.stamps.shape[1:])
        features = self.variant(self.features, **options)(self.params, shares)
        chex.assert_shape(features, (N_DEVICES, 2, 128))
        self.assert_golden(features.reshape(4, 128))

    @chex.variants(with_jit=True)
    def test_vmap_over_single_stamps(self):
        def one(params, stamp):
            return self.features(params, stamp[None])[0]

        self.assert_golden(self.variant(jax.vmap(one, in_axes=(None, 0)))(self.params, self.stamps))


if __name__ == "__main__":
    absltest.main()
