"""How a command ends: with an exit status and, if something was in its way, one line instead of a traceback.

def main(arguments: list[str] | None = None) -> int:
options = parse_arguments(arguments)
return run(lambda: do(options), "acf_jax.something")

if __name__ == "__main__":
sys.exit(main())
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from acf_jax.errors import ACFError

_STDOUT = 1  # its file descriptor


def run(
    command: Callable[[], int | None], prog: str, *, out: str | Path | None = None, stopped: str = "stopped."
) -> int:
    """Run a command; what its user can do something about becomes one line on stderr, `prog: what is wrong`.

    An `ACFError` says it itself; of an `OSError` the line names the file and the system's reason; ctrl-C is told as
    `stopped`. A reader of the output that goes away early, as in `... | head`, ends the command without a word.
    Whatever else is raised is a fault of the code, and raised on.

    Args:
        command: does the work; returns an exit status, or None for 0.
        prog: the command's name.
        out: what the command writes, for errors of the system that name no file: a full disk's.
        stopped: what to say after ctrl-C, and whether the work can go on from there.

    Returns:
        The exit status: the command's own; 1 if it could not be done; 130 after ctrl-C; 141 without a reader, as if
        the signals had ended it.
    """
    try:
        status = command()
        print(end="", flush=True)  # here, where a reader that has gone is noticed, and not when Python ends
        return status or 0
    except ACFError as error:
        print(f"{prog}: {error}", file=sys.stderr)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _lost_the_reader():
            return 128 + signal.SIGPIPE
        words = [str(word) for word in (prog, error.filename or out, error.strerror or error) if word]
        print(f"{': '.join(words)}.", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"\n{prog}: {stopped}", file=sys.stderr)
        return 128 + signal.SIGINT
    return 1


def _lost_the_reader() -> bool:
    """Whether the pipe that is broken is standard output; then what is left to print is dropped.

    Otherwise Python would try again at its end, and complain.
    """
    pipe = select.poll()
    pipe.register(_STDOUT, 0)  # asks for errors alone
    if not pipe.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return True
