"""Monte Carlo dropout (paper Sec. 3.2): keys -> samples -> mean and standard deviation.

The backbone holds no dropout and runs once per star. The prediction module's passes are `vmap`ped over stars and
samples, which makes each of its layers one large matrix product. Sample t of a star depends on (seed, object_id, t) and
on nothing else: not on the batch, the star's place in it, the number of samples or the device.

Read downwards: keys, samples, their moments, and `predict`, which most users want.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from acf_jax.data.batches import filled_batches
from acf_jax.data.scaling import Scaling
from acf_jax.devices.microbatches import map_microbatches, microbatch_size
from acf_jax.devices.sharding import each_device, n_devices, on_all_devices, spread_over_devices
from acf_jax.inference.inputs import StarInputs, as_float32, check_stamps
from acf_jax.inference.parts import Model, NetworkParts
from acf_jax.inference.prediction import Prediction
from acf_jax.keys import sample_keys, split_ids, star_keys
from acf_jax.labels import LABELS
from acf_jax.models.acf import predict_per_star
from acf_jax.running import bar_options

Params = dict[str, Any]
"""A network's parameters, as Flax nests them."""

# Stars and samples drawn at a time: they bound the memory for any number of either. The number of samples being the
# same for all T makes the first 8 of 16 samples the 8 of 8 to the last bit.
STARS_AT_A_TIME = 128
SAMPLES_AT_A_TIME_ON_CPU = 10  # of 128 stars: what fits a core's cache
SAMPLES_AT_A_TIME = 100  # elsewhere: enough work for each launch of a kernel
PROGRESS_AFTER_S = 5.0  # a shorter prediction shows no progress bar
T = TypeVar("T")


def head_samples(
    model: Model,
    params: Params,
    features: jax.Array,
    scalars: jax.Array | None,
    object_id: np.ndarray,
    n_samples: int,
    seed: int = 0,
) -> jax.Array:
    """The first `n_samples` stochastic passes of the prediction module, for each star.

    Args:
        model: the network.
        params: its parameters; the backbone's are not needed.
        features: (n, features), from `ACF.encode`.
        scalars: (n, num_scalars), from `InputScaling.scalars`; None for an ACPF.
        object_id: (n,) int64.
        n_samples: T of Eq. 13.
        seed: of the samples' keys.

    Returns:
        The samples (n_samples, n, num_outputs), standardised.
    """
    if not len(features):
        return jnp.zeros((n_samples, 0, model.config.num_outputs))

    def samples(features: jax.Array, scalars: jax.Array | None, keys: jax.Array) -> jax.Array:
        chunks = _chunks(model, head_params(params), features, scalars, keys, n_samples)
        return jnp.concatenate(list(chunks))[:n_samples]

    return _over_stars(samples, features, scalars, _keys(seed, object_id))


