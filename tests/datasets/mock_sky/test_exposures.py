import numpy as np
import pytest
from astropy.time import Time

from datasets.mock_sky.exposures import SATURATION_ADU, moffat_core_px, noise_area_px, peak_share
from datasets.skymapper import BANDS

SHORT_EXP_TIME_S = {"u": 40, "v": 20, "g": 5, "r": 5, "i": 10, "z": 20}
SHORT_ZEROPOINT = {"u": 25.4, "v": 24.9, "g": 25.78, "r": 25.5, "i": 25.6, "z": 25.66}
MAIN_ZEROPOINT = {"r": 28.75, "i": 28.1, "z": 27.5}


def test_good_detections_per_filter(stars, exposures):
    used = exposures[exposures["use_in_clipped"] == 1]
    for band, expected in zip(BANDS, (1.9, 2.2, 2.8, 3.4, 4.3, 4.9), strict=True):
        assert (used["filter"] == band).sum() / len(stars) == pytest.approx(expected, abs=0.2)


def test_a_few_stars_miss_a_band(stars, exposures):
    used = exposures[exposures["use_in_clipped"] == 1]
    for band in BANDS:
        covered = np.isin(stars["star"], used["star"][used["filter"] == band])
        assert 0.005 < 1 - covered.mean() < 0.05


@pytest.mark.parametrize("band", BANDS)
def test_exposure_times_and_zeropoints(exposures, band):
    short = exposures[(exposures["filter"] == band) & (exposures["image_type"] == "fs")]
    main = exposures[(exposures["filter"] == band) & (exposures["image_type"] == "ms")]
    assert set(short["exp_time"]) == {SHORT_EXP_TIME_S[band]}
    assert set(main["exp_time"]) == {100.0}
    assert np.median(short["zeropoint"]) == pytest.approx(SHORT_ZEROPOINT[band], abs=0.01)
    assert np.std(short["zeropoint"]) == pytest.approx(0.03, rel=0.15)
    if band in MAIN_ZEROPOINT:
        assert np.median(main["zeropoint"]) == pytest.approx(MAIN_ZEROPOINT[band], abs=0.1)
    known = exposures["zpapprox"] - exposures["zeropoint"]
    assert 0.004 < known[exposures["filter"] == band].std() < 0.011


@pytest.mark.parametrize(
    ("band", "fwhm"), [("u", 3.15), ("v", 3.00), ("g", 2.80), ("r", 2.63), ("i", 2.54), ("z", 2.49)]
)
def test_seeing(exposures, band, fwhm):
    assert np.median(exposures["fwhm"][exposures["filter"] == band]) == pytest.approx(fwhm, rel=0.02)


def test_pointings(exposures):
    right_angle = np.isin(exposures["rotator_pos"], [0, 90, 180, 270])
    assert 0.8 < right_angle.mean() < 0.95
    assert set(exposures["ccd"]) == set(range(1, 33))
    for name, size in (("x_img", 2048), ("y_img", 4096)):
        assert (exposures[name] >= 1).all()
        assert (exposures[name] <= size).all()
        assert exposures[name].mean() == pytest.approx(size / 2, rel=0.02)
        fraction = exposures[name] % 1
        assert np.histogram(fraction, 4, (0, 1))[0] / len(fraction) == pytest.approx([0.25] * 4, abs=0.02)
    assert (exposures["airmass"] >= 1).all()
    assert (exposures["elong"] >= 1).all()


def test_image_ids_are_the_times_of_exposure_and_never_come_twice(exposures):
    assert len(np.unique(exposures["image_id"])) == len(exposures)
    some = exposures[::997]
    iso = [f"{i[:4]}-{i[4:6]}-{i[6:8]}T{i[8:10]}:{i[10:12]}:{i[12:]}" for i in map(str, some["image_id"])]
    np.testing.assert_allclose(Time(iso, scale="utc").mjd, some["date"], rtol=0, atol=1e-8)


def test_rows_are_in_order_of_star_and_image(blocks):
    for block in blocks[:3]:
        e = block.exposures
        np.testing.assert_array_equal(np.lexsort((e["ccd"], e["image_id"], e["star"])), np.arange(len(e)))


def test_sky_is_as_bright_as_the_night(exposures):
    """sky = scale^2 10^(0.4 (ZP - mag per arcsec2)): a dark sky or a moonlit one, no brighter."""
    mag = exposures["zeropoint"] - 2.5 * np.log10(exposures["sky_adu"] / 0.497**2)
    for band, dark in (("u", 22), ("g", 21.6), ("i", 19.8), ("z", 18.9)):
        here = mag[exposures["filter"] == band]
        assert dark - 1 < np.median(here) < dark
    short_u = exposures["sky_adu"][(exposures["filter"] == "u") & (exposures["image_type"] == "fs")]
    assert np.abs(exposures["background"] / exposures["sky_adu"] - 1)[exposures["sky_adu"] > 50].max() < 0.05
    assert np.median(short_u) < 20


def test_noise_area_and_peak_are_those_of_the_profile():
    x, y = np.meshgrid(np.arange(-150, 151), np.arange(-150, 151))
    fwhm = np.array([2.8])
    profile = (1 + (x**2 + y**2) / moffat_core_px(fwhm) ** 2) ** -3.0
    profile /= profile.sum()
    assert peak_share(fwhm)[0] == pytest.approx(profile.max(), rel=0.01)
    assert noise_area_px(fwhm)[0] == pytest.approx(1 / (profile**2).sum(), rel=0.01)


def test_saturated_stars_are_flagged_and_left_out(stars, exposures):
    saturated = (exposures["flags"] & 4) > 0
    assert not exposures["use_in_clipped"][saturated].any()
    mag = stars["mag"][exposures["star"], exposures["band"]]
    peak = 10 ** (-0.4 * (mag - exposures["zeropoint"])) * peak_share(exposures["fwhm"]) + exposures["sky_adu"]
    assert saturated[peak > SATURATION_ADU].all()
    alone = (exposures["flags"] & 2) == 0  # a bright neighbour saturates, too
    assert (peak[saturated & alone] > 0.85 * SATURATION_ADU).all()
    main_r = (exposures["filter"] == "r") & (exposures["image_type"] == "ms")
    # The main survey saturates near 13 mag in g and r, 10 in u and v.
    assert saturated[main_r & (mag < 12.2)].mean() > 0.95
    assert saturated[main_r & (mag > 13.3)].mean() < 0.05


def test_magnitudes_scatter_about_the_truth_as_their_errors_say(stars, exposures):
    alone = (exposures["flags"] == 0) & (exposures["use_in_clipped"] == 1)
    mag = stars["mag"][exposures["star"], exposures["band"]]
    pull = ((exposures["mag_psf"] - mag) / exposures["e_mag_psf"])[alone]
    core = 1.4826 * np.median(np.abs(pull - np.median(pull)))
    assert core == pytest.approx(1.0, abs=0.05)
    assert abs(np.median(pull)) < 0.1


def test_good_detections_are_good(exposures):
    used = exposures["use_in_clipped"] == 1
    assert 0.02 < (~used & ((exposures["flags"] & 4) == 0)).mean() < 0.12
    assert (exposures["img_qual"][used] == 1).all()
    assert np.isfinite(exposures["mag_psf"]).all()
    assert (exposures["e_mag_psf"] > 0.004).all()
