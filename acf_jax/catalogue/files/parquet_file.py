"""A catalogue as one Parquet file, with a VOTable of its metadata in the header (the VOParquet convention 1.0).

TOPCAT and astropy (`Table.read(path, format="parquet.votable")`) read units, UCDs and descriptions from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from acf_jax.catalogue.errors import CatalogueError, told_if_not_written
from acf_jax.catalogue.files.arrow_rows import arrow_schema, in_memory
from acf_jax.catalogue.files.contents import Contents, parsed_provenance
from acf_jax.catalogue.files.votable import header_without_data
from acf_jax.files import whole_file

_PROVENANCE = "acf_jax.provenance"


def write(path: Path, contents: Contents, progress: str) -> None:
    """Write the file; a missing float is a null.

    A missing identifier stays -1 and a missing text empty, which the VOTable header declares: astropy and pandas turn a
    column of integers with nulls into float64, where Gaia's identifiers of 19 digits would lose their last ones.

    Args:
        path: of the file.
        contents: what to write.
        progress: names a bar to show; empty: none.

    Raises:
        CatalogueError: as of `formats.write_catalogue`.
    """
    widths = contents.text_widths()
    schema = _schema(contents, widths)
    with told_if_not_written(path), whole_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        for rows in contents.batches(progress):
            arrays = [
                pa.array(rows[column.name], field.type, from_pandas=column.is_float)  # from_pandas: NaN is a null
                for column, field in zip(contents.columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


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
        with pq.ParquetFile(path) as file:
            if missing := [name for name in names if name not in file.schema_arrow.names]:
                raise CatalogueError(f"{path} has no column {', '.join(missing)}.")
            for batch in file.iter_batches(batch_rows, columns=list(names)):
                yield {name: in_memory(batch.column(name)) for name in names}
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(f"{path} cannot be read as Parquet: it is damaged or something else.") from error


def read_provenance(path: Path) -> dict:
    """See `formats.read_provenance`."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(f"{path} cannot be read as Parquet: it is damaged or something else.") from error
    return parsed_provenance(metadata.get(_PROVENANCE.encode()))


def _schema(contents: Contents, widths: dict[str, int]) -> pa.Schema:
    metadata = {
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": header_without_data(contents, widths),
        _PROVENANCE: contents.provenance_json(),
        # Where astropy's reader looks up the width of a text.
        **{f"table::len::{name}": str(width) for name, width in widths.items()},
    }
    columns = [column if column.is_float else replace(column, missing="") for column in contents.columns]
    return arrow_schema(columns, metadata)
