"""Our CSWin Transformer beside the golden values of the authors' code.

Prints the largest deviation of each operation of a block, each stage and merge, the features, the loss and every
gradient, in float64, float32, mixed precision (bfloat16 from float32 parameters) and bfloat16 throughout, with the
tolerance of each. Ends with status 1 if one is beyond its tolerance.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

import jax

from tests.golden import comparison
from tests.golden.comparison import KINDS, PRECISIONS, kind_of, tolerance

HEADING = (
    "Largest absolute deviation from the golden values, relative to the largest golden absolute value of the same\n"
    "quantity (gradient norms: each relative to its own), and the tolerance. Precisions: float64; float32; mixed\n"
    "(bfloat16 computed from float32 parameters); bfloat16 (parameters too)."
)


def table(by_precision: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each quantity, then one for the largest of each kind; two columns for each precision."""
    quantities = list(next(iter(by_precision.values())))
    rows = [
        ["quantity", *(f"{heading:>9}" for precision in by_precision for heading in (precision, "tolerance"))],
        *(_row(name, name, by_precision) for name in quantities),
        [],
    ]
    for kind in KINDS:
        of_kind = [name for name in quantities if kind_of(name) == kind]
        largest = {
            precision: {kind: max(deviations[name] for name in of_kind)}
            for precision, deviations in by_precision.items()
        }
        rows.append(_row(f"largest: {kind} ({len(of_kind)})", kind, largest))
    width = max(len(row[0]) for row in rows if row)
    return "\n".join("  ".join([f"{row[0]:<{width}}", *row[1:]]) if row else "" for row in rows)


def _row(label: str, name: str, by_precision: Mapping[str, Mapping[str, float]]) -> list[str]:
    values = [(deviations[name], tolerance(name, precision)) for precision, deviations in by_precision.items()]
    return [label, *(f"{value:9.1e}" for pair in values for value in pair)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)

    by_precision = {precision: comparison.measured(precision) for precision in options.precision or PRECISIONS}
    beyond = {
        precision: comparison.beyond_tolerance(deviations, precision) for precision, deviations in by_precision.items()
    }
    passed = not any(beyond.values())
    device = f"{jax.devices()[0].device_kind}, JAX {jax.__version__}"
    print(HEADING, f"On {device}.", "", table(by_precision), "", sep="\n")
    for precision, names in beyond.items():
        for name in names:
            print(f"Beyond its tolerance in {precision}: {name}.")
    if passed:
        print("All are within their tolerances.")
    if options.json:
        tolerances = {
            precision: {name: tolerance(name, precision) for name in deviations}
            for precision, deviations in by_precision.items()
        }
        print(json.dumps({"device": device, "passed": passed, "deviations": by_precision, "tolerances": tolerances}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
