"""FITS bytes as astropy reads and judges them."""

import io

import numpy as np
import pytest
from astropy.io import fits

from datasets.mock_sky.fits_bytes import card, fits_bytes

CARDS = {
    "EXPTIME": (100.0, "s"),
    "CD1_1": (-1.3823612345678901e-4, ""),
    "TINY": (1e-5, "no point in its repr"),
    "IMAGE_ID": (20140708113046, "14 digits"),
    "FILTER": ("u", ""),
    "OBJECT": ("Barnard's star", "a quote inside"),
    "LONG": ("x" * 30, "a comment that cannot possibly fit into what is left of the eighty characters"),
    "CLEAN": (True, ""),
}


@pytest.mark.parametrize(
    ("data", "bzero"),
    [
        (np.arange(12, dtype=np.uint8).reshape(3, 4), 0),
        (np.array([[-2768, 0, 1], [30000, 62767, 7]], np.int32), 30000),
        (np.zeros((36, 40), np.int32), 0),
    ],
)
def test_astropy_reads_back_what_was_written(data, bzero):
    content = fits_bytes(CARDS, data, bzero)
    assert len(content) % 2880 == 0
    with fits.open(io.BytesIO(content)) as hdus:
        hdus.verify("exception")
        assert len(hdus) == 1
        np.testing.assert_array_equal(hdus[0].data, data)
        for keyword, (value, _) in CARDS.items():
            assert hdus[0].header[keyword] == value
            assert type(hdus[0].header[keyword]) is type(value)


def test_a_card_has_eighty_characters():
    for keyword, (value, comment) in CARDS.items():
        assert len(card(keyword, value, comment)) == 80


def test_counts_beyond_16_bits_are_refused():
    with pytest.raises(ValueError, match="from 0 to 65536 do not fit into 16 bits with BZERO = 32768"):
        fits_bytes({}, np.array([[0, 65536]]), 32768)
