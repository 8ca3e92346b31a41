"""Learning rate schedules and Adam with the L2 term inside the gradient."""

from __future__ import annotations

import optax

from acf_jax.training.config import OptimizerConfig


def learning_rate_schedule(config: OptimizerConfig, num_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate as a function of the step.

    `staircase` multiplies `learning_rate` by `decay_rate` every `decay_epochs` (paper, section 3.4).
    `warmup_cosine`, for short runs, rises to `learning_rate` over `warmup_steps` and falls to 0 at `num_steps`.

    Args:
        config: the schedule and its numbers.
        num_steps: length of the training.
        steps_per_epoch: batches in an epoch.

    Returns:
        Optax's schedule.

    Raises:
        ValueError: if the warm-up is as long as the training.
    """
    if config.schedule == "staircase":
        return optax.exponential_decay(
            config.learning_rate, config.decay_epochs * steps_per_epoch, config.decay_rate, staircase=True
        )
    if config.warmup_steps >= num_steps:
        raise ValueError(
            f"optimizer.warmup_steps = {config.warmup_steps} must be below the {num_steps} steps of training."
        )
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, config.warmup_steps, num_steps)


def adam_with_l2(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam on gradient + `l2` * parameters, for every parameter: what PyTorch's Adam calls `weight_decay`.

    This is not AdamW: the L2 term passes through Adam's scaling (paper, section 3.4). `clip_norm` bounds the
    global norm of the loss's own gradient before that; 0 leaves it alone.
    """
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    return optax.chain(
        *clip,
        optax.add_decayed_weights(config.l2),
        optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
        optax.scale_by_learning_rate(schedule),
    )
