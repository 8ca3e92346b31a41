"""Evaluate a trained network on the validation stars of the dataset that it was trained on.

  python -m datasets.build --config mock              prepare a mock sky, once
  python train.py --config configs/demo.py            train a network; its folder is runs/demo
  python evaluate.py --checkpoint runs/demo           results in runs/demo/evaluation, in a minute

Every validation star is predicted by Monte Carlo dropout, and gradient boosting is trained on the catalogue magnitudes
and parallaxes of the same training stars, as something to compare with. What comes out:

  metrics.md, metrics.json   offset, scatter and coverage against the labels and, on a mock sky, the injected truth
  predictions.parquet        a row per star: label, prediction, uncertainty; units in the schema
  figure_8.png               predictions against labels, as the paper's Fig. 8
  figure_9.png               uncertainty against label, as the paper's Fig. 9
  residuals_vs_g.png         log g residuals against magnitude: is the star's brightness used?

All of the paper's tables and figures, and what a referee would ask besides, in minutes on the demo:

  python evaluate.py --checkpoint runs/demo --suite paper

  report.html                everything on one page that opens without the internet; report.md is the same
  results.json               every number of it
  figures/                   each figure as PNG and PDF

Networks of one label each, as the paper's, are joined: --checkpoint runs/acf_teff runs/acf_logg runs/acf_fe_h.

Compared with, where given: networks without parallax or of another kind (--compare runs/demo_acpf), the low-quality
sample (--low-quality runs/demo_low_quality), APOGEE and LAMOST (--apogee FILE, --lamost FILE; on the mock sky mock
surveys stand in). Slow results are kept in cache/: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from acf_jax.commands.shared import help_text, keep_compiled_programs
from acf_jax.errors import ACFError
from acf_jax.files import results_folder
from acf_jax.running import run

if TYPE_CHECKING:  # importing these takes seconds, and --help must not wait for it
    from matplotlib.figure import Figure

    from acf_jax.report.context import Context
    from acf_jax.report.section import Section
    from acf_jax.surveys.matching import Matched

SECTIONS = (
    "sample", "stamps", "precision", "regression", "bins", "mc_uncertainty", "uncertainty", "parallax", "no_parallax",
    "baselines", "photometry", "external", "low_quality", "physics",
)  # fmt: skip


class OfClone(NamedTuple):
    """What the package `datasets` does for the suite, passed in since that package is not installed."""

    write_mock_survey: Callable[[str, Mapping[str, np.ndarray], int, Path], Any]
    """(`apogee` or `lamost`, stars, seed, file to write): the mock sky's own survey."""

    figure_2: Callable[[Path, int], Figure]
    """(folder of a dataset, object_id)."""


def parse_arguments(arguments: list[str] | None = None, prog: str = "acf-evaluate") -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=prog, description=help_text(__doc__, prog), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", required=True, nargs="+", action="extend", metavar="DIR",
        help="the run's folder, e.g. runs/demo; several, of networks of different labels, are joined into one",
    )  # fmt: skip
    parser.add_argument(
        "--data_dir", "--data-dir", metavar="DIR", help="where datasets.build put the dataset (default: as in training)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results (default: evaluation in the run's folder)")
    parser.add_argument("--samples", type=int, default=100, help="Monte Carlo dropout samples per star (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples, baselines and bootstraps (default: 0)")
    parser.add_argument("--no-baselines", action="store_true", help="leave gradient boosting out (not of the suite)")
    add_suite_arguments(parser.add_argument_group("the suite"))
    options = parser.parse_args(arguments)
    for name, least in (("samples", 2), ("trials", 1), ("bootstrap", 2)):
        if getattr(options, name) < least:
            why = "a standard deviation needs 2 samples or more" if name == "samples" else f"give {least} or more"
            parser.error(f"--{name} {getattr(options, name)}: {why}.")
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: give 0 or a positive number.")
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"--sections: there is no {unknown[0]}; there are {', '.join(SECTIONS)}.")
    return options


def add_suite_arguments(group) -> None:
    """What only the suite reads."""
    group.add_argument("--suite", choices=["paper"], help="make the whole report")
    group.add_argument(
        "--sections", type=lambda text: text.split(","), default=[], metavar="A,B", help=f"only {', '.join(SECTIONS)}"
    )
    group.add_argument(
        "--compare", "--acpf", action="append", nargs="+", default=[], metavar="DIR",
        help="a run on the same dataset, as the ACPF's, or several to be joined; may be repeated for further networks",
    )  # fmt: skip
    group.add_argument(
        "--low-quality", action="append", nargs="+", default=[], metavar="DIR",
        help="a run on the low-quality sample, or several to be joined, or that dataset's folder; may be repeated",
    )  # fmt: skip
    group.add_argument("--apogee", metavar="FILE", help="APOGEE DR17's allStar table")
    group.add_argument("--lamost", metavar="FILE", help="a table of LAMOST's LSP3 pipeline")
    group.add_argument(
        "--lamost-columns", metavar="MAP", default="",
        help="its columns, where they are not called so: ra=RAJ2000,dec=DEJ2000,teff=Teff,logg=log_g_,fe_h=__Fe_H_",
    )  # fmt: skip
    group.add_argument(
        "--trials", type=int, default=20,
        help="of each baseline's search for hyperparameters, which learns from the sixth on (default: 20)",
    )  # fmt: skip
    group.add_argument("--bootstrap", type=int, default=1_000, help="resamples of the stars (default: 1000)")


