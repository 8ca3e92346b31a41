"""The ReadMe of a catalogue, after the CDS's standard for documents (https://cds.unistra.fr/doc/catstd.htx).

Beside a file of fixed width (.dat) it describes that file byte by byte, and astropy reads the two together
(`ascii.read("catalogue.dat", format="cds", readme="ReadMe")`); of another file it lists the columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from acf_jax.catalogue.columns import Column
from acf_jax.catalogue.errors import told_if_not_written
from acf_jax.catalogue.files import side_file
from acf_jax.catalogue.files.contents import Contents, Flags, flattened
from acf_jax.catalogue.files.records import ascii_text
from acf_jax.files import whole_file

AUTHORS = "the makers of this catalogue, with ACF-JAX"
PAPER = "=2025A&A...698A.322"
PAPER_DOI = "10.1051/0004-6361/202452365"
_LINE, _RULE = 80, 80 * "-"

_ABSTRACT = (
    "Atmospheric parameters that the Atmospheric CSWin Framework (ACF), a vision transformer, predicts from stamps of "
    "48 x 48 pixels in the bands u, v, g, r, i, z of the SkyMapper Southern Survey and, where there is one, from the "
    "star's parallax (A&A 698, A322). Each parameter is the mean of {n_samples} samples of Monte Carlo dropout. Every "
    "star that was asked for has a row: with a result, or with a flag and a reason."
)
_NOTES = (
    (
        "errors and intervals",
        "e_X_mc is the standard deviation of the Monte Carlo samples of X, which knows nothing of the noise of stamps "
        "and labels. e_X_cal is the error after calibration on labelled stars that were not trained on: it contains "
        "the noise of their labels. e_X is e_X_cal, or e_X_mc where the network was not calibrated. X_lo68, X_hi68, "
        "X_lo95 and X_hi95 end the intervals of 68 and 95 %: of a calibrated network those that held these fractions "
        "of the calibration stars (conformal prediction), otherwise quantiles of a Gaussian distribution.",
    ),
    (
        "known limits",
        "Stars with log g < 1 or [Fe/H] <= -1 are few in the training set: their parameters are drawn towards its mean "
        "(A&A 698, A322, Sec. 6), and flags say so. Outside the training set's range of Teff nothing was checked.",
    ),
    (
        "licence and citation",
        "The terms of the surveys hold for what is derived from them: name and cite SkyMapper DR4 (CC BY 4.0, "
        f"10.25914/5M47-S621) and Gaia EDR3 (ESA/Gaia/DPAC), and cite A&A 698, A322 ({PAPER_DOI}) for the method. A "
        "catalogue of a mock sky holds no survey's data. The code is under the BSD 3-Clause licence.",
    ),
)


def write_readme(path: Path, catalogue_file: Path, contents: Contents, authors: str = AUTHORS) -> None:
    """Write the ReadMe of a file that `formats.write_catalogue` has written.

    Args:
        path: of the ReadMe.
        catalogue_file: the file that it describes.
        contents: of that file.
        authors: of the catalogue.

    Raises:
        CatalogueError: if the disk is full, or the metadata beside a .dat file, which hold the bytes of each column,
            are missing.
    """
    path, name, columns = Path(path), Path(catalogue_file).name, contents.columns
    layout = side_file.read_layout(Path(catalogue_file)) if name.lower().endswith(".dat") else None
    sections = [
        _heading(contents.provenance, authors),
        _file_summary(name, contents.n_rows, layout, path.name),
        _byte_by_byte(name, columns, layout) if layout else _listed(name, columns),
        *_notes(contents.flags, contents.provenance),
        _references(),
    ]
    with told_if_not_written(path), whole_file(path) as file:
        file.write(("\n".join(sections) + "\n").encode("ascii"))


def _heading(provenance: Mapping, authors: str) -> str:
    title = ascii_text(str(provenance.get("title", "Atmospheric parameters of stars from photometric images")))
    sample = ascii_text(str(provenance.get("sample", "not stated")))
    keywords = "Stars, fundamental ; Abundances, [Fe/H] ; Effective temperatures ; Photometry, SkyMapper"
    return "\n".join(
        [
            *_wrapped(title, ""),
            *_wrapped(ascii_text(authors), "    "),
            *_wrapped(PAPER, "   "),
            80 * "=",
            *_wrapped(f"ADC_Keywords: {keywords}", "", 4),
            "",
            "Abstract:",
            *_wrapped(_ABSTRACT.format(n_samples=provenance.get("n_samples", "T")), "    "),
            "",
            "Sample:",
            *_wrapped(sample, "    "),
            "",
        ]
    )


def _file_summary(name: str, n_rows: int, layout: side_file.Layout | None, readme: str) -> str:
    width = max(last for _, last in layout.values()) if layout else "."
    return "\n".join(
        [
            "File Summary:",
            _RULE,
            f" {'FileName':<24} {'Lrecl':>6} {'Records':>9}  Explanations",
            _RULE,
            f" {readme:<24} {80:>6} {'.':>9}  This file",
            f" {name:<24} {width:>6} {n_rows:>9}  The catalogue",
            _RULE,
            "",
        ]
    )


def _byte_by_byte(name: str, columns: Sequence[Column], layout: side_file.Layout) -> str:
    n_digits = max(len(str(last)) for _, last in layout.values())
    rows = []
    for column in columns:
        first, last = layout[column.name]
        place = f"{first:>{n_digits}}-{last:>{n_digits}}" if last > first else f"{last:>{2 * n_digits + 1}}"
        rows.append((place, _format(column, last - first + 1), column))
    return _described(f"Byte-by-byte Description of file: {name}", "Bytes", rows, blanks=True)


def _listed(name: str, columns: Sequence[Column]) -> str:
    rows = [(str(i), "char" if column.dtype == "str" else column.dtype, column) for i, column in enumerate(columns, 1)]
    return _described(f"Description of the columns of file: {name}", "Column", rows, blanks=False)


def _described(heading: str, place: str, rows: Sequence[tuple[str, str, Column]], blanks: bool) -> str:
    """A table of columns; `blanks`: a question mark says which may be blank, as readers of fixed width expect."""
    place_width = max(len(place), *(len(row[0]) for row in rows))
    format_width = max(len("Format"), *(len(row[1]) for row in rows))
    unit_width = max(len("Units"), *(len(_unit(column)) for *_, column in rows))
    label_width = max(len("Label"), *(len(column.name) for *_, column in rows))

    def line(*cells: str) -> str:
        widths = (place_width, format_width, unit_width, label_width)
        return " " + " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))

    lines = [heading, _RULE, f"{line(place, 'Format', 'Units', 'Label')} Explanations", _RULE]
    for bytes_, format_, column in rows:
        start = line(bytes_.rjust(place_width), format_, _unit(column), column.name)
        text = ascii_text(column.description)
        if column.missing:
            text = f"{'? ' if blanks else ''}{text}; missing: {ascii_text(column.missing)}"
        explanation = textwrap.wrap(text, max(_LINE - len(start) - 2, 20))
        lines.append(f"{start} {explanation[0]}")
        lines += [" " * (len(start) + 2) + more for more in explanation[1:]]
    return "\n".join([*lines, _RULE, ""])


def _format(column: Column, width: int) -> str:
    """The format of a value, in Fortran's notation."""
    if column.dtype == "str":
        return f"A{width}"
    return f"F{width}.{column.decimals}" if column.is_float else f"I{width}"


