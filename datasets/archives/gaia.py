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
    """Rows of gaia_source by id or position.

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
        chunks = [rows for some in self._chunks(len(ids)) for rows in self._ask_ids(ids[some])]
        table = vstack(chunks, metadata_conflicts="silent") if chunks else _with_units(Table())
        return table[np.argsort(table["source_id"])]

    def around(self, ra_deg: np.ndarray, dec_deg: np.ndarray, radius_arcsec: float) -> Table:
        """All sources within `radius_arcsec` of each position at Gaia's epoch, 2016.0.

        Args:
            ra_deg: (n,) right ascensions, ICRS.
            dec_deg: (n,) declinations.
            radius_arcsec: on the sphere.

        Returns:
            The columns of `UNITS` and `position_index` (int64), the row of the position, by which they are
            ordered, and then by `source_id`. A source near two positions comes twice.

        Raises:
            ValueError: if a position is not on the sky.
            QueryError, ServiceError, ArchiveDownError, TableError: as `rows`.
        """
        ra_deg, dec_deg = _positions(ra_deg, dec_deg)
        if self._service is None:
            table = _near(self._local_rows(), ra_deg, dec_deg, radius_arcsec)
        else:
            chunks = [
                rows
                for some in self._chunks(len(ra_deg))
                for rows in self._ask_positions(
                    np.arange(len(ra_deg))[some], ra_deg[some], dec_deg[some], radius_arcsec
                )
            ]
            table = vstack(chunks, metadata_conflicts="silent") if chunks else _with_units(Table(), indexed=True)
        return table[np.lexsort((table["source_id"], table["position_index"]))]

    def _chunks(self, n: int) -> Iterator[slice]:
        return (slice(start, start + self._chunk_size) for start in range(0, n, self._chunk_size))

    def _ask_ids(self, ids: np.ndarray) -> Iterator[Table]:
        adql = f"SELECT {_selected()} FROM {SOURCE} AS g JOIN TAP_UPLOAD.stars AS u ON g.source_id = u.source_id"
        for rows in self._in_parts(adql, Table({"source_id": ids})):
            answered, first = np.unique(np.asarray(rows["source_id"]), return_index=True)
            if not np.isin(answered, ids).all():
                raise ServiceError("Gaia answered about stars that it was not asked for")
            yield _with_units(rows[first])

    def _ask_positions(
        self, index: np.ndarray, ra_deg: np.ndarray, dec_deg: np.ndarray, radius_arcsec: float
    ) -> Iterator[Table]:
        adql = (
            f"SELECT u.position_index, {_selected()} FROM {SOURCE} AS g JOIN TAP_UPLOAD.stars AS u"
            " ON 1 = CONTAINS(POINT('ICRS', g.ra, g.dec),"
            f" CIRCLE('ICRS', u.ra, u.dec, {radius_arcsec / 3600:.12f}))"
        )
        for rows in self._in_parts(adql, Table({"position_index": index, "ra": ra_deg, "dec": dec_deg})):
            rows["position_index"] = np.asarray(rows["position_index"], np.int64)
            if not np.isin(rows["position_index"], index).all():
                raise ServiceError("Gaia answered about positions that it was not asked for")
            yield _with_units(rows, indexed=True)

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


def _positions(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ra_deg, dec_deg = np.asarray(ra_deg, np.float64), np.asarray(dec_deg, np.float64)
    on_sky = (ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90)
    if not on_sky.all():
        row = int(np.argmin(on_sky))
        raise ValueError(f"position {row}, ({ra_deg[row]}, {dec_deg[row]}) deg, is not on the sky")
    return ra_deg, dec_deg


def _near(table: Table, ra_deg: np.ndarray, dec_deg: np.ndarray, radius_arcsec: float) -> Table:
    if not len(table) or not len(ra_deg):
        return _with_units(table[:0], indexed=True)
    import astropy.units as u  # with the next, 0.5 s that worker processes need not spend
    from astropy.coordinates import SkyCoord, search_around_sky

    placed = np.flatnonzero(~(np.ma.getmaskarray(table["ra"]) | np.ma.getmaskarray(table["dec"])))
    sources = SkyCoord(np.asarray(table["ra"])[placed], np.asarray(table["dec"])[placed], unit="deg")
    asked = SkyCoord(ra_deg, dec_deg, unit="deg")
    index, source, _, _ = search_around_sky(asked, sources, radius_arcsec * u.arcsec)
    found = table[placed[source]]
    found["position_index"] = index.astype(np.int64)
    return _with_units(found, indexed=True)


def _with_units(rows: Table, indexed: bool = False) -> Table:
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
    if indexed:
        table["position_index"] = rows["position_index"] if "position_index" in rows.colnames else np.zeros(0, np.int64)
    return table
