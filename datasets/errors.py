"""The base of all refusals, and how a command line tells them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


class DataError(Exception):
    """Something that cannot be done; the message says what was wrong, where, and what to do.

    A command prints it as one line. Whatever else is raised is a fault of the code.
    """


def run(name: str, command: Callable[[], int], when_stopped: str = "") -> int:
    """Run a command line; what ends it early becomes one line on stderr.

    Args:
        name: of the command, with which the line begins.
        command: does it all and returns the exit status.
        when_stopped: a sentence for whoever stops it with ctrl-C.

    Returns:
        The exit status: the command's own, 1 after a `DataError` or `OSError`; as shells have it, 130 after ctrl-C and
        141 where nobody reads what it prints any more.
    """
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()  # here and not at the interpreter's end, which could only complain
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the interpreter's end
        return 141
    except KeyboardInterrupt:
        print(f"\n{name}: stopped. {when_stopped}".rstrip(), file=sys.stderr)
        return 130
    except DataError as error:
        print(f"{name}: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{name}: {where}{error.strerror or error}", file=sys.stderr)
    return 1
