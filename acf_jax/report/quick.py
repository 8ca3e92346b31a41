"""Checkpoint and validation split -> metrics, tables, per-star predictions and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from matplotlib.figure import Figure

import acf_jax
from acf_jax.baselines.gradient_boosting import PHOTOMETRY_FIELDS, photometric_baselines
from acf_jax.data.prepared import PreparedDataset, open_dataset
from acf_jax.errors import ACFError
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network
from acf_jax.inference.split import SplitPrediction, predict_split
from acf_jax.labels import LABELS
from acf_jax.metrics.residuals import NOMINAL_COVERAGE, binned_residuals, magnitude_edges, residual_metrics
from acf_jax.plots import predictions as prediction_plots
from acf_jax.report import quick_markdown as report

SPLIT = "validation"
STAR_FIELDS = ("object_id", "source_id", "ra", "dec")


class EvaluationError(ACFError):
    """Checkpoint and dataset do not fit together; the message says why and what to do."""


def evaluate(
    checkpoint_dir: str | Path,
    data_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    *,
    n_samples: int = 100,
    seed: int = 0,
    baselines: bool = True,
    progress: bool = True,
) -> dict:
    """Evaluate a run's best checkpoint on the validation split of the dataset that it was trained on.

    >>> metrics = acf_jax.evaluate("runs/demo", baselines=False, n_samples=20)
    >>> list(metrics["results"]["ACF"]["label"])
    ['teff', 'logg', 'fe_h']
    >>> metrics["n_stars"]
    10

    Writes `metrics.json`, `metrics.md`, `predictions.parquet`, `figure_8.png`, `figure_9.png` and, where
    log g is a target, `residuals_vs_g.png`.

    Args:
        checkpoint_dir: the run's folder.
        data_dir: where `datasets.build` put the dataset; by default where it lay in training.
        out_dir: folder for the results; by default `evaluation` in the run's folder.
        n_samples: Monte Carlo dropout samples per star.
        seed: of the samples, and of the baselines' early stopping.
        baselines: whether to train gradient boosting on the same stars' catalogue photometry.
        progress: whether to show progress bars.

    Returns:
        what `metrics.json` holds: `results` by method, reference (`label`, `truth`) and target, and how they
        came about.

    Raises:
        CheckpointError, DatasetError: if there is no checkpoint or no dataset.
        EvaluationError: if the dataset is not the one of the checkpoint.
    """
    trained = load(checkpoint_dir)
    dataset = open_same_dataset(trained, data_dir)
    targets = trained.targets
    truth = tuple(f"true_{target}" for target in targets if f"true_{target}" in dataset.fields)
    stars = dataset.arrays(SPLIT, (*STAR_FIELDS, *PHOTOMETRY_FIELDS, *targets, *truth))
    prediction = predict_split(trained, dataset, stars, split=SPLIT, n_samples=n_samples, seed=seed, progress=progress)

    methods = {network_name(trained): {t: prediction.mean[:, i] for i, t in enumerate(targets)}}
    if baselines:
        methods |= predict_baselines(dataset, stars, targets, seed=seed, progress=progress)
    metrics = describe(trained, dataset, checkpoint_dir, n_samples, seed) | {
        "n_without_prediction": sum(reason is not None for reason in prediction.reason),
        **measure(methods, prediction.std, stars, targets, dataset.bands),
    }
    out_dir = Path(out_dir) if out_dir is not None else Path(checkpoint_dir) / "evaluation"
    out_dir.mkdir(parents=True, exist_ok=True)
    write_predictions(out_dir / "predictions.parquet", stars, prediction, targets, dataset, metrics)
    write_figures(out_dir, stars, prediction, targets, dataset.bands, metrics)
    (out_dir / "metrics.md").write_text(report.markdown(metrics))
    (out_dir / "metrics.json").write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    return metrics


def network_name(trained: Network) -> str:
    """The paper's name of the framework, ACF, or ACPF without parallax; a variant's says so."""
    config = trained.model.config
    return ("ACF" if config.use_parallax else "ACPF") + ("-growth" if config.growth_curve else "")


def open_same_dataset(trained: Network, data_dir: str | Path | None = None) -> PreparedDataset:
    """The dataset that a checkpoint was trained on, in `data_dir` or where it lay in training.

    Raises:
        DatasetError: if there is none.
        EvaluationError: if what lies there has other bands or another content, or no validation stars.
    """
    recorded = trained.sidecar["dataset"]
    folder = Path(recorded["folder"])
    if data_dir is not None:
        folder = Path(data_dir) / recorded["name"] / recorded["config"] / recorded["version"]
    dataset = open_dataset(folder)
    if dataset.bands != trained.bands:
        raise EvaluationError(
            f"The stamps in {folder} have bands {dataset.bands}, the network was trained on {trained.bands}: "
            "evaluate it on the dataset that it was trained on."
        )
    if dataset.fingerprint != recorded["fingerprint"]:
        raise EvaluationError(
            f"The dataset in {folder} has fingerprint {dataset.fingerprint[:12]}, the network was trained on "
            f"{recorded['fingerprint'][:12]}: its validation stars may be among those trained on. Point --data_dir to "
            "the dataset of the training, or train anew on this one."
        )
    if not dataset.splits.get(SPLIT):
        raise EvaluationError(f"The dataset in {folder} has no {SPLIT} stars: prepare a larger one and train on it.")
    return dataset


def predict_baselines(
    dataset: PreparedDataset, stars: Mapping[str, np.ndarray], targets: Sequence[str], *, seed: int, progress: bool
) -> dict[str, dict[str, np.ndarray]]:
    """Gradient boosting on the dataset's catalogue photometry: {baseline: {target: (n,)}}.

    Raises:
        EvaluationError: if the dataset does not say how to deredden.
    """
    coefficients = dataset.metadata.get("extinction_coefficients")
    if coefficients is None:
        raise EvaluationError(
            f"{dataset.folder}/metadata.json has no extinction_coefficients, which the baselines need: prepare the "
            "dataset anew, or leave them out with --no-baselines."
        )
    train = dataset.arrays("train", (*PHOTOMETRY_FIELDS, *targets))
    photometry = {field: stars[field] for field in PHOTOMETRY_FIELDS}
    return photometric_baselines(train, photometry, targets, dataset.bands, coefficients, seed=seed, progress=progress)


def describe(trained: Network, dataset: PreparedDataset, checkpoint_dir: str | Path, n_samples: int, seed: int) -> dict:
    """Which sample, which network, and how it was asked."""
    mock = any(field.startswith("true_") for field in dataset.fields)
    sky = "mock sky" if mock else f"{dataset.name}/{dataset.config}"
    return {
        "sample": f"{sky}, {SPLIT} split",
        "mock": mock,
        "n_stars": dataset.n_examples(SPLIT),
        "network": network_name(trained),
        "checkpoint": {"folder": str(checkpoint_dir), "step": trained.step},
        "dataset": {name: trained.sidecar["dataset"][name] for name in ("name", "config", "version", "fingerprint")},
        "mc_dropout": {"n_samples": n_samples, "seed": seed},
        "code_version": {"training": trained.sidecar.get("code_version"), "evaluation": acf_jax.__version__},
        "units": {target: LABELS[target] for target in trained.targets},
        "nominal_coverage": NOMINAL_COVERAGE,
    }


def measure(
    methods: Mapping[str, Mapping[str, np.ndarray]],
    network_std: np.ndarray,
    stars: Mapping[str, np.ndarray],
    targets: Sequence[str],
    bands: str,
) -> dict:
    """`results` of every method, of which the first is the network, and the network's `residuals_by_g`."""
    network = next(iter(methods))
    results = {
        method: {
            reference: {
                target: residual_metrics(
                    values[target], stars[prefix + target], network_std[:, i] if method == network else None
                ).to_dict()
                for i, target in enumerate(targets)
                if prefix + target in stars
            }
            for reference, prefix in (("label", ""), ("truth", "true_"))
        }
        for method, values in methods.items()
    }
    g_mag = g_magnitude(stars, bands)
    edges = magnitude_edges(g_mag)
    by_g = {
        target: [b.to_dict() for b in binned_residuals(methods[network][target] - stars[target], g_mag, edges)]
        for target in targets
    }
    return {"results": results, "residuals_by_g": by_g}


