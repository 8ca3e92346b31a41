"""Look at a catalogue. See `python -m acf_jax.catalogue --help`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from acf_jax.catalogue.figures.galactocentric import PARALLAX_SNR_LIMIT
from acf_jax.catalogue.figures.maps import GOOD, flag_names
from acf_jax.catalogue.flags import TABLE, Flag
from acf_jax.catalogue.info import as_text, survey
from acf_jax.running import run

_DESCRIPTION = """Look at a catalogue that predict.py has made: a Parquet, FITS, VOTable or CSV file, or the folder of
one, also while it is being made. Catalogues of any length are read in little memory.
"""

_EPILOG = """examples:
  python -m acf_jax.catalogue info catalogue/                       rows, flags and their meaning, provenance
  python -m acf_jax.catalogue figures catalogue/                    the paper's Figs. 14, 15 and 16 of all stars
  python -m acf_jax.catalogue figures my_stars.fits --good          of stars without a flag that casts doubt
  python -m acf_jax.catalogue figures catalogue/ --flags-none CROWDED,SATURATED --out clean/
"""

_FIGURES = f"""Draw three of the paper's figures, each as PNG and PDF, and write figures.json: how many stars each
shows, how many it leaves out and why.

  figure_14   stars per square degree in Galactic coordinates
  figure_15   number of stars and median [Fe/H] in the Teff-log g plane
  figure_16   median [Fe/H] in Galactocentric R and z, at distances of 1 / parallax

--good leaves out stars with any of these flags:
  {", ".join(flag_names(GOOD)[:5])},
  {", ".join(flag_names(GOOD)[5:])}
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: options.action(options), "acf_jax.catalogue")


def _info(options: argparse.Namespace) -> None:
    found = survey(options.catalogue)
    print(json.dumps(found, indent=2) if options.json else as_text(found))


def _draw(options: argparse.Namespace) -> None:
    from acf_jax.catalogue.figures.figure_files import write_figures

    out_dir = options.out or _beside(options.catalogue)
    excluded = GOOD if options.good else options.flags_none
    told = write_figures(options.catalogue, out_dir, excluded, options.parallax_snr)
    for name, figure in told["figures"].items():
        if "not_drawn" in figure:
            print(f"{name}: not drawn: {figure['not_drawn']}.")
        else:
            print(f"{out_dir / name}.png: {figure['n_used']:,} stars{_left_out(figure['left_out'])}")


def _left_out(reasons: dict[str, int]) -> str:
    return f"; left out: {', '.join(f'{n:,} {reason}' for reason, n in reasons.items())}" if reasons else ""


def _beside(catalogue: Path) -> Path:
    return (catalogue if catalogue.is_dir() else catalogue.parent) / "figures"


def _flags(text: str) -> Flag:
    """Names of flags, separated by commas -> their sum."""
    flags = Flag(0)
    for name in filter(None, (word.strip().upper() for word in text.split(","))):
        if name not in Flag.__members__:
            raise argparse.ArgumentTypeError(f"{name} is no flag; there are {', '.join(Flag.__members__)}.")
        flags |= Flag[name]
    return flags


def _limit(text: str) -> float:
    if not float(text) >= 0:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0.")
    return float(text)


def _parser() -> argparse.ArgumentParser:
    options: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="python -m acf_jax.catalogue", description=_DESCRIPTION, epilog=_EPILOG, **options
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    description = str(survey.__doc__).split("\n")[0]
    info = commands.add_parser("info", help="what the file holds", description=description, **options)
    figures = commands.add_parser(
        "figures", help="Figs. 14, 15 and 16", description=_FIGURES, epilog=_flag_table(), **options
    )
    for command, action in ((info, _info), (figures, _draw)):
        command.add_argument("catalogue", type=Path, help="the file, or the folder of one or of its shards")
        command.set_defaults(action=action)
    info.add_argument("--json", action="store_true", help="for programs")
    figures.add_argument("--out", type=Path, metavar="DIR", help="folder for the figures (default: figures beside)")
    figures.add_argument(
        "--parallax-snr", type=_limit, default=PARALLAX_SNR_LIMIT, metavar="N",
        help="Fig. 16 inverts parallaxes above N times their error (default: %(default)g; the paper's stars: 3.33)",
    )  # fmt: skip
    choice = figures.add_mutually_exclusive_group()
    choice.add_argument(
        "--flags-none", type=_flags, default=Flag(0), metavar="A,B", help="leave out stars with any of these flags"
    )
    choice.add_argument("--good", action="store_true", help="leave out stars with a flag that casts doubt, see above")
    return parser


def _flag_table() -> str:
    return "flags:\n" + "\n".join(f"  {flag.name:<20}{text}" for flag, text in TABLE)


if __name__ == "__main__":
    sys.exit(main())
