"""The command line that the benchmarks over a number of stars share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable


def run(part: str, measure: Callable[[int], dict], default_stars: int, arguments: list[str] | None) -> None:
    """Parse ``--stars`` and ``--json``, measure, print the figures as a table and, if asked, as JSON.

    Args:
        part: what is measured, as in ``python -m benchmarks.<part>``.
        measure: takes the number of stars, returns figures by name; its docstring is the help text.
        default_stars: how many stars unless told.
        arguments: of the command line; None for the process's own.
    """
    parser = argparse.ArgumentParser(f"python -m benchmarks.{part}", description=measure.__doc__)
    parser.add_argument("--stars", type=int, default=default_stars, help="how many stars (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    options = parser.parse_args(arguments)
    if options.stars < 1:
        parser.error(f"--stars {options.stars}: give at least one.")
    figures = measure(options.stars)
    for name, value in figures.items():
        print(f"{name:<32}{value:>12,}")
    if options.json:
        print(json.dumps(figures))
