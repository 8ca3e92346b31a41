"""Images against magnitudes: on drawn stamps, with a stand-in network whose errors are known."""

import dataclasses
import functools
import json

import numpy as np
import pytest

from acf_jax.baselines import photometric_network
from acf_jax.metrics.measurements import select
from acf_jax.report.section import MissingPieceError
from acf_jax.report.sections.photometry import methods, photometry
from tests.acf_jax.report.records import by_quantity, record, records
from tests.acf_jax.report.stand_in_photometry import LOW_QUALITY, NETWORK_NOISE, TARGETS, make_context, make_dataset


@pytest.fixture(autouse=True)
def short_trainings_in_one_process(monkeypatch):
    settings = functools.partial(
        photometric_network.Settings, num_steps=60, batch_size=32, check_every_steps=20, warmup_steps=10
    )
    monkeypatch.setattr(photometric_network, "Settings", settings)
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all tests, so that what is measured and trained once is read from the cache afterwards."""
    return tmp_path_factory.mktemp("photometry")


@pytest.fixture
def context(folder):
    return make_context(folder)


@pytest.fixture
def section(context):
    return photometry.section(context)


def test_every_method_is_measured_about_labels_and_truth(context, section):
    rows = ["ACF on the stamps", *(f"{m} on {i}" for m in ("MLP", "LightGBM") for i in methods.MEASURED)]
    rows += [f"MLP on {name}" for name in methods.LIMITS]
    assert {(m["sample"], m["group"]) for m in section.values["measurements"]} == {("high_quality", "isolated")}
    for reference in ("label", "truth"):
        stds = records(section.values, reference=reference, target="logg", quantity="std")
        assert [f"{m['method']} on {m['inputs']}" for m in stds] == rows
    json.dumps(section.to_dict(), allow_nan=False)
    n = context.dataset.n_examples("validation")
    assert all(f"validation split, {n} stars" in entry.caption for entry in (*section.tables, *section.figures))


def test_the_networks_scatter_is_the_one_put_in(context, section):
    residual = context.prediction().mean - np.stack([context.stars()[f"true_{t}"] for t in TARGETS], axis=1)
    for target, std in zip(TARGETS, residual.std(axis=0), strict=True):
        found = by_quantity(section.values, method="ACF", target=target, reference="truth")
        assert found["std"] == pytest.approx(std)
        assert found["std_ratio"] == 1


@pytest.mark.parametrize(("factor", "words"), [(0.02, "ahead of the"), (30.0, "behind the")])
def test_the_verdict_follows_the_numbers(folder, factor, words):
    text = photometry.section(make_context(folder, factor)).text[0]
    assert text.startswith("Isolated stars (mock sky, validation split, ")
    assert text.count(words) == len(TARGETS)


def test_the_ratio_is_of_the_two_scatters(section):
    for target in TARGETS:
        about_labels = {"target": target, "reference": "label"}
        network = record(section.values, **about_labels, method="ACF", quantity="std")
        std, ratio = records(section.values, **about_labels, method="MLP", inputs="PSF fits on the stamps")
        assert (ratio["quantity"], ratio["against"]) == ("std_ratio", "ACF")
        assert ratio["value"] == pytest.approx(network["value"] / std["value"])
        assert ratio["lower"] < ratio["value"] < ratio["upper"]


def test_photometry_of_the_stamps_finds_the_true_magnitudes(context):
    """Dereddened twice over, by the stamps' maker and not again here, it could not."""
    for name, limit_mag in ((methods.PROFILES, 0.01), (methods.APERTURES, 0.05)):
        residual = methods.magnitude_residuals(context, "validation")[name]
        assert np.abs(np.median(residual, axis=0)).max() < limit_mag
        assert residual.std() < 0.03


def test_noise_is_as_large_as_that_of_the_training_stars(context):
    """Of all of them together: there are too few for a second bin of brightness."""
    train = methods.photometry(context, "train")
    reported_mag = 1.0857 * train.psf_flux_error / train.psf_flux
    residual = methods.magnitude_residuals(context, "train")[methods.PROFILES]
    scatter_mag = 1.4826 * np.abs(residual - np.median(residual, axis=0))
    for name, expected in ((methods.PHOTON_LIMIT, reported_mag), (methods.STAMP_LIMIT, scatter_mag)):
        noise = methods.noise(context, name, "validation")
        ratio = noise.std(axis=0) / np.median(expected, axis=0)
        assert ratio.mean() == pytest.approx(1, abs=0.15)
        assert np.abs(np.corrcoef(noise.T)[np.triu_indices(6, 1)]).max() < 0.6


def test_sizes_by_brightness_follow_a_known_run():
    mag = np.random.default_rng(0).permutation(np.linspace(10, 15, 2001))
    at = np.array([9.0, 11.0, 14.0, 16.0])
    np.testing.assert_allclose(methods.by_brightness(mag, 0.1 * mag, at), [1.0, 1.1, 1.4, 1.5], atol=0.015)
    assert np.isnan(methods.by_brightness(mag, np.full(2001, np.nan), at)).all()


