"""Checkpoint and validation split -> metrics, tables, per-star predictions and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from matplotlib.figure import Figure

from acf_jax.baselines.gradient_boosting import PHOTOMETRY_FIELDS, PhotometricBaselines
from acf_jax.data.prepared import IDENTITY
from acf_jax.files import Folders, as_paths, results_folder, whole_file
from acf_jax.inference.loading import load
from acf_jax.labels import LABELS
from acf_jax.metrics.residuals import NOMINAL_COVERAGE, residual_metrics
from acf_jax.plots import predictions as prediction_plots
from acf_jax.report import quick_markdown as report
from acf_jax.report.context import Context, Options
from acf_jax.report.opening import SPLIT, EvaluationError, open_same_dataset
from acf_jax.report.residuals import PREFIXES
from acf_jax.report.sections.sample import g_magnitude, parameter_samples, residuals_by_g
from acf_jax.version import __version__

STAR_FIELDS = ("object_id", "source_id", "ra", "dec")


def evaluate(
    checkpoint_dir: Folders,
    data_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    *,
    n_samples: int = 100,
    seed: int = 0,
    baselines: bool = True,
    progress: bool = True,
) -> dict:
    """Evaluate a run's best checkpoint on the validation split of the dataset that it was trained on.

    >>> metrics = acf_jax.evaluate("runs/demo", "data", baselines=False, n_samples=20)
    >>> list(metrics["results"]["ACF"]["label"])
    ['teff', 'logg', 'fe_h']
    >>> metrics["n_stars"]
    10

    Writes `metrics.json`, `metrics.md`, `predictions.parquet`, `figure_8.png`, `figure_9.png` and, where
    log g is a target, `residuals_vs_g.png`.

    Args:
        checkpoint_dir: the run's folder, or those of networks that are joined: `acf_jax.load`.
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
    context = Context(
        open_same_dataset(trained, data_dir), {trained.name: trained}, results_folder(checkpoint_dir, out_dir),
        Options(n_samples=n_samples, seed=seed, progress=progress),
    )  # fmt: skip
    metrics = describe(context, checkpoint_dir) | measure(context, baselines)
    write_predictions(context, metrics)
    write_figures(context, metrics)
    write_metrics(context, metrics)
    return metrics


def predict_baselines(context: Context) -> dict[str, np.ndarray]:
    """Gradient boosting on the dataset's catalogue photometry: (n, n_targets) by baseline.

    Raises:
        EvaluationError: if the dataset does not say how to deredden.
    """
    dataset, options, stars = context.dataset, context.options, context.stars()
    coefficients = dataset.metadata.get("extinction_coefficients")
    if coefficients is None:
        raise EvaluationError(
            f"{dataset.folder}/metadata.json has no extinction_coefficients, which the baselines need: prepare the "
            "dataset anew, or leave them out with --no-baselines."
        )
    baselines = PhotometricBaselines(dataset.bands, coefficients, options.seed, options.progress)
    photometry = {field: stars[field] for field in PHOTOMETRY_FIELDS}
    return baselines.predict(context.stars("train"), photometry, context.targets)


def describe(context: Context, checkpoint_dir: Folders) -> dict:
    """Which sample, which network, and how it was asked."""
    dataset, trained, options = context.dataset, context.trained, context.options
    sky = "mock sky" if context.is_mock else f"{dataset.name}/{dataset.config}"
    return {
        "sample": f"{sky}, {SPLIT} split",
        "mock": context.is_mock,
        "caveat": context.caveat,
        "n_stars": dataset.n_examples(SPLIT),
        "network": context.name,
        "checkpoint": {"folder": " ".join(map(str, as_paths(checkpoint_dir))), "step": trained.step},
        "dataset": {name: trained.sidecar["dataset"][name] for name in IDENTITY},
        "mc_dropout": {"n_samples": options.n_samples, "seed": options.seed},
        "code_version": {"training": trained.sidecar.get("code_version"), "evaluation": __version__},
        "units": {target: LABELS[target] for target in trained.targets},
        "nominal_coverage": NOMINAL_COVERAGE,
    }


def measure(context: Context, baselines: bool = True) -> dict:
    """`results` of the network and the baselines, and the network's `residuals_by_g`, as `metrics.json` has them."""
    stars, prediction = context.stars(), context.prediction()
    answers = {context.name: prediction.mean} | (predict_baselines(context) if baselines else {})
    results = {
        method: {
            reference: {
                target: residual_metrics(
                    answer[:, i], stars[prefix + target], prediction.std[:, i] if method == context.name else None
                ).to_dict()
                for i, target in enumerate(context.targets)
                if prefix + target in stars
            }
            for reference, prefix in PREFIXES.items()
        }
        for method, answer in answers.items()
    }
    bins = residuals_by_g(context, parameter_samples(context, context.name))
    return {
        "n_without_prediction": sum(reason is not None for reason in prediction.reason),
        "results": results,
        "residuals_by_g": {target: [b.to_dict() for b in in_bins] for target, in_bins in bins.items()},
    }


def write_metrics(context: Context, metrics: Mapping) -> None:
    """`metrics.json`, and the same in words and tables, `metrics.md`."""
    for name, text in (
        ("metrics.md", report.markdown(metrics)),
        ("metrics.json", json.dumps(metrics, indent=2, allow_nan=False) + "\n"),
    ):
        with whole_file(context.out_dir / name, "x") as file:
            file.write(text)


def write_predictions(context: Context, metrics: Mapping) -> None:
    """`predictions.parquet`: a row per star, those without a prediction too; units in the columns' metadata.

    Columns: object_id, source_id, ra, dec, g_psf; for each target its label (`teff`), `teff_predicted`,
    `teff_std` and, on the mock sky, `true_teff`; `reason`, null where there is a prediction.
    """
    stars, prediction, units = context.stars(), context.prediction(), context.dataset.metadata.get("units", {})
    columns = {name: (stars[name], units.get(name, "")) for name in STAR_FIELDS}
    columns["g_psf"] = (g_magnitude(context), "mag")
    for i, target in enumerate(context.targets):
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
    table = pyarrow.table([*arrays, pyarrow.array(prediction.reason, pyarrow.string())], schema)
    with whole_file(context.out_dir / "predictions.parquet") as file:
        pyarrow.parquet.write_table(table, file)


def write_figures(context: Context, metrics: Mapping) -> None:
    """`figure_8.png`, `figure_9.png` and, where log g is a target, `residuals_vs_g.png`."""
    title = f"{metrics['network']}, {metrics['sample']}, n = {metrics['n_stars'] - metrics['n_without_prediction']:,}"
    samples = parameter_samples(context, context.name)
    panel_inches = 4.5 * len(samples)
    for name, draw, height in (
        ("figure_8", prediction_plots.draw_figure_8, 5.4),
        ("figure_9", prediction_plots.draw_figure_9, 4.0),
    ):
        figure = Figure(figsize=(panel_inches, height), dpi=160, layout="constrained")
        draw(figure, samples, title)
        _save(context, figure, name)
    for sample in samples:
        if sample.target == "logg":
            figure = Figure(figsize=(7.5, 4.4), dpi=160, layout="constrained")
            figure.suptitle(title)
            bins = residuals_by_g(context, [sample])["logg"]
            prediction_plots.plot_residuals_vs_magnitude(figure.subplots(), sample, g_magnitude(context), bins)
            _save(context, figure, "residuals_vs_g")


def _save(context: Context, figure: Figure, name: str) -> None:
    with whole_file(context.out_dir / f"{name}.png") as file:
        figure.savefig(file)
