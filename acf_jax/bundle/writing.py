"""A trained network -> a bundle: everything that others need to use it, in one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from acf_jax.bundle import model_card
from acf_jax.bundle.example_stars import made_up_stars
from acf_jax.bundle.export import N_SAMPLES, PLATFORMS, STAMP_SIZE_PX, export_prediction
from acf_jax.errors import ACFError
from acf_jax.files import Folders, as_paths, results_folder, whole_folder, without_folders
from acf_jax.inference import bundle_files, mc_dropout
from acf_jax.inference.bundle_files import write_checksums
from acf_jax.inference.fingerprint import named_parameters, network_fingerprint
from acf_jax.inference.loading import is_bundle, load
from acf_jax.inference.network import Network
from acf_jax.keys import split_ids
from acf_jax.labels import LABELS
from acf_jax.version import __version__

TEMPLATES = Path(__file__).with_name("templates")
SEED = 0  # of the example's samples
TOLERANCE = {"float32": 5e-3, "bfloat16": 5e-2}
"""Allowed between the exported function and the network, in standard deviations of the labels; by backbone dtype."""


class BundleError(ACFError):
    """A bundle that is not written; the message says why and what to do."""


def write_bundle(
    source: Folders,
    out_dir: str | Path,
    evaluation_dir: str | Path | None = None,
    *,
    n_samples: int = N_SAMPLES,
    size_px: int = STAMP_SIZE_PX,
) -> Network:
    """Write a network's bundle: whole, or not at all.

    Args:
        source: the run's folder, of which the best checkpoint is taken, or a bundle to be written anew; or several,
            whose networks are joined: `acf_jax.load`.
        out_dir: the bundle's folder, which must not be there yet.
        evaluation_dir: where `evaluate.py` left `metrics.json`; by default `evaluation` in the run's folder, if
            there is one.
        n_samples: T of Eq. 13, of the exported function.
        size_px: of a stamp's side, of the exported function.

    Returns:
        The network as the bundle holds it.

    Raises:
        CheckpointError: if there is no network in `source`.
        BundleError: if `out_dir` is there already, the evaluation is missing or another network's, or the exported
            function and the network do not agree.
    """
    out_dir = Path(out_dir)
    if out_dir.exists():
        raise BundleError(f"{out_dir} is there already: remove it, or choose another folder for the bundle.")
    trained = load(source)
    metrics = read_metrics(source, evaluation_dir, trained)
    with whole_folder(out_dir) as folder:
        _write_files(folder, trained, metrics, n_samples, size_px)
        return load(folder)


def read_metrics(source: Folders, evaluation_dir: str | Path | None, trained: Network) -> dict | None:
    """What `evaluate.py` measured of this network.

    Args:
        source: as of `write_bundle`.
        evaluation_dir: the folder of `metrics.json`; None: where `evaluate.py` writes it, if it is there.
        trained: the network.

    Returns:
        What `metrics.json` holds, without folders of this machine; None if nothing was measured.

    Raises:
        BundleError: if it was asked for and is not there, is damaged, or belongs to another network.
    """
    first, *others = paths = as_paths(source)
    of_bundle = not others and is_bundle(first)
    folder = results_folder(paths, first if evaluation_dir is None and of_bundle else evaluation_dir)
    path, evaluate = folder / bundle_files.METRICS, f"`python evaluate.py --checkpoint {' '.join(map(str, paths))}`"
    if evaluation_dir is None and not path.exists():
        return None
    try:
        metrics = json.loads(path.read_text())
        measured_on = metrics["checkpoint"]["step"], metrics["dataset"]["fingerprint"]
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: {evaluate} writes it.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged: {evaluate} writes it anew.") from error
    if measured_on != (trained.step, trained.sidecar["dataset"]["fingerprint"]):
        raise BundleError(
            f"{path} was measured on step {measured_on[0]} of a network trained on dataset {measured_on[1][:12]}; this "
            f"is step {trained.step}, trained on {trained.sidecar['dataset']['fingerprint'][:12]}: evaluate it first."
        )
    return without_folders(metrics)


def describe(trained: Network, n_samples: int, size_px: int) -> dict:
    """Everything about a network except its arrays.

    Args:
        trained: the network.
        n_samples: T of Eq. 13, of the exported function.
        size_px: of a stamp's side, of the exported function.

    Returns:
        What `bundle.json` holds, in JSON types.
    """
    calibration, domain = trained.error_calibration, trained.training_domain
    members = {"members": list(trained.named_members)} if trained.members else {}
    return {
        "format_version": bundle_files.FORMAT_VERSION if members else 1,  # which older code reads, too
        **members,
        "code_version": __version__,
        "fingerprint": network_fingerprint(trained),
        "n_parameters": sum(array.size for array in named_parameters(trained.params).values()),
        "units": {target: LABELS[target] for target in trained.targets},
        "step": trained.step,
        "checkpoint": without_folders(_published_sidecar(trained)),
        "error_calibration": None if calibration is None else calibration.to_dict(),
        "training_domain": None if domain is None else domain.summary(),
        "exported": {
            "file": bundle_files.EXPORTED,
            "n_samples": n_samples,
            "stamp_size_px": size_px,
            "platforms": list(PLATFORMS),
            "jax_version": jax.__version__,
        },
    }


def _published_sidecar(trained: Network) -> dict:
    """The checkpoint's sidecar without its long history and without the folder that the dataset lay in."""
    dataset = dict(trained.sidecar["dataset"])
    dataset["folder"] = "/".join(dataset[name] for name in ("name", "config", "version"))
    return {name: value for name, value in trained.sidecar.items() if name != "history"} | {"dataset": dataset}


