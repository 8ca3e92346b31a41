"""A network's Monte Carlo prediction as one function that runs with JAX alone (`jax.export`).

The samples are those of `mc_dropout.predict`: the same keys, so the same numbers to rounding. Here one program
draws them for any number of stars, on one device of one of `PLATFORMS`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from acf_jax.inference.mc_dropout import head_params
from acf_jax.inference.parts import NetworkParts
from acf_jax.keys import sample_keys, star_keys
from acf_jax.models.acf import predict_per_star

PLATFORMS = ("cpu", "cuda")
N_SAMPLES = 100  # T of Eq. 13
SAMPLES_AT_A_TIME = 10  # bounds the memory that the head's layers take
STAMP_SIZE_PX = 48


def export_prediction(trained: NetworkParts, n_samples: int = N_SAMPLES, size_px: int = STAMP_SIZE_PX) -> bytes:
    """The function of `prediction_function`, its parameters within, for any number of stars.

    Args:
        trained: the network.
        n_samples: T of Eq. 13; fixed from here on.
        size_px: of a stamp's side; fixed, too.

    Returns:
        What `jax.export.deserialize` reads. Its arguments are

        * stamps: (b, size_px, size_px, bands) float32, microjansky per pixel,
        * parallax, parallax_error: (b,) float32, mas; an ACPF ignores them,
        * ids: (b, 2) uint32, the high and the low half of each star's object_id,
        * seed: () uint32,

        and its results a list of mean and std, (b, n_targets) float32 in physical units, and of a heteroscedastic
        network noise_std.
    """
    (b,) = jax.export.symbolic_shape("b")
    arguments = (
        jax.ShapeDtypeStruct((b, size_px, size_px, len(trained.bands)), np.float32),
        jax.ShapeDtypeStruct((b,), np.float32),
        jax.ShapeDtypeStruct((b,), np.float32),
        jax.ShapeDtypeStruct((b, 2), np.uint32),
        jax.ShapeDtypeStruct((), np.uint32),
    )
    function = jax.jit(prediction_function(trained, n_samples))
    with _without_folders():
        return bytes(jax.export.export(function, platforms=PLATFORMS)(*arguments).serialize())


@contextlib.contextmanager
def _without_folders() -> Iterator[None]:
    """Each operation stores the line of code that it came from: here without the folders of this machine."""
    setting = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, setting)
    jax.config.update(setting, ".*/")
    try:
        yield
    finally:
        jax.config.update(setting, before)


def prediction_function(trained: NetworkParts, n_samples: int) -> Callable:
    """A pure function of arrays, as `export_prediction` describes it. NaN for a star whose inputs are not finite."""
    model, scaling, params = trained.model, trained.input_scaling, jax.tree.map(np.asarray, trained.params)
    label_std = np.asarray(trained.label_scaling.std, np.float32)
    n_targets = len(trained.targets)

    def predict(stamps, parallax, parallax_error, ids, seed):
        stamps, scalars, finite = scaling.network_inputs(stamps, parallax, parallax_error, model.config.use_parallax)
        features = model.apply({"params": params}, stamps, method="encode")
        keys = star_keys(jax.random.key(seed), ids)
        mean, std = _moments(_samples(model, head_params(params), features, scalars, keys, n_samples))
        physical = [trained.label_scaling.invert(mean[:, :n_targets]), std[:, :n_targets] * label_std]
        if model.config.heteroscedastic:
            physical.append(jnp.sqrt(mean[:, n_targets:]) * label_std)
        return [jnp.where(finite[:, None], values, jnp.nan) for values in physical]

    return predict


def _samples(model, params, features, scalars, keys, n_samples: int) -> jax.Array:
    """(n_samples, b, num_outputs), standardised."""

    def draw(start):
        samples = start + jnp.arange(SAMPLES_AT_A_TIME)
        keys_of_samples = jax.vmap(sample_keys, in_axes=(0, None), out_axes=1)(keys, samples)
        return jax.vmap(partial(predict_per_star, model, params, features, scalars))(keys_of_samples)

    drawn = jax.lax.map(draw, jnp.arange(0, n_samples, SAMPLES_AT_A_TIME))
    return drawn.reshape(-1, *drawn.shape[2:])[:n_samples]


def _moments(samples: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation (ddof 0) over the first axis."""
    # Deviations from a sample: sums of them lose no digits, however far the samples are from zero.
    deviations = samples - samples[0]
    offset = deviations.mean(axis=0)
    return samples[0] + offset, jnp.sqrt(((deviations - offset) ** 2).mean(axis=0))
