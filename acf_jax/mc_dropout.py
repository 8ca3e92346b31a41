"""Monte Carlo dropout (paper Sec. 3.2): keys -> samples -> mean and standard deviation.

The backbone runs once per star; only the prediction module holds dropout, and its passes are `vmap`ped over stars and
samples. Sample t of a star hangs on (seed, object_id, t) and on nothing else: not on the batch, the star's place in it,
the number of samples or the device.
"""

import dataclasses
import logging
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from acf_jax.acf import ACF, predict_per_star, star_keys
from acf_jax.labels import LABELS

# Samples drawn at a time: it bounds the memory for any number of samples, and being the same for all of them it makes
# the first 8 of 16 samples the 8 of 8 to the last bit.
SAMPLES_AT_A_TIME = 20


def split_ids(object_id: np.ndarray) -> np.ndarray:
    """int64 ids (n,) as (n, 2) uint32, high half first: JAX has no 64-bit integers unless asked."""
    ids = np.ascontiguousarray(object_id, dtype=np.int64).view(np.uint64)
    return np.stack([ids >> np.uint64(32), ids & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.uint32)


def star_key(key: jax.Array, object_id: int) -> jax.Array:
    """One star's key; `acf.star_keys` for many."""
    return star_keys(key, split_ids(np.array([object_id])))[0]


def sample_keys(star: jax.Array, samples: jax.Array) -> jax.Array:
    """The keys of the numbered `samples` (n,) of the star whose key is `star`."""
    return jax.vmap(partial(jax.random.fold_in, star))(samples)


def head_samples(
    model: ACF,
    params: dict,
    features: jax.Array,
    astrometry: jax.Array | None,
    object_id: np.ndarray,
    n_samples: int,
    seed: int = 0,
) -> jax.Array:
    """The first `n_samples` stochastic passes of the prediction module, for each star.

    Args:
        model: the network.
        params: its parameters.
        features: (n, features), from `ACF.encode`.
        astrometry: (n, 2), scaled; None for an ACPF.
        object_id: (n,) int64.
        n_samples: T of Eq. 13.
        seed: of the samples' keys.

    Returns:
        (n_samples, n, n_targets), standardised.
    """
    keys = star_keys(jax.random.key(seed), split_ids(object_id))
    return _head_samples(model, params, features, astrometry, keys, n_samples)


def _head_samples(model, params, features, astrometry, keys, n_samples):
    starts = range(0, n_samples, SAMPLES_AT_A_TIME)
    chunks = [_chunk(model, params, features, astrometry, keys, start) for start in starts]
    return jnp.concatenate(chunks)[:n_samples]


@partial(jax.jit, static_argnames="model")
def _chunk(model, params, features, astrometry, keys, start):
    """Samples start, start + 1, ...: (SAMPLES_AT_A_TIME, n, n_targets)."""
    keys = jax.vmap(sample_keys, in_axes=(0, None), out_axes=1)(keys, start + jnp.arange(SAMPLES_AT_A_TIME))
    return jax.vmap(partial(predict_per_star, model, params, features, astrometry))(keys)


@partial(jax.jit, static_argnames="model")
def _head_moments(model, params, features, astrometry, keys, n_samples):
    """Mean and standard deviation (ddof 0) over the samples, each (n, n_targets), merged chunk by chunk."""

    def merge(chunk, moments):
        mean, squares = moments
        count = chunk * SAMPLES_AT_A_TIME
        new = jnp.minimum(n_samples - count, SAMPLES_AT_A_TIME)
        used = (jnp.arange(SAMPLES_AT_A_TIME) < new)[:, None, None]
        samples = _chunk(model, params, features, astrometry, keys, count)
        # Deviations from a sample: sums of them lose no digits, however far the samples are from zero.
        deviations = jnp.where(used, samples - samples[0], 0)
        offset = deviations.sum(axis=0) / new
        new_squares = jnp.where(used, (deviations - offset) ** 2, 0).sum(axis=0)
        # Chan, Golub & LeVeque (1983): mean and sum of squares of two parts together.
        step = samples[0] + offset - mean
        return mean + step * new / (count + new), squares + new_squares + step**2 * count * new / (count + new)

    zero = jnp.zeros((len(features), len(model.config.targets)), features.dtype)
    n_chunks = (n_samples + SAMPLES_AT_A_TIME - 1) // SAMPLES_AT_A_TIME
    mean, squares = jax.lax.fori_loop(0, n_chunks, merge, (zero, zero))
    return mean, jnp.sqrt(squares / n_samples)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Atmospheric parameters of n stars, in the units of `units`, in the order the stars were given.

    A star whose stamp or astrometry held a number that is not finite has `finite` False and NaN for its parameters.
    """

    mean: np.ndarray  # (n, n_targets), over the samples (Eq. 13)
    std: np.ndarray  # (n, n_targets), over the samples, ddof 0: the root of Eq. 15 without its constant term
    targets: tuple[str, ...]
    units: tuple[str, ...]
    finite: np.ndarray  # (n,) bool
    samples: np.ndarray | None = None  # (n_samples, n, n_targets), if asked for


def predict(
    trained,
    stamps: np.ndarray,
    parallax: np.ndarray | None,
    parallax_error: np.ndarray | None,
    object_id: np.ndarray,
    *,
    n_samples: int = 100,
    seed: int = 0,
    batch_size: int = 64,
    samples: bool = False,
) -> Prediction:
    """Atmospheric parameters and their Monte Carlo uncertainties.

    Args:
        trained: a `checkpoints.TrainedModel`.
        stamps: (n, height, width, bands) in microjansky per pixel, as in the dataset.
        parallax: (n,) mas; None for an ACPF.
        parallax_error: (n,) mas; None for an ACPF.
        object_id: (n,) int64: the same star has the same samples in any batch.
        n_samples: T of Eq. 13.
        seed: of the samples' keys.
        batch_size: stars on the device at a time; the last batch is filled up, so that one compilation serves all.
        samples: also return every sample.

    Returns:
        Means and standard deviations in physical units.

    Raises:
        ValueError: if shapes disagree, bands are not the model's, or the model needs a parallax and none is given.
    """
    _check(trained, stamps, parallax, parallax_error, object_id, n_samples, batch_size)
    batches = _batches(trained, stamps, parallax, parallax_error, object_id, batch_size)
    results = [_predict_batch(trained, *batch, n_samples, seed, samples) for batch in batches]
    n_stars, n_targets = len(stamps), len(trained.targets)
    finite = np.concatenate([result[0] for result in results])[:n_stars] if results else np.ones(0, bool)
    if not finite.all():
        logging.warning(
            "%d of %d stars have inputs that are not finite: NaN is their prediction.", (~finite).sum(), n_stars
        )
    empty = np.zeros((0, n_targets), np.float32)
    mean, std = (np.concatenate([empty, *(result[i] for result in results)])[:n_stars] for i in (1, 2))
    empty = np.zeros((n_samples, 0, n_targets), np.float32)
    drawn = np.concatenate([empty, *(result[3] for result in results)], axis=1)[:, :n_stars] if samples else None
    units = tuple(LABELS[target] for target in trained.targets)
    return Prediction(mean, std, tuple(trained.targets), units, finite, drawn)


def _check(trained, stamps, parallax, parallax_error, object_id, n_samples, batch_size):
    n_stars = len(stamps)
    if np.ndim(stamps) != 4:
        raise ValueError(f"Stamps must be (n, height, width, bands), not {np.shape(stamps)}.")
    if np.shape(stamps)[-1] != len(trained.bands):
        raise ValueError(f"Stamps have {np.shape(stamps)[-1]} bands; the model has {''.join(trained.bands)}.")
    given = {"object_id": object_id}
    if trained.model.config.use_parallax:
        given |= {"parallax": parallax, "parallax_error": parallax_error}
    for name, values in given.items():
        if values is None:
            raise ValueError(f"The model uses the parallax: give {name} (mas), one a star.")
        if np.shape(values) != (n_stars,):
            raise ValueError(f"{name} has shape {np.shape(values)}; {n_stars} stamps need ({n_stars},).")
    for name, value in {"n_samples": n_samples, "batch_size": batch_size}.items():
        if value < 1:
            raise ValueError(f"{name} = {value} must be at least 1.")


def _batches(trained, stamps, parallax, parallax_error, object_id, batch_size) -> Iterator[tuple]:
    """Batches of scaled stamps, astrometry and ids, all of `batch_size` stars: the last one repeats its last star."""
    for start in range(0, len(stamps), batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), len(stamps) - 1)
        scaled = trained.input_scaling.stamps(np.asarray(stamps)[rows])
        astrometry = None
        if trained.model.config.use_parallax:
            astrometry = trained.input_scaling.astrometry(np.asarray(parallax)[rows], np.asarray(parallax_error)[rows])
        yield np.asarray(scaled), astrometry, np.asarray(object_id)[rows]


@partial(jax.jit, static_argnames="model")
def _encode(model, params, stamps):
    return model.apply({"params": params}, stamps, method="encode")


def _predict_batch(trained, stamps, astrometry, object_id, n_samples, seed, with_samples):
    """Finite (b,), mean and std (b, n_targets), samples (n_samples, b, n_targets) or None; in physical units."""
    finite = np.isfinite(stamps).all(axis=(1, 2, 3))
    stamps = np.where(finite[:, None, None, None], stamps, 0)
    if astrometry is not None:
        finite &= np.isfinite(astrometry).all(axis=1)
        astrometry = np.where(finite[:, None], astrometry, 0)
    model, params, scaling = trained.model, trained.params, trained.label_scaling
    features = _encode(model, params, stamps)
    keys = star_keys(jax.random.key(seed), split_ids(object_id))
    mean, std = _head_moments(model, params, features, astrometry, keys, n_samples)
    drawn = None
    if with_samples:
        drawn = np.array(
            scaling.invert(np.asarray(_head_samples(model, params, features, astrometry, keys, n_samples)))
        )
        drawn[:, ~finite] = np.nan
    mean, std = np.array(scaling.invert(np.asarray(mean))), np.asarray(std) * np.asarray(scaling.std)
    mean[~finite] = std[~finite] = np.nan
    return finite, mean, std, drawn
