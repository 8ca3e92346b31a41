import math
from dataclasses import replace

import numpy as np
import pytest

from datasets.archives.interface import ArchiveDownError, ArchiveError, Cutout, NotServedError, ServiceError
from datasets.imaging.alignment import pixel_of
from datasets.imaging.cutouts import read_image
from datasets.skymapper import BANDS, EXTINCTION_COEFFICIENTS
from datasets.stamps import StampError, make_stamp
from tests.datasets.synthetic_cutouts import (
    DEC_DEG,
    MAGS,
    MEDIAN_SEEING_ARCSEC,
    OBJECT_ID,
    RA_DEG,
    Exposure,
    SyntheticArchive,
    a_star,
    fits_bytes,
    flux_of,
    moffat,
    six_bands,
    stamp_of,
)


@pytest.mark.parametrize("projection", ["TPV", "TAN"])
@pytest.mark.parametrize("rotator_deg", [0, 37, 90, 180, 300])
def test_an_injected_star_comes_back_within_half_a_percent(rotator_deg, projection):
    exposures = a_star(rotator_deg, projection)
    # The grid is the first r frame's, at no angle: the others are turned against it.
    exposures += [Exposure("r", MAGS["r"], 20150402140000, fwhm=2.5)]
    stamp = stamp_of(exposures)
    assert stamp.reference.image_id == 20150402140000
    for i, band in enumerate(BANDS):
        assert stamp.flux[..., i].sum() == pytest.approx(flux_of(MAGS[band]), rel=0.005), band


def test_reddening_is_taken_off():
    clear, reddened = stamp_of(a_star()), stamp_of(a_star(), ebmv_sfd=0.15)
    for i, band in enumerate(BANDS):
        factor = 10 ** (0.4 * 0.15 * EXTINCTION_COEFFICIENTS[band])
        np.testing.assert_allclose(reddened.flux[..., i], clear.flux[..., i] * np.float32(factor), rtol=1e-5, atol=1e-9)


