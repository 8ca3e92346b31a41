"""The section on a network that is a known function of the stars' magnitudes, so that all it should find is known."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from acf_jax.explain import attributions as explain
from acf_jax.inference.network import Network
from acf_jax.labels import LabelScaling
from acf_jax.metrics.bootstrap import Estimate
from acf_jax.metrics.measurements import Measurement
from acf_jax.report.context import Context, Options
from acf_jax.report.section import FigureFile, MissingPieceError
from acf_jax.report.sections.physics import physics, probes
from tests.acf_jax.report.records import record, records
from tests.acf_jax.report.stand_in_context import StandInDataset

BANDS = "uvgriz"
TARGETS = ("teff", "logg", "fe_h")
COEFFICIENTS = np.array([4.294, 4.026, 2.986, 2.288, 1.588, 1.206])
# Absolute magnitude of each band: at the middling star, and by (Teff - 5500) / 1000, log g - 3.5 and [Fe/H].
ZERO = np.array([7.0, 6.5, 5.5, 5.0, 4.8, 4.7])
SLOPES = np.array([[-1.6, 0.9, 0.3], [-1.5, 1.0, 0.7], [-0.9, 1.0, 0.1], [-0.5, 1.0, 0], [-0.4, 1.0, 0], [-0.3, 1, 0]])
PROFILE = np.exp(-(np.hypot(*np.mgrid[-6:6, -6:6]) ** 2) / 8)[:, :, None]
NOISE_MAG = 0.01
BAD_MAGNITUDE, BAD_PARALLAX, BAD_STAMP = 3, 7, 11


def draw_stars(n, seed, mock=True):
    rng = np.random.default_rng(seed)
    true = {"teff": rng.normal(5500, 600, n), "logg": rng.normal(3.5, 0.7, n), "fe_h": rng.normal(-0.3, 0.4, n)}
    parallax, ebv = 10 ** rng.uniform(-0.3, 0.7, n), rng.uniform(0, 0.2, n)
    offsets = np.stack([(true["teff"] - 5500) / 1000, true["logg"] - 3.5, true["fe_h"]], axis=1)
    dereddened = ZERO + offsets @ SLOPES.T - 5 * np.log10(parallax / 100)[:, None]
    stars = dict(true) | {
        "object_id": np.arange(n) + 2**40,
        "psf_mag": dereddened + COEFFICIENTS * ebv[:, None] + NOISE_MAG * rng.normal(size=(n, 6)),
        "ebmv_sfd": ebv,
        "parallax": parallax,
        "parallax_error": np.full(n, 0.01),
        "stamp": (10 ** (-0.4 * (dereddened - 20))[:, None, None] * PROFILE / PROFILE.sum()).astype(np.float32),
    }
    if mock:
        stars |= {f"true_{name}": values for name, values in true.items()}
        stars |= {"true_mag": dereddened + COEFFICIENTS * ebv[:, None], "true_ebv": ebv, "true_parallax": parallax}
    return stars


@dataclass(frozen=True)
class Drawn(Context):
    """Its figures are tested on their own, and laying them out takes seconds."""

    def save(self, figure, name, caption):
        return FigureFile(name, caption)


def make_context(folder, *, n=400, mock=True, use_parallax=True, targets=TARGETS, spoil=False):
    splits = {"train": draw_stars(2_000, 1, mock), "validation": draw_stars(n, 2, mock)}
    if spoil:
        splits["validation"]["psf_mag"][BAD_MAGNITUDE, 2] = np.nan
        splits["validation"]["parallax"][BAD_PARALLAX] = -1
        splits["validation"]["stamp"][BAD_STAMP, 0, 0, 0] = np.nan
    dataset = StandInDataset(
        folder, splits, config="mock" if mock else "high_quality", fingerprint=f"{folder}",
        metadata={"extinction_coefficients": dict(zip(BANDS, COEFFICIENTS.tolist(), strict=True))},
    )  # fmt: skip
    model = SimpleNamespace(config=SimpleNamespace(use_parallax=use_parallax))
    sidecar = {"config": {}, "dataset": {"fingerprint": "f"}}
    scaling = LabelScaling(targets, (0.0,) * len(targets), (1.0,) * len(targets))
    trained = Network(model, {"w": np.zeros(1)}, None, scaling, targets, BANDS, sidecar, 1)
    return Drawn(dataset, {"ACF": trained}, folder, Options(n_bootstrap=100, progress=False))


def as_magnitudes(train, use_parallax):
    mags = train["psf_mag"] - COEFFICIENTS * train["ebmv_sfd"][:, None]
    if not use_parallax:
        return mags
    parallax = np.where(train["parallax"] > 0, train["parallax"], np.nan)
    return np.column_stack([mags, np.log10(parallax)])


@pytest.fixture
def network(monkeypatch):
    """Makes the network the best linear one on the magnitudes of the training stars; counts how often it is asked."""

    def install(context):
        use_parallax, asked = context.trained.model.config.use_parallax, []
        train = context.dataset.split_arrays["train"]
        labels = np.column_stack([train[target] for target in context.targets])
        linear = LinearRegression().fit(as_magnitudes(train, use_parallax), labels)
        weights, zero = jnp.asarray(linear.coef_), jnp.asarray(linear.intercept_)

        def outputs(trained, stamps, parallax, parallax_error):
            asked.append(stamps.shape)
            mags = 20 - 2.5 * jnp.log10(stamps.sum(axis=(1, 2)))
            columns = jnp.concatenate([mags, jnp.log10(parallax)[:, None]], axis=1) if use_parallax else mags
            return columns @ weights.T + zero

        monkeypatch.setattr(explain, "outputs", outputs)
        return linear, asked

    return install


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    context = make_context(tmp_path_factory.mktemp("physics"), spoil=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        linear, asked = network.__wrapped__(monkeypatch)(context)
        section = physics.section(context)
        n_asked = len(asked)
        again = physics.section(context)
        assert len(asked) == n_asked  # all comes from the cache
    assert again == section
    return SimpleNamespace(context=context, linear=linear, section=section, values=section.values)


def column_of(listed, **wanted):
    """The values of the records with these."""
    return [each["value"] for each in listed if all(each[name] == value for name, value in wanted.items())]


def test_response_is_the_networks_own(found):
    for i, target in enumerate(TARGETS):
        network, regression = (
            column_of(found.values["response_per_mag"], target=target, method=method)
            for method in ("ACF", "regression on magnitudes")
        )
        np.testing.assert_allclose(network, found.linear.coef_[i, :6], rtol=0.01)
        # The sky is linear, so that a quadratic regression is no better than the linear one.
        np.testing.assert_allclose(
            regression, found.linear.coef_[i, :6], atol=0.1 * np.abs(found.linear.coef_[i]).max()
        )


def test_without_v_metallicity_is_lost_and_without_parallax_gravity(found):
    ratios = {
        target: {m["inputs"]: m for m in records(found.values, method="ACF", group="all", target=target)}
        for target in TARGETS
    }
    most = {target: max(by_input, key=lambda name: by_input[name]["value"]) for target, by_input in ratios.items()}
    assert list(ratios["fe_h"]) == [f"without {name}" for name in (*BANDS, "parallax")]
    assert (most["fe_h"], most["logg"]) == ("without v", "without parallax")
    assert ratios["fe_h"]["without v"]["value"] > 1.2
    assert ratios["fe_h"]["without v"]["lower"] > 1


def test_the_regression_beside_it_loses_as_much_as_one_fitted_without_the_band(found):
    context = found.context
    train, validation = (context.dataset.split_arrays[name] for name in ("train", "validation"))
    inputs, at = (as_magnitudes(stars, use_parallax=True) for stars in (train, validation))
    good = np.isfinite(at).all(axis=1)
    residual_std = {}
    for name, used in (("all", np.arange(7) >= 0), ("v", np.arange(7) != 1)):
        fit = LinearRegression().fit(inputs[:, used], train["fe_h"])
        residual_std[name] = np.std(fit.predict(at[good][:, used]) - validation["fe_h"][good])
    expected = residual_std["v"] / residual_std["all"]
    own = {"method": "regression on magnitudes", "group": "all", "target": "fe_h"}
    assert record(found.values, **own, inputs="without v")["value"] == pytest.approx(expected, rel=0.1)


def test_the_network_follows_injected_changes(found):
    matrix = np.array([column_of(found.values["injected_response"], target=target) for target in TARGETS])
    scale = np.array([600, 0.7, 0.4])
    np.testing.assert_allclose(matrix * scale / scale[:, None], np.eye(3), atol=0.08)


def test_words_say_what_the_numbers_say(found):
    words = " ".join(found.section.text)
    assert "Without v, [Fe/H] scatters" in words
    assert "v matters to it more than any other band, as it should." in words
    assert "3 stars of the split lack" in words
    (ours,) = column_of(found.values["response_per_mag"], method="ACF", target="fe_h", band="v")
    assert f"is called {0.01 * ours:.4f} dex more metal-rich" in words


def test_bad_stars_are_counted(found):
    assert found.values["n"] == 397
    assert found.values["n_unusable"] == 3
    rows = found.section.tables[0].rows
    assert {row[3] for row in rows if row[0] == "all"} == {"397"}


def test_every_table_and_figure_names_its_sample(found):
    for item in (*found.section.tables, *found.section.figures):
        assert "mock sky, validation split, 400 stars" in item.caption
    assert [figure.name for figure in found.section.figures] == [
        "physics_star", "physics_mean_maps", "physics_left_out", "physics_responses",
    ]  # fmt: skip
    json.dumps(found.values, allow_nan=False)


def test_attributions_lie_where_the_light_is(found):
    # Of every band's flux the same relative change matters, so that each band's share is that of its weight.
    for i, target in enumerate(TARGETS):
        weights = np.abs(found.linear.coef_[i, :6])
        shares = column_of(found.values["attribution_share"], target=target)
        np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.01)
        assert abs(found.values["star"]["incomplete"][target]) < 0.01 * (100 if target == "teff" else 1)
    # The profile's pixels within 6 px of the star's.
    y, x = np.mgrid[:12, :12] - 6
    near = PROFILE[np.hypot(y, x) <= 6].sum() / PROFILE.sum()
    assert found.values["attribution_share_near"]["fe_h"] == pytest.approx(near, rel=1e-3)


def test_a_real_sky_and_one_target_without_parallax(tmp_path, network):
    context = make_context(tmp_path, mock=False, use_parallax=False, targets=("fe_h",), n=200)
    network(context)
    section = physics.section(context)
    assert section.tables[0].header == ("stars", "parameter", "method", "n", *(f"without {b}" for b in BANDS))
    assert "residuals about the labels" in section.tables[0].caption
    assert "smss_stamps/high_quality, validation split, 200 stars" in section.tables[0].caption
    assert {each["target"] for each in section.values["injected_response"]} == {"fe_h"}
    assert "log g" not in section.text[0]


def test_what_is_missing_is_told(tmp_path, network):
    context = make_context(tmp_path, n=30)
    network(context)
    with pytest.raises(MissingPieceError, match=r"Only 30 validation stars have .* datasets.build"):
        physics.section(context)
    context = make_context(tmp_path / "no magnitudes", n=60)
    context.dataset.fields = tuple(name for name in context.dataset.fields if name != "psf_mag")
    with pytest.raises(MissingPieceError, match="The dataset has no psf_mag"):
        probes.choose(context)
    context = make_context(tmp_path / "few", n=60)
    context.dataset.split_arrays["train"] = draw_stars(40, 3)
    with pytest.raises(MissingPieceError, match=r"40 stars have all .* Prepare a larger dataset"):
        physics.section(context)


def test_a_band_that_brings_nothing_is_told():
    def ratios(method, **values):
        return [
            Measurement(
                method, "fe_h", "truth", "std_ratio", Estimate(v, v - 0.05, 2, 0.1, 9), inputs=f"without {band}"
            )
            for band, v in (dict.fromkeys(BANDS, 1.0) | values).items()
        ]

    def first_paragraph(network, regression):
        zeros = np.arange(6.0)[None]
        responses = physics.Responses(zeros, zeros, np.ones((1, 3)))
        return physics.verdict(("fe_h",), BANDS, [*network, *regression], responses)[0]

    nothing = first_paragraph(ratios("ACF"), ratios("regression"))
    assert "v brings it nothing that the other bands lack, nor does it bring the regression any" in nothing
    lost = first_paragraph(ratios("ACF"), ratios("regression", v=1.3))
    assert "v brings it nothing that the other bands lack, against expectation" in lost
    second = first_paragraph(ratios("ACF", v=1.2, z=1.5), ratios("regression"))
    assert "it matters, though z matters more (1.50 [1.45, 2.00])" in second