def g_magnitude(stars: Mapping[str, np.ndarray], bands: str) -> np.ndarray:
    """Observed g, AB mag: (n,)."""
    return stars["psf_mag"][:, bands.index("g")]


def write_predictions(
    path: Path,
    stars: Mapping[str, np.ndarray],
    prediction: SplitPrediction,
    targets: Sequence[str],
    dataset: PreparedDataset,
    metrics: Mapping,
) -> None:
    """A row per star of the split, those without a prediction too; units in the columns' metadata.

    Columns: object_id, source_id, ra, dec, g_psf; for each target its label (`teff`), `teff_predicted`,
    `teff_std` and, on the mock sky, `true_teff`; `reason`, null where there is a prediction.
    """
    units = dataset.metadata.get("units", {})
    columns = {name: (stars[name], units.get(name, "")) for name in STAR_FIELDS}
    columns["g_psf"] = (g_magnitude(stars, dataset.bands), "mag")
    for i, target in enumerate(targets):
        unit = LABELS[target]
        columns[target] = (stars[target], unit)
        columns[f"{target}_predicted"] = (prediction.mean[:, i].astype(np.float32), unit)
        columns[f"{target}_std"] = (prediction.std[:, i].astype(np.float32), unit)
        if f"true_{target}" in stars:
            columns[f"true_{target}"] = (stars[f"true_{target}"], unit)
    fields = [
        pyarrow.field(name, pyarrow.from_numpy_dtype(values.dtype), metadata={"unit": unit})
        for name, (values, unit) in columns.items()
    ]
    arrays = [pyarrow.array(values) for values, _ in columns.values()]
    provenance = {name: metrics[name] for name in ("sample", "network", "checkpoint", "dataset", "mc_dropout")}
    schema = pyarrow.schema(
        [*fields, pyarrow.field("reason", pyarrow.string(), metadata={"description": "why there is no prediction"})],
        metadata={"acf_jax": json.dumps(provenance)},
    )
    pyarrow.parquet.write_table(
        pyarrow.table([*arrays, pyarrow.array(prediction.reason, pyarrow.string())], schema), path
    )


