"""Types and shapes that the annotations forbid are refused while tests run, and only then."""

import pickle
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from acf_jax.data.augment import rotate
from acf_jax.models import growth_curve
from acf_jax.models.acf import ACF, ACFConfig
from acf_jax.models.cswin import CSWinConfig
from tests.typechecking import CHECKED

ROOT = Path(__file__).parents[1]
STAMPS, ONE_PARALLAX = np.ones((5, 48, 48, 6), np.float32), np.ones(1, np.float32)


def test_a_shape_that_would_pass_unnoticed_is_refused():
    with pytest.raises(TypeCheckError, match=r"parallax[^$]*f32\[1\]"):
        growth_curve.features(STAMPS, ONE_PARALLAX)
    with pytest.raises(TypeCheckError, match="stamp"):
        jax.jit(rotate)(STAMPS, 0.5)


@pytest.mark.usefixtures("unchecked")
def test_users_have_no_check():
    """JAX takes one parallax for that of all stars."""
    assert growth_curve.features(STAMPS, ONE_PARALLAX).shape == (5, growth_curve.num_features(6, True))


def test_modules_and_configs_are_checked():
    model = ACF(ACFConfig(CSWinConfig(embed_dim=4, depths=(1,), num_heads=(2,), stripe_widths=(1,))))
    with pytest.raises(TypeCheckError, match="scalars"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 8, 8, 6)), jnp.zeros((3, 2)))
    with pytest.raises(TypeCheckError, match="dropout_rate"):
        ACFConfig(dropout_rate="0.2")


def test_what_is_checked_can_be_pickled():
    for value in (ACF(), growth_curve.features):
        assert pickle.loads(pickle.dumps(value)) == value


def test_every_module_with_shapes_is_checked():
    files = [path.relative_to(ROOT) for path in ROOT.glob("[ad]*/**/*.py") if "from jaxtyping" in path.read_text()]
    names = [".".join(path.with_suffix("").parts) for path in files]
    assert "acf_jax.models.cswin" in names
    assert not [name for name in names if not re.match(f"({'|'.join(CHECKED)})(\\.|$)", name)]
