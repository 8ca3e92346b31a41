"""Rows of dr4.photometry joined with dr4.images -> detections."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from astropy.table import Table

from datasets.archives.interface import ArchiveDownError, Detection
from datasets.skymapper import BANDS

# Not `date`, a reserved word of ADQL that some services take bare only and some quoted only: image_id is the same time
# to a second.
COLUMNS = (
    *(f"p.{name}" for name in ("object_id", "image_id", "ccd", "filter", "x_img", "y_img", "flags", "use_in_clipped")),
    *("p.mag_psf", "p.e_mag_psf"),
    *(f"i.{name}" for name in ("exp_time", "zpapprox", "fwhm", "image_type", "background")),
)
"""What is read, p being dr4.photometry and i dr4.images."""

QUERY = (
    f"SELECT {', '.join(COLUMNS)} FROM dr4.photometry AS p JOIN dr4.images AS i ON p.image_id = i.image_id"
    " WHERE p.object_id IN ({ids})"
)

_NAMES = [column.partition(".")[2] for column in COLUMNS]
_LOG = logging.getLogger(__name__)


def by_object(rows: Table, object_ids: Sequence[int]) -> dict[int, list[Detection]]:
    """The detections of each object asked for, in order of image_id and ccd, each frame once.

    A zeropoint or seeing that is NULL becomes NaN, and background, x_img and y_img None; with any other NULL, or a
    value that no detection has, a row is left out and counted in the log. Of several rows of one object on one frame
    the one that the survey used counts, then the most precise, whatever their order.

    Raises:
        ArchiveDownError: if a column is missing, which is no fault of these objects.
    """
    missing = [name for name in _NAMES if name not in rows.colnames]
    if missing:
        raise ArchiveDownError(
            f"SkyMapper's TAP service answers without the column {missing[0]} that was asked for: has it changed?"
        )
    found: dict[int, dict[tuple[int, int], Detection]] = {object_id: {} for object_id in object_ids}
    n_broken = n_repeated = 0
    for values in zip(*(rows[name].tolist() for name in _NAMES), strict=True):
        detection = _detection(dict(zip(_NAMES, values, strict=True)))
        if detection is None or detection.object_id not in found:
            n_broken += 1
            continue
        frames, frame = found[detection.object_id], (detection.image_id, detection.ccd)
        n_repeated += frame in frames
        frames[frame] = min(frames.get(frame, detection), detection, key=_rank)
    if n_broken or n_repeated:
        _LOG.warning(
            "Detections of %d objects: left out are %d rows with NULLs or impossible values, and %d repeated ones.",
            len(found), n_broken, n_repeated,
        )  # fmt: skip
    return {object_id: [frames[frame] for frame in sorted(frames)] for object_id, frames in found.items()}


def _rank(detection: Detection) -> tuple:
    return -detection.use_in_clipped, detection.e_mag_psf, detection.mag_psf, detection.flags


def _detection(values: Mapping[str, Any]) -> Detection | None:
    """A detection of a row's values, NULLs being None; None for a row that is none."""
    try:
        fields: dict[str, Any] = {
            **{name: int(values[name]) for name in ("object_id", "image_id", "ccd", "flags", "use_in_clipped")},
            **{name: str(values[name] or "") for name in ("filter", "image_type")},
            **{name: _finite(values[name]) for name in ("exp_time", "mag_psf", "e_mag_psf")},
            **{name: _number(values[name], math.nan) for name in ("zpapprox", "fwhm")},
            **{name: _number(values[name], None) for name in ("background", "x_img", "y_img")},
        }
        detection = Detection(**fields, date=_mjd(int(values["image_id"])))
    except (TypeError, ValueError):
        return None
    possible = 1 <= detection.ccd <= 32 and detection.filter in tuple(BANDS) and detection.image_type
    return detection if possible else None


def _number(value: float | None, missing: float | None) -> float | None:
    return missing if value is None or not math.isfinite(value) else float(value)


def _finite(value: float | None) -> float:
    if value is None or not math.isfinite(value):
        raise ValueError("a NULL where a number must be")
    return float(value)


def _mjd(image_id: int) -> float:
    """The start of an exposure, of its image_id yyyymmddhhmmss."""
    start = datetime.strptime(f"{image_id:014d}", "%Y%m%d%H%M%S")
    return (start - datetime(1858, 11, 17)).total_seconds() / 86400