def write_figures(
    out_dir: Path,
    stars: Mapping[str, np.ndarray],
    prediction: SplitPrediction,
    targets: Sequence[str],
    bands: str,
    metrics: Mapping,
) -> None:
    """`figure_8.png`, `figure_9.png` and, where log g is a target, `residuals_vs_g.png`."""
    title = f"{metrics['network']}, {metrics['sample']}, n = {metrics['n_stars'] - metrics['n_without_prediction']:,}"
    samples = {
        target: prediction_plots.ParameterSample(
            target, LABELS[target], stars[target], prediction.mean[:, i], prediction.std[:, i]
        )
        for i, target in enumerate(targets)
    }
    panel_inches = 4.5 * len(targets)
    for name, draw, height in (
        ("figure_8", prediction_plots.draw_figure_8, 5.4),
        ("figure_9", prediction_plots.draw_figure_9, 4.0),
    ):
        figure = Figure(figsize=(panel_inches, height), dpi=160, layout="constrained")
        draw(figure, list(samples.values()), title)
        figure.savefig(out_dir / f"{name}.png")
    if "logg" in samples:
        figure = Figure(figsize=(7.5, 4.4), dpi=160, layout="constrained")
        figure.suptitle(title)
        g_mag, sample = g_magnitude(stars, bands), samples["logg"]
        bins = binned_residuals(sample.prediction - sample.label, g_mag, magnitude_edges(g_mag))
        prediction_plots.plot_residuals_vs_magnitude(figure.subplots(), sample, g_mag, bins)
        figure.savefig(out_dir / "residuals_vs_g.png")
