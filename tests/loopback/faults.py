"""Faults on demand: which request meets which, and what they do to an answer."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack

from tests.loopback.database import Answer
from tests.loopback.messages import Request, Response, text

CONNECTION_KINDS = ("slow", "timeout", "reset")
"""The answer comes in drops; never, until the client leaves; the connection is reset instead."""
STATUS_KINDS = ("429", "503", "html", "gateway_text")
"""Too many requests, with Retry-After; unavailable; an HTML page and a gateway's line, both with status 200."""
BODY_KINDS = ("truncated", "cut_short")
"""The body ends early: against its Content-Length, and with a Content-Length that agrees."""
FITS_KINDS = ("other_size", "clipped")
"""A whole FITS file of 20 x 20 px; one that lacks the first 40 % of its columns, as at a CCD's edge."""
ROW_KINDS = ("duplicate_row", "null_row", "overflow")
"""In answers from dr4.photometry: a row twice; a copy of a row without image_id, ccd and magnitude. From any table:
half of the rows, with QUERY_STATUS OVERFLOW."""
KINDS = CONNECTION_KINDS + STATUS_KINDS + BODY_KINDS + FITS_KINDS + ROW_KINDS


@dataclass
class Faults:
    """What goes wrong: a share `rate` of all requests, and those named in `plan`.

    Whether and how a request fails depends on the seed, the request and the number of times it has come, whatever the
    order of the others. From its third time on (`tries`) a request is answered well: a patient
    client succeeds.
    A fault that cannot be put into an answer (a duplicate row where there are no rows) is left out, and not logged.

    Attributes:
        rate: share of requests that meet a random fault.
        kinds: which, evenly among those that apply to a request.
        seed: of the choice.
        only: random faults only where this regular expression is found in `Request.key`
            (`GET /public/siap/dr4/get_image?FORMAT=fits&IMAGE=...`).
        tries: how many times one request may meet a random fault.
        plan: (regular expression for the key, kind, times or None for always); looked through before any chance.
        slow_s: what a slow answer takes, s.
        silence_s: the longest that a client may wait in a `timeout`, s.
        retry_after_s: what 429 asks for, s.
    """

    rate: float = 0.0
    kinds: Sequence[str] = KINDS
    seed: int = 0
    only: str = ""
    tries: int = 2
    plan: Sequence[tuple[str, str, int | None]] = ()
    slow_s: float = 0.5
    silence_s: float = 600.0
    retry_after_s: int = 1
    _seen: Counter = field(default_factory=Counter, init=False, repr=False)
    _planned: Counter = field(default_factory=Counter, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self):
        unknown = {*self.kinds, *(kind for _, kind, _ in self.plan)} - set(KINDS)
        if unknown:
            raise ValueError(f"no such faults: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}.")

    def choose(self, request: Request) -> str:
        """The fault that this request meets now; empty if none."""
        key = request.key
        with self._lock:
            self._seen[key] += 1
            for number, (pattern, kind, times) in enumerate(self.plan):
                if re.search(pattern, key) and (times is None or self._planned[number] < times):
                    self._planned[number] += 1
                    return kind
            attempt = self._seen[key]
        if attempt > self.tries or not re.search(self.only, key):
            return ""
        kinds = [kind for kind in applicable(request) if kind in self.kinds]
        chance, which = _uniform(f"{self.seed} {attempt} {key}")
        return kinds[int(which * len(kinds))] if kinds and chance < self.rate else ""


def _uniform(key: str) -> tuple[float, float]:
    """Two numbers from 0 to 1 (excluded) that depend on the key alone."""
    digest = hashlib.sha256(key.encode()).digest()
    return tuple(int.from_bytes(digest[i : i + 6], "big") / 2**48 for i in (0, 6))


def applicable(request: Request) -> tuple[str, ...]:
    """The kinds that make sense for a request."""
    kinds = CONNECTION_KINDS + STATUS_KINDS
    if request.path.endswith("/get_image"):
        return kinds + BODY_KINDS + (FITS_KINDS if request.params.get("FORMAT", "fits").lower() != "png" else ())
    if request.path.endswith(("/sync", "/results/result")):
        return kinds + BODY_KINDS + ROW_KINDS
    return kinds + BODY_KINDS if request.path.endswith("/query") else kinds


def instead(kind: str, retry_after_s: int) -> Response | None:
    """What is answered instead of an answer; None for the other kinds."""
    page = "<html><head><title>503</title></head><body><h1>No server is available</h1></body></html>"
    if kind == "429":
        return Response(b"Too many requests\n", status=429, headers={"Retry-After": str(retry_after_s)})
    if kind in ("503", "html"):
        return Response(page.encode(), "text/html", 503 if kind == "503" else 200)
    return text("upstream request timeout") if kind == "gateway_text" else None


def spoil_rows(answer: Answer, adql: str, kind: str) -> Answer | None:
    """The answer with one of `ROW_KINDS`; None where it cannot be.

    Args:
        answer: to the query.
        adql: the query.
        kind: one of `ROW_KINDS`.

    Returns:
        The spoilt answer.
    """
    table, n = answer.table, len(answer.table)
    if kind == "overflow":
        return Answer(table[: n // 2], True) if n > 1 else None
    needed = {"object_id", "image_id", "ccd"}
    if not n or "dr4.photometry" not in adql.lower() or not needed <= {name.lower() for name in table.colnames}:
        return None
    row = n // 2
    extra = Table(table[row : row + 1], masked=True, copy=True)
    if kind == "null_row":
        for name in extra.colnames:
            if name.lower() in ("image_id", "ccd", "mag_psf", "e_mag_psf"):
                extra[name].mask[:] = True
    return Answer(vstack([table[: row + 1], extra, table[row + 1 :]]), answer.overflow)


def spoil_fits(body: bytes, kind: str) -> bytes:
    """A FITS file with one of `FITS_KINDS`: whole in itself, with the right coordinates."""
    nx, ny = (fits.getval(io.BytesIO(body), f"NAXIS{axis}") for axis in (1, 2))
    if kind == "clipped":
        lost = int(0.4 * nx)
        return crop(body, lost, 0, nx - lost, ny)
    return crop(body, max(nx // 2 - 10, 0), max(ny // 2 - 10, 0), min(20, nx), min(20, ny))


def crop(body: bytes, x0: int, y0: int, nx: int, ny: int) -> bytes:
    """A part of a FITS image, (x0, y0) its first pixel counted from 0; stored values as they were, CRPIX moved.

    Args:
        body: the FITS file.
        x0: first column.
        y0: first row.
        nx: columns.
        ny: rows.

    Returns:
        The FITS file of the part.
    """
    with fits.open(io.BytesIO(body), do_not_scale_image_data=True) as hdus:
        header, data = hdus[0].header.copy(), np.array(hdus[0].data[y0 : y0 + ny, x0 : x0 + nx])
    header["CRPIX1"] -= x0
    header["CRPIX2"] -= y0
    # With the scaling in the header from the start, astropy would scale the stored values once more.
    scaling = {key: header.pop(key) for key in ("BSCALE", "BZERO") if key in header}
    hdu = fits.PrimaryHDU(data, header)
    for key, value in scaling.items():
        hdu.header[key] = value
    out = io.BytesIO()
    out.write(hdu.header.tostring().encode("ascii"))
    stored = data.astype(data.dtype.newbyteorder(">")).tobytes()
    out.write(stored + b"\0" * (-len(stored) % 2880))
    return out.getvalue()
