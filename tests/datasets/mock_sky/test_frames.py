"""Photographs against what was put in: analytic integrals, fine oversampling, the statistics of noise, the mask."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.mock_sky import frames
from datasets.mock_sky.exposures import GAIN_E_PER_ADU, SATURATION_ADU
from datasets.mock_sky.frames import (
    MASK_BAD_PIXEL,
    MASK_COSMIC_RAY,
    MASK_SATURATED,
    Area,
    Scene,
    area_around,
    detector_of,
    expected_adu,
    photograph,
)


def scene(**changes):
    one_star = Scene(
        x=np.array([1000.3]),
        y=np.array([2000.7]),
        flux_adu=np.array([1e5]),
        fwhm_px=5.2,
        elong=1.0,
        sky_adu=40.0,
        exp_time_s=100.0,
        ccd=7,
        seed=0,
    )
    return replace(one_star, **changes)


def shoot(a_scene, size_px=56, seed=1):
    return photograph(a_scene, area_around(a_scene.x[0], a_scene.y[0], size_px), np.random.default_rng(seed))


@pytest.fixture
def clean(monkeypatch):
    """A camera without cosmic rays, bad pixels and bad columns."""
    monkeypatch.setattr(frames, "COSMIC_RAYS_PER_PX_S", 0.0)
    detector = detector_of(0, 7)
    nothing = np.array([], int)
    spotless = replace(
        detector, pixel_x=nothing, pixel_y=nothing, pixel_hot=nothing, column_x=nothing, column_y0=nothing
    )
    monkeypatch.setattr(frames, "detector_of", lambda seed, ccd: spotless)
    return spotless


@pytest.mark.parametrize("elong", [1.0, 1.25])
@pytest.mark.parametrize(("fwhm_px", "tolerance"), [(2.4 / 0.497, 3e-5), (1.5 / 0.497, 3e-4)])
def test_pixels_integrate_the_profile(fwhm_px, tolerance, elong):
    one = scene(fwhm_px=fwhm_px, elong=elong, sky_adu=0.0, flux_adu=np.array([1.0]))
    area, angle, fine = area_around(1000.3, 2000.7, 40), 0.4, 15
    sub = (np.arange(fine) - (fine - 1) / 2) / fine
    x = (np.arange(area.x0, area.x0 + 40)[:, None] + sub).ravel() - 1000.3
    y = ((np.arange(area.y0, area.y0 + 40)[:, None] + sub).ravel() - 2000.7)[:, None]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    half_width_at_half_maximum = np.array([elong, 1 / elong]) ** 0.5 * fwhm_px / 2
    alpha_along, alpha_across = half_width_at_half_maximum / (2 ** (1 / 3) - 1) ** 0.5
    profile = (1 + (along / alpha_along) ** 2 + (across / alpha_across) ** 2) ** -3
    profile *= 2 / (np.pi * alpha_along * alpha_across)
    expected = profile.reshape(40, fine, 40, fine).mean(axis=(1, 3))
    np.testing.assert_allclose(expected_adu(one, area, angle), expected, atol=tolerance)


@pytest.mark.parametrize("radius_px", [14.0, 27.0])
def test_flux_within_an_aperture_is_the_profiles_integral(radius_px):
    area = area_around(1000.3, 2000.7, 60)
    light = expected_adu(scene(), area) - 40.0
    columns, rows = np.arange(area.x0, area.x0 + 60), np.arange(area.y0, area.y0 + 60)[:, None]
    sub = (np.arange(9) - 4) / 9  # the share of a pixel inside the aperture, by subpixels
    x, y = (columns[:, None] + sub).ravel() - 1000.3, ((rows + sub).ravel() - 2000.7)[:, None]
    inside = (x**2 + y**2 < radius_px**2).reshape(60, 9, 60, 9).mean(axis=(1, 3))
    alpha = 5.2 / 2 / (2 ** (1 / 3) - 1) ** 0.5
    expected = 1e5 * (1 - (1 + (radius_px / alpha) ** 2) ** -2)
    assert np.sum(light * inside) == pytest.approx(expected, rel=5e-4)


def test_a_neighbour_shines_where_it_is():
    pair = scene(x=np.array([1000.3, 1013.6]), y=np.array([2000.7, 1991.2]), flux_adu=np.array([0.0, 5e4]), sky_adu=0.0)
    area = area_around(1000.3, 2000.7, 56)
    light = expected_adu(pair, area)
    near = np.abs(np.arange(area.x0, area.x0 + 56) - 1013.6) < 9, np.abs(np.arange(area.y0, area.y0 + 56) - 1991.2) < 9
    column = np.average(np.arange(area.x0, area.x0 + 56)[near[0]], weights=light[np.ix_(near[1], near[0])].sum(axis=0))
    row = np.average(np.arange(area.y0, area.y0 + 56)[near[1]], weights=light[np.ix_(near[1], near[0])].sum(axis=1))
    assert (column, row) == (pytest.approx(1013.6, abs=0.05), pytest.approx(1991.2, abs=0.05))


@pytest.mark.parametrize("sky_adu", [3.0, 40.0, 400.0])
def test_noise_is_that_of_photons_and_readout(clean, sky_adu):
    blank = scene(flux_adu=np.array([0.0]), sky_adu=sky_adu)
    pixels = np.concatenate([shoot(blank, seed=seed)[0].ravel() for seed in range(40)])
    variance = sky_adu / GAIN_E_PER_ADU + (clean.read_noise_e / GAIN_E_PER_ADU) ** 2 + 1 / 12
    n = len(pixels)
    assert pixels.mean() == pytest.approx(sky_adu, abs=4 * np.sqrt(variance / n))
    assert pixels.var() == pytest.approx(variance, rel=4 * np.sqrt(2.2 / n))


def test_noise_under_a_star_is_its_photons(clean):
    shots = np.array([shoot(scene(), seed=seed)[0] for seed in range(400)], float)
    mean = expected_adu(scene(), area_around(1000.3, 2000.7, 56))
    variance = mean / GAIN_E_PER_ADU + (clean.read_noise_e / GAIN_E_PER_ADU) ** 2 + 1 / 12
    pull = (shots.mean(axis=0) - mean) / np.sqrt(variance / 400)
    assert np.abs(pull).max() < 5.5
    bright = mean > 500
    assert bright.sum() > 20
    assert np.mean(shots.var(axis=0)[bright] / variance[bright]) == pytest.approx(1, abs=0.05)


def test_saturated_pixels_are_cut_and_masked(clean):
    image, mask = shoot(scene(flux_adu=np.array([2e7])))
    mean = expected_adu(scene(flux_adu=np.array([2e7])), area_around(1000.3, 2000.7, 56))
    assert image.max() == SATURATION_ADU
    np.testing.assert_array_equal(mask == MASK_SATURATED, image == SATURATION_ADU)
    assert np.all(mask[mean > 1.02 * SATURATION_ADU] == MASK_SATURATED)
    assert np.all(mask[mean < 0.98 * SATURATION_ADU] == 0)
    assert np.any(mean > 1.02 * SATURATION_ADU)


def test_nearly_all_cosmic_rays_are_masked(clean, monkeypatch):
    monkeypatch.setattr(frames, "COSMIC_RAYS_PER_PX_S", 5e-6)
    blank = scene(flux_adu=np.array([0.0]))
    sigma = np.sqrt(40 / GAIN_E_PER_ADU + (clean.read_noise_e / GAIN_E_PER_ADU) ** 2)
    shots = [shoot(blank, 120, seed) for seed in range(30)]
    struck = np.array([image > 40 + 8 * sigma for image, _ in shots])
    masked = np.array([mask == MASK_COSMIC_RAY for _, mask in shots])
    assert masked.sum() > 1000
    assert 0.9 < np.mean(masked[struck]) < 1  # a few are left for the pipeline
    assert np.mean(struck[masked]) > 0.8


def test_without_exposure_no_cosmic_rays():
    masks = [shoot(scene(exp_time_s=0.0, sky_adu=0.0), 120, seed)[1] for seed in range(20)]
    assert not np.any(np.array(masks) & MASK_COSMIC_RAY)


def test_bad_pixels_and_columns_stay_where_the_ccd_has_them():
    detector = detector_of(0, 7)
    i = int(np.argmax((detector.column_x > 100) & (detector.column_x < 1900) & (detector.column_y0 < 3900)))
    x, y = float(detector.column_x[i]), float(detector.column_y0[i])
    (image, mask), (_, later) = (shoot(scene(x=np.array([x]), y=np.array([y])), 40, seed) for seed in (1, 2))
    area = area_around(x, y, 40)
    column, row = int(x) - area.x0, int(y) - area.y0
    assert np.all(mask[row:, column] & MASK_BAD_PIXEL)
    assert not np.any(mask[:row, column] & MASK_BAD_PIXEL)
    np.testing.assert_array_equal(mask & MASK_BAD_PIXEL, later & MASK_BAD_PIXEL)
    assert np.all(image[row:, column] == 0)


def test_hot_pixels_are_full_and_masked():
    detector = detector_of(0, 7)
    i = int(np.argmax(detector.pixel_hot & (detector.pixel_x > 100) & (detector.pixel_x < 1900)))
    x, y = int(detector.pixel_x[i]), int(detector.pixel_y[i])
    image, mask = shoot(scene(x=np.array([x + 3.0]), y=np.array([y + 2.0])), 40)
    area = area_around(x + 3.0, y + 2.0, 40)
    assert image[y - area.y0, x - area.x0] == SATURATION_ADU
    assert mask[y - area.y0, x - area.x0] & MASK_BAD_PIXEL


@pytest.mark.parametrize("inner_px", [20, 48, 56, 60, 64])
def test_a_pixel_is_the_same_in_every_area_asked_for(inner_px):
    crowd = scene(x=np.array([1000.3, 1020.0]), y=np.array([2000.7, 1999.0]), flux_adu=np.array([1e5, 1e4]), elong=1.2)
    whole, inner = area_around(1000.3, 2000.7, 128), area_around(1000.3, 2000.7, inner_px)
    for wide, narrow in zip(shoot(crowd, 128), shoot(crowd, inner_px), strict=True):
        assert narrow.shape == (inner_px, inner_px)
        np.testing.assert_array_equal(wide[whole.slices_of(inner)], narrow)


def test_more_than_is_photographed_is_refused():
    with pytest.raises(ValueError, match="128 px"):
        shoot(scene(), 140)


@pytest.mark.parametrize(
    ("area", "clipped"),
    [
        (Area(100, 200, 56, 56), Area(100, 200, 56, 56)),
        (Area(-9, 4090, 56, 56), Area(1, 4090, 46, 7)),
        (Area(2040, -20, 56, 56), Area(2040, 1, 9, 35)),
    ],
)
def test_areas_end_at_the_edge_of_the_ccd(area, clipped):
    assert area.on_ccd() == clipped


@pytest.mark.parametrize("x", [10.0, 10.3, 10.49, 10.51, 11.0])
@pytest.mark.parametrize("size_px", [55, 56])
def test_areas_are_centred(x, size_px):
    area = area_around(x, x, size_px)
    assert abs(area.x0 + (area.nx - 1) / 2 - x) <= 0.5
    assert area.nx == area.ny == size_px