def head_moments(
    model: Model,
    params: Params,
    features: jax.Array,
    scalars: jax.Array | None,
    object_id: np.ndarray,
    n_samples: int,
    seed: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation (ddof 0) over `head_samples`, without keeping the samples.

    Args:
        model: the network.
        params: its parameters; the backbone's are not needed.
        features: (n, features).
        scalars: (n, num_scalars), or None for an ACPF.
        object_id: (n,) int64.
        n_samples: T of Eq. 13.
        seed: of the samples' keys.

    Returns:
        Two arrays (n, num_outputs), standardised.
    """
    if not len(features):
        return (jnp.zeros((0, model.config.num_outputs)),) * 2

    def moments(features: jax.Array, scalars: jax.Array | None, keys: jax.Array) -> jax.Array:
        return jnp.stack(_moments(_chunks(model, head_params(params), features, scalars, keys, n_samples), n_samples))

    mean, std = _over_stars(moments, features, scalars, _keys(seed, object_id))
    return mean, std


def head_params(params: Params) -> Params:
    """The prediction module's parameters: all except the backbone's; of joined networks, each one's."""
    parts = {name: values for name, values in params.items() if name != "backbone"}
    return {name: head_params(values) if isinstance(values, dict) else values for name, values in parts.items()}


def _keys(seed: int, object_id: np.ndarray) -> jax.Array:
    """The stars' keys (n,)."""
    return _star_keys(jax.random.key(seed), split_ids(object_id))


_star_keys = jax.jit(star_keys)


def _over_stars(
    draw: Callable[[jax.Array, jax.Array | None, jax.Array], jax.Array],
    features: jax.Array,
    scalars: jax.Array | None,
    keys: jax.Array,
) -> jax.Array:
    """`draw(features, scalars, keys)` a part of the stars at a time; the stars are its results' second axis."""
    n_stars, size = len(features), min(len(features), STARS_AT_A_TIME)
    parts = []
    for start in range(0, n_stars, size):
        first = min(start, n_stars - size)  # the last part overlaps: all have one size, compiled once
        rows = slice(first, first + size)
        part = draw(features[rows], None if scalars is None else scalars[rows], keys[rows])
        parts.append(part[:, start - first :])
    return jnp.concatenate(parts, axis=1)


def _chunks(
    model: Model, params: Params, features: jax.Array, scalars: jax.Array | None, keys: jax.Array, n_samples: int
) -> Iterator[jax.Array]:
    """The samples in chunks (samples at a time, n, num_outputs); the last chunk may have more than are needed."""
    chunk = samples_at_a_time()
    for start in range(0, n_samples, chunk):
        yield _draw(model, chunk, params, features, scalars, keys, start)


def samples_at_a_time() -> int:
    """Of each star, on JAX's default device."""
    return SAMPLES_AT_A_TIME_ON_CPU if jax.default_backend() == "cpu" else SAMPLES_AT_A_TIME


@partial(jax.jit, static_argnames=("model", "n_samples"))
def _draw(
    model: Model,
    n_samples: int,
    params: Params,
    features: jax.Array,
    scalars: jax.Array | None,
    keys: jax.Array,
    start: int,
) -> jax.Array:
    """Samples start, start + 1, ...: (n_samples, n, num_outputs)."""
    keys = jax.vmap(sample_keys, in_axes=(0, None), out_axes=1)(keys, start + jnp.arange(n_samples))
    return jax.vmap(partial(predict_per_star, model, params, features, scalars))(keys)


def _moments(chunks: Iterable[jax.Array], n_samples: int) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation (ddof 0) over the first `n_samples` in the chunks, each (n, num_outputs)."""
    count, mean, squares = 0, jnp.zeros(()), jnp.zeros(())
    for samples in chunks:
        mean, squares = _merge(mean, squares, samples, count, n_samples)
        count += len(samples)
    return mean, jnp.sqrt(squares / n_samples)


@jax.jit
def _merge(
    mean: jax.Array, squares: jax.Array, samples: jax.Array, count: int, n_samples: int
) -> tuple[jax.Array, jax.Array]:
    """Mean and sum of squared deviations of `count` samples and of the next ones together."""
    new = jnp.minimum(n_samples - count, len(samples))
    used = (jnp.arange(len(samples)) < new)[:, None, None]
    # Deviations from a sample: sums of them lose no digits, however far the samples are from zero.
    deviations = jnp.where(used, samples - samples[0], 0)
    offset = deviations.sum(axis=0) / new
    new_squares = jnp.where(used, (deviations - offset) ** 2, 0).sum(axis=0)
    # Chan, Golub & LeVeque (1983). The fraction comes first: it is exactly 1 for the first samples, so that equal ones
    # have no variance at all.
    step, fraction = samples[0] + offset - mean, new / (count + new)
    return mean + step * fraction, squares + new_squares + step**2 * (count * fraction)


def predict(
    network: NetworkParts,
    stamps: np.ndarray,
    parallax: np.ndarray | None,
    parallax_error: np.ndarray | None,
    object_id: np.ndarray,
    *,
    n_samples: int = 100,
    seed: int = 0,
    batch_size: int = 64,
    samples: bool = False,
    tau_inverse: np.ndarray | None = None,
    progress: bool = True,
) -> Prediction:
    """Atmospheric parameters and their Monte Carlo uncertainties.

    Arrays may be lists, of any kind of number; masked entries count as NaN. A star whose stamp or astrometry is not
    finite has NaN for its parameters, and affects no other.

    Args:
        network: from `acf_jax.load`.
        stamps: (n, height, width, bands) in microjansky per pixel, as in the dataset.
        parallax: (n,) mas; None for an ACPF.
        parallax_error: (n,) mas; None for an ACPF.
        object_id: (n,) integers: the same star has the same samples in any batch.
        n_samples: T of Eq. 13.
        seed: of the samples' keys.
        batch_size: stars on each device at a time; the last batch is filled up, so that one compilation is enough.
        samples: also return every sample.
        tau_inverse: (n_targets,) the constant term of Eq. 15 in the labels' units squared, from
            `predictive_variance`; None leaves it out, as the paper does.
        progress: whether a prediction that takes long shows a progress bar (`TQDM_DISABLE=1` also switches it off).

    Returns:
        Means and standard deviations in physical units.

    Raises:
        ValueError: if shapes disagree, bands are not the model's, or the model needs a parallax and none is given.
    """
    for name, value, least in (("n_samples", n_samples, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} = {value} must be a whole number and at least {least}.")
    if tau_inverse is not None:
        tau_inverse = _check_tau_inverse(tau_inverse, network.targets)
    stars = StarInputs.check(network, stamps, parallax, parallax_error, object_id)
    finite, mean, std, drawn = _predict(network, stars, n_samples, seed, batch_size, samples, progress)
    if not finite.all():
        logging.warning(
            "%d of %d stars have inputs that are not finite: NaN is their prediction.", (~finite).sum(), len(finite)
        )
        mean[~finite] = std[~finite] = drawn[:, ~finite] = np.nan
    n_targets = len(network.targets)
    return as_prediction(
        network,
        mean,
        std,
        finite=finite,
        samples=np.asarray(network.label_scaling.invert(drawn[..., :n_targets])) if samples else None,
        tau_inverse=tau_inverse,
        object_id=stars.object_id,
    )


def as_prediction(network: NetworkParts, mean: np.ndarray, std: np.ndarray, **facts: Any) -> Prediction:
    """The head's moments in physical units.

    Args:
        network: whose head it is.
        mean: (n, num_outputs), standardised.
        std: (n, num_outputs), standardised.
        **facts: further fields of a `Prediction`.

    Returns:
        The prediction.
    """
    n_targets, unit = len(network.targets), np.asarray(network.label_scaling.std, np.float32)
    return Prediction(
        np.asarray(network.label_scaling.invert(mean[:, :n_targets])),
        std[:, :n_targets] * unit,
        noise_std=np.sqrt(mean[:, n_targets:]) * unit if network.model.config.heteroscedastic else None,
        error_calibration=network.error_calibration,
        targets=tuple(network.targets),
        units=tuple(LABELS[target] for target in network.targets),
        **facts,
    )


def _check_tau_inverse(tau_inverse: np.ndarray, targets: tuple[str, ...]) -> np.ndarray:
    tau_inverse = np.asarray(tau_inverse, np.float64)
    if tau_inverse.shape != (len(targets),) or not (np.isfinite(tau_inverse) & (tau_inverse >= 0)).all():
        raise ValueError(f"tau_inverse = {tau_inverse} must be one variance for each of {', '.join(targets)}.")
    return tau_inverse


def _predict(
    network: NetworkParts,
    stars: StarInputs,
    n_samples: int,
    seed: int,
    batch_size: int,
    with_samples: bool,
    progress: bool,
) -> tuple[np.ndarray, ...]:
    """Finite (n,), mean and std (n, num_outputs), samples (n_samples or 0, n, num_outputs); standardised."""
    n_stars, n_outputs = len(stars.object_id), network.model.config.num_outputs
    moment = np.zeros((0, n_outputs), np.float32)
    drawn = np.zeros((n_samples if with_samples else 0, 0, n_outputs), np.float32)
    parts = [(np.ones(0, bool), moment, moment, drawn)]  # for the case of no stars
    params, at_a_time = on_all_devices(network.params), batch_size * n_devices()
    launched = (
        launch(network.model, network.input_scaling, params, batch, n_samples, seed, with_samples)[:4]
        for batch in stars.batches(at_a_time)
    )
    with progress_bar(n_stars, progress) as bar:
        for part in map(jax.device_get, one_behind(launched)):
            parts.append(part)
            bar.update(min(at_a_time, n_stars - bar.n))
    *moments, samples = zip(*parts, strict=True)
    finite, mean, std = (np.concatenate(values)[:n_stars] for values in moments)
    return finite, mean, std, np.concatenate(samples, axis=1)[:, :n_stars]


def features(network: NetworkParts, stamps: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """The backbone's features (n, num_features): `Network.features`.

    Args:
        network: from `acf_jax.load`.
        stamps: (n, height, width, bands) in microjansky per pixel.
        batch_size: stars on each device at a time.

    Returns:
        float32; NaN for a stamp that is not finite.

    Raises:
        ValueError: if the stamps do not fit the network.
    """
    stamps, params = check_stamps(network, stamps), on_all_devices(network.params)
    parts = [np.zeros((0, network.model.config.num_features), np.float32)]
    for rows, n_real in filled_batches(len(stamps), batch_size * n_devices()):
        batch = spread_over_devices(as_float32(stamps[rows]))
        encoded, finite = encode_stamps(network.model, network.input_scaling, params, batch)
        parts.append(np.where(np.asarray(finite)[:, None], np.asarray(encoded, np.float32), np.nan)[:n_real])
    return np.concatenate(parts)


def progress_bar(n_stars: int, shown: bool) -> tqdm[Any]:
    """A progress bar over stars, from `PROGRESS_AFTER_S` on."""
    return tqdm(total=n_stars, desc="predicting", unit="star", delay=PROGRESS_AFTER_S, **bar_options(shown))


def one_behind(items: Iterable[T]) -> Iterator[T]:
    """The same items, each one yielded only after the next has been taken from `items`.

    The device then works on one batch while the host prepares the next and reads the last; at most two are in memory.
    """
    before: list[T] = []
    for item in items:
        yield from before
        before = [item]
    yield from before


def launch(
    model: Model, scaling: Scaling, params: Params, batch: StarInputs, n_samples: int, seed: int, with_samples: bool
) -> tuple[jax.Array, ...]:
    """Start predicting one batch, on all devices, and don't wait for it.

    Args:
        model: the network.
        scaling: of its inputs.
        params: from `sharding.on_all_devices`.
        batch: b stars, a multiple of the number of devices.
        n_samples: T of Eq. 13.
        seed: of the samples' keys.
        with_samples: whether to return the samples, too.

    Returns:
        Finite (b,); mean and std (b, num_outputs) and samples (n_samples or 0, b, num_outputs), standardised; the
        backbone's features (b, features).
    """
    features, scalars, finite = encode(model, scaling, params, *spread_over_devices(batch[:3]))
    head = launch_head(model, params, features, scalars, batch.object_id, n_samples, seed, with_samples)
    return finite, *head, features


def launch_head(
    model: Model,
    params: Params,
    features: jax.Array,
    scalars: jax.Array | None,
    object_id: np.ndarray,
    n_samples: int,
    seed: int,
    with_samples: bool,
) -> tuple[jax.Array, ...]:
    """Start the prediction module's passes over stars whose features are on the devices.

    Args:
        model: the network.
        params: from `sharding.on_all_devices`.
        features: (b, features), from `encode`.
        scalars: (b, num_scalars), from `encode`; None for an ACPF.
        object_id: (b,) int64.
        n_samples: T of Eq. 13.
        seed: of the samples' keys.
        with_samples: whether to return the samples, too.

    Returns:
        Mean, std and samples, as of `launch`.
    """
    keys = _star_keys(jax.random.key(seed), spread_over_devices(split_ids(object_id)))
    chunks = _chunks(model, head_params(params), features, scalars, keys, n_samples)
    if not with_samples:
        return *_moments(chunks, n_samples), jnp.zeros((0, len(features), model.config.num_outputs))
    kept = list(chunks)
    return *_moments(kept, n_samples), jnp.concatenate(kept)[:n_samples]


@partial(jax.jit, static_argnames=("model", "scaling"))
def encode(
    model: Model,
    scaling: Scaling,
    params: Params,
    stamps: jax.Array,
    parallax: jax.Array | None,
    parallax_error: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """The prediction module's inputs for some stars, and which of the stars have finite inputs.

    Args:
        model: the network.
        scaling: of its inputs.
        params: its parameters.
        stamps: (b, height, width, bands) in microjansky per pixel.
        parallax: (b,) mas; None for an ACPF.
        parallax_error: (b,) mas; likewise.

    Returns:
        Features (b, features); scalars (b, num_scalars) or None; finite (b,): where it is False, features and scalars
        are those of zeros.
    """
    stamps, scalars, finite = scaling.network_inputs(stamps, parallax, parallax_error, model.config.use_parallax)
    return _backbone(model, params, stamps), scalars, finite


@partial(jax.jit, static_argnames=("model", "scaling"))
def encode_stamps(model: Model, scaling: Scaling, params: Params, stamps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features and finite, as `encode`, of stamps alone.

    Args:
        model: the network.
        scaling: of its inputs.
        params: its parameters.
        stamps: (b, height, width, bands) in microjansky per pixel.

    Returns:
        Features (b, features) and finite (b,).
    """
    stamps = scaling.stamps(stamps)
    finite = jnp.isfinite(stamps).all(axis=(1, 2, 3))
    return _backbone(model, params, jnp.where(finite[:, None, None, None], stamps, 0)), finite


def _backbone(model: Model, params: Params, stamps: jax.Array) -> jax.Array:
    def of_device(params: Params, stamps: jax.Array) -> jax.Array:  # of the device's own stars
        encode = partial(model.apply, {"params": params}, method="encode")
        return map_microbatches(encode, microbatch_size(len(stamps)), stamps)

    return each_device(of_device)(params, stamps)