def _write_files(folder: Path, trained: Network, metrics: dict | None, n_samples: int, size_px: int) -> None:
    described = describe(trained, n_samples, size_px)
    for name, member in trained.named_members.items():
        (folder / name).mkdir()
        _write_network(folder / name, member, describe(member, n_samples, size_px) | {"exported": None})
        write_checksums(folder / name)
    _write_network(folder, trained, described)
    exported = export_prediction(trained, n_samples, size_px)
    (folder / bundle_files.EXPORTED).write_bytes(exported)
    _write_arrays(folder / bundle_files.EXAMPLE_STARS, _answered_stars(trained, exported, n_samples, size_px))
    shutil.copy(TEMPLATES / bundle_files.EXAMPLE, folder / bundle_files.EXAMPLE)
    if metrics is not None:
        _write_json(folder / bundle_files.METRICS, metrics)
    (folder / bundle_files.MODEL_CARD).write_text(model_card.markdown(described, metrics))
    write_checksums(folder)


def _write_network(folder: Path, trained: Network, described: dict) -> None:
    """What `acf_jax.load` reads; of joined networks only the description, since each member has its own files."""
    if not trained.members:
        arrays = {name: np.ascontiguousarray(array) for name, array in named_parameters(trained.params).items()}
        # Not by `save_file`, which on a full disk raises an error of its own.
        (folder / bundle_files.PARAMETERS).write_bytes(save(arrays, metadata={"fingerprint": described["fingerprint"]}))
        if trained.training_domain is not None:
            _write_arrays(folder / bundle_files.TRAINING_DOMAIN, trained.training_domain.to_arrays())
    _write_json(folder / bundle_files.DESCRIPTION, described)


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(path, **arrays)


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def _answered_stars(trained: Network, exported: bytes, n_samples: int, size_px: int) -> dict[str, np.ndarray]:
    """The example's stars with `mean` and `std`, which network and exported function must agree about."""
    stars = made_up_stars(len(trained.bands), size_px)
    inputs = stars["stamp"], stars["parallax"], stars["parallax_error"]
    answer = mc_dropout.predict(
        trained,
        *inputs,
        stars["object_id"],
        n_samples=n_samples,
        seed=SEED,
        batch_size=len(stars["stamp"]),
        progress=False,
    )
    function = jax.jit(jax.export.deserialize(bytearray(exported)).call)
    mean, std, *_ = function(*inputs, split_ids(stars["object_id"]), np.uint32(SEED))
    difference = np.abs(np.stack([mean - answer.mean, std - answer.std])) / trained.label_scaling.std
    dtypes = [backbone.dtype for backbone in trained.model.config.backbones]
    tolerance = max(TOLERANCE.get(dtype, min(TOLERANCE.values())) for dtype in dtypes)
    if not difference.max() <= tolerance:
        raise BundleError(
            f"The exported function answers otherwise than the network, by {difference.max():.1e} of the labels' "
            f"standard deviation, where {tolerance:.0e} is rounding: nothing was written. Please report this."
        )
    return stars | {"mean": answer.mean, "std": answer.std}
