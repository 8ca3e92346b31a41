"""SkyMapper's own services behind the archive interface: tables and detections over TAP, cutouts over HTTP."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
from astropy.table import Table, unique, vstack

from datasets.archives import detections as skymapper_detections
from datasets.archives.cache import Cache
from datasets.archives.http import Client, TransientError
from datasets.archives.interface import (
    ArchiveDownError,
    ArchiveError,
    Cutout,
    Detection,
    NotServedError,
    ServiceError,
    Target,
)
from datasets.archives.tap import TapService, TruncatedError
from datasets.imaging.alignment import AlignmentError, pixel_of
from datasets.imaging.cutouts import CutoutError, CutoutImage, read_image, read_mask
from datasets.skymapper import PIXEL_SCALE_ARCSEC, STAMP_SIZE_PX

SKYMAPPER_TAP_URL = "https://api.skymapper.nci.org.au/public/tap"
SKYMAPPER_CUTOUT_URL = "https://api.skymapper.nci.org.au/public/siap/dr4"
"""The cutouts' `get_image` and the frame lists' `query` lie below it."""

CCD_SIZE_PX = (2048, 4096)
"""Columns (x) and rows (y) of a CCD."""

EDGE_TOLERANCE_PX = 5
"""A cutout that ends this near a CCD's edge ends there: the star may have moved since its catalogue position."""

NO_OBJECT = -1
"""An object_id that nothing has."""

TRIES_IF_CUT_OFF = 3
"""Of a query about one object, whose rows cannot really be too many."""

OBJECTS_PER_QUERY = 50
"""Some 1,500 detections: an answer in seconds, far below the service's row limit."""

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

_TABLES = {
    "dr4.master": "SELECT * FROM dr4.master WHERE object_id IN ({ids})",
    "dr4.photometry": "SELECT * FROM dr4.photometry WHERE object_id IN ({ids})",
    "dr4.images": "SELECT * FROM dr4.images WHERE image_id IN"
    " (SELECT image_id FROM dr4.photometry WHERE object_id IN ({ids}))",
}
_KEYS = {"dr4.master": ["object_id"], "dr4.photometry": ["object_id", "image_id", "ccd"], "dr4.images": ["image_id"]}


