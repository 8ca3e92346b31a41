"""What a network's answer depends on, pixel by pixel: gradient times input, and integrated gradients.

Attributions are of the physical answer to the physical stamp, with dropout off: their unit is the parameter's own (K or
dex). Read downwards: the network's answer, what asks it many times, what attributions sum up to.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from acf_jax.data.batches import filled_batches
from acf_jax.inference.parts import NetworkParts
from acf_jax.running import bar_options

STARS_AT_A_TIME = 32  # on the device; always as many, so that one compilation serves all
LN_FLUX_PER_MAG = -0.4 * np.log(10)
TOWARDS_BASELINE = 3  # power of the steps' spacing: LayerNorms and logarithms bend most where a stamp is faintest


class Stars(NamedTuple):
    """What a network is told of n stars; all finite."""

    stamps: np.ndarray  # (n, y, x, band), uJy / pix
    parallax: np.ndarray  # (n,) mas
    parallax_error: np.ndarray  # (n,) mas

    def take(self, rows: Sequence[int] | np.ndarray) -> Stars:
        """The stars of these rows."""
        return Stars(*(np.asarray(values)[rows] for values in self))


def outputs(trained: NetworkParts, stamps: jax.Array, parallax: jax.Array, parallax_error: jax.Array) -> jax.Array:
    """The network's answer with dropout off, as a function that JAX can differentiate: all else here asks this one.

    Args:
        trained: a `Network`.
        stamps: (n, y, x, band) in uJy / pix.
        parallax: (n,) in mas; an ACPF takes no notice of it.
        parallax_error: (n,) in mas; likewise.

    Returns:
        (n, n_targets) in the targets' units.
    """
    scaling = trained.input_scaling
    scalars = scaling.scalars(stamps, parallax, parallax_error, trained.model.config.use_parallax)
    answer = trained.model.apply({"params": trained.params}, scaling.stamps(stamps), scalars, deterministic=True)
    return trained.label_scaling.invert(jnp.asarray(answer)[:, : len(trained.targets)])


class Explainer:
    """A network to be asked many times about a few stars; what it needs is compiled once."""

    def __init__(self, trained: NetworkParts, progress: bool = False):
        """From a `Network`; `progress` shows a bar over the batches of each call."""
        self._progress = progress
        self._answer = _compiled(_scaled_outputs, trained)
        self._gradient = _compiled(_gradients, trained)

    def answers(self, stars: Stars, variants: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Answers for the same stars, each time changed in another way: {variant: (n, n_targets)}.

        Args:
            stars: as they are.
            variants: by name, what is changed: `band_factor` (n, n_bands), by which a band's pixels are multiplied;
                `parallax` (n,) in mas, in the place of the star's own; nothing: the stars as they are.
        """
        ones = np.ones((len(stars.parallax), np.shape(stars.stamps)[-1]))
        answered: dict[str, list[np.ndarray]] = {name: [] for name in variants}
        for rows, n_real in self._batches(len(stars.parallax), "answers"):
            batch = stars.take(rows)
            for name, change in variants.items():
                factor = change.get("band_factor", ones)[rows]
                changed = batch._replace(parallax=change.get("parallax", stars.parallax)[rows])
                answered[name].append(np.asarray(self._answer(*_float32(*changed, factor)))[:n_real])
        return {name: np.concatenate(parts).astype(np.float64) for name, parts in answered.items()}

    def _batches(self, n: int, what: str) -> Iterable[tuple[np.ndarray, int]]:
        n_batches = -(-n // STARS_AT_A_TIME)
        batches = filled_batches(n, STARS_AT_A_TIME)
        return tqdm(batches, total=n_batches, desc=what, unit="batch", **bar_options(self._progress))

    def gradients(self, stars: Stars) -> np.ndarray:
        """Of the answers to each pixel's flux: (n, n_targets, y, x, band), in the targets' units per uJy / pix."""
        parts = [
            np.asarray(self._gradient(*_float32(*stars.take(rows))))[:n_real]
            for rows, n_real in self._batches(len(stars.parallax), "gradients")
        ]
        return np.concatenate(parts)

    def gradient_times_input(self, stars: Stars) -> np.ndarray:
        """Each pixel's flux times the gradient to it, (n, n_targets, y, x, band), in the targets' units.

        Summed over a band it is the derivative to the logarithm of the band's flux: see `magnitude_response`.
        """
        return self.gradients(stars) * stars.stamps[:, None]

    def integrated_gradients(
        self, stars: Stars, baseline: np.ndarray | None = None, n_steps: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Integrated gradients along the straight way from a baseline to each stamp (Sundararajan et al. 2017, Eq. 1).

        Args:
            stars: their parallaxes are the same all along.
            baseline: (n, y, x, band) in uJy / pix; by default an empty sky, 0.
            n_steps: gradients a star, by a Gauss-Legendre rule that is denser towards the baseline.

        Returns:
            the attributions (n, n_targets, y, x, band) in the targets' units, and what their sum lacks to be the
            difference of the answers to stamp and baseline, (n, n_targets): small if the steps are enough.
        """
        start = np.zeros_like(stars.stamps) if baseline is None else np.asarray(baseline, np.float32)
        node, weight = np.polynomial.legendre.leggauss(n_steps)
        node, weight = (node + 1) / 2, weight / 2
        position = node**TOWARDS_BASELINE
        weight = weight * TOWARDS_BASELINE * node ** (TOWARDS_BASELINE - 1)

        parts = []
        for i in range(len(stars.parallax)):
            way = stars.stamps[i] - start[i]
            on_the_way = stars.take(np.full(n_steps, i))._replace(stamps=start[i] + position[:, None, None, None] * way)
            parts.append(way * np.tensordot(weight, self.gradients(on_the_way), axes=1))
        attributions = np.stack(parts)
        at_stamp, at_start = (self.answers(ends, {"": {}})[""] for ends in (stars, stars._replace(stamps=start)))
        return attributions, at_stamp - at_start - attributions.sum(axis=(2, 3, 4))


def mean_stamp(stamps: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The mean of `stamps`, each of equal weight, at the brightness of each of `own`: what an average star shows.

    Args:
        stamps: (m, y, x, band) of a sample.
        own: (n, y, x, band).

    Returns:
        (n, y, x, band), of the same total flux over pixels and bands as `own`.
    """
    total = stamps.sum(axis=(1, 2, 3), dtype=np.float64)
    bright = total > 0  # noise alone has no shape to average
    mean = np.mean(stamps[bright] / total[bright, None, None, None], axis=0)
    return mean * own.sum(axis=(1, 2, 3), keepdims=True, dtype=np.float64)


def magnitude_response(gradient_times_input: np.ndarray) -> np.ndarray:
    """d(parameter) / d(magnitude) of each band, (n, n_targets, n_bands), in the targets' units per mag."""
    return LN_FLUX_PER_MAG * gradient_times_input.sum(axis=(2, 3), dtype=np.float64)


def band_shares(attributions: np.ndarray) -> np.ndarray:
    """Each band's share of the absolute attribution: (n, n_targets, n_bands), sums of 1."""
    by_band = np.abs(attributions).sum(axis=(2, 3), dtype=np.float64)
    return by_band / by_band.sum(axis=-1, keepdims=True)


def share_within(attributions: np.ndarray, radius_px: float) -> np.ndarray:
    """The share of the absolute attribution nearer than this to the star's pixel: (n, n_targets)."""
    ny, nx = attributions.shape[2:4]
    y, x = np.mgrid[:ny, :nx]
    near = np.hypot(y - ny // 2, x - nx // 2) <= radius_px
    absolute = np.abs(attributions).sum(axis=-1, dtype=np.float64)
    return absolute[:, :, near].sum(axis=-1) / absolute.sum(axis=(2, 3))


def mean_map(attributions: np.ndarray) -> np.ndarray:
    """Mean absolute attribution over stars, each star's own sum being 1: (n_targets, y, x, band)."""
    absolute = np.abs(attributions)
    return (absolute / absolute.sum(axis=(2, 3, 4), keepdims=True)).mean(axis=0)


def _scaled_outputs(
    trained: NetworkParts, stamps: jax.Array, parallax: jax.Array, parallax_error: jax.Array, factor: jax.Array
) -> jax.Array:
    return outputs(trained, stamps * factor[:, None, None, :], parallax, parallax_error)


def _gradients(trained: NetworkParts, stamps: jax.Array, parallax: jax.Array, parallax_error: jax.Array) -> jax.Array:
    value, pull_back = jax.vjp(lambda at: outputs(trained, at, parallax, parallax_error), stamps)
    # A star's answer depends on its own stamp alone, so that one pull-back serves all stars of a target.
    one_hot = jnp.broadcast_to(jnp.eye(value.shape[1], dtype=value.dtype)[:, None], (value.shape[1], *value.shape))
    (gradient,) = jax.vmap(pull_back)(one_hot)
    return jnp.moveaxis(gradient, 0, 1)


def _compiled(function: Callable[..., jax.Array], trained: NetworkParts) -> Callable[..., jax.Array]:
    """`function(trained, ...)` compiled, its parameters an argument: as constants they would be compiled in."""
    run = jax.jit(lambda params, *arrays: function(dataclasses.replace(trained, params=params), *arrays))
    return functools.partial(run, jax.device_put(trained.params))


def _float32(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(values, np.float32) for values in arrays]
