"""FITS files as bytes: cards of 80 characters, blocks of 2880 bytes, one primary HDU of integers.

A star has some forty files of a few thousand pixels; written this way they take little time compared with the photons.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

_BLOCK = 2880

Value = bool | int | float | str


def fits_bytes(cards: Mapping[str, tuple[Value, str]], data: np.ndarray, bzero: int = 0) -> bytes:
    """A FITS file with one primary HDU.

    Args:
        cards: keyword -> (value, comment), after the mandatory ones; comments that do not fit are cut.
        data: (ny, nx) integers, stored as bytes if of type uint8 and as 16-bit integers otherwise.
        bzero: the physical value of a stored 0 in a 16-bit file.

    Returns:
        The file, whole blocks of 2880 bytes.

    Raises:
        ValueError: if a value does not fit into 16 bits.
    """
    if data.dtype == np.uint8:
        bitpix, stored = 8, data
    else:
        shifted = data.astype(np.int32) - bzero
        stored = shifted.astype(">i2")
        if not np.array_equal(stored, shifted):
            raise ValueError(f"pixels from {data.min()} to {data.max()} do not fit into 16 bits with BZERO = {bzero}.")
        bitpix = 16
    ny, nx = data.shape
    header = [
        card("SIMPLE", True, "conforms to the FITS standard"),
        card("BITPIX", bitpix, "bits per pixel"),
        card("NAXIS", 2, ""),
        card("NAXIS1", nx, "columns"),
        card("NAXIS2", ny, "rows"),
    ]
    if bitpix == 16:
        header += [card("BSCALE", 1, "ADU"), card("BZERO", bzero, "ADU of a stored 0")]
    header += [card(keyword, value, comment) for keyword, (value, comment) in cards.items()]
    text = "".join(header) + f"{'END':<80}"
    return _padded(text.encode("ascii"), b" ") + _padded(stored.tobytes(), b"\0")


@lru_cache(maxsize=1024, typed=True)  # most cards of a file are those of the file before
def card(keyword: str, value: Value, comment: str = "") -> str:
    """One header card in the standard's fixed format, exactly 80 characters.

    Args:
        keyword: up to 8 characters.
        value: of the types that FITS has.
        comment: cut where it does not fit.

    Returns:
        The card.
    """
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int):
        text = f"{value:>20d}"
    elif isinstance(value, float):
        text = f"{_exact(value):>20}"
    else:
        text = f"{_quoted(value):<20}"
    line = f"{keyword:<8}= {text}"
    if comment:
        line = f"{line} / {comment}"
    return f"{line[:80]:<80}"


def _exact(value: float) -> str:
    """The shortest decimal that reads back as the same number, with the point that the standard wants."""
    text = repr(value).upper()
    return text if "." in text else text.replace("E", ".0E")


def _quoted(value: str) -> str:
    return "'" + f"{value:<8}".replace("'", "''") + "'"


def _padded(content: bytes, fill: bytes) -> bytes:
    return content + fill * (-len(content) % _BLOCK)