class SkyMapperArchive:
    """SkyMapper DR4, asked as rarely as possible (meets `archives.interface.Archive`).

    What the service answers is checked, kept in the cache, and never asked for again. A request that failed is not
    tried again before the next `prefetch`. An `OSError` of the cache's folder is the caller's.
    """

    name = "skymapper_dr4"

    def __init__(self, tap: TapService, cutout_url: str, client: Client, cache: Cache, n_threads: int = 8):
        """An archive at `cutout_url` with its tables at `tap`; answers of other addresses are other answers.

        Args:
            tap: the service that has the tables.
            cutout_url: address of the images, see `SKYMAPPER_CUTOUT_URL`.
            client: asks for them.
            cache: keeps the answers.
            n_threads: requests at a time.
        """
        self._tap = tap
        self._url = cutout_url.rstrip("/")
        self._client = client
        self._cache = cache
        self._n_threads = n_threads
        self._failures: dict[str, ArchiveError] = {}  # by cache key

    def table(self, name: str, object_ids: Sequence[int] | None = None) -> Table:
        """Rows of `dr4.master`, `dr4.photometry` or `dr4.images` about some objects, in order of their ids.

        Raises:
            ArchiveError: for another table, for no `object_ids` (the tables have up to 10^10 rows), or if the service
                fails.
            ArchiveDownError: if nothing can be had at all.
        """
        if name not in _KEYS:
            raise ArchiveError(f"SkyMapper has no table {name!r} that is read here; there are {', '.join(_KEYS)}.")
        if object_ids is None:
            raise ArchiveError(f"{name} is too large to be read as a whole: give object_ids, or page it by its key.")
        parts = []
        for batch in _batches(sorted({int(object_id) for object_id in object_ids})) or [[NO_OBJECT]]:
            for _, rows in self._answers(_TABLES[name], batch):
                if isinstance(rows, ArchiveError):
                    raise rows
                parts.append(rows)
        rows = parts[0] if len(parts) == 1 else vstack(parts, metadata_conflicts="silent")
        for key in _KEYS[name]:
            rows = rows[~np.ma.getmaskarray(np.ma.asarray(rows[key]))]
        return unique(rows, _KEYS[name]) if len(rows) else rows

    def detections(self, object_id: int) -> list[Detection]:
        """All detections of one object, in order of image_id and ccd, each once.

        `datasets.archives.detections.by_object` says what is made of NULLs and repeated rows.

        Raises:
            ServiceError: if the service fails to list them.
            ArchiveDownError: if nothing can be had at all.
        """
        kept = self._kept_detections(object_id)
        if kept is not None:
            return kept
        key = self._detections_key(object_id)
        self._raise_failure(key)
        found = self._ask_detections([int(object_id)])
        self._raise_failure(key)
        return found[int(object_id)]

    def cutout(self, detection: Detection, ra_deg: float, dec_deg: float, size_px: int) -> Cutout:
        """The frame around a position, at least `size_px` on a side unless the CCD ends before (see `interface`).

        It covers the position's stamp as far as the CCD does, and the mask has the image's pixels.

        Args:
            detection: one of `detections`.
            ra_deg: right ascension of the middle.
            dec_deg: its declination.
            size_px: least side.

        Returns:
            Image and mask; no mask where the service has none.
        """
        frame = f"{detection.image_id:014d}-{detection.ccd:02d}"

        def check_image(data: bytes) -> None:
            _check_cover(_complete(read_image, data), detection, ra_deg, dec_deg, size_px)

        def check_mask(data: bytes) -> None:
            _complete(lambda mask: read_mask(mask, read_image(image).pixels.shape), data)

        # The service makes floor(SIZE / scale) + 2 pixels.
        where = {"IMAGE": frame, "SIZE": _degrees(size_px - 1.5), "POS": _position(ra_deg, dec_deg)}
        image = self._file("image", where | {"FORMAT": "fits"}, f"the cutout of {frame}", size_px, check_image)
        try:
            mask = self._file("mask", where | {"FORMAT": "mask"}, f"the mask of {frame}", size_px, check_mask)
        except NotServedError:
            mask = None
        return Cutout(image, mask)

    def prefetch(self, targets: Sequence[Target], size_px: int) -> None:
        """Ask for the targets' detections in few queries, and for their cutouts on several threads, into the cache.

        What fails is raised by `detections` and `cutout`.

        Raises:
            ArchiveDownError: if nothing can be had at all.
        """
        self._failures.clear()
        stars = {int(target.object_id): target for target in targets}
        unknown = [star for star in stars if self._kept_detections(star) is None]
        self._in_threads(self._ask_detections, _batches(unknown))
        requests = []
        for star, target in stars.items():
            if self._detections_key(star) not in self._failures:
                requests += [(d, target) for d in self.detections(star) if d.use_in_clipped == 1]
        self._in_threads(lambda r: self.cutout(r[0], r[1].ra_deg, r[1].dec_deg, size_px), requests)

    def _answers(self, query: str, ids: list[int]) -> Iterator[tuple[list[int], Table | ArchiveError]]:
        """The rows about all objects, in parts where the service cannot give them in one, with the ids of each part.

        A query that asks too much is cut off, refused or never answered, as the service sees fit: in each case halves
        are asked. What fails for one object comes instead of its rows.
        """
        error: ArchiveError | None = None
        for _ in range(1 if len(ids) > 1 else TRIES_IF_CUT_OFF):
            try:
                rows = self._tap.query(query.format(ids=", ".join(map(str, ids))))
            except ArchiveError as failure:
                error = failure
                if not isinstance(error, TruncatedError):
                    break
            else:
                yield ids, rows
                return
        if len(ids) == 1:
            yield ids, error
            return
        _LOG.info("A query about %d objects failed and is asked in halves: %s", len(ids), error)
        half = len(ids) // 2
        yield from self._answers(query, ids[:half])
        yield from self._answers(query, ids[half:])

    def _ask_detections(self, ids: list[int]) -> dict[int, list[Detection]]:
        """Put some objects' detections into the cache, or their failures into `_failures`, and return the former."""
        found: dict[int, list[Detection]] = {}
        for some, rows in self._answers(skymapper_detections.QUERY, ids):
            if isinstance(rows, ServiceError | TruncatedError):
                self._failures[self._detections_key(some[0])] = rows
            elif isinstance(rows, ArchiveError):  # what is refused for one object is refused for all
                raise ArchiveDownError(f"SkyMapper's TAP service refuses to list detections: {rows}") from rows
            else:
                answered = skymapper_detections.by_object(rows, some)
                for object_id, detections in answered.items():
                    kept = json.dumps([dataclasses.asdict(detection) for detection in detections])
                    self._cache.put("detections", self._detections_key(object_id), kept.encode())
                found |= answered
        return found

    def _detections_key(self, object_id: int) -> str:
        return f"{self._url} {int(object_id)} {skymapper_detections.QUERY}"

    def _kept_detections(self, object_id: int) -> list[Detection] | None:
        kept = self._cache.get("detections", self._detections_key(object_id))
        try:
            return None if kept is None else [Detection(**values) for values in json.loads(kept)]
        except (ValueError, TypeError):  # written by another version of this file
            return None

    def _file(
        self, kind: str, params: Mapping[str, str], what: str, size_px: int, check: Callable[[bytes], None]
    ) -> bytes:
        url = f"{self._url}/get_image"
        key = f"{url} {json.dumps(params, sort_keys=True)}"
        kept = self._cache.get(kind, key)
        if kept is not None:
            return kept
        self._raise_failure(key)
        max_bytes = 500_000 + 8 * (3 * size_px) ** 2  # a long header, and far more pixels than were asked for
        try:
            data = self._client.get(url, params, what=what, max_bytes=max_bytes, check=check)
        except ArchiveError as error:
            self._failures[key] = error
            raise
        self._cache.put(kind, key, data)
        return data

    def _raise_failure(self, key: str) -> None:
        error = self._failures.get(key)
        if error is not None:
            raise type(error)(str(error))  # a new one: a traceback grows with each raise

    def _in_threads(self, ask: Callable[[_T], object], items: Iterable[_T]) -> None:
        """Ask for everything; `ArchiveError` is kept for later, anything else ends it."""

        def quietly(item: _T) -> None:
            try:
                ask(item)
            except ArchiveError:
                pass

        pool = ThreadPoolExecutor(self._n_threads)
        try:
            done, _ = wait([pool.submit(quietly, item) for item in items], return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _degrees(size_px: float) -> str:
    return f"{size_px * PIXEL_SCALE_ARCSEC / 3600:.8f}"


def _position(ra_deg: float, dec_deg: float) -> str:
    return f"{ra_deg:.10f},{dec_deg:.10f}"


def _batches(ids: list[int]) -> list[list[int]]:
    return [ids[start : start + OBJECTS_PER_QUERY] for start in range(0, len(ids), OBJECTS_PER_QUERY)]


def _complete(read: Callable[[bytes], _T], data: bytes) -> _T:
    """What `read` makes of an answer; an answer that cannot be read is asked for again."""
    try:
        return read(data)
    except CutoutError as error:
        raise TransientError(str(error)) from None


def _check_cover(image: CutoutImage, detection: Detection, ra_deg: float, dec_deg: float, size_px: int) -> None:
    """Whether a cutout shows a position's stamp, as far as its CCD does.

    Raises:
        TransientError: if it does not.
    """
    try:
        pixel = pixel_of(image.wcs, ra_deg, dec_deg)
    except AlignmentError as error:
        raise TransientError(str(error)) from None
    shape = image.pixels.shape[::-1]
    if max(shape) > 2 * size_px:
        raise TransientError(f"{size_px} x {size_px} px were asked for, but the cutout has {shape[0]} x {shape[1]}")
    for axis, on_ccd, ccd_size, size, position in zip(
        "xy", (detection.x_img, detection.y_img), CCD_SIZE_PX, shape, pixel, strict=True
    ):
        before, after = _uncovered(position, size)
        if before <= 0 and after <= 0:
            continue
        clipped = f"the cutout lacks {max(before, after)} px of the star's {STAMP_SIZE_PX} in {axis}"
        if not -1 < position < size:
            raise TransientError(f"the star is not on the cutout ({axis} = {position:.1f} of {size} px)")
        if on_ccd is None:  # nobody can tell where the CCD ends
            continue
        first = on_ccd - 1 - position  # of the cutout's pixels on the CCD, 0-based
        if before > 0 and abs(first) > EDGE_TOLERANCE_PX:
            raise TransientError(f"{clipped}, {first:.0f} px from the CCD's edge")
        if after > 0 and abs(ccd_size - (first + size)) > EDGE_TOLERANCE_PX:
            raise TransientError(f"{clipped}, {ccd_size - first - size:.0f} px from the CCD's edge")


def _uncovered(position: float, size: int) -> tuple[int, int]:
    """Pixels of the stamp before the first and after the last pixel of the cutout (see `alignment.stamp_grid`)."""
    first = math.floor(position) - (STAMP_SIZE_PX // 2 - 1)
    return -first, first + STAMP_SIZE_PX - size