def main(arguments: list[str] | None = None, prog: str = "acf-evaluate", of_clone: OfClone | None = None) -> int:
    """Evaluate, and print the tables.

    Args:
        arguments: of the command line; by default this process's.
        prog: the command's name.
        of_clone: functions that need the package `datasets`; without a clone, None.

    Returns:
        The exit status.
    """
    options = parse_arguments(arguments, prog)
    out_dir = results_folder(options.checkpoint, options.out)

    def evaluate() -> int:
        keep_compiled_programs()
        return run_suite(options, out_dir, of_clone) if options.suite else run_quick(options, out_dir)

    return run(evaluate, prog, out=out_dir)


def run_quick(options: argparse.Namespace, out_dir: Path) -> int:
    """The quick evaluation, of a minute."""
    from acf_jax.report import quick, quick_markdown

    metrics = quick.evaluate(
        options.checkpoint,
        options.data_dir,
        out_dir,
        n_samples=options.samples,
        seed=options.seed,
        baselines=not options.no_baselines,
    )
    print(quick_markdown.markdown(metrics))
    print(f"Tables, predictions and figures are in {out_dir}.\n{quick_markdown.next_step(metrics)}")
    return 0


def run_suite(options: argparse.Namespace, out_dir: Path, of_clone: OfClone | None) -> int:
    """The whole report.

    Args:
        options: the command line.
        out_dir: the report's folder.
        of_clone: see `main`.

    Returns:
        1 if a section failed, else 0.

    Raises:
        ACFError: if the run or one of the others cannot be evaluated, or a table of a survey cannot be read.
    """
    # Threads of the tree libraries that wait for each other in a loop make a busy machine ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from acf_jax.report import opening, runner
    from acf_jax.report.context import Options

    context = opening.open_context(
        options.checkpoint,
        options.data_dir,
        out_dir,
        others=options.compare,
        low_quality=options.low_quality,
        options=Options(options.samples, options.seed, options.trials, options.bootstrap),
    )
    context.out_dir.mkdir(parents=True, exist_ok=True)
    context = dataclasses.replace(context, external=external_labels(context, options, of_clone))
    makers = runner.PAPER | {"stamps": lambda context: stamps_section(context, of_clone)}
    keys = [key for key in SECTIONS if key in (options.sections or SECTIONS)]
    page, sections = runner.run(context, {key: makers[key] for key in keys})
    for line in runner.verdict(sections, context.caveat):
        print(f"- {line}")
    for section in sections:
        if section.missing:
            print(f"Left out: {section.title}. {section.missing}")
    print(f"The report is {page}; its numbers are in {context.out_dir}/results.json.")
    return 1 if runner.failed(sections) else 0


def external_labels(context: Context, options: argparse.Namespace, of_clone: OfClone | None) -> dict[str, Matched]:
    """APOGEE's and LAMOST's labels of the validation stars: of the user's files, or of the mock sky's own surveys.

    Args:
        context: what is evaluated.
        options: the command line.
        of_clone: see `main`.

    Returns:
        As in `context.external`; without a clone the mock sky's own surveys are left out.

    Raises:
        ACFError: if a file is not of its survey.
    """
    from acf_jax.surveys import known, matching, reading

    stars, found = context.stars(), {}
    columns = {"lamost": known.columns_from(options.lamost_columns) if options.lamost_columns else {}}
    for survey in ("apogee", "lamost"):
        path = getattr(options, survey)
        if not path and context.is_mock and of_clone is not None:
            path = context.out_dir / f"mock_{survey}.fits"
            of_clone.write_mock_survey(survey, stars, options.seed, path)
        if path:
            entries = reading.read_entries(survey, path, columns.get(survey))
            positions = {name: stars[name] for name in ("source_id", "ra", "dec")}
            found[entries.survey.name] = matching.match(entries, [positions])
    return found


def stamps_section(context: Context, of_clone: OfClone | None) -> Section:
    """Fig. 2, of the validation star of median brightness.

    Raises:
        MissingPieceError: if it cannot be drawn here.
    """
    from acf_jax.report.section import MissingPieceError, Section

    stars = context.stars()
    object_id = int(stars["object_id"][stars["phot_g_mean_mag"].argsort()[len(stars["object_id"]) // 2]])
    if of_clone is None:
        raise MissingPieceError("Fig. 2 needs a clone of the repository, where evaluate.py makes stamps anew.")
    if not context.is_mock:
        raise MissingPieceError(
            f"Fig. 2 needs the survey's cutouts: `python -m datasets.show {object_id} --config "
            f"{context.dataset.config}` asks for them."
        )
    try:
        figure = of_clone.figure_2(context.dataset.folder, object_id)
    except ACFError as error:
        raise MissingPieceError(str(error)) from error
    caption = (
        f"Fig. 2: how a star's stamps are made, star {object_id} of the {context.sample()}. Two detections a band as "
        "they were taken, corrected (sky, zeropoint, reddening) and aligned, and the mean over all detections."
    )
    text = (f"Any other star's: `python -m datasets.show OBJECT_ID`, e.g. `python -m datasets.show {object_id}`.",)
    return Section("stamps", "A star's stamps", text, figures=(context.save(figure, "figure_2", caption),))
