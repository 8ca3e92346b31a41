import io

import numpy as np
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from acf_jax.catalogue.files.fits_checksum import DataSum, header_checksum


@given(st.binary(max_size=3000), st.lists(st.integers(1, 700), max_size=6))
def test_the_sum_is_astropys_however_the_bytes_are_cut(data, cuts):
    ours, start = DataSum(), 0
    for length in [*cuts, len(data)]:
        ours.add(data[start : start + length])
        start += length
    hdu = fits.ImageHDU(np.frombuffer(data or b"\0", np.uint8))
    hdu.add_datasum()
    assert ours.value == int(hdu.header["DATASUM"])


@given(st.binary(min_size=1, max_size=500), st.integers(0, 2**31))
def test_astropy_finds_the_checksum_of_a_header_right(data, seed):
    hdu = fits.ImageHDU(np.frombuffer(data, np.uint8))
    hdu.header["SEED"] = seed
    hdu.add_checksum()
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    file.seek(0)
    header = fits.getheader(file, 1)
    datasum = int(header["DATASUM"])
    header["CHECKSUM"] = (16 * "0", header.comments["CHECKSUM"])
    header["CHECKSUM"] = (header_checksum(header.tostring().encode(), datasum), header.comments["CHECKSUM"])
    file.seek(2880)
    file.write(header.tostring().encode())
    file.seek(0)
    with fits.open(file, checksum=True) as hdus:  # warns, which is an error here, of one that does not fit
        assert hdus[1].header["CHECKSUM"] == header["CHECKSUM"]
        hdus[1].data  # noqa: B018
