"""The residuals that sections speak of, and what they are taken about."""

from __future__ import annotations

import numpy as np

from acf_jax.report.context import Context, labels_of

PREFIXES = {"label": "", "truth": "true_"}
"""How the dataset's fields of each reference begin."""


def references(context: Context) -> tuple[str, ...]:
    """The labels, and on the mock sky the truth."""
    return tuple(PREFIXES) if context.is_mock else ("label",)


def residuals(context: Context, name: str, reference: str) -> dict[str, np.ndarray]:
    """Prediction minus reference of a network over the validation split.

    Args:
        context: the evaluation.
        name: of the network.
        reference: one of `PREFIXES`.

    Returns:
        (n,) by target, in its unit; NaN where prediction or reference is.
    """
    targets = context.network(name).targets
    residual = context.prediction(name).mean - labels_of(context.stars(), targets, PREFIXES[reference])
    return {target: residual[:, i] for i, target in enumerate(targets)}
