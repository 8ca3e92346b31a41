"""How a command ends: its refusals are one line, and have an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from acf_jax.errors import ACFError


def run(main: Callable[[], int | None], prog: str) -> int:
    """Run a command; returns its exit status."""
    try:
        return main() or 0
    except ACFError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{prog}: {where}{error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{prog}: stopped. The same command goes on from here.", file=sys.stderr)
        return 130
