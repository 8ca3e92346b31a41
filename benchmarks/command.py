"""What the benchmarks' command lines share."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable

from acf_jax import running


def run(part: str, measure: Callable[[int], dict], default_stars: int, arguments: list[str] | None) -> int:
    """Parse `--stars` and `--json`, measure, print the figures as a table and, if asked, as JSON.

    Args:
        part: what is measured, as in `python -m benchmarks.<part>`.
        measure: takes the number of stars, returns figures by name; its docstring is the help text.
        default_stars: how many stars unless told.
        arguments: of the command line; None for the process's own.

    Returns:
        The exit status.
    """
    parser = make_parser(part, measure.__doc__)
    parser.add_argument("--stars", type=int, default=default_stars, help="how many stars (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.stars < 1:
        parser.error(f"--stars {options.stars}: give at least one.")

    def command() -> None:
        figures = measure(options.stars)
        for name, value in figures.items():
            print(f"{name:<32}{value:>12,}")
        print_json(options, figures)

    return running.run(command, f"benchmarks.{part}")


def make_parser(part: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.<part>`, with the option that all of them have."""
    parser = argparse.ArgumentParser(
        f"python -m benchmarks.{part}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    return parser


def print_json(options: argparse.Namespace, figures: dict) -> None:
    """Print the figures as one JSON object on a line, if asked."""
    if options.json:
        print(json.dumps(figures))


def read_config(config_file: str):
    """The config that a file's `get_config` makes."""
    spec = importlib.util.spec_from_file_location("chosen_config", config_file)
    assert spec is not None  # as of any file whose name ends in .py; so is its loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
