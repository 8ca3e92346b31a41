"""What `quick.evaluate` measured, in words and Markdown tables that also read well in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from acf_jax.data.prepared import how_to_prepare
from acf_jax.labels import number
from acf_jax.metrics.residuals import NOMINAL_COVERAGE
from acf_jax.report.markdown import markdown_table
from acf_jax.report.section import percent
from acf_jax.report.words import NAMES, REFERENCES, enumerated


def markdown(metrics: Mapping) -> str:
    """The whole report: what was evaluated, a table per reference, log g against magnitude."""
    return "\n".join([*_heading(metrics), *_result_tables(metrics), *_magnitude_table(metrics)])


def next_step(metrics: Mapping) -> str:
    """One sentence on what to do next, by how the network compares with the baselines."""
    larger = "the published network on the paper's stars "
    if metrics["mock"]:
        larger = "the published network on the paper's number of stars "
        larger += f"({how_to_prepare('mock_large')}, then `python train.py --config configs/mock.py`)"
    elif metrics["dataset"]["config"] == "high_quality":
        larger += "(`python train.py --config configs/acf.py`)"
    else:
        larger += f"({how_to_prepare('high_quality')}, then `python train.py --config configs/acf.py`)"
    behind = [NAMES.get(target, target) for target in targets_behind(metrics)]
    if not behind:
        return f"Next: look at figure_8.png, then train {larger}."
    return (
        "Next: gradient boosting on catalogue magnitudes is still ahead in "
        f"{enumerated(behind)}, so train longer (`--config.num_steps`), or {larger}."
    )


def targets_behind(metrics: Mapping) -> list[str]:
    """Targets in which the baseline with the network's own inputs has the smaller standard deviation.

    Against the truth where it is known, otherwise against the labels. Empty without baselines.
    """
    rival = "gradient boosting" if metrics["network"].startswith("ACF") else "gradient boosting, no parallax"
    results = metrics["results"]
    if rival not in results:
        return []
    network, baseline = (results[name]["truth"] or results[name]["label"] for name in (metrics["network"], rival))
    return [t for t in network if _lower(baseline[t]["std"], network[t]["std"])]


def _heading(metrics: Mapping) -> Iterator[str]:
    checkpoint, dataset, mc = metrics["checkpoint"], metrics["dataset"], metrics["mc_dropout"]
    yield f"# {metrics['network']}, {metrics['sample']}, n = {metrics['n_stars']:,}"
    yield ""
    yield (
        f"Checkpoint {checkpoint['folder']}, step {checkpoint['step']:,}; dataset {dataset['name']}/"
        f"{dataset['config']} {dataset['version']}, fingerprint {dataset['fingerprint'][:12]}; "
        f"{mc['n_samples']} Monte Carlo dropout samples a star, seed {mc['seed']}; "
        f"ACF-JAX {metrics['code_version']['evaluation']}."
    )
    if metrics["n_without_prediction"]:
        yield f"{metrics['n_without_prediction']:,} stars have no prediction and are left out: see predictions.parquet."
    if metrics.get("caveat"):
        yield metrics["caveat"]
    yield ""


def _result_tables(metrics: Mapping) -> Iterator[str]:
    results = metrics["results"]
    nominal_68, nominal_95 = (f"{100 * NOMINAL_COVERAGE[name]:.2f} %" for name in ("coverage_68", "coverage_95"))
    header = ("", "method", "offset", "std", "1.4826 MAD", "RMSE", "in 1 sigma", "in 1.96 sigma", "n")
    for reference, words in REFERENCES.items():
        targets = results[metrics["network"]][reference]
        if not targets:
            continue
        yield f"## Against {words} ({metrics['sample']})"
        yield ""
        rows = []
        for target in targets:
            unit = metrics["units"][target]
            for i, (method, by_reference) in enumerate(results.items()):
                name = f"{NAMES.get(target, target)} ({unit})" if i == 0 else ""
                rows.append((name, method, *_cells(by_reference[reference][target], unit)))
        yield from markdown_table(header, rows, n_text=2)
        yield ""
    yield (
        "A residual is predicted - reference; offset is its mean, std is about the offset (ddof 0). The last columns "
        "count stars within 1 and 1.96 predicted standard deviations of the reference: "
        f"{nominal_68} and {nominal_95} if the uncertainties are right and Gaussian."
    )
    yield ""


def _magnitude_table(metrics: Mapping) -> Iterator[str]:
    bins = metrics["residuals_by_g"].get("logg")
    if not bins:
        return
    yield f"## log g residual of the {metrics['network']} against g magnitude, labels ({metrics['sample']})"
    yield ""
    rows = [
        (
            f"{b['lower']:.1f} to {b['upper']:.1f}",
            f"{b['n']:,}",
            *(number(b[name], "dex") for name in ("offset", "std")),
        )
        for b in bins
    ]
    yield from markdown_table(("g (mag)", "n", "offset (dex)", "std (dex)"), rows, n_text=1)
    yield ""


def _cells(metrics: Mapping, unit: str) -> list[str]:
    moments = [
        number(metrics["offset"], unit, "+"),
        *(number(metrics[name], unit) for name in ("std", "mad_std", "rmse")),
    ]
    return [*moments, percent(metrics["coverage_68"]), percent(metrics["coverage_95"]), f"{metrics['n']:,}"]


def _lower(a: float | None, b: float | None) -> bool:
    return a is not None and (b is None or a < b)
