"""FITS checksums of streamed data: ones'-complement sums of 32 bits and their text (FITS Standard 4.0, App. J)."""

from __future__ import annotations

import numpy as np

_MODULUS = 2**32 - 1
_PUNCTUATION = frozenset(b":;<=>?@[\\]^_`")


class DataSum:
    """The sum of bytes added in pieces of any length, filled up by zeros to whole words; `value` is DATASUM."""

    def __init__(self):
        self._sum, self._rest = 0, b""

    def add(self, data: bytes) -> None:
        """Add these bytes."""
        data = self._rest + data
        n_words = len(data) // 4
        # uint64 cannot overflow below 2^32 words.
        self._sum = _folded(self._sum + int(np.frombuffer(data, ">u4", n_words).sum(dtype=np.uint64)))
        self._rest = data[4 * n_words :]

    @property
    def value(self) -> int:
        """The sum so far."""
        return _folded(self._sum + int.from_bytes(self._rest.ljust(4, b"\0"), "big"))


def header_checksum(header: bytes, datasum: int) -> str:
    """The value of CHECKSUM, from its data's sum and a header in which that value is still sixteen zeros."""
    total = DataSum()
    total.add(header)
    return _encoded(_MODULUS - _folded(total.value + datasum))


def _folded(total: int) -> int:
    """Carries added back at the low end: 0 stays 0, another multiple of 2^32 - 1 becomes it."""
    return (total - 1) % _MODULUS + 1 if total else 0


def _encoded(value: int) -> str:
    """Sixteen letters and digits whose sum, in columns of four, is the value's bytes above four times `0`."""
    columns = []
    for byte in value.to_bytes(4, "big"):
        quarters = [byte // 4 + byte % 4, byte // 4, byte // 4, byte // 4]
        characters = [quarter + ord("0") for quarter in quarters]
        while _PUNCTUATION & set(characters):
            for i in (0, 2):  # the pair's sum stays
                if _PUNCTUATION & set(characters[i : i + 2]):
                    characters[i] += 1
                    characters[i + 1] -= 1
        columns.append(characters)
    text = bytes(columns[byte][i] for i in range(4) for byte in range(4)).decode()
    return text[-1] + text[:-1]  # because values of keywords begin one byte before a word
