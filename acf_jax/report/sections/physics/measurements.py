"""What is measured of a network to see why it answers as it does; each of these is computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from acf_jax.baselines.gradient_boosting import photometric_features
from acf_jax.explain import attributions as explain
from acf_jax.explain import band_importance
from acf_jax.metrics.bootstrap import Estimate, std_ratio
from acf_jax.report.context import Context, labels_of, of_network, of_split
from acf_jax.report.section import MissingPieceError

MAX_STARS = 1_000  # whose bands are left out: seven or eight passes of the network each
MAX_MAPS = 200  # of them whose attributions are averaged: a gradient of every pixel each
MIN_STARS = 50
MIN_STARS_PER_GROUP = 30  # fewer give no standard deviation worth comparing
NEAR_RADIUS_PX = 6.0
PARAMETERS = ("teff", "logg", "fe_h")

GROUPS = {
    "all": lambda of: np.ones(len(of["teff"]), bool),
    "hot (Teff > 6500 K)": lambda of: of["teff"] > 6500,
    "giants (log g < 3.5)": lambda of: of["logg"] < 3.5,
    "metal-poor ([Fe/H] < -0.5)": lambda of: of["fe_h"] < -0.5,
}
"""Stars apart, by their parameters (the truth where it is known): {name: parameters -> (n,) bool}."""


@dataclass(frozen=True)
class Sample:
    """Validation stars that the network is asked about."""

    rows: np.ndarray  # (n,) in the validation split
    stars: explain.Stars
    fields: Mapping[str, np.ndarray]  # of the dataset, (n, ...)
    parameters: Mapping[str, np.ndarray]  # (n,), the truth where it is known, otherwise the labels
    mags: np.ndarray  # (n, n_bands), dereddened, as measured
    own_mags: np.ndarray  # (n, n_bands) of the pixels: free of the catalogue's noise where the truth is known
    log_parallax: np.ndarray | None  # (n,) log10 mas; None if the network uses none
    n_unusable: int  # stars of the split that lack a magnitude, a parallax, a parameter or a pixel


def choose(context: Context) -> Sample:
    """Up to `MAX_STARS` validation stars that have everything needed, drawn by the seed.

    Raises:
        MissingPieceError: if the dataset cannot tell, or holds too few stars.
    """
    fields, coefficients = context.stars(), context.dataset.metadata.get("extinction_coefficients")
    lacking = [name for name in (*PARAMETERS, "psf_mag", "ebmv_sfd") if name not in fields]
    if lacking or coefficients is None:
        raise MissingPieceError(
            f"The dataset has no {', '.join(lacking) or 'extinction_coefficients'}, by which bands are compared: "
            "prepare it anew with `python -m datasets.build`."
        )
    prefix = "true_" if all(f"true_{name}" in fields for name in PARAMETERS) else ""
    mags, log_parallax = _magnitudes(context, fields)
    parameters = {name: fields[prefix + name].astype(np.float64) for name in PARAMETERS}
    needed = np.column_stack([mags, fields["parallax"], fields["parallax_error"], *parameters.values()])
    if log_parallax is not None:
        needed = np.column_stack([needed, log_parallax, np.where(fields["parallax_error"] > 0, 1, np.nan)])
    usable = np.flatnonzero(np.isfinite(needed).all(axis=1))
    drawn = np.random.default_rng(context.options.seed).permutation(usable)[:MAX_STARS]
    stamps = context.dataset.arrays("validation", ("stamp",), np.sort(drawn))["stamp"]
    whole = np.isfinite(stamps).all(axis=(1, 2, 3))
    rows = np.sort(drawn)[whole]
    if len(rows) < MIN_STARS:
        raise MissingPieceError(
            f"Only {len(rows)} validation stars have every magnitude, parallax and parameter, of {MIN_STARS} needed: "
            "prepare a larger dataset with `python -m datasets.build` and train on it."
        )
    own = fields["true_mag"] - _reddening(context, fields) if prefix and "true_mag" in fields else mags
    return Sample(
        rows=rows,
        stars=explain.Stars(stamps[whole], fields["parallax"][rows], fields["parallax_error"][rows]),
        fields={name: values[rows] for name, values in fields.items()},
        parameters={name: values[rows] for name, values in parameters.items()},
        mags=mags[rows],
        own_mags=own[rows],
        log_parallax=None if log_parallax is None else log_parallax[rows],
        n_unusable=context.dataset.n_examples("validation") - len(usable) + int((~whole).sum()),
    )


def answers_left_out(context: Context, sample: Sample, explainer: explain.Explainer) -> dict[str, np.ndarray]:
    """The network's answers to the sample `as it is`, and without each band and the parallax: (n, n_targets) each.

    Raises:
        MissingPieceError: if there are too few training stars to learn from what to expect of a band.
    """
    mags, log_parallax = _magnitudes(context, context.stars("train"))
    try:
        variants = band_importance.left_out(
            sample.mags, sample.log_parallax, mags, log_parallax, context.trained.bands, sample.own_mags
        )
    except ValueError as error:
        raise _too_few(error) from error
    variants = {band_importance.AS_IT_IS: {}} | variants
    return context.cached("left_out", _what(context, sample), lambda: explainer.answers(sample.stars, variants))


def regression_left_out(context: Context, sample: Sample) -> dict[str, np.ndarray]:
    """The same of regressions on catalogue magnitudes that are fitted anew without each: (n, n_targets) each.

    Raises:
        MissingPieceError: if there are too few training stars.
    """
    train = context.stars("train")
    (mags, log_parallax), inputs, names = _magnitudes(context, train), sample.mags, list(context.trained.bands)
    if log_parallax is not None:
        mags, inputs = np.column_stack([mags, log_parallax]), np.column_stack([inputs, sample.log_parallax])
        names.append(band_importance.PARALLAX)
    try:
        return band_importance.regression_without(inputs, mags, labels_of(train, context.targets), names)
    except ValueError as error:
        raise _too_few(error) from error


def scatter_ratios(
    context: Context, sample: Sample, answers: Mapping[str, np.ndarray]
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Residuals' std without an input / with all: {group: {target: {input: Estimate}}}; no group that is too small."""
    ratios: dict[str, dict[str, dict[str, Estimate]]] = {}
    for group, belongs in GROUPS.items():
        inside = belongs(sample.parameters)
        if inside.sum() < MIN_STARS_PER_GROUP:
            continue
        ratios[group] = {}
        for i, target in enumerate(context.targets):
            reference = sample.parameters[target][inside]
            residual = {name: answer[inside, i] - reference for name, answer in answers.items()}
            whole = residual.pop(band_importance.AS_IT_IS)
            options = {"n_resamples": context.options.n_bootstrap, "seed": context.options.seed}
            ratios[group][target] = {name: std_ratio(without, whole, **options) for name, without in residual.items()}
    return ratios


