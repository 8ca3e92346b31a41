"""Plain text -> Markdown that reads well as it stands and shows that very text when rendered.

Text is plain but for `code` in backticks. GitHub's dialect is meant, which is CommonMark with tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

CODE = re.compile(r"(?<!`)`([^`\s](?:[^`]*[^`\s])?)`(?!`)")
MARKS = re.compile(
    r"[\\`*~$]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word an underscore is one; `fe_h` stays legible
    r"|<(?=[A-Za-z/!?])"
    r"|\](?=[(\[:])"  # [Fe/H] is no link, [Fe/H](x) is
    r"|&(?=#?\w+;)"
)
LABEL_MARKS = re.compile(r"[\\`*_~$<&!\[\]]")
FIRST_MARKS = re.compile(r"\A(?:#{1,6}(?=\s|$)|>|[-+](?=[\s-]|$)|\[(?=[ xX]\]))")
FIRST_NUMBER = re.compile(r"\A(\d+)([.)])(?=\s|$)")
LAST_MARKS = re.compile(r"(?<=\s)(?=#+$)")
BACKSLASH = r"\\\g<0>"  # before what was matched
MIN_WIDTH = 3  # of a column: the shortest rule that every reader of tables accepts


def spans(text: str) -> list[tuple[bool, str]]:
    """The text cut where `code` begins and ends: pairs of whether it is code, and the words without backticks.

    White space is made single spaces, so that no line of the text begins anything.
    """
    parts = CODE.split(" ".join(text.split()))
    return [(i % 2 == 1, words) for i, words in enumerate(parts) if words]


def paragraph(text: str) -> str:
    """One line, for a paragraph, a heading after its #, or the item of a list."""
    line = FIRST_MARKS.sub(BACKSLASH, _inline(spans(text)))
    line = FIRST_NUMBER.sub(r"\1\\\2", line)
    return LAST_MARKS.sub(r"\\", line)


def cell(text: str) -> str:
    """For a table; `code` that holds a bar becomes plain words, since not every reader can escape it there."""
    pieces = [(is_code and "|" not in words, words) for is_code, words in spans(text)]
    return _inline(pieces).replace("|", r"\|")


def link(text: str, address: str) -> str:
    """Words that lead to a percent-encoded address; an exclamation mark before it makes it a picture."""
    return f"[{LABEL_MARKS.sub(BACKSLASH, plain(text))}]({address})"


def plain(text: str) -> str:
    """The words alone, code or not."""
    return "".join(words for _, words in spans(text))


def code_block(text: str) -> list[str]:
    """Lines as they are, by indentation: nothing in them can end the block."""
    return [f"    {line}".rstrip() for line in text.splitlines()]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], n_text: int) -> list[str]:
    """A table with columns padded to one width.

    Args:
        header: plain text.
        rows: cells of plain text, as many as the header has.
        n_text: how many columns, from the first on, hold words; the others hold numbers.

    Returns:
        its lines.
    """
    header, rows = tuple(map(cell, header)), [tuple(map(cell, row)) for row in rows]
    widths = [max(MIN_WIDTH, *map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width if i < n_text else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = []
    for row in (header, rule, *rows):
        words = [text.ljust(width) for text, width in zip(row[:n_text], widths[:n_text], strict=True)]
        numbers = [text.rjust(width) for text, width in zip(row[n_text:], widths[n_text:], strict=True)]
        lines.append(f"| {' | '.join(words + numbers)} |")
    return lines


def _inline(pieces: Sequence[tuple[bool, str]]) -> str:
    return "".join(f"`{words}`" if is_code else MARKS.sub(BACKSLASH, words) for is_code, words in pieces)
