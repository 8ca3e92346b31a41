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
  python -m acf_jax.catalogue compare catalogue/ --apogee allStar-dr17-synspec_rev1.fits
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

_TABLES = {
    "apogee": "APOGEE DR17's allStar table; STARFLAG = 0, FE_H_FLAG = 0, TEFF >= 4000 K",
    "lamost": "a table of LAMOST's LSP3 pipeline; Teff within 4000 to 8000 K",
    "galah": "GALAH DR3's allstar table; flag_sp = 0, flag_fe_h = 0, snr_c3_iraf > 30",
    "table": "any other table; no cuts",
}

_COMPARE = """Compare a catalogue with a spectroscopic survey, as the paper's Figs. 11 and 12 do.

An entry of the survey is matched with the star that has its Gaia id (EDR3's, which is DR3's); where either has no id,
with the nearest star within 1 arcsec. Entries are cut as in the paper, and stars that the network was trained on are
left out. What comes out, in DIR:

  figure_11 (APOGEE), figure_12 (LAMOST), comparison_...   parameters against the survey's labels, PNG and PDF
  ..._trends                                               residuals along each label, with their running median
  compare.json                                             counts of every step, offsets, scatters, trends
"""

_COMPARE_EPILOG = """examples:
  python -m acf_jax.catalogue compare catalogue/ --apogee allStar-dr17-synspec_rev1.fits --good
  python -m acf_jax.catalogue compare catalogue/ --lamost lsp3.fits \\
      --columns ra=RAJ2000,dec=DEJ2000,teff=Teff,logg=log_g_,fe_h=__Fe_H_
  python -m acf_jax.catalogue compare my_stars.fits --table segue.csv --columns teff=TEFF_ADOP,fe_h=FEH_ADOP
  python -m datasets.mock_sky survey apogee --dataset smss_stamps/mock --out mock_apogee.fits    a mock one to try it

Columns have our names (source_id, ra, dec, teff, logg, fe_h, e_teff, e_logg, e_fe_h) or the survey's own, in capitals
or not; positions are ICRS degrees. Quoted errors may be wanting, and either the ids or the positions; those of a label
that --columns names are read if it names them, too.
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

    out_dir = options.out or _beside(options.catalogue, "figures")
    excluded = GOOD if options.good else options.flags_none
    told = write_figures(options.catalogue, out_dir, excluded, options.parallax_snr)
    for name, figure in told["figures"].items():
        if "not_drawn" in figure:
            print(f"{name}: not drawn: {figure['not_drawn']}.")
        else:
            print(f"{out_dir / name}.png: {figure['n_used']:,} stars{_left_out(figure['left_out'])}")


def _compare(options: argparse.Namespace) -> None:
    from acf_jax.catalogue.comparison import write_comparison
    from acf_jax.surveys.reading import read_entries

    key, table = next((key, path) for key in _TABLES if (path := getattr(options, key)))
    out_dir = options.out or _beside(options.catalogue, "compare") / (table.name.partition(".")[0] or key)
    entries = read_entries(key, table, options.columns)
    told = write_comparison(
        options.catalogue,
        entries.without_ids() if options.by_position else entries,
        out_dir,
        excluded=GOOD if options.good else options.flags_none,
        with_trained=options.with_trained,
        training=options.training,
    )
    print(f"{told['sample']}\nagainst {told['survey']}{' (mock)' if told['is_mock'] else ''}\n")
    for step, n in told["counts"].items():
        print(f"  {step:<54}{n:>12,}")
    print(f"\n{told['table']}\n")
    if told["paper"]["n"]:
        print(f"The paper compared {told['paper']['n']:,} stars; a dash where it prints no number.")
    for doubt in _doubts(told):
        print(doubt)
    print(
        f"{out_dir / 'compare.json'} holds all numbers; figures: {', '.join(told['figures']) or 'none, without stars'}."
    )


def _doubts(told: dict) -> list[str]:
    """What could be wrong with a comparison, and what to do."""
    doubts, counts = [], told["counts"]
    if told["trained_on_may_be_unknown"]:
        doubts.append(
            "The network was trained on another dataset than this catalogue's: stars that are in both carry no flag "
            "and are among those compared. --training FOLDER, that dataset's, tells them."
        )
    other_id = sum(n for step, n in counts.items() if step.endswith("another Gaia id"))
    if other_id > 0.05 * counts["paired by Gaia id"]:
        doubts.append(
            f"{other_id:,} entries lie at a star, but have the Gaia id of another: are the table's ids those of DR2? "
            "--by-position leaves ids out."
        )
    return doubts


def _left_out(reasons: dict[str, int]) -> str:
    return f"; left out: {', '.join(f'{n:,} {reason}' for reason, n in reasons.items())}" if reasons else ""


def _beside(catalogue: Path, name: str) -> Path:
    return (catalogue if catalogue.is_dir() else catalogue.parent) / name


def _flags(text: str) -> Flag:
    """Names of flags, separated by commas -> their sum."""
    flags = Flag(0)
    for name in filter(None, (word.strip().upper() for word in text.split(","))):
        if name not in Flag.__members__:
            raise argparse.ArgumentTypeError(f"{name} is no flag; there are {', '.join(Flag.__members__)}.")
        flags |= Flag[name]
    return flags


def _columns(text: str) -> dict[str, str]:
    from acf_jax.surveys.known import SurveyError, columns_from

    try:
        return columns_from(text)
    except SurveyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
    compare = commands.add_parser(
        "compare", help="Figs. 11 and 12: against another survey", description=_COMPARE, epilog=_COMPARE_EPILOG,
        **options,
    )  # fmt: skip
    for command, action in ((info, _info), (figures, _draw), (compare, _compare)):
        command.add_argument("catalogue", type=Path, help="the file, or the folder of one or of its shards")
        command.set_defaults(action=action)
    info.add_argument("--json", action="store_true", help="for programs")
    figures.add_argument(
        "--parallax-snr", type=_limit, default=PARALLAX_SNR_LIMIT, metavar="N",
        help="Fig. 16 inverts parallaxes above N times their error (default: %(default)g; the paper's stars: 3.33)",
    )  # fmt: skip
    for command, what in ((figures, "figures"), (compare, "compare/TABLE")):
        command.add_argument("--out", type=Path, metavar="DIR", help=f"folder for the files (default: {what} beside)")
        choice = command.add_mutually_exclusive_group()
        choice.add_argument(
            "--flags-none", type=_flags, default=Flag(0), metavar="A,B", help="leave out stars with any of these flags"
        )
        choice.add_argument(
            "--good", action="store_true", help="leave out stars with a flag that casts doubt, see `figures --help`"
        )
    tables = compare.add_mutually_exclusive_group(required=True)
    for key, what in _TABLES.items():
        tables.add_argument(f"--{key}", type=Path, metavar="FILE", help=what)
    compare.add_argument(
        "--columns", type=_columns, default={}, metavar="MAP", help="the table's columns that are called otherwise"
    )
    compare.add_argument("--by-position", action="store_true", help="match by position alone, whatever the ids")
    compare.add_argument(
        "--with-trained",
        action="store_true",
        help="mark the stars that the network was trained on, and tell them apart",
    )
    compare.add_argument(
        "--training", type=Path, metavar="FOLDER",
        help="the prepared dataset of the training, if the catalogue is of another one, to know the stars of both",
    )  # fmt: skip
    return parser


def _flag_table() -> str:
    return "flags:\n" + "\n".join(f"  {flag.name:<20}{text}" for flag, text in TABLE)


if __name__ == "__main__":
    sys.exit(main())
