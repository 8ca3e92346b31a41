"""A network's fingerprint: a hash that depends on the network alone, not on its folder or the devices it runs on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import jax
import numpy as np

from acf_jax.inference.parts import NetworkParts


def network_fingerprint(trained: NetworkParts) -> str:
    """SHA-256 of all that determines a network's answers, in hexadecimal.

    That is the model's config, targets, bands, the scaling of inputs and labels, and every parameter's name, type,
    shape and bytes; not the folder, the step, the calibration of the errors, or the devices that hold the parameters.
    """
    described = {
        "model": dataclasses.asdict(trained.model.config),
        "targets": list(trained.targets),
        "bands": trained.bands,
        "input_scaling": trained.input_scaling.to_dict(),
        "label_scaling": trained.label_scaling.to_dict(),
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, array in sorted(named_parameters(trained.params).items()):
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def errors_fingerprint(trained: NetworkParts) -> str:
    """SHA-256 of what was fitted after the training: calibrated errors and training domain, where there are any."""
    calibration, domain = trained.error_calibration, trained.training_domain
    digest = hashlib.sha256(json.dumps(calibration and calibration.to_dict(), sort_keys=True).encode())
    for name, array in sorted(domain.to_arrays().items() if domain else ()):
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def named_parameters(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """A network's parameters by their path, `backbone/stage1/qkv/kernel`, as NumPy arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