def _unit(column: Column) -> str:
    """The unit in the CDS's spelling, with the quantity of a logarithm in brackets."""
    if column.unit == "dex":
        return "[cm/s2]" if column.ucd.startswith("phys.gravity") else "[-]"
    return column.unit or "---"


def _notes(flags: Flags, provenance: Mapping) -> Iterator[str]:
    yield "Note on flags: the sum of these bits"
    for flag, text in flags:
        yield "\n".join(_wrapped(ascii_text(f"{flag.value:>6} = {flag.name}: {text}"), "  ", 11))
    yield ""
    for subject, text in _NOTES:
        yield "\n".join([f"Note on {subject}:", *_wrapped(text, "    "), ""])
    yield "Note on how it was made (the networks' settings are in the file's metadata):"
    for name, value in flattened(provenance):
        if ".config." not in name:
            yield "\n".join(_wrapped(ascii_text(f"{name}: {value}"), "    ", 4))
    yield ""


def _references() -> str:
    return "\n".join(
        [
            "References:",
            *_wrapped(f"A&A 698, A322 (2025), Directly deriving atmospheric parameters for one million stars from "
                      f"SMSS photometric images, doi:{PAPER_DOI}", "    ", 4),
            "",
            80 * "=",
            "(End)",
        ]
    )  # fmt: skip


def _wrapped(text: str, indent: str, more: int = 0) -> list[str]:
    """Lines of at most 80 characters, each with the indent, and `more` blanks from the second on."""
    return textwrap.wrap(text, _LINE, initial_indent=indent, subsequent_indent=indent + more * " ")