@dataclass(frozen=True)
class Attributions:
    """Gradient times input over a part of the sample, and integrated gradients of one star of it."""

    response: np.ndarray  # (m, n_targets, n_bands), d(answer) / d(magnitude), of the sample's first m stars
    shares: np.ndarray  # (m, n_targets, n_bands) of the absolute attribution
    near: np.ndarray  # (m, n_targets), the share within NEAR_RADIUS_PX
    mean_map: np.ndarray  # (n_targets, y, x, band)
    row: np.ndarray  # (), of the star in the sample
    of_star: np.ndarray  # (n_targets, y, x, band), against a mean star as bright
    incomplete: np.ndarray  # (n_targets,), what their sum lacks
    of_mean: np.ndarray  # (n_targets,), the answer to that mean star


def attributions(context: Context, sample: Sample, explainer: explain.Explainer) -> Attributions:
    """Of up to `MAX_MAPS` stars of the sample."""

    def compute() -> dict[str, np.ndarray]:
        rows = _some(sample, context.options.seed)
        stars = sample.stars.take(rows)
        product = explainer.gradient_times_input(stars)
        row = rows[_metal_poor(sample.parameters["fe_h"][rows])]
        star = sample.stars.take([row])
        mean = explain.mean_stamp(sample.stars.stamps, star.stamps)
        of_star, incomplete = explainer.integrated_gradients(star, mean)
        return {
            "response": explain.magnitude_response(product),
            "shares": explain.band_shares(product),
            "near": explain.share_within(product, NEAR_RADIUS_PX),
            "mean_map": explain.mean_map(product),
            "row": np.asarray(row),
            "of_star": of_star[0],
            "incomplete": incomplete[0],
            "of_mean": explainer.answers(star._replace(stamps=mean), {"": {}})[""][0],
        }

    return Attributions(**context.cached("attributions", _what(context, sample), compute))