def test_the_pixels_are_the_stars_profile():
    """Not only the sum: in each pixel, within 0.6 % of the peak, the star within half a pixel of the centre."""
    exposures = six_bands(mag=13.0, rotator_deg=90.0, shift=(0.31, -0.44))
    stamp = stamp_of(exposures)
    x, y = (v % 1 + 23 for v in pixel_of(read_image(exposures[3].cutout().image).wcs, RA_DEG, DEC_DEG))
    expected = flux_of(13.0) * moffat((48, 48), x, y, 2.6 / 0.4971)
    for i in range(6):
        assert np.abs(stamp.flux[..., i] - expected).max() < 0.006 * expected.max()
        weights = stamp.flux[14:34, 14:34, i]
        rows, columns = np.mgrid[14:34, 14:34]
        centroid = (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()
        assert np.abs(np.subtract(centroid, 23.5)).max() < 0.52
        assert np.abs(np.subtract(centroid, (x, y))).max() < 0.03


def test_both_aligners_make_the_same_stamp():
    exposures = a_star(37, noise_seed=3, masked=((10, 12), (40, 8)))
    fast, reference = (stamp_of(exposures, aligner=name) for name in ("fast", "reproject"))
    assert np.abs(fast.flux - reference.flux).max() < 1e-6 * fast.flux.max()
    np.testing.assert_array_equal(fast.mask, reference.mask)
    for name in ("n_detections", "fwhm", "n_masked_pixels"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(reference, name))


def expected_sigma(exposure, n_sky_pixels=2700):
    """Error of the flux in 48 x 48 px, in uJy: photons, read noise, and the sky level fitted to so many pixels."""
    read_noise = (exposure.read_noise_e / exposure.gain) ** 2 + 1 / 12
    pixel = exposure.sky_adu / exposure.gain + read_noise
    star = 10 ** (0.4 * (exposure.zpapprox - exposure.mag)) / exposure.gain
    return math.sqrt(star + 48**2 * pixel + (48**2) ** 2 * pixel / n_sky_pixels) * 10 ** (
        0.4 * (23.9 - exposure.zpapprox)
    )


def test_noise_moves_the_flux_by_what_it_explains():
    """Pulls of 30 noisy stars in six bands against the noise-free stamp: no bias, and the spread of photons."""
    exposures = [replace(e, fwhm=MEDIAN_SEEING_ARCSEC[e.band], mag=14.0, rotator_deg=3.0) for e in six_bands()]
    truth = stamp_of(exposures).flux.sum(axis=(0, 1))
    pulls = []
    for seed in range(30):
        noisy = stamp_of([replace(e, noise_seed=100 * seed + i) for i, e in enumerate(exposures)])
        pulls.append((noisy.flux.sum(axis=(0, 1)) - truth) / [expected_sigma(e) for e in exposures])
    assert abs(np.mean(pulls)) < 4 / math.sqrt(180)
    # The wings, fitted with the sky, widen its error by up to a third: half the variance is the sky's.
    assert 0.9 < np.std(pulls) < 1.35


def test_short_and_main_frames_agree_and_average():
    """Frames 100 s and 5 s long, zeropoints 3.25 mag apart: one flux. Their mean is the mean."""
    rest = [e for e in six_bands() if e.band != "g"]
    short = Exposure("g", 13.5, 1, zpapprox=25.78, exp_time=5.0, sky_adu=15.0)
    main = Exposure("g", 13.5, 2, zpapprox=29.03, exp_time=100.0, sky_adu=250.0, shift=(0.4, 0.3))
    alone = [stamp_of([*rest, e]).flux[..., 2] for e in (short, main)]
    assert np.abs(alone[0] - alone[1]).max() < 0.005 * alone[0].max()
    both = stamp_of([*rest, short, main])
    np.testing.assert_allclose(both.flux[..., 2], (alone[0] + alone[1]) / 2, rtol=1e-5, atol=1e-5 * alone[0].max())
    assert both.n_detections.tolist() == [1, 1, 2, 1, 1, 1]


def test_the_record():
    exposures = a_star(fwhm=3.0)
    exposures += [
        Exposure("r", MAGS["r"], 20150402150000, fwhm=2.1),
        Exposure("r", MAGS["r"], 20150402160000, fwhm=1.2, table={"use_in_clipped": 0}),
        Exposure("i", MAGS["i"], 20150402170000, fwhm=1.5),
        Exposure("z", MAGS["z"], 20150402180000, fwhm=2.0, masked=((28, 28),)),
    ]
    stamp = stamp_of(exposures)
    assert stamp.flux.shape == stamp.mask.shape == (48, 48, 6)
    assert (stamp.flux.dtype, stamp.mask.dtype, stamp.n_detections.dtype) == (np.float32, np.uint8, np.int32)
    assert (stamp.fwhm.dtype, stamp.n_masked_pixels.dtype, stamp.n_dropped.dtype) == (np.float32, np.int32, np.int32)
    assert stamp.n_detections.tolist() == [2, 2, 2, 3, 3, 2]
    assert stamp.n_dropped.tolist() == [0, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(stamp.fwhm, [3, 3, 3, 2.7, 2.5, 3], rtol=1e-6)
    assert stamp.reference == exposures[-4].detection(), "the r-band detection used, of the best seeing"
    assert stamp.dropped == ("z 20150402180000-17: the star's core is masked or saturated",)


def test_the_order_in_which_the_archive_lists_detections_does_not_matter():
    exposures = a_star(37, noise_seed=4, fwhm=2.5)
    forwards, backwards = stamp_of(exposures), stamp_of(exposures[::-1])
    np.testing.assert_array_equal(forwards.flux, backwards.flux)
    assert forwards.reference == backwards.reference


def test_uncovered_corners_are_masked_and_zero():
    exposures = [e if e.band == "r" else replace(e, rotator_deg=45.0) for e in six_bands()]
    stamp = stamp_of(exposures)
    assert stamp.mask[0, 0].tolist() == [1, 1, 1, 0, 1, 1]
    assert stamp.flux[0, 0, 0] == 0
    assert stamp.n_masked_pixels[0] == stamp.mask[..., 0].sum() > 100
    np.testing.assert_allclose(stamp.flux.sum(axis=(0, 1)), flux_of(13.0), rtol=0.005)


def test_the_sky_from_the_table():
    exposures = six_bands(sky_adu=200.0)
    np.testing.assert_allclose(stamp_of(exposures, sky="table").flux.sum(axis=(0, 1)), flux_of(13.0), rtol=0.005)
    off = [replace(e, table={"background": 199.0}) for e in exposures]
    excess = stamp_of(off, sky="table").flux - stamp_of(exposures, sky="table").flux
    adu = 10 ** (0.4 * (23.9 - 27.5))
    np.testing.assert_allclose(excess, adu, rtol=1e-2)
    missing = [replace(e, table={"background": None}) if e.band == "v" else e for e in exposures]
    with pytest.raises(
        StampError, match=r"no usable v-band detection \(v 20150402130001-17: the table has no sky level"
    ):
        stamp_of(missing, sky="table")


def test_what_the_table_lacks_is_read_from_the_header():
    exposures = six_bands()
    lacking = [replace(e, table={"zpapprox": math.nan, "fwhm": math.nan}) for e in exposures]
    np.testing.assert_array_equal(stamp_of(lacking).flux, stamp_of(exposures).flux)
    np.testing.assert_array_equal(stamp_of(lacking).fwhm, np.float32(2.6))


def test_a_detection_that_fails_is_dropped_and_said():
    exposures = [*six_bands(), *(Exposure("g", 13.0, 100 + i) for i in range(5))]
    on_the_edge = Exposure("g", 13.0, 100, shift=(27.0, 0.0))
    served = {
        100: on_the_edge.cutout(),
        101: NotServedError("get_image answered 404: no such image"),
        102: Cutout(b"<html>Gateway Time-out</html>", None),
        103: Cutout(exposures[0].cutout().image, fits_bytes(np.zeros((9, 9), np.uint8))),
        104: Exposure("g", 13.0, 104, masked=((27, 28),)).cutout(),
    }
    stamp = stamp_of(exposures, cutouts=served)
    assert stamp.n_detections.tolist() == [1] * 6
    reasons = [
        "very edge",
        "404: no such image",
        "no FITS file",
        "the mask has 9 x 9 pixels",
        "core is masked or saturated",
    ]
    for reason, message, image_id in zip(reasons, stamp.dropped, range(100, 105), strict=True):
        assert reason in message
        assert message.startswith(f"g {image_id}-17: ")
    assert stamp.n_dropped.tolist() == [0, 0, 5, 0, 0, 0]


@pytest.mark.parametrize("error", [ServiceError, ArchiveDownError, ArchiveError])
def test_a_stamp_is_never_made_of_what_happened_to_arrive(error):
    """A failure to serve is the caller's to retry or to tell: the detection is not left out."""
    exposures = [*six_bands(), Exposure("g", 13.0, 100)]
    with pytest.raises(error, match="get_image answered 504 five times"):
        stamp_of(exposures, cutouts={100: error("get_image answered 504 five times")})


def test_a_frame_that_does_not_fit_the_grid_is_dropped():
    """A damaged WCS that can be read: its pixels are 0.7 arcsec."""
    odd = [Exposure("i", 13.0, 100, scale_arcsec=0.7), Exposure("z", 13.0, 101, scale_arcsec=0.7)]
    stamp = stamp_of([*six_bands(), *odd])
    np.testing.assert_array_equal(stamp.flux, stamp_of(six_bands()).flux)
    assert stamp.n_detections.tolist() == [1] * 6
    assert stamp.n_dropped.tolist() == [0, 0, 0, 0, 1, 1]
    assert stamp.dropped[0].startswith("i 100-17: the frame's pixels have 1.98 times the area of the grid's")
    with pytest.raises(StampError, match=r"^no usable i-band detection \(i 100-17: the frame's pixels"):
        stamp_of([*(e for e in six_bands() if e.band != "i"), odd[0]])


def test_a_star_without_a_band_costs_no_request():
    archive = SyntheticArchive([e for e in six_bands() if e.band != "u"])
    with pytest.raises(StampError, match="no u-band detection"):
        make_stamp(archive, OBJECT_ID, RA_DEG, DEC_DEG, 0.0)
    assert archive.asked == []


def test_a_star_near_the_edge_of_the_ccd_keeps_what_there_is():
    """A cutout that ends 12 px from the star: used, its missing part masked, or taken from the other detection."""
    full, exposures = Exposure("u", 13.0, 1), six_bands()
    cards = full.header()
    clipped = Cutout(fits_bytes(np.rint(full.expected_adu())[:, :40].astype(np.int16), cards), None)
    stamp = stamp_of(exposures, cutouts={exposures[0].image_id: clipped})
    assert stamp.mask[:, -8:, 0].all()
    assert not stamp.mask[:, :36, 0].any()
    assert stamp.flux[:, :36, 0].sum() == pytest.approx(flux_of(13.0), rel=0.01)


@pytest.mark.parametrize("band", BANDS)
def test_a_band_without_detections_is_refused(band):
    others = [e for e in six_bands() if e.band != band]
    with pytest.raises(StampError, match=f"^no {band}-band detection with use_in_clipped = 1$"):
        stamp_of(others)
    with pytest.raises(StampError, match=f"^no {band}-band detection with use_in_clipped = 1$"):
        stamp_of([*others, Exposure(band, 13.0, 1, table={"use_in_clipped": 0})])
    with pytest.raises(
        StampError, match=rf"^no usable {band}-band detection \({band} 1-17: .*edge.*; {band} 2-17: .*core"
    ):
        stamp_of([*others, Exposure(band, 13.0, 1, shift=(40.0, 0.0)), Exposure(band, 13.0, 2, masked=((27, 27),))])


@pytest.mark.parametrize(
    ("position", "ebmv_sfd", "message"),
    [
        ((math.nan, DEC_DEG), 0.1, "is not on the sky"),
        ((RA_DEG, -91.0), 0.1, "is not on the sky"),
        ((RA_DEG, DEC_DEG), math.nan, "reddening E\\(B-V\\) = nan"),
        ((RA_DEG, DEC_DEG), -9999.0, "reddening E\\(B-V\\) = -9999.0 is not between 0 and 10 mag"),
        (((RA_DEG + 180) % 360, -DEC_DEG), 0.1, "outside the frame's projection"),
    ],
)
def test_input_that_makes_no_sense_is_refused(position, ebmv_sfd, message):
    with pytest.raises(StampError, match=message):
        make_stamp(SyntheticArchive(six_bands()), OBJECT_ID, *position, ebmv_sfd)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"zpapprox": -999.0}, "the zeropoint -999.0"),
        ({"fwhm": 0.0}, "the seeing 0.0 is not between 0.5 and 15 arcsec"),
    ],
)
def test_a_detection_that_cannot_be_calibrated_is_dropped(table, message):
    with pytest.raises(StampError, match=message):
        stamp_of([replace(e, table=table) for e in six_bands()])


