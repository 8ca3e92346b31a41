"""Evaluate a trained network on the validation stars of the dataset that it was trained on.

  python -m datasets.build --config mock              prepare a mock sky, once
  python train.py --config configs/demo.py            train a network; its folder is runs/demo
  python evaluate.py --checkpoint runs/demo           results in runs/demo/evaluation

Every validation star is predicted by Monte Carlo dropout, and gradient boosting is trained on the catalogue magnitudes
and parallaxes of the same training stars, as something to compare with. What comes out:

  metrics.md, metrics.json   offset, scatter and coverage against the labels and, on a mock sky, the injected truth
  predictions.parquet        a row per star: label, prediction, uncertainty; units in the schema
  figure_8.png               predictions against labels, as the paper's Fig. 8
  figure_9.png               uncertainty against label, as the paper's Fig. 9
  residuals_vs_g.png         log g residuals against magnitude: is the star's brightness used?
"""

import argparse
import sys
from pathlib import Path

from acf_jax import compilation_cache, report
from acf_jax.checkpoints import CheckpointError
from acf_jax.evaluation import EvaluationError, evaluate
from acf_jax.input_pipeline import DatasetError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's folder, e.g. runs/demo")
    parser.add_argument(
        "--data_dir", "--data-dir", metavar="DIR", help="where datasets.build put the dataset (default: as in training)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results (default: evaluation in the run's folder)")
    parser.add_argument("--samples", type=int, default=100, help="Monte Carlo dropout samples per star (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and of gradient boosting (default: 0)")
    parser.add_argument("--no-baselines", action="store_true", help="leave gradient boosting out")
    options = parser.parse_args(arguments)
    if options.samples < 2:
        parser.error(f"--samples {options.samples}: a standard deviation needs 2 samples or more.")
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: give 0 or a positive number.")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, print the tables, and turn refusals into one line. Returns the exit status."""
    options = parse_arguments(arguments)
    compilation_cache.enable(Path(__file__).parent / ".jax_cache")  # shared with train.py
    out_dir = options.out or Path(options.checkpoint) / "evaluation"
    try:
        metrics = evaluate(
            options.checkpoint,
            options.data_dir,
            out_dir,
            n_samples=options.samples,
            seed=options.seed,
            baselines=not options.no_baselines,
        )
    except (CheckpointError, DatasetError, EvaluationError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"evaluate.py: {error.filename or out_dir}: {error.strerror or error}.", file=sys.stderr)
        return 1
    print(report.markdown(metrics))
    print(f"Tables, predictions and figures are in {out_dir}.\n{report.next_step(metrics)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
