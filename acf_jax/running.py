"""How a command ends: with an exit status and, after an error, one line instead of a traceback.

A command looks like this:

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
from typing import Any

from acf_jax.errors import ACFError

_STDOUT = 1  # its file descriptor


def run(
    command: Callable[[], int | None], prog: str, *, out: str | Path | None = None, stopped: str = "stopped."
) -> int:
    """Run a command; an error that its user can do something about becomes one line on stderr, `prog: what is wrong`.

    The line is the message of an `ACFError`, the file and the system's reason of an `OSError`, and `stopped` after
    ctrl-C. If the reader of the output goes away early, as in `... | head`, the command ends without a message. Any
    other exception is a fault of the code, and is not caught.

    Args:
        command: does the work; returns an exit status, or None for 0.
        prog: the command's name.
        out: what the command writes, for errors of the system that name no file, such as a full disk.
        stopped: what to say after ctrl-C, and whether the work can go on from there.

    Returns:
        The exit status: the command's own; 1 if it could not be done; 130 after ctrl-C; 141 without a reader: as when
        the signals end a command.
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
    """Whether the broken pipe is standard output; then what is left to print is dropped.

    Otherwise Python would try again at its end, and complain.
    """
    pipe = select.poll()
    pipe.register(_STDOUT, 0)  # asks for errors alone
    if not pipe.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return True


def bar_options(shown: bool) -> dict[str, Any]:
    """Options of a tqdm bar; `disable`, given always, would overrule the user's `TQDM_DISABLE`."""
    return {} if shown else {"disable": True}
