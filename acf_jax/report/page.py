"""The sections of an evaluation -> `report.html`, one file for a browser, `report.md` and `results.json`."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from acf_jax.files import whole_file
from acf_jax.report import provenance
from acf_jax.report.markdown import code_block, link, markdown_table, paragraph, plain, spans
from acf_jax.report.section import FigureFile, Section

TEMPLATES = Path(__file__).parent / "templates"
WIDE_PX = 900  # a figure wider than that scrolls on a phone, for its letters would be too small


@dataclass(frozen=True)
class Heading:
    """What stands above the sections, and at their end."""

    network: str
    sample: str  # as `Context.sample` has it
    verdict: tuple[str, ...] = ()  # the answers in a line each; `code` may stand in backticks
    provenance: Mapping[str, Any] = field(default_factory=dict)  # as `provenance.gather` has it

    @property
    def title(self) -> str:
        """Names the report."""
        return f"{self.network}: {self.sample}"


def write(sections: Sequence[Section], heading: Heading, out_dir: str | Path) -> Path:
    """Write `report.html`, `report.md` and `results.json`.

    The HTML page holds its pictures, needs neither network nor scripts, and links to `figures/<name>.pdf` beside it.
    The Markdown shows `figures/<name>.png`.

    Args:
        sections: in their order.
        heading: what stands above them.
        out_dir: the evaluation's folder.

    Returns:
        the path of the first.

    Raises:
        ValueError: if two sections have one key, or values are not JSON (the two pages are written then).
        FileNotFoundError: if a figure of a section is not on disk.
    """
    keys = [section.key for section in sections]
    if len(set(keys)) < len(keys):
        raise ValueError(f"Two sections of the report have the same key, of {', '.join(sorted(keys))}: rename one.")
    out_dir = Path(out_dir)
    page = out_dir / "report.html"
    _write(page, _html_page(sections, heading, out_dir))
    _write(out_dir / "report.md", markdown_page(sections, heading))
    _write(out_dir / "results.json", _results(sections, heading))
    return page


def _html_page(sections: Sequence[Section], heading: Heading, out_dir: Path) -> str:
    """The page, whose figures lie in `out_dir`; everything that is not the template's own is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    environment.filters["words"] = plain
    environment.filters["address"] = quote
    return environment.get_template("report.html").render(
        heading=heading,
        sections=[section for section in sections if section.missing is None],
        missing=[section for section in sections if section.missing is not None],
        picture=lambda figure: _picture(out_dir, figure),
        wide_px=WIDE_PX,
        facts=list(provenance.facts(heading.provenance)) if heading.provenance else [],
        listings=list(provenance.listings(heading.provenance)) if heading.provenance else [],
    )


def inline(text: str) -> Markup:
    """Plain text with `code` -> HTML."""
    pieces = (Markup("<code>{}</code>").format(words) if code else escape(words) for code, words in spans(text))
    return Markup("").join(pieces)


@dataclass(frozen=True)
class Picture:
    """A PNG as the page holds it."""

    data_url: str
    width_px: int
    height_px: int


def _picture(out_dir: Path, figure: FigureFile) -> Picture:
    path = out_dir / "figures" / f"{figure.name}.png"
    if not path.exists():
        raise FileNotFoundError(f"{path}: a section of the report names this figure; Context.save writes it.")
    data = path.read_bytes()
    width_px, height_px = struct.unpack(">II", data[16:24])  # PNG begins with its header, always at these bytes
    return Picture(f"data:image/png;base64,{base64.b64encode(data).decode()}", width_px, height_px)


def markdown_page(sections: Sequence[Section], heading: Heading) -> str:
    """The same content as the page's, figures by their addresses."""
    made = [section for section in sections if section.missing is None]
    missing = [section for section in sections if section.missing is not None]
    lines = [f"# {paragraph(heading.title)}", ""]
    if heading.verdict:
        lines += ["## Verdict", "", *(f"- {paragraph(line)}" for line in heading.verdict), ""]
    lines += ["## Contents", "", *_contents(made, bool(missing), bool(heading.provenance)), ""]
    for section in made:
        lines += _section(section)
    if missing:
        lines += [_anchor("left_out"), "", "## Left out", ""]
        lines += [f"- {paragraph(f'{section.title}: {section.missing}')}" for section in missing] + [""]
    if heading.provenance:
        lines += _provenance(heading.provenance)
    return "\n".join(lines).rstrip() + "\n"


def _results(sections: Sequence[Section], heading: Heading) -> str:
    """Every number as JSON: `network`, `sample`, `verdict`, `provenance`, and `sections` by key."""
    for section in sections:
        try:
            json.dumps(dict(section.values), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The values of section {section.key!r} cannot go to results.json ({error}): give JSON types, and None "
                "instead of NaN."
            ) from error
    everything = {
        "network": heading.network,
        "sample": heading.sample,
        "verdict": list(heading.verdict),
        "sections": {
            section.key: {"title": section.title, "missing": section.missing, "values": dict(section.values)}
            for section in sections
        },
        "provenance": dict(heading.provenance),
    }
    return json.dumps(everything, indent=2, allow_nan=False) + "\n"


def _contents(made: Sequence[Section], some_missing: bool, some_provenance: bool) -> Iterator[str]:
    entries = [(section.key, section.title) for section in made]
    entries += [("left_out", "Left out")] * some_missing + [("provenance", "Provenance")] * some_provenance
    for key, title in entries:
        yield f"- {link(title, f'#{quote(key)}')}"


def _section(section: Section) -> Iterator[str]:
    yield from (_anchor(section.key), "", f"## {paragraph(section.title)}", "")
    for text in section.text:
        yield from (paragraph(text), "")
    for table in section.tables:
        yield from (paragraph(table.caption), "", *markdown_table(table.header, table.rows, table.n_text), "")
    for figure in section.figures:
        address = f"figures/{quote(figure.name)}"
        yield from (f"!{link(figure.caption, f'{address}.png')}", "")
        yield from (f"{paragraph(figure.caption)} ([PDF]({address}.pdf))", "")


def _provenance(gathered: Mapping) -> Iterator[str]:
    yield from (_anchor("provenance"), "", "## Provenance", "")
    yield from (f"- {paragraph(f'{name}: {text}')}" for name, text in provenance.facts(gathered))
    yield ""
    for title, listing in provenance.listings(gathered):
        yield from (f"### {paragraph(title)}", "", *code_block(listing), "")


def _anchor(key: str) -> str:
    return f'<a id="{escape(key)}"></a>'


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))  # a path may hold what is not Unicode