def test_labels_of_the_validation_stars_have_no_effect(folder, context, tmp_path):
    known = {(a.method, a.inputs): a.mean for a in methods.answers(context)}
    poisoned = make_context(tmp_path, fingerprint="poisoned")  # another folder, so that nothing comes from the cache
    stars = poisoned.dataset.split_arrays["validation"]
    for name in (*TARGETS, *(f"true_{target}" for target in TARGETS)):
        stars[name] = stars[name][::-1] + 1000
    inputs = (methods.CATALOGUE, methods.PROFILES)
    for name in inputs:
        np.testing.assert_array_equal(methods._network(poisoned, name), known[methods.MLP, name])
        np.testing.assert_array_equal(methods._trees(poisoned, name), known[methods.TREES, name])


def test_crowded_stars_stand_apart_on_the_low_quality_sample(folder, context):
    low = make_dataset(folder, **LOW_QUALITY)
    section = photometry.section(dataclasses.replace(context, low_quality=low, low_quality_networks=context.networks))
    own = {"sample": "low_quality", "method": "ACF", "reference": "label", "target": "teff", "quantity": "std"}
    counts = [record(section.values, **own, group=group)["n"] for group in ("isolated", "crowded")]
    crowded = low.split_arrays["validation"]["self_dist1"] < 15
    assert counts == [(~crowded).sum(), crowded.sum()]
    assert not any("--low-quality" in paragraph for paragraph in section.text)
    assert [figure.name for figure in section.figures] == ["photometry_high_quality", "photometry_low_quality"]
    # A single profile, fitted to two stars, takes some of the neighbour's light.
    residual = methods.magnitude_residuals(dataclasses.replace(context, dataset=low), "validation")[methods.PROFILES]
    assert np.median(residual[crowded]) < np.median(residual[~crowded]) - 0.005


def test_without_a_network_of_that_sample_the_one_in_question_answers_as_it_is(folder, context):
    low = make_dataset(folder, **LOW_QUALITY)
    section = photometry.section(dataclasses.replace(context, low_quality=low))
    assert records(section.values, sample="low_quality", group="crowded", method="ACF, as it is,", reference="label")
    assert any("`--low-quality runs/demo_low_quality` added" in paragraph for paragraph in section.text)


def test_without_crowded_stars_it_says_so_and_how_to_get_them(section):
    (paragraph,) = [p for p in section.text if "has a neighbour within 15 arcsec" in p]
    assert "`python -m datasets.build --config mock_low_quality`" in paragraph


def test_a_real_sky_has_no_truth_and_no_limits(folder):
    section = photometry.section(make_context(folder, truth=False))
    assert {m["reference"] for m in section.values["measurements"]} == {"label"}
    assert not {m["inputs"] for m in section.values["measurements"]} & set(methods.LIMITS)
    assert len(section.tables) == 1


def test_missing_stars_are_counted_not_lost(tmp_path):
    context = make_context(tmp_path, fingerprint="gaps")
    context.dataset.split_arrays["validation"]["stamp"][3, 24, 24, 0] = np.nan
    assert np.isnan(methods.inputs(context, methods.PROFILES, "validation")[3]).any()
    assert np.isfinite(methods._network(context, methods.PROFILES)).all()
    assert photometry._failures(context) == [
        f"No profile could be fitted to some stamps ({context.sample()}): 1 in u. They count as missing numbers."
    ]


def test_stamps_are_read_a_few_at_a_time(context, monkeypatch):
    monkeypatch.setattr(methods, "STARS_AT_A_TIME", 16)
    reads = []
    monkeypatch.setattr(context.dataset, "reads", reads)
    methods.photometry(dataclasses.replace(context, out_dir=context.out_dir / "anew"), "validation")
    assert max(reads) <= 16
    assert sum(reads) == context.dataset.n_examples("validation")


@pytest.mark.parametrize(("lost", "words"), [("split", "split calibration"), ("field", "field fwhm")])
def test_what_the_dataset_lacks_is_named_with_the_command(folder, lost, words):
    context = make_context(folder)
    if lost == "split":
        del context.dataset.splits["calibration"]
    else:
        context.dataset.fields = tuple(name for name in context.dataset.fields if name != "fwhm")
    with pytest.raises(MissingPieceError, match=f"lacks {words}: .*python -m datasets.build --config mock"):
        photometry.section(context)


def test_the_figure_shows_every_method_once_per_group(context):
    from matplotlib.figure import Figure

    stds = select(photometry.measure(context, "high_quality"), reference="truth", quantity="std")
    figure = Figure()
    drawn = photometry.draw_scatter(figure, stds, TARGETS)
    assert set(drawn) == {("isolated", target) for target in TARGETS}
    line = drawn["isolated", "teff"].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [m.estimate.value for m in select(stds, target="teff")])
    assert [panel.get_xlabel() for panel in figure.axes] == [
        "std of Teff (K)",
        "std of log g (dex)",
        "std of [Fe/H] (dex)",
    ]
    assert NETWORK_NOISE["teff"] * 0.7 < line.get_xdata()[0] < NETWORK_NOISE["teff"] * 1.3
