"""Which scaling of stamps and parallaxes learns best: the same network, data and seeds under each of them.

    python -m benchmarks.input_scaling --config configs/demo.py --steps 800 --seeds 0 1 2 --out runs/input_scaling

A training that is done already is not repeated, so the command can be interrupted and given again. It ends with a
Markdown table; `--json` adds the same as one JSON object on the last line. The residuals are those of the validation
split against the injected truth, at the last step, of the mean over 50 Monte Carlo samples.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acf_jax.files import whole_file
from acf_jax.running import run
from benchmarks.command import make_parser, print_json, read_config
from datasets.build.workers import available_cpus

VARIANTS = {
    "linear, log parallax": {"stamp_method": "linear", "parallax_method": "log"},
    "whitened, log parallax": {"stamp_method": "whitened", "parallax_method": "log"},
    "asinh, log parallax": {"stamp_method": "asinh", "parallax_method": "log"},
    "whitened, raw parallax": {"stamp_method": "whitened", "parallax_method": "raw"},
}
TARGETS = ("teff", "logg", "fe_h")
G_EDGES_MAG = (0.0, 12.5, 13.5, 99.0)  # bright, middle, faint
N_SAMPLES = 50
G_BAND = 2  # in u v g r i z


@dataclass(frozen=True)
class Task:
    """One variant under one seed."""

    variant: str
    seed: int
    config_file: str
    steps: int
    data_dir: str
    out: str

    @property
    def folder(self) -> Path:
        """Of its run."""
        return Path(self.out) / f"{self.variant.replace(', ', '_').replace(' ', '_')}_{self.steps}_{self.seed}"


def run_one(task: Task) -> dict:
    """Train one variant under one seed, unless it was done before, on one processor core."""
    result_file = task.folder / "result.json"
    if not result_file.exists():
        result = train_and_measure(task)
        with whole_file(result_file, "x") as file:
            file.write(json.dumps(result))
    return json.loads(result_file.read_text())


def claim_core(cores: multiprocessing.Queue) -> None:
    """Keep this worker on a core of its own: two trainings side by side get more done than one on two cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})


def train_and_measure(task: Task) -> dict:
    """Train, and take the residuals of the last step's network against the truth."""
    # JAX counts the cores when it starts, so it starts here, in a worker that has its own.
    from acf_jax.data.prepared import find_dataset, open_dataset
    from acf_jax.inference import mc_dropout
    from acf_jax.inference.loading import load
    from acf_jax.metrics.residuals import binned_residuals
    from acf_jax.training.loop import train

    config = read_config(task.config_file)
    config.seed, config.num_steps = task.seed, task.steps
    config.input.update(VARIANTS[task.variant])
    train(config, task.folder, task.data_dir)
    trained = load(task.folder, "latest")
    arrays = open_dataset(find_dataset(task.data_dir, config.dataset.name, config.dataset.config)).arrays("validation")
    inputs = (arrays[name] for name in ("stamp", "parallax", "parallax_error", "object_id"))
    predicted = dict(
        zip(trained.targets, mc_dropout.predict(trained, *inputs, n_samples=N_SAMPLES).mean.T, strict=True)
    )
    residuals = {target: predicted[target] - arrays[f"true_{target}"] for target in TARGETS}
    bins = binned_residuals(residuals["logg"], arrays["true_mag"][:, G_BAND], G_EDGES_MAG)
    return {
        "variant": task.variant,
        "seed": task.seed,
        "steps": task.steps,
        "n": len(residuals["teff"]),
        "dataset": trained.sidecar["dataset"]["fingerprint"],
        **{target: float(residuals[target].std()) for target in TARGETS},
        "logg_offset_by_g": [bin_.offset for bin_ in bins],
    }


def summarise(results: list[dict]) -> list[dict]:
    """A row a variant: mean over seeds and, for the residuals, the scatter between seeds (ddof 1)."""
    rows = []
    for variant in VARIANTS:
        runs = [result for result in results if result["variant"] == variant]
        if not runs:
            continue
        row = {"variant": variant, "seeds": len(runs), "steps": runs[0]["steps"], "n": runs[0]["n"]}
        for target in TARGETS:
            values = [run[target] for run in runs]
            row[target] = float(np.mean(values))
            row[f"{target}_scatter"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        row["logg_offset_by_g"] = np.mean([run["logg_offset_by_g"] for run in runs], axis=0).tolist()
        rows.append(row)
    return rows


def markdown(rows: list[dict]) -> str:
    """The table, seed scatter behind the +-."""
    lines = [
        "| scaling | seeds | Teff (K) | log g | [Fe/H] | log g offset at g < 12.5, 12.5-13.5, > 13.5 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{row[target]:.{digits}f}"
            + ("" if row[f"{target}_scatter"] is None else f" ± {row[f'{target}_scatter']:.{digits}f}")
            for target, digits in (("teff", 0), ("logg", 3), ("fe_h", 3))
        ]
        offsets = ", ".join(f"{offset:+.3f}" for offset in row["logg_offset_by_g"])
        lines.append(f"| {row['variant']} | {row['seeds']} | {' | '.join(cells)} | {offsets} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser("input_scaling", __doc__)
    parser.add_argument("--config", default="configs/demo.py", help="the run that is varied (default: the demo's)")
    parser.add_argument("--steps", type=int, default=800, help="steps a training (default 800)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds, one training each a variant")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--out", default="runs/input_scaling", help="where the runs go")
    parser.add_argument("--data-dir", default="data", help="where the prepared dataset is")
    parser.add_argument("--jobs", type=int, default=available_cpus(), help="trainings side by side, a core each")
    options = parser.parse_args(arguments)
    return run(lambda: compare(options), "benchmarks.input_scaling")


def compare(options: argparse.Namespace) -> None:
    """Train every variant under every seed, and print what came out.

    Raises:
        ACFError: if a training cannot be done.
    """
    tasks = [
        Task(variant, seed, options.config, options.steps, options.data_dir, options.out)
        for seed in options.seeds
        for variant in options.variants
    ]
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for worker in range(options.jobs):
        # More workers than cores share them.
        cores.put(sorted(os.sched_getaffinity(0))[worker % available_cpus()] if hasattr(os, "sched_getaffinity") else 0)
    with context.Pool(options.jobs, initializer=claim_core, initargs=(cores,)) as pool:
        results = pool.map(run_one, tasks, chunksize=1)
    rows = summarise(results)
    print(f"Mock sky, validation split, {rows[0]['n']} stars, against the truth; {rows[0]['steps']} steps.\n")
    print(markdown(rows))
    print_json(options, {"rows": rows})


if __name__ == "__main__":
    sys.exit(main())