def test_an_option_misspelt_is_refused():
    for option in ({"aligner": "quick"}, {"sky": "catalogue"}):
        with pytest.raises(ValueError, match="must be"):
            stamp_of(six_bands(), **option)


def test_the_stamp_is_that_of_plain_astropy_and_reproject():
    """The whole chain against `fits.open`, `WCS` and `reproject_interp`, on a mock star with masked pixels."""
    benchmark = pytest.importorskip("benchmarks.stamps")
    (star,) = benchmark.stars_with_stamps(1)
    stamp, plain = star.stamp(), benchmark.plain_stamp(star)
    assert np.abs(stamp.flux - plain).max() < 1e-6 * plain.max()


def test_mock_stars_have_their_true_magnitudes():
    """Through the mock archive: stars without neighbours, against the flux that was put on their frames."""
    archive = pytest.importorskip("datasets.mock_sky.archive").MockArchive(seed=0)
    block = pytest.importorskip("datasets.mock_sky.sky").MockSky(seed=0).block(0)
    master = archive.tables_of_block(0)["dr4.master"]
    positions = {row["object_id"]: (float(row["raj2000"]), float(row["dej2000"])) for row in master}
    pulls = []
    for star in block.stars:
        exposures = block.exposures[
            (block.exposures["star"] == star["star"]) & (block.exposures["use_in_clipped"] == 1)
        ]
        neighbours = block.neighbours["mag"][block.neighbours["star"] == star["star"]]
        crowded = (10 ** (-0.4 * (neighbours - star["mag"]))).sum(axis=0).max(initial=0) > 0.002
        if crowded or set(exposures["filter"]) != set(BANDS) or star["object_id"] not in positions:
            continue
        try:
            stamp = make_stamp(archive, int(star["object_id"]), *positions[star["object_id"]], 0.0)
        except StampError:
            continue
        if not stamp.dropped:
            pulls.append([pull_of(stamp, i, exposures, star["mag"][i]) for i in range(6)])
        if len(pulls) == 8:
            break
    assert np.abs(pulls).max() < 4.5
    assert abs(np.mean(pulls)) < 4 / math.sqrt(48)
    assert 0.4 < np.std(pulls) < 1.5


def pull_of(stamp, i, exposures, mag):
    """A band's flux less what its frames hold, zeropoint errors and wings off the stamp allowed for, over its error."""
    frames = [
        Exposure(
            BANDS[i], float(mag), zpapprox=float(e["zeropoint"]), sky_adu=float(e["sky_adu"]), fwhm=float(e["fwhm"])
        )
        for e in exposures
        if e["filter"] == BANDS[i]
    ]
    errors = [10 ** (0.4 * (e["zeropoint"] - e["zpapprox"])) for e in exposures if e["filter"] == BANDS[i]]
    on_stamp = [moffat((48, 48), 23.5, 23.5, f.fwhm / 0.497).sum() for f in frames]
    expected = flux_of(mag) * np.mean(np.multiply(errors, on_stamp))
    noise = math.sqrt(sum(expected_sigma(f) ** 2 for f in frames)) / len(frames)
    return (stamp.flux[..., i].sum() - expected) / math.hypot(1.15 * noise, 0.003 * expected)
