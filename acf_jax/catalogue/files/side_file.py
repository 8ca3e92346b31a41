"""The file beside a plain text table with what the text cannot hold: `NAME-metadata.json`, after the W3C's CSVW."""

from __future__ import annotations

import json
from pathlib import Path

from acf_jax.catalogue.errors import CatalogueError, told_if_not_written
from acf_jax.catalogue.files.contents import Contents
from acf_jax.files import whole_file

Layout = dict[str, tuple[int, int]]
"""First and last byte of each column of fixed width, counted from 1 as the CDS does."""

_DATATYPES = {"str": "string", "int32": "int", "int64": "long", "float32": "float", "float64": "double"}


def side_path(table: Path) -> Path:
    """Where the metadata of this table lie."""
    return table.with_name(f"{table.name}-metadata.json")


def write_side_file(table: Path, contents: Contents, layout: Layout | None = None) -> None:
    """Write the columns' units, UCDs and descriptions, the flags and the provenance.

    Args:
        table: beside which the metadata lie.
        contents: of that file.
        layout: the bytes of each column, where it is of fixed width.

    Raises:
        CatalogueError: if the disk is full or the file cannot be written.
    """
    described = []
    for column in contents.columns:
        entry = {
            "name": column.name,
            "titles": column.name,
            "datatype": _DATATYPES[column.dtype],
            "unit": column.unit,
            "ucd": column.ucd,
            "description": column.description,
            "required": not column.missing,
        }
        if layout:
            entry["bytes"] = list(layout[column.name])
        described.append(entry)
    metadata = {
        "@context": "http://www.w3.org/ns/csvw",
        "url": table.name,
        "rows": contents.n_rows,
        "tableSchema": {"columns": described},
        "flags": [{"bit": flag.value, "name": flag.name, "meaning": text} for flag, text in contents.flags],
        "provenance": contents.provenance,
    }
    with told_if_not_written(side_path(table)), whole_file(side_path(table)) as file:
        file.write(json.dumps(metadata, indent=1).encode())


def read_provenance(table: Path) -> dict:
    """The provenance in the metadata beside a table; empty without them."""
    return _read(table).get("provenance", {}) if side_path(table).is_file() else {}


def read_layout(table: Path) -> Layout:
    """The bytes of each column of a table of fixed width.

    Raises:
        CatalogueError: if the metadata beside it are missing or damaged.
    """
    try:
        return {column["name"]: tuple(column["bytes"]) for column in _read(table)["tableSchema"]["columns"]}
    except KeyError as error:
        raise CatalogueError(f"{side_path(table)} does not say which bytes of {table.name} a column takes.") from error


def _read(table: Path) -> dict:
    path = side_path(table)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}, which says what the columns of {table.name} are, cannot be read.") from error
