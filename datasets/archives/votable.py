"""VOTables as services send them: untrusted bytes -> rows and status (VOTable 1.4, DALI 1.1 section 4.4)."""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from datasets.archives.session import TransientError, plain_sentence
from datasets.tables.cells import exact_integers

ID_COLUMNS = frozenset({"object_id", "source_id", "image_id", "self_id1", "gaia_dr3_id1", "dr3_source_id"})
"""Come as int64, whatever type the service sends them in."""

_STREAM = re.compile(rb"<(?:[\w.-]+:)?STREAM\b")
_INLINE_STREAM = re.compile(rb"<(?:[\w.-]+:)?STREAM(?:\s+(?!href)\w+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'))*\s*/?>")


class Answer(NamedTuple):
    """What a service answered: rows, or the reason why there are none."""

    table: Table  # empty if there are none
    status: str  # OK, OVERFLOW or ERROR
    message: str  # the service's own words, cleaned


def read_answer(data: bytes) -> Answer:
    """The results of a VOTable: units attached, NULLs masked, ids int64, strings as numpy's.

    Raises:
        TransientError: if this is no whole VOTable, or one that would have other addresses read.
    """
    _refuse_unsafe(data)
    from astropy.io import votable  # 0.5 s that worker processes need not spend

    try:
        tree = votable.parse(io.BytesIO(data), verify="ignore")
        resource = next((r for r in tree.resources if r.type == "results"), None) or next(iter(tree.resources), None)
        tables = resource.tables if resource is not None else []
        status, message = _status(tree, resource, tables)
        if status not in ("OK", "OVERFLOW"):
            return Answer(Table(), "ERROR", message or "no reason given")
        table = tables[0].to_table(use_names_over_ids=True) if tables else None
    except Exception as error:  # expat, astropy and numpy each have their own kinds for broken tables
        raise TransientError(f"the answer is no whole VOTable ({plain_sentence(str(error), 120)})") from error
    if table is None:
        raise TransientError("the answer is a VOTable without a table")
    return Answer(_tidied(table), status, message)


def _refuse_unsafe(data: bytes) -> None:
    """Astropy reads any address that a STREAM names, so a service could have a local file read.

    Without a DTD there are no entities to hide one in, and without NULs the bytes can be searched as they are.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise TransientError(f"the answer is no VOTable: {plain_sentence(data[:4000].decode('utf-8', 'replace'), 120)}")
    for stream in _STREAM.finditer(data):
        if not _INLINE_STREAM.match(data, stream.start()):
            raise TransientError("the answer's data are at another address, which is not followed")


def _status(tree, resource, tables) -> tuple[str, str]:
    """The last QUERY_STATUS: an overflow or a late error comes after the table."""
    places = [tree, resource, *tables[:1]]
    infos = [info for place in places if place is not None for info in place.infos if info.name == "QUERY_STATUS"]
    ranked = [info for info in infos if info.value.upper() != "OK"] or infos
    if not ranked:
        return ("OK", "") if tables else ("ERROR", "")
    return ranked[-1].value.upper(), plain_sentence(ranked[-1].content or "")


def _tidied(table: Table) -> Table:
    for name in table.colnames:
        column = table[name]
        if name.lower() in ID_COLUMNS:
            table[name] = _ids(column)
        elif column.dtype == object and all(isinstance(value, str) for value in column):
            table[name] = column.astype(str)
    return table


def _ids(column: Column) -> Column:
    mask = np.ma.getmaskarray(column)
    values = np.asarray(column)
    if values.dtype.kind == "O":
        mask = mask | np.array([value is None or not str(value).strip() for value in values], bool)
    try:
        if values.dtype.kind in "iuf":
            numbers = exact_integers(values, mask)
        else:
            numbers = np.array([0 if lost else int(value) for value, lost in zip(values, mask, strict=True)], np.int64)
    except (ValueError, OverflowError) as error:
        what = "floats that identify nothing" if values.dtype.kind == "f" else "no integers"
        raise TransientError(f"the answer's {column.name} are {what}") from error
    attributes = {"name": column.name, "description": column.description}
    return MaskedColumn(numbers, mask=mask, **attributes) if mask.any() else Column(numbers, **attributes)
