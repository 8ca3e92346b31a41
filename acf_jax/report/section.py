"""What a section of the report holds: words, tables, figures and numbers, whatever it will be printed as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from acf_jax.errors import ACFError


class MissingPieceError(ACFError):
    """A section cannot be made for want of something; the message says of what, and how to get it."""


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read; the caption names the sample."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_text: int = 1  # columns of words, on the left; the others hold numbers

    def __post_init__(self):
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"The table {self.caption!r} has a row that is not as long as its header.")


@dataclass(frozen=True)
class FigureFile:
    """A figure on disk: `figures/<name>.png` and `.pdf` in the evaluation's folder."""

    name: str
    caption: str  # names the sample


@dataclass(frozen=True)
class Section:
    """One part of the report."""

    key: str  # names it on the command line, in files and in anchors: lower case, underscores
    title: str
    text: tuple[str, ...] = ()  # paragraphs, plain, the conclusion first; `code` may stand in backticks
    tables: tuple[Table, ...] = ()
    figures: tuple[FigureFile, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)  # what results.json says: JSON types, no NaN
    missing: str | None = None  # why there is nothing here, and how to get it

    def to_dict(self) -> dict:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping) -> Section:
        """Undo `to_dict`, after a way through JSON too."""
        tables = tuple(
            Table(t["caption"], tuple(t["header"]), tuple(map(tuple, t["rows"])), t["n_text"]) for t in stored["tables"]
        )
        figures = tuple(FigureFile(**figure) for figure in stored["figures"])
        return cls(**{**stored, "text": tuple(stored["text"]), "tables": tables, "figures": figures})


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction as a percentage; a dash for none."""
    return "-" if value is None or value != value else f"{100 * value:.{decimals}f} %"
