"""The shapes of arrays that recur, by name; tests check them at every call (`tests/typechecking.py`)."""

import jax
import numpy as np
from jaxtyping import Float

AnyArray = np.ndarray | jax.Array
"""What JAX's functions accept."""

Stamps = Float[AnyArray, "star y x band"]
PerStar = Float[AnyArray, " star"]
Features = Float[AnyArray, "star feature"]
Scalars = Float[AnyArray, "star scalar"]
FeatureMap = Float[jax.Array, "star y x channel"]
"""Of the backbone; a token is one of its pixels."""
