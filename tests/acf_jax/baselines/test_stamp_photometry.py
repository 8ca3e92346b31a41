"""Photometry of drawn stars whose flux is known, and against photutils' own fitter."""

import numpy as np
import pytest
from astropy.table import QTable
from photutils.psf import MoffatPSF, PSFPhotometry

from acf_jax.baselines import stamp_photometry
from acf_jax.baselines.stamp_photometry import ab_magnitude, fit_psf, measure, measure_stamps

FWHM_PX = 5.5
SKY = 3.0
GAIN = 0.2  # variance per flux, of the star's photons


def alpha(fwhm_px=FWHM_PX):
    return fwhm_px / 2 / np.sqrt(2 ** (1 / 3) - 1)


def draw(flux, x=23.3, y=23.7, fwhm_px=FWHM_PX, rng=None):
    """A star of a known flux in uJy, with the noise of sky and photons if there is a generator."""
    rows, columns = np.mgrid[:48, :48]
    star = (
        flux
        * 2
        / np.pi
        / alpha(fwhm_px) ** 2
        * (1 + ((columns - x) ** 2 + (rows - y) ** 2) / alpha(fwhm_px) ** 2) ** -3
    )
    return star if rng is None else star + rng.normal(size=star.shape) * np.sqrt(SKY**2 + GAIN * star)


def by_photutils(image, error=None):
    """The same pixels, fitted by photutils."""
    rows, columns = np.mgrid[:48, :48]
    far = np.hypot(columns - 23.5, rows - 23.5) > stamp_photometry.FIT_RADIUS_PX
    model = MoffatPSF(alpha=alpha(), beta=3)
    found = PSFPhotometry(model, (15, 15), aperture_radius=6)(
        image, mask=far, error=error, init_params=QTable({"x": [23.5], "y": [23.5]})
    )
    return tuple(float(found[name][0]) for name in ("flux_fit", "flux_err", "x_fit", "y_fit"))


def test_a_star_without_noise_has_its_flux_and_place():
    fit = fit_psf(draw(1e5), FWHM_PX)
    assert fit.flux == pytest.approx(1e5, rel=1e-6)
    assert (fit.x, fit.y) == pytest.approx((23.3, 23.7), abs=1e-5)


@pytest.mark.parametrize("flux", [1e3, 1e5])
def test_an_unweighted_fit_is_the_one_of_photutils(flux, monkeypatch):
    monkeypatch.setattr(stamp_photometry, "N_PASSES", 1)
    image = draw(flux, rng=np.random.default_rng(1))
    fit = fit_psf(image, FWHM_PX)
    assert (fit.flux, fit.flux_error, fit.x, fit.y) == pytest.approx(by_photutils(image), rel=1e-3)


@pytest.mark.parametrize("flux", [1e3, 1e5])
def test_the_weighted_fit_is_the_one_of_photutils_given_the_noise(flux):
    image = draw(flux, rng=np.random.default_rng(2))
    expected, error, *_ = by_photutils(image, np.sqrt(SKY**2 + GAIN * draw(flux)))
    fit = fit_psf(image, FWHM_PX)
    assert abs(fit.flux - expected) < 0.1 * error
    assert fit.flux_error == pytest.approx(error, rel=0.15)


def test_errors_are_as_large_as_the_scatter_and_fluxes_not_biased():
    rng = np.random.default_rng(3)
    for flux in (3e3, 1e6):
        fits = [fit_psf(draw(flux, *rng.uniform(23, 24, 2), rng=rng), FWHM_PX) for _ in range(150)]
        pull = np.array([(fit.flux - flux) / fit.flux_error for fit in fits])
        assert 0.82 < pull.std() < 1.18  # three sigma of 150 draws
        assert abs(pull.mean()) < 3 / np.sqrt(150) + 0.05


def test_apertures_hold_the_moffat_profiles_share():
    stamp = np.stack([draw(1e5, fwhm_px=fwhm) for fwhm in (5.0, 6.0)], axis=-1)
    measured = measure_stamps(stamp[None], np.array([[5.0, 6.0]]))
    radii = np.array(stamp_photometry.APERTURE_RADII_PX)
    for band, fwhm in enumerate((5.0, 6.0)):
        share = 1 - (1 + radii**2 / alpha(fwhm) ** 2) ** -2
        # A pixel's value stands for all of its area here, which takes 0.9 % from the narrowest.
        np.testing.assert_allclose(measured.aperture_flux[0, :, band], 1e5 * share, rtol=1e-2)
    np.testing.assert_allclose(measured.position_px, [[23.3, 23.7]], atol=1e-4)


def test_errors_of_apertures_are_the_skys():
    rng = np.random.default_rng(4)
    stamps = draw(500.0)[None, :, :, None] + rng.normal(0, SKY, (200, 48, 48, 1))
    measured = measure_stamps(stamps, np.full((200, 1), FWHM_PX))
    wide = measured.aperture_flux[:, 1:, 0]  # in the narrowest, the star's place matters more than the sky
    np.testing.assert_allclose(wide.std(axis=0) / measured.aperture_flux_error[:, 1:, 0].mean(axis=0), 1, atol=0.16)


def test_what_cannot_be_measured_is_nan_and_counted_band_by_band():
    rng = np.random.default_rng(5)
    stamps = np.stack([draw(1e4, rng=rng) for _ in range(4)])[..., None] * np.ones(3)
    stamps[0, 24, 24, 1] = np.nan
    fwhm = np.full((4, 3), FWHM_PX)
    fwhm[1, 2] = np.nan
    stamps[2, :, :, 0] = draw(1e4, x=30.0, y=23.5, rng=rng)  # nothing where the star should be
    stamps[3] = np.nan
    measured = measure_stamps(stamps, fwhm)
    missing = {tuple(where) for where in np.argwhere(np.isnan(measured.psf_flux)).tolist()}
    assert missing == {(0, 1), (1, 2), (2, 0), (3, 0), (3, 1), (3, 2)}
    assert measured.n_failed_fits.tolist() == [2, 2, 2]
    assert np.isnan(measured.aperture_flux[0, :, 1]).all()
    assert np.isfinite(measured.aperture_flux[1]).all()
    assert np.isnan(measured.position_px[3]).all()


def test_processes_change_nothing():
    rng = np.random.default_rng(6)
    stamps = np.stack([draw(flux, rng=rng) for flux in (1e3, 1e4, 1e5, 1e6, 1e7)])[..., None] * np.ones(2)
    fwhm = np.full((5, 2), FWHM_PX)
    batches = [(stamps[rows], fwhm[rows]) for rows in (slice(0, 2), slice(2, 3), slice(3, 5))]
    alone = measure_stamps(stamps, fwhm).to_arrays()
    for n_processes in (1, 2):
        together = measure(batches, 5, n_processes=n_processes).to_arrays()
        for name, values in alone.items():
            np.testing.assert_array_equal(together[name], values)


def test_no_stars_have_no_photometry():
    measured = measure_stamps(np.zeros((0, 48, 48, 6)), np.zeros((0, 6)))
    assert measured.aperture_flux.shape == (0, 3, 6)
    assert measured.position_px.shape == (0, 2)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 48, 48, 6\) and seeing \(2, 5\)"):
        measure_stamps(np.zeros((2, 48, 48, 6)), np.zeros((2, 5)))


def test_magnitudes_by_hand():
    # 3631 Jy have the AB magnitude 0; a hundredth of a flux is five magnitudes fainter.
    np.testing.assert_allclose(ab_magnitude([3631e6, 36.31e6]), [0, 5], atol=2e-4)
    assert np.isnan(ab_magnitude([0.0, -1.0])).all()
