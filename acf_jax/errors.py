"""The base of all errors for users, and how they list what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ACFError(Exception):
    """Something that cannot be done; the message says what was wrong, where, and what to do.

    A command prints it as one line. Any other exception is a fault of the code.
    """


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested dictionaries.

    Args:
        old: names with values, or with further dictionaries.
        new: likewise.
        prefix: stands before every name.

    Returns:
        A line `- name: old` and a line `+ name: new` for each; the name `a.b` means b in the dictionary a.
    """
    lines = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines += [f"- {prefix}{name}: {before}"] if name in old else []
            lines += [f"+ {prefix}{name}: {after}"] if name in new else []
    return lines
