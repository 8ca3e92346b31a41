"""Numbers about a star -> its parameters, by the ACF's own prediction module: a network that sees no image.

It makes "images against magnitudes" a comparison of what is looked at, and not of networks with trees: the same dense
layers, dropout, loss, optimiser and schedule, the best checkpoint chosen on the same stars by the same score. The
numbers enter where the ACF's parallax does, by the astrometric branch; the image's features are left out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from acf_jax.inference import mc_dropout
from acf_jax.labels import LabelScaling
from acf_jax.models.acf import ACF, ACFConfig
from acf_jax.models.cswin import CSWinConfig
from acf_jax.running import bar_options
from acf_jax.training.config import OptimizerConfig
from acf_jax.training.losses import smooth_l1
from acf_jax.training.optimizer import adam_with_l2, learning_rate_schedule

WEIGHT_STD = 0.1  # of the initial weights, as in configs/demo.py: what layers of this width need to pass a signal on


@dataclass(frozen=True)
class Settings:
    """Of a training; the defaults follow configs/demo.py.

    On 4,100 mock stars, twice as many steps leave 3 to 5 % less scatter about the truth.
    """

    num_steps: int = 6_000
    batch_size: int = 128  # stars
    check_every_steps: int = 200  # from one look at the calibration split to the next
    learning_rate: float = 1.5e-3  # at the peak
    warmup_steps: int = 200
    seed: int = 0  # of parameters, shuffling and dropout


@dataclass(frozen=True)
class ColumnScaling:
    """Columns to zero mean and unit variance over the training stars; a missing value becomes 0, and is told."""

    mean: np.ndarray  # (n_columns,)
    std: np.ndarray
    gaps: np.ndarray  # columns that some training star lacks, (n_gaps,)

    @classmethod
    def fit(cls, columns: np.ndarray) -> ColumnScaling:
        """From the training stars' columns (n, n_columns); what is not finite is missing."""
        finite = np.isfinite(columns)
        count = np.maximum(finite.sum(axis=0), 1)
        mean = np.where(finite, columns, 0).sum(axis=0) / count
        std = np.sqrt((np.where(finite, columns - mean, 0) ** 2).sum(axis=0) / count)
        return cls(mean, np.where(std > 0, std, 1.0), np.flatnonzero(~finite.all(axis=0)))

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """Inputs (n, n_columns + n_gaps), float32: the scaled columns, then 1 where one with gaps has one."""
        finite = np.isfinite(columns)
        scaled = (np.where(finite, columns, self.mean) - self.mean) / self.std
        return np.concatenate([scaled, ~finite[:, self.gaps]], axis=1).astype(np.float32)


