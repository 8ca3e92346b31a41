"""The measurements that a section writes to results.json."""

from __future__ import annotations

from collections.abc import Mapping


def records(values: Mapping, **wanted: str) -> list[dict]:
    """Those with these values of their fields."""
    return [m for m in values["measurements"] if all(m[name] == value for name, value in wanted.items())]


def record(values: Mapping, **wanted: str) -> dict:
    """The only one with these."""
    (found,) = records(values, **wanted)
    return found


def by_quantity(values: Mapping, **wanted: str) -> dict[str, float | None]:
    """The values of those with these, by quantity; `n` too, which they share."""
    found = records(values, **wanted)
    (n,) = {m["n"] for m in found}
    quantities = {m["quantity"]: m["value"] for m in found}
    assert len(quantities) == len(found)
    return quantities | {"n": n}
