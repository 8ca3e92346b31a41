"""Masked pixels: filled before interpolation, left out of the mean, carried in the stamp's mask, counted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from datasets.archives.interface import Cutout
from datasets.imaging.alignment import pixel_of
from datasets.imaging.cutouts import read_image
from tests.datasets.synthetic_cutouts import (
    DEC_DEG,
    RA_DEG,
    Exposure,
    a_star,
    fits_bytes,
    flux_of,
    six_bands,
    stamp_of,
)


@pytest.mark.parametrize("aligner", ["fast", "reproject"])
def test_masked_pixels_never_leak(aligner):
    """Hot pixels, a cosmic ray in the wings, a bleeding column: whatever is under the mask, the stamp is the same."""
    masked = ((5, 7), (30, 36), (31, 36), (31, 37), *((row, 44) for row in range(56)), (0, 0), (55, 20))
    stamps = []
    for value in (0, 80, 10_080, 32_000):
        exposures = [replace(e, masked=masked, masked_value=value, noise_seed=1) for e in a_star(37)[::2]]
        stamps.append(stamp_of(exposures, aligner=aligner))
    for other in stamps[1:]:
        for name in ("flux", "mask", "n_masked_pixels"):
            np.testing.assert_array_equal(getattr(stamps[0], name), getattr(other, name))
    assert stamps[0].mask.any(axis=(0, 1)).all()


@st.composite
def masks(draw):
    """Bad pixels, saturated blobs, bad columns and rows, anywhere on a cutout but on the star's core."""
    mask = np.zeros((56, 56), bool)
    at = st.integers(0, 55)
    for y, x in draw(st.lists(st.tuples(at, at), max_size=6)):
        mask[y, x] = True
    for y, x, side in draw(st.lists(st.tuples(at, at, st.integers(2, 12)), max_size=2)):
        mask[y : y + side, x : x + side] = True
    for column in draw(st.lists(at, max_size=2)):
        mask[:, column] = True
    for row in draw(st.lists(at, max_size=2)):
        mask[row] = True
    mask[23:33, 23:33] = False
    return mask


SHARP_SIX = six_bands(fwhm=2.2, noise_seed=7)
SHARP_CUTOUTS = {exposure.image_id: exposure.cutout() for exposure in SHARP_SIX}


@given(masks(), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 37.0, 180.0]))
@settings(max_examples=25, deadline=None)
def test_nothing_under_a_mask_reaches_the_stamp(mask, seed, rotator_deg):
    """Any mask, any 16-bit values under it: the stamp is the same to the bit, and carries and counts the mask."""
    rng = np.random.default_rng(seed)
    second = Exposure("g", 13.0, 2, fwhm=2.2, rotator_deg=rotator_deg, shift=(0.3, -0.2), noise_seed=9)
    counts, flags = np.rint(second.expected_adu()).astype(np.int16), fits_bytes(mask.astype(np.uint8) * 4)
    stamps = []
    for values in (counts, -32768, 32767, rng.integers(-32768, 32768, mask.shape)):
        served = fits_bytes(np.where(mask, values, counts).astype(np.int16), second.header())
        stamps.append(stamp_of([*SHARP_SIX, second], cutouts=SHARP_CUTOUTS | {2: Cutout(served, flags)}))
    for other in stamps[1:]:
        for name in ("flux", "mask", "n_detections", "n_masked_pixels"):
            np.testing.assert_array_equal(getattr(stamps[0], name), getattr(other, name))
    assert stamps[0].n_dropped.tolist() == [0] * 6


@given(masks())
@settings(max_examples=25, deadline=None)
def test_the_stamps_mask_is_the_frames(mask):
    """Where the only detection is on its own grid: the frame's mask, a pixel wider, cropped; and each pixel counted."""
    r = SHARP_SIX[3].image_id
    cutout = Cutout(SHARP_CUTOUTS[r].image, fits_bytes(mask.astype(np.uint8)))
    stamp = stamp_of(SHARP_SIX, cutouts=SHARP_CUTOUTS | {r: cutout})
    x, y = (int(v) - 23 for v in pixel_of(read_image(cutout.image).wcs, RA_DEG, DEC_DEG))
    expected = ndimage.binary_dilation(mask, np.ones((3, 3)))[y : y + 48, x : x + 48]
    np.testing.assert_array_equal(stamp.mask[..., 3], expected)
    assert stamp.n_masked_pixels.tolist() == [0, 0, 0, expected.sum(), 0, 0]


def test_nan_and_blank_pixels_are_masked():
    exposures = six_bands()
    pixels = exposures[1].expected_adu().astype(np.float32)
    pixels[20, 40] = np.nan
    cutout = Cutout(fits_bytes(pixels, exposures[1].header()), None)
    stamp = stamp_of(exposures, cutouts={exposures[1].image_id: cutout})
    assert np.isfinite(stamp.flux).all()
    assert stamp.n_masked_pixels.tolist() == [0, 9, 0, 0, 0, 0]


def test_one_masked_pixel_in_the_wings_costs_no_flux():
    """Where no other detection can stand in: the fill follows the star's profile."""
    exposures = [replace(e, masked=((33, 31),), masked_value=30_000) for e in six_bands(mag=13.0)]
    stamp = stamp_of(exposures)
    np.testing.assert_array_equal(stamp.mask.sum(axis=(0, 1)), 9)
    np.testing.assert_allclose(stamp.flux.sum(axis=(0, 1)), flux_of(13.0), rtol=0.005)


def test_masked_pixels_are_left_out_of_the_mean():
    """Two detections of unlike seeing: where one is masked the stamp is the other alone."""
    sharp, blurred = Exposure("i", 13.0, 1, fwhm=2.2), Exposure("i", 13.0, 2, fwhm=3.4)
    rest = [e for e in six_bands(fwhm=2.0) if e.band != "i"]
    only_blurred = stamp_of([*rest, blurred])
    both = stamp_of([*rest, sharp, blurred])
    holed = stamp_of([*rest, replace(sharp, masked=((20, 30), (21, 30)), masked_value=9000), blurred])
    left_out = holed.flux[..., 4] != both.flux[..., 4]
    near = np.abs(holed.flux - both.flux)[..., 4] > 1e-3 * both.flux.max()
    assert 12 <= np.count_nonzero(near) <= np.count_nonzero(left_out)
    rows, columns = np.nonzero(near)
    np.testing.assert_allclose(
        holed.flux[rows, columns, 4], only_blurred.flux[rows, columns, 4], rtol=1e-6, atol=1e-6 * both.flux.max()
    )
    assert holed.mask.sum() == 0
    assert holed.n_masked_pixels.tolist() == [0, 0, 0, 0, 12, 0]
