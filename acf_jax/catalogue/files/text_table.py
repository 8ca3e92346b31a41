"""A catalogue as comma-separated values: plain (CSV, metadata beside) or with astropy's header (ECSV 1.0)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from acf_jax.catalogue.columns import columns as all_columns
from acf_jax.catalogue.errors import CatalogueError, told_if_not_written
from acf_jax.catalogue.files import side_file
from acf_jax.catalogue.files.arrow_rows import arrow_schema, in_memory
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.files.text_values import text_rows
from acf_jax.files import whole_file
from acf_jax.labels import LABELS

_ECSV = ".ecsv"


def write(path: Path, contents: Contents, progress: str) -> None:
    """Write the file in UTF-8, a missing value as nothing between two commas.

    Args:
        path: of the file.
        contents: what to write.
        progress: names a bar to show; empty: none.

    Raises:
        CatalogueError: as of `formats.write_catalogue`.
    """
    is_ecsv = path.suffix.lower() == _ECSV
    if not is_ecsv:
        side_file.write_side_file(path, contents)
    with told_if_not_written(path), whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        if is_ecsv:
            text.write(_ecsv_header(contents))
        rows_of_text = csv.writer(text, lineterminator="\n")
        rows_of_text.writerow([column.name for column in contents.columns])
        for rows in contents.batches(progress):
            rows_of_text.writerows(text_rows(rows, contents.columns))
        text.detach()


def read_columns(path: Path, names: Sequence[str], batch_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Some columns of the file, in batches.

    Args:
        path: of the file.
        names: of the columns.
        batch_rows: of a batch, at most.

    Yields:
        Columns, as `formats.read_columns`.

    Raises:
        CatalogueError: likewise.
    """
    try:
        for batch in _batches(path, names):
            for start in range(0, batch.num_rows, batch_rows):
                part = batch.slice(start, batch_rows)
                yield {name: in_memory(part.column(name)) for name in names}
    except pa.ArrowKeyError as error:
        missing = [name for name in names if f"'{name}'" in str(error)]
        raise CatalogueError(f"{path} has no column {', '.join(missing)}.") from error
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}".splitlines()[0]) from error


def read_provenance(path: Path) -> dict:
    """See `formats.read_provenance`."""
    if path.suffix.lower() != _ECSV:
        return side_file.read_provenance(path)
    from astropy.table.meta import get_header_from_yaml

    lines = [line[2:].rstrip("\n") for line in _comments(path)]
    return dict(get_header_from_yaml(lines[1:]).get("meta", {}).get("provenance", {}))


def _ecsv_header(contents: Contents) -> str:
    """The comments that astropy writes over an empty table of these columns."""
    from astropy.table import Column, Table

    flags = {flag.name: f"{flag.value}: {text}" for flag, text in contents.flags}
    table = Table(
        [
            Column(
                np.zeros(0, "U1" if column.dtype == "str" else column.dtype),
                name=column.name,
                unit=column.unit or None,
                description=column.description,
                meta={"ucd": column.ucd},
            )
            for column in contents.columns
        ],
        meta={"provenance": dict(contents.provenance), "flags": flags},
    )
    text = io.StringIO()
    table.write(text, format="ascii.ecsv", delimiter=",")
    return "".join(line for line in text.getvalue().splitlines(keepends=True) if line.startswith("#"))


def _batches(path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    known = arrow_schema(all_columns(tuple(LABELS), has_input_row=True))
    reader = pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(skip_rows=len(_comments(path))),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            include_columns=list(names),
            column_types={field.name: field.type for field in known},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    with reader:
        yield from reader


def _comments(path: Path) -> list[str]:
    """The lines before the names of the columns: none in a plain CSV."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = []
            for line in file:
                if not line.startswith("#"):
                    break
                lines.append(line)
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path} cannot be read as text.") from error
    return lines
