"""Prepared dataset -> checkpoints.

Parallelism lives here and nowhere else: `jax.pmap` over the local devices, each with its share of the global batch,
gradients averaged. Every draw depends on (seed, step, star), so that neither the number of devices nor an interruption
changes what is learned.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax
import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from acf_jax import checkpoints
from acf_jax.data.augment import augment
from acf_jax.data.prepared import ordered_batches, training_batches
from acf_jax.devices.microbatches import gradients_of_mean, map_microbatches, microbatch_size
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network
from acf_jax.keys import split_ids, star_keys
from acf_jax.metrics.residuals import residual_metrics
from acf_jax.models import acf
from acf_jax.shapes import AnyArray
from acf_jax.training.calibrate import calibrate
from acf_jax.training.config import TrainingConfig, TrainingError, as_training_config
from acf_jax.training.log import RunLog
from acf_jax.training.losses import noise_nll, smooth_l1
from acf_jax.training.run import INPUT_FIELDS, Run, open_run


@flax.struct.dataclass
class TrainState:
    """What a step changes, with equal values on every device."""

    step: jax.Array | np.int32  # () int32, steps done
    params: Any
    optimizer: optax.OptState


def train(
    config: TrainingConfig | ConfigDict | Mapping[str, Any], workdir: str | Path, data_dir: str | Path = "data"
) -> Network:
    """Train a network, or go on with a training that was interrupted.

    >>> tiny = {"embed_dim": 8, "depths": (1,), "num_heads": (2,), "stripe_widths": (1,)}
    >>> config = {"dataset": {"config": "mock"}, "model": tiny, "batch_size": 8, "num_steps": 4}
    >>> network = acf_jax.train(config, "runs/tiny")  # doctest: +ELLIPSIS
    step 4, ...
    >>> network.step
    4

    Args:
        config: the settings: what a file in `configs/` makes, a `TrainingConfig`, or a dictionary of the fields that
            differ from its defaults.
        workdir: the run's folder; checkpoints and TensorBoard files go there.
        data_dir: where `datasets.build` put the prepared datasets.

    Returns:
        The network of the best checkpoint, as `acf_jax.load(workdir)` gives it.

    Raises:
        TrainingError: if the config contradicts itself, the dataset, the file it starts from or the run in
            `workdir`, or the loss stops being finite.
        DatasetError: if the dataset is not prepared.
        CheckpointError: if newer code wrote the run in `workdir`.
    """
    run = open_run(as_training_config(config), workdir, data_dir)
    if run.stored is not None:
        print(f"Going on with {workdir} from step {run.first_step} of {run.num_steps}.")
    if run.chosen_by == "validation":
        print(
            f"{run.dataset.folder} has no calibration split: the best checkpoint is chosen by the validation stars, as "
            "the paper must have, which flatters it on them; and errors are not calibrated."
        )
    with checkpoints.open_manager(workdir, create=True) as manager:
        if run.first_step < run.num_steps:
            with RunLog(workdir, run) as log:
                run_from(run, Records(manager, run.stored["history"] if run.stored else [], log))
        latest, best = checkpoints.find_step(manager, "latest"), checkpoints.find_step(manager, "best")
    if calibrate(workdir, run.dataset) is None and run.chosen_by == "calibration":
        print(f"Errors are not calibrated: {run.dataset.folder} has too few calibration stars.")
    where = "" if str(data_dir) == "data" else f" --data_dir {data_dir}"
    print(
        f"{workdir} holds the last step, {latest}, and the best, {best}. "
        f"Next: `python evaluate.py --checkpoint {workdir}{where}`."
    )
    return load(workdir)


@dataclasses.dataclass(frozen=True)
class Records:
    """Where a training writes its log and checkpoints."""

    manager: ocp.CheckpointManager
    history: list[dict]  # of all validations; grows
    log: RunLog


def run_from(run: Run, records: Records) -> None:
    """Train from a checkpoint, or from fresh parameters, to the end of the run."""
    state, manager = create_state(run), records.manager
    batches = training_batches(run.examples["train"], run.config.batch_size, run.config.seed)
    if step := run.first_step:
        params, optimizer, iterator = checkpoints.restore_training(manager, step, state.params, state.optimizer)
        state = TrainState(replicate(np.int32(step)), params, optimizer)
        batches.set_state(iterator)
    run_steps(run, state, batches, records)
    manager.wait_until_finished()


def run_steps(run: Run, state: TrainState, batches: grain.DatasetIterator, records: Records) -> None:
    """Steps, validations and checkpoints.

    Args:
        run: what does not change.
        state: before the first of these steps; donated.
        batches: of the training split.
        records: where to write.
    """
    train_step, predict_step = make_train_step(run), make_predict_step(run)
    history, log = records.history, records.log
    pending = None
    for step in range(int(state.step) + 1, run.num_steps + 1):
        batch = next(batches)
        state, metrics = train_step(state, device_batch(batch, run.config.model.targets))
        # The device works on this step while the host looks at the one before.
        if pending:
            report_step(run, log, *pending)
        pending = (step, batch["object_id"], metrics)
        if step % run.checkpoint_every_steps and step < run.num_steps:
            continue
        report_step(run, log, *pending)
        pending = None
        history.append({"step": step} | validate(run, predict_step, state.params))
        log.validation(step, step / run.steps_per_epoch, history[-1])
        checkpoints.save(
            records.manager,
            step,
            params=state.params,
            optimizer=state.optimizer,
            iterator=batches.get_state(),
            sidecar=run.sidecar(step, history),
        )


def report_step(run: Run, log: RunLog, step: int, object_ids: np.ndarray, metrics: Mapping[str, jax.Array]) -> None:
    """Log a step.

    Args:
        run: what does not change.
        log: where to log it.
        step: its number, from 1.
        object_ids: (n,), of the batch.
        metrics: of the step, as `make_train_step` returns them.

    Raises:
        TrainingError: if its loss or gradient is not finite, naming the stars.
    """
    loss, gradient_norm = float(metrics["loss"]), float(metrics["gradient_norm"])
    if not np.isfinite(loss + gradient_norm):
        bad = ~np.isfinite(np.asarray(metrics["star_loss"]).ravel())
        stars = object_ids[bad] if bad.any() else object_ids
        raise TrainingError(
            f"Step {step}: loss {loss}, gradient norm {gradient_norm}. Stars of the batch "
            f"{'whose loss is not finite' if bad.any() else '(each with a finite loss)'}: object_id "
            f"{', '.join(map(str, stars))}. Look at their stamps and parallaxes; if they are sound, lower "
            "optimizer.learning_rate. The last checkpoint is sound."
        )
    log.step(step, loss, gradient_norm, float(run.schedule(step - 1)))


# The steps, compiled.


def make_train_step(run: Run) -> Callable[[TrainState, Mapping], tuple[TrainState, dict]]:
    """`(state, batch) -> (state, metrics)`: one optimizer step on a batch from `device_batch`; donates the state.

    Metrics: `loss` and `gradient_norm`, averaged over the batch, and `star_loss` (devices, stars a device).
    """

    def train_step(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, dict]:
        step_key = jax.random.fold_in(jax.random.key(run.config.seed), state.step)
        size = microbatch_size(len(batch["star"]), run.config.microbatch_size)
        star_loss, gradients = gradients_of_mean(
            lambda params, part: star_losses(run, params, part, step_key), size, state.params, batch
        )
        loss, gradients = jax.lax.pmean((star_loss.mean(), gradients), axis_name="batch")
        updates, optimizer = run.optimizer.update(gradients, state.optimizer, state.params)
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), optimizer)
        return state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients), "star_loss": star_loss}

    metrics_axes = {"loss": None, "gradient_norm": None, "star_loss": 0}
    return jax.pmap(
        train_step, axis_name="batch", in_axes=(None, 0), out_axes=(None, metrics_axes), donate_argnums=(0,)
    )


def star_losses(run: Run, params: Any, batch: Mapping[str, jax.Array], step_key: jax.Array) -> jax.Array:
    """Training loss of every star: smooth L1 averaged over its targets, under augmentation and dropout.

    Args:
        run: what does not change.
        params: the network's parameters.
        batch: a device's part, n stars, of what `device_batch` makes.
        step_key: the key of all draws of this step.

    Returns:
        (n,) losses.
    """
    augment_keys, head_keys, path_keys = (star_keys(key, batch["star"]) for key in jax.random.split(step_key, 3))
    augmented = functools.partial(augment, flips=run.config.augment.flips, rotations=run.config.augment.rotations)
    stamps = jax.vmap(lambda key, stamp: augmented(key, stamp))(augment_keys, batch["stamp"])
    stamps = run.input_scaling.stamps(stamps)
    if run.config.model.backbone.drop_path_rate:
        features = jax.vmap(
            lambda stamp, key: run.model.apply(
                {"params": params}, stamp[None], deterministic=False, method="encode", rngs={"drop_path": key}
            )[0]
        )(stamps, path_keys)
    else:
        features = run.model.apply({"params": params}, stamps, method="encode")
    predictions = acf.predict_per_star(run.model, params, features, batch_scalars(run, batch), head_keys)
    labels = run.label_scaling.standardise(batch["labels"])
    residual = predictions[:, : labels.shape[-1]] - labels
    loss = smooth_l1(residual).mean(axis=-1)
    if run.model.config.heteroscedastic:
        loss += noise_nll(residual, predictions[:, labels.shape[-1] :]).mean(axis=-1)
    return loss


def batch_scalars(run: Run, batch: Mapping[str, jax.Array]) -> AnyArray | None:
    """The scalars that the network reads. Its stamps are not augmented here: turning a stamp changes no scalar."""
    astrometry = (batch["parallax"], batch["parallax_error"])
    return run.input_scaling.scalars(batch["stamp"], *astrometry, run.model.config.use_parallax)


def make_predict_step(run: Run) -> Callable[[Any, Mapping], jax.Array]:
    """`(params, batch) -> (devices, stars a device, n_targets)`: labels in physical units, dropout off."""

    def predict(params, batch):
        stamps = run.input_scaling.stamps(batch["stamp"])
        outputs = jnp.asarray(
            run.model.apply({"params": params}, stamps, batch_scalars(run, batch), deterministic=True)
        )
        return run.label_scaling.invert(outputs[:, : len(run.config.model.targets)])

    def predict_step(params, batch):
        size = microbatch_size(len(batch["star"]), run.config.microbatch_size)
        return map_microbatches(functools.partial(predict, params), size, batch)

    return jax.pmap(predict_step, axis_name="batch", in_axes=(None, 0))


def device_batch(batch: Mapping[str, np.ndarray], targets: tuple[str, ...]) -> dict[str, np.ndarray]:
    """A global batch {field: (n, ...)} divided among the devices: {name: (n_devices, n / n_devices, ...)}."""
    arrays = {name: batch[name] for name in ("stamp", "parallax", "parallax_error")}
    arrays["labels"] = np.stack([batch[target] for target in targets], axis=-1)
    arrays["star"] = split_ids(batch["object_id"])
    return {name: array.reshape(jax.local_device_count(), -1, *array.shape[1:]) for name, array in arrays.items()}


def validate(run: Run, predict_step: Callable, params: Any) -> dict:
    """Residuals over stars that are not trained on, those of `run.chosen_by`, in physical units.

    Dropout is off: one pass instead of a hundred. The mean over Monte Carlo samples, which `evaluate.py` takes, lies
    close to it.

    Args:
        run: what does not change.
        predict_step: from `make_predict_step`.
        params: of the network, on all devices.

    Returns:
        `labels` and, where the dataset knows it, `truth`: {target: {offset, std, mad_std}}; and the score that
        chooses the best checkpoint.
    """
    targets, batch_size = run.config.model.targets, run.config.batch_size
    predicted, parts = [], []
    for batch, n_real in ordered_batches(run.examples[run.chosen_by], batch_size):
        answer = predict_step(params, device_batch(batch, targets))
        predicted.append(np.asarray(answer).reshape(batch_size, -1)[:n_real])
        parts.append({name: batch[name][:n_real] for name in batch if name not in INPUT_FIELDS})
    predictions = dict(zip(targets, np.concatenate(predicted).T, strict=True))
    references = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    validated = {
        kind: {target: _moments(predictions[target], references[prefix + target]) for target in targets}
        for kind, prefix in (("labels", ""), ("truth", "true_"))
        if all(prefix + target in references for target in targets)
    }
    sigmas = np.array([validated["labels"][target]["std"] for target in targets])
    score = float(np.mean(sigmas / run.label_scaling.std))
    if not np.isfinite(score):
        raise TrainingError("The network's validation predictions are not finite: lower optimizer.learning_rate.")
    return validated | {checkpoints.SCORE: score}


def _moments(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    metrics = residual_metrics(prediction, reference)
    return {name: getattr(metrics, name) for name in ("offset", "std", "mad_std")}


# Before the first step.


def create_state(run: Run) -> TrainState:
    """Fresh parameters, except a backbone that the run starts from, and optimizer state, on all devices."""
    params = acf.init_params(run.model, run.config.seed)
    if run.backbone is not None:
        params = {**params, "backbone": run.backbone}
    return replicate(TrainState(np.int32(0), params, run.optimizer.init(params)))


def replicate(tree):
    """A pytree of arrays on all devices.

    Placed as the pmapped step returns its state: any other placement would compile the step a second time.
    """
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("batch",))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