@dataclass(frozen=True)
class PhotometricNetwork:
    """A trained network."""

    model: ACF
    params: dict
    columns: ColumnScaling
    labels: LabelScaling
    step: int  # of the best checkpoint
    score: float  # of it, on the calibration stars: std of the residuals / std of the labels, mean over targets

    def predict(
        self, columns: np.ndarray, object_id: np.ndarray, *, n_samples: int = 100, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over Monte Carlo dropout samples, (n, n_targets) each, in physical units.

        Args:
            columns: (n, n_columns), as in training; NaN where missing.
            object_id: (n,) integers: the same star has the same samples in any company.
            n_samples: T of Eq. 13.
            seed: of the samples.

        Returns:
            the two.
        """
        inputs = jnp.asarray(self.columns(np.asarray(columns, np.float64)))
        moments = mc_dropout.head_moments(
            self.model, self.params, _no_image(len(inputs)), inputs, np.asarray(object_id), n_samples, seed
        )
        mean, std = (np.asarray(moment) for moment in moments)
        return np.asarray(self.labels.invert(mean)), std * np.asarray(self.labels.std, np.float32)


def fit(
    train: tuple[np.ndarray, np.ndarray],
    calibration: tuple[np.ndarray, np.ndarray],
    targets: tuple[str, ...],
    settings: Settings = Settings(),
    *,
    progress: bool = False,
) -> PhotometricNetwork:
    """Train; deterministic on one machine.

    Args:
        train: columns (n, n_columns), NaN where missing, and labels (n, n_targets); a star that lacks a label is left
            out.
        calibration: the same of the stars that choose the best checkpoint.
        targets: names of the labels.
        settings: of the training.
        progress: whether to show a bar.

    Returns:
        the network of the best checkpoint.

    Raises:
        ValueError: if either has no star with all labels.
    """
    (train_columns, train_labels), (check_columns, check_labels) = _labelled(*train), _labelled(*calibration)
    scaling, label_scaling = ColumnScaling.fit(train_columns), LabelScaling.fit(train_labels, targets)
    inputs, labels = jnp.asarray(scaling(train_columns)), jnp.asarray(label_scaling.standardise(train_labels), "f4")
    checked = jnp.asarray(scaling(check_columns)), jnp.asarray(label_scaling.standardise(check_labels), "f4")
    model = ACF(ACFConfig(backbone=CSWinConfig(weight_std=WEIGHT_STD), targets=tuple(targets)))
    params = initial_params(model, inputs.shape[1], settings.seed)
    optimizer = _optimizer(settings)
    state = optimizer.init(params)
    best = (np.inf, 0, params)
    batches = _batches(len(inputs), settings)
    with tqdm(total=settings.num_steps, desc="network on magnitudes", unit="step", **bar_options(progress)) as bar:
        for step, rows in batches:
            params, state = _train(model, settings, (params, state), (inputs, labels), (step, rows))
            score = float(_score(model, params, *checked))
            if score < best[0]:
                best = (score, step + len(rows), params)
            bar.update(len(rows))
    score, step, params = best
    return PhotometricNetwork(model, jax.device_get(params), scaling, label_scaling, step, score)


def initial_params(model: ACF, n_inputs: int, seed: int) -> dict:
    """Of the astrometric branch, widened, and the head.

    Args:
        model: the network.
        n_inputs: columns of numbers that it is given.
        seed: of the draws.

    Returns:
        Flax's parameters.
    """
    inputs = jnp.zeros((1, n_inputs))
    return model.init(jax.random.key(seed), _no_image(1), inputs, deterministic=True, method="predict")["params"]


def _labelled(columns: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    columns, labels = np.asarray(columns, np.float64), np.asarray(labels, np.float64)
    known = np.isfinite(labels).all(axis=1)
    if not known.any():
        raise ValueError(f"None of {len(labels)} stars has all labels: there is nothing to learn from or to judge by.")
    return columns[known], labels[known]


def _no_image(n_stars: int) -> jax.Array:
    return jnp.zeros((n_stars, 0))


def _batches(n_stars: int, settings: Settings) -> Iterator[tuple[int, np.ndarray]]:
    """First step and rows (steps, batch_size) of as many steps as lie between two looks at the calibration split."""
    rng = np.random.default_rng(settings.seed)
    size = min(settings.batch_size, n_stars)
    order = np.zeros(0, np.int64)
    for start in range(0, settings.num_steps, settings.check_every_steps):
        n_steps = min(settings.check_every_steps, settings.num_steps - start)
        while len(order) < n_steps * size:  # epochs run on into each other, so that no star is left out
            order = np.concatenate([order, rng.permutation(n_stars)])
        rows, order = np.split(order, [n_steps * size])
        yield start, rows.reshape(n_steps, size)


@functools.cache
def _optimizer(settings: Settings) -> optax.GradientTransformation:
    config = OptimizerConfig(
        schedule="warmup_cosine",
        learning_rate=settings.learning_rate,
        warmup_steps=min(settings.warmup_steps, settings.num_steps // 2),
        beta1=0.9,
        clip_norm=1.0,
    )
    return adam_with_l2(config, learning_rate_schedule(config, settings.num_steps, steps_per_epoch=1))


@functools.partial(jax.jit, static_argnames=("model", "settings"))
def _train(model, settings, start, stars, batches):
    """Some steps, one after the other: new parameters and optimiser state.

    `start` holds the old ones, `stars` inputs and labels, `batches` the first step's number and the rows of each.
    """
    (inputs, labels), (first_step, rows) = stars, batches
    optimizer, key = _optimizer(settings), jax.random.key(settings.seed)

    def loss(params, x, y, key):
        predicted = model.apply({"params": params}, _no_image(len(x)), x, method="predict", rngs={"dropout": key})
        return smooth_l1(predicted - y).mean()

    def step(carry, at):
        params, state = carry
        number, row = at
        gradients = jax.grad(loss)(params, inputs[row], labels[row], jax.random.fold_in(key, number))
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    numbers = first_step + jnp.arange(len(rows))
    return jax.lax.scan(step, start, (numbers, jnp.asarray(rows)))[0]


@functools.partial(jax.jit, static_argnames="model")
def _score(model, params, inputs, labels):
    """The ACF's own (`training.validate`): dropout off, in units of the labels' spread."""
    x = _no_image(len(inputs))
    predicted = model.apply({"params": params}, x, inputs, deterministic=True, method="predict")
    return jnp.mean(jnp.std(predicted - labels, axis=0))
