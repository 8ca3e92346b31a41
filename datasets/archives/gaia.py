"""Gaia EDR3's astrometry of single stars (Gaia Collaboration 2021, A&A 649, A1), from the archive or a local table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.table import MaskedColumn, Table, vstack

from datasets.archives.interface import ArchiveError, ServiceError
from datasets.archives.tap import TapService, TruncatedError

GAIA_TAP_URL = "https://gea.esac.esa.int/tap-server/tap"

SOURCE = "gaiaedr3.gaia_source"

UNITS = {
    "source_id": None,
    "ra": "deg",
    "dec": "deg",
    "parallax": "mas",
    "parallax_error": "mas",
    "pmra": "mas / yr",
    "pmdec": "mas / yr",
    "ruwe": None,
    "phot_g_mean_mag": "mag",
    "bp_rp": "mag",
}
"""The columns of gaia_source that are asked for, with the units of its data model; positions are of 2016.0."""

NEEDED = ("source_id", "ra", "dec", "parallax", "parallax_error")
"""What a local table must have; of the others it may lack any."""

SYNCHRONOUS_ROWS = 1000
"""The archive cuts synchronous answers off at 2000 rows; larger chunks are asked for as jobs."""


class Gaia:
    """Rows of gaia_source by id.

    Args:
        service: the archive's TAP service; or
        table: a local file with rows of gaia_source (CSV, FITS, VOTable, Parquet), read at the first question.
        chunk_size: stars to one query.
    """

    def __init__(self, service: TapService | None = None, table: str | Path | None = None, chunk_size: int = 20_000):
        if (service is None) == (table is None):
            raise ValueError("Gaia needs either its TAP service or a local table")
        if chunk_size < 1:
            raise ValueError(f"chunk_size {chunk_size} must be at least 1")
        self._service = service
        self._path = table
        self._chunk_size = chunk_size
        self._local: Table | None = None

    def rows(self, source_ids: Sequence[int] | np.ndarray) -> Table:
        """The rows of the sources with these ids, in order of `source_id`; a source that Gaia lacks has none.

        Args:
            source_ids: (n,) integers; repeated and masked ones count once and not at all.

        Returns:
            The columns of `UNITS`, units attached, missing values masked.

        Raises:
            QueryError, ServiceError, ArchiveDownError: as `TapService.query`.
            datasets.tables.local.TableError: if the local table cannot be read.
        """
        ids = _wanted_ids(source_ids)
        if self._service is None:
            found = self._local_rows()
            return found[np.isin(found["source_id"], ids)]
        starts = range(0, len(ids), self._chunk_size)
        chunks = [rows for start in starts for rows in self._ask_ids(ids[start : start + self._chunk_size])]
        table = vstack(chunks, metadata_conflicts="silent") if chunks else _with_units(Table())
        return table[np.argsort(table["source_id"])]

    def _ask_ids(self, ids: np.ndarray) -> Iterator[Table]:
        adql = f"SELECT {_selected()} FROM {SOURCE} AS g JOIN TAP_UPLOAD.stars AS u ON g.source_id = u.source_id"
        for rows in self._in_parts(adql, Table({"source_id": ids})):
            answered, first = np.unique(np.asarray(rows["source_id"]), return_index=True)
            if not np.isin(answered, ids).all():
                raise ServiceError("Gaia answered about stars that it was not asked for")
            yield _with_units(rows[first])

    def _in_parts(self, adql: str, stars: Table) -> Iterator[Table]:
        """The answer for all stars, in halves where the service cannot give it at once."""
        assert self._service is not None, "asked only where there is one"
        try:
            yield self._service.query(adql, uploads={"stars": stars}, asynchronous=len(stars) > SYNCHRONOUS_ROWS)
            return
        except TruncatedError:
            if len(stars) == 1:
                raise
        half = len(stars) // 2
        yield from self._in_parts(adql, stars[:half])
        yield from self._in_parts(adql, stars[half:])

    def _local_rows(self) -> Table:
        """The local table in order of `source_id`."""
        if self._local is None:
            assert self._path is not None, "asked only where there is one"
            from datasets.tables.local import read_table

            optional = [name for name in UNITS if name not in NEEDED]
            table = read_table(self._path, NEEDED, optional)
            table = _with_units(table[~np.ma.getmaskarray(table["source_id"])])
            table.sort("source_id")
            repeated = np.flatnonzero(np.diff(np.asarray(table["source_id"])) == 0)
            if len(repeated):
                source_id = int(table["source_id"][repeated[0]])
                raise ArchiveError(f"{self._path}: source_id {source_id} has several rows; keep one row per source")
            self._local = table
        return self._local


def _selected() -> str:
    return ", ".join(f"g.{name}" for name in UNITS)


def _wanted_ids(source_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    ids: np.ndarray = np.ma.compressed(np.ma.asarray(source_ids))
    if len(ids) and ids.dtype.kind not in "iu":
        raise ValueError(f"source_ids must be integers, not {ids.dtype}: other types do not hold all their digits")
    return np.unique(ids.astype(np.int64))


def _with_units(rows: Table) -> Table:
    """The same columns whatever the source named, in order; one that it lacks is masked throughout."""
    table = Table()
    for name, unit in UNITS.items():
        dtype = np.int64 if name == "source_id" else np.float64
        if name in rows.colnames:
            column = rows[name]
            if column.dtype.kind not in "iuf":
                raise ServiceError(f"Gaia's {name} are not numbers")
            table[name] = column
        else:
            table[name] = MaskedColumn(np.zeros(len(rows), dtype), mask=np.ones(len(rows), bool))
        if table[name].unit is None and unit is not None:
            table[name].unit = unit
    return table
