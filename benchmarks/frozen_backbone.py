"""Where a trained network loses its precision: in the backbone's features, or in what is made of them?

  python -m benchmarks.frozen_backbone --checkpoint runs/demo
  python -m benchmarks.frozen_backbone --checkpoint runs/demo_growth --steps 8000 --json

The backbone stays as it was trained. A prediction module is trained anew, and longer than a training of the whole
network can afford, on its features together with the scalars (parallax, growth curve), and on the scalars alone. If
the first is no better than the network, the features hold no more; if the second is better than the first, they harm.
Features and scalars are kept in the run's folder. Standard deviations are about the injected truth where it is known,
about the labels otherwise, over the validation split; the last line of --json is one JSON object.
"""

from __future__ import annotations

import argparse
import sys

import jax
import numpy as np

from acf_jax.baselines import photometric_network
from acf_jax.data.batches import filled_batches
from acf_jax.devices import compilation_cache
from acf_jax.labels import LABELS, number
from acf_jax.report.context import STARS_AT_A_TIME, Context, Options, labels_of, network_facts, split_facts
from acf_jax.report.markdown import markdown_table
from acf_jax.report.opening import open_context
from acf_jax.report.words import NAMES
from acf_jax.running import run
from benchmarks.command import make_parser, print_json

SPLITS = ("train", "calibration", "validation")


def scalars(context: Context, split: str) -> np.ndarray:
    """What the network's scalar branch reads of a split's stars, (n, num_scalars); kept on disk."""
    trained, stars = context.trained, context.stars(split)
    scaled = jax.jit(trained.input_scaling.scalars, static_argnames="use_parallax")

    def compute() -> dict[str, np.ndarray]:
        parts = []
        for rows, n_real in filled_batches(len(stars["parallax"]), STARS_AT_A_TIME):
            stamps = np.nan_to_num(context.dataset.arrays(split, ("stamp",), rows.tolist())["stamp"])
            astrometry = (stars["parallax"][rows], stars["parallax_error"][rows])
            told = scaled(stamps, *astrometry, use_parallax=trained.model.config.use_parallax)
            parts.append(np.asarray(told)[:n_real])
        return {"scalars": np.concatenate(parts)}

    return context.cached("scalars", network_facts(trained) | split_facts(context.dataset, split), compute)["scalars"]


def measure(context: Context, steps: int, seed: int) -> dict[str, dict[str, float]]:
    """Train the two modules and compare them with the network.

    Args:
        context: of the trained network.
        steps: of the new modules' training.
        seed: of the same.

    Returns:
        {what the predictions were made of: {target: standard deviation of the residuals}}.
    """
    inputs = {split: (context.features(split=split), scalars(context, split)) for split in SPLITS}
    labels = {split: labels_of(context.stars(split), context.targets) for split in SPLITS}
    stars = context.stars("validation")
    reference = labels_of(stars, context.targets, "true_") if context.is_mock else labels["validation"]
    answers = {"the whole network": context.prediction().mean}
    for name, first in (("features and scalars", 0), ("scalars alone", 1)):
        columns = {split: np.concatenate(parts[first:], axis=1) for split, parts in inputs.items()}
        settings = photometric_network.Settings(num_steps=steps, seed=seed)
        train, calibration = ((columns[split], labels[split]) for split in SPLITS[:2])
        network = photometric_network.fit(train, calibration, context.targets, settings, progress=True)
        answers[name], _ = network.predict(columns["validation"], stars["object_id"])
    return {
        name: {t: float(np.nanstd(mean[:, i] - reference[:, i])) for i, t in enumerate(context.targets)}
        for name, mean in answers.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser("frozen_backbone", __doc__)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--data_dir", "--data-dir", metavar="DIR", help="of its dataset (default: as in training)")
    parser.add_argument("--steps", type=int, default=8_000, help="of the new prediction module, of 128 stars")
    parser.add_argument("--seed", type=int, default=0, help="of the new prediction module")
    options = parser.parse_args(arguments)
    return run(lambda: measure_and_print(options), "benchmarks.frozen_backbone")


def measure_and_print(options: argparse.Namespace) -> None:
    """What the command line asks for.

    Raises:
        ACFError: if the run or its dataset cannot be read.
    """
    compilation_cache.enable(".jax_cache")
    context = open_context(options.checkpoint, options.data_dir, options=Options(seed=options.seed))
    stds = measure(context, options.steps, options.seed)
    print(f"{context.name}, {context.sample()}, step {context.trained.step}; new head: {options.steps} steps of 128")
    rows = [(name, *(number(of[t], LABELS[t]) for t in context.targets)) for name, of in stds.items()]
    for line in markdown_table(("made of", *(NAMES[t] for t in context.targets)), rows, n_text=1):
        print(line)
    print_json(options, {"sample": context.sample(), "network": context.name, "steps": options.steps, "std": stds})


if __name__ == "__main__":
    sys.exit(main())
