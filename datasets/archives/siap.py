"""Answers of SkyMapper's Simple Image Access service: which frames show a position."""

from __future__ import annotations

import re

import astropy.units as u
import numpy as np
from astropy.table import Table

from datasets.archives.interface import ArchiveError
from datasets.archives.session import TransientError
from datasets.archives.votable import read_answer
from datasets.skymapper import BANDS

MAX_ANSWER_BYTES = 16_000_000
"""A frame takes some 1,600 bytes, so these are thousands of frames around one position."""

COLUMNS = ("format", "band", "unique_image_id", "exptime", "mjd_obs", "image_type", "mean_fwhm", "zpapprox")
"""What an answer must have."""

_UNIQUE_IMAGE_ID = re.compile(r"\d{14}-\d{2}")


class SiapError(ArchiveError):
    """An answer that is no whole list of frames; the message says why in one sentence."""


def frames(answer: bytes) -> Table:
    """The FITS frames of a SIAP answer, one row each, in order of `image_id` and `ccd`.

    The service lists a frame twice, as FITS and as PNG, and after a retry even twice as FITS: each is here once. The
    addresses in the answer (`get_fits` and others) are only carried along, as text.

    Returns:
        The answer's columns (units attached, NULLs masked), and `image_id` (int64) and `ccd` taken from
        `unique_image_id`.

    Raises:
        SiapError: if the answer is no VOTable, is incomplete or says so, or lacks one of `COLUMNS`.
    """
    table = _read(answer)
    missing = [name for name in COLUMNS if name not in table.colnames]
    if missing:
        raise SiapError(f"the SIAP answer has no column {missing[0]}; it has {', '.join(table.colnames)}")
    table = table[np.asarray(table["format"]) == "image/fits"]
    names = [str(name) for name in np.asarray(table["unique_image_id"])]
    strange = [row for row, (name, band) in enumerate(zip(names, np.asarray(table["band"]), strict=True))
               if not _UNIQUE_IMAGE_ID.fullmatch(name) or band not in set(BANDS)]  # fmt: skip
    if strange:
        row = strange[0]
        raise SiapError(
            f"the SIAP answer lists the frame '{table['unique_image_id'][row]}' of band '{table['band'][row]}', and"
            " SkyMapper has no such frame"
        )
    table["image_id"] = np.array([int(name[:14]) for name in names], np.int64)
    table["ccd"] = np.array([int(name[15:]) for name in names], np.int32)
    _, first = np.unique(np.asarray(table["unique_image_id"]), return_index=True)
    return table[first]


def _read(answer: bytes) -> Table:
    if len(answer) > MAX_ANSWER_BYTES:
        raise SiapError(f"the SIAP answer has {len(answer)} bytes, more than the {MAX_ANSWER_BYTES} that are read")
    try:
        table, status, message = read_answer(answer)
    except TransientError as error:
        raise SiapError(f"the SIAP answer cannot be used: {error}") from None
    if status != "OK":
        raise SiapError(f"the SIAP answer's status is not OK but {status} ({message or 'no reason given'})")
    if "mjd_obs" in table.colnames:
        table["mjd_obs"].unit = u.day  # the service calls it mjd, which is no unit
    return table