def photometric_responses(context: Context, sample: Sample) -> np.ndarray:
    """d(label) / d(magnitude) of a regression on the training stars' catalogue magnitudes, mean: (n_targets, n_bands).

    Raises:
        MissingPieceError: if there are too few training stars.
    """
    train = context.stars("train")
    mags, log_parallax = _magnitudes(context, train)
    labels = labels_of(train, context.targets)
    rows = _some(sample, context.options.seed)
    at = sample.mags if sample.log_parallax is None else np.column_stack([sample.mags, sample.log_parallax])
    try:
        return band_importance.label_response(mags, log_parallax, labels, at[rows]).mean(axis=0)
    except ValueError as error:
        raise _too_few(error) from error


def injected_responses(context: Context, sample: Sample, response: np.ndarray) -> np.ndarray:
    """d(answer) / d(parameter) as a star turns into another at the same distance, mean: (n_targets, 3).

    Raises:
        MissingPieceError: if there are too few training stars.
    """
    train = context.stars("train")
    if "true_mag" in train:  # what was put in, instead of what was measured
        names = {"psf_mag": "true_mag", "ebmv_sfd": "true_ebv", "parallax": "true_parallax"}
        train = train | {field: train[true] for field, true in names.items() if true in train}
        train |= {name: train[f"true_{name}"] for name in PARAMETERS}
    bands, coefficients = context.dataset.bands, context.dataset.metadata["extinction_coefficients"]
    features = photometric_features(train, bands, coefficients, use_parallax=True)
    absolute = np.column_stack([features[f"M_{band}"] for band in bands])
    at = np.column_stack(list(sample.parameters.values()))[_some(sample, context.options.seed)]
    try:
        change = band_importance.magnitude_change(labels_of(train, PARAMETERS), absolute, at)
    except ValueError as error:
        raise _too_few(error) from error
    return band_importance.injected_response(response, change).mean(axis=0)


def _magnitudes(context: Context, fields: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Dereddened catalogue magnitudes (n, n_bands) and, if the network uses it, log10 of the parallax (n,)."""
    mags = fields["psf_mag"] - _reddening(context, fields)
    if not context.trained.model.config.use_parallax:
        return mags, None
    parallax = fields["parallax"].astype(np.float64)
    return mags, np.log10(np.where(parallax > 0, parallax, np.nan))


def _reddening(context: Context, fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """What was taken off the stamps, mag: (n, n_bands)."""
    coefficients = context.dataset.metadata["extinction_coefficients"]
    return np.outer(fields["ebmv_sfd"], [coefficients[band] for band in context.dataset.bands])


def _some(sample: Sample, seed: int) -> np.ndarray:
    """Rows of the stars whose attributions are looked at."""
    return np.sort(np.random.default_rng(seed).permutation(len(sample.rows))[:MAX_MAPS])


def _metal_poor(fe_h: np.ndarray) -> int:
    """The row of a star that is metal-poor, yet no freak: the twentieth of the sample that is poorest."""
    return int(np.argsort(fe_h)[len(fe_h) // 20])


def _what(context: Context, sample: Sample) -> dict:
    # The seed decides which stars, and their number tells a sample after a change of MAX_STARS from one before.
    return {
        "seed": context.options.seed, "n": len(sample.rows), "n_maps": MAX_MAPS, **of_network(context.trained),
        **of_split(context.dataset, "validation"),
    }  # fmt: skip


def _too_few(error: ValueError) -> MissingPieceError:
    return MissingPieceError(f"{error} `python -m datasets.build` prepares a larger dataset.")
