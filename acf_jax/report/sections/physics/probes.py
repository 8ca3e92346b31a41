"""What is measured of a network to see why it answers as it does; each of these is computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np

from acf_jax.baselines.gradient_boosting import photometric_features
from acf_jax.data.prepared import how_to_prepare
from acf_jax.explain import attributions as explain
from acf_jax.explain import band_importance
from acf_jax.metrics.bootstrap import std_ratio
from acf_jax.metrics.measurements import Measurement
from acf_jax.report.context import Context, labels_of, network_facts, reddening, split_facts
from acf_jax.report.residuals import references
from acf_jax.report.section import MissingPieceError

MAX_STARS = 1_000  # whose bands are left out: seven or eight passes of the network each
MAX_MAPS = 200  # of them whose attributions are averaged: a gradient of every pixel each
MIN_STARS = 50
MIN_STARS_PER_GROUP = 30  # fewer give no standard deviation worth comparing
NEAR_RADIUS_PX = 6.0
PARAMETERS = ("teff", "logg", "fe_h")

GROUPS = {
    "all": lambda stars: np.ones(len(stars["teff"]), bool),
    "hot (Teff > 6500 K)": lambda stars: stars["teff"] > 6500,
    "giants (log g < 3.5)": lambda stars: stars["logg"] < 3.5,
    "metal-poor ([Fe/H] < -0.5)": lambda stars: stars["fe_h"] < -0.5,
}
"""Stars apart, by their parameters (the truth where it is known): {name: parameters -> (n,) bool}."""


@dataclass(frozen=True)
class Sample:
    """Validation stars that the network is asked about."""

    rows: np.ndarray  # (n,) in the validation split
    stars: explain.Stars
    fields: Mapping[str, np.ndarray]  # of the dataset, (n, ...)
    parameters: Mapping[str, np.ndarray]  # (n,), the truth where it is known, otherwise the labels
    inputs: np.ndarray  # (n, n_inputs): dereddened magnitudes as measured and, if the network uses it, log10 parallax
    own_mags: np.ndarray  # (n, n_bands) of the pixels: free of the catalogue's noise where the truth is known
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
            f"prepare it anew ({how_to_prepare(context.dataset.config)})."
        )
    prefix = "true_" if all(f"true_{name}" in fields for name in PARAMETERS) else ""
    inputs = _inputs(context, fields)
    parameters = {name: fields[prefix + name].astype(np.float64) for name in PARAMETERS}
    needed = np.column_stack([inputs, fields["parallax"], fields["parallax_error"], *parameters.values()])
    if context.trained.model.config.use_parallax:
        needed = np.column_stack([needed, np.where(fields["parallax_error"] > 0, 1, np.nan)])
    usable = np.flatnonzero(np.isfinite(needed).all(axis=1))
    drawn = np.random.default_rng(context.options.seed).permutation(usable)[:MAX_STARS]
    stamps = context.dataset.arrays("validation", ("stamp",), np.sort(drawn))["stamp"]
    whole = np.isfinite(stamps).all(axis=(1, 2, 3))
    rows = np.sort(drawn)[whole]
    if len(rows) < MIN_STARS:
        raise MissingPieceError(
            f"Only {len(rows)} validation stars have every magnitude, parallax and parameter, of {MIN_STARS} needed: "
            f"prepare a larger dataset ({how_to_prepare(context.dataset.config, '--stars N')}) and train on it."
        )
    catalogue = fields["true_mag"] if prefix and "true_mag" in fields else fields["psf_mag"]
    return Sample(
        rows=rows,
        stars=explain.Stars(stamps[whole], fields["parallax"][rows], fields["parallax_error"][rows]),
        fields={name: values[rows] for name, values in fields.items()},
        parameters={name: values[rows] for name, values in parameters.items()},
        inputs=inputs[rows],
        own_mags=(catalogue - reddening(context, fields))[rows],
        n_unusable=context.dataset.n_examples("validation") - len(usable) + int((~whole).sum()),
    )


def answers_left_out(context: Context, sample: Sample, explainer: explain.Explainer) -> dict[str, np.ndarray]:
    """The network's answers to the sample `as it is`, and without each band and the parallax.

    Args:
        context: the evaluation.
        sample: the stars asked about.
        explainer: asks the network.

    Returns:
        (n, n_targets) by what was left out; computed once and kept on disk.

    Raises:
        MissingPieceError: if there are too few training stars to learn from what to expect of a band.
    """
    known = _inputs(context, context.stars("train"))
    with _enough_stars():
        variants = band_importance.left_out(sample.inputs, known, context.trained.bands, sample.own_mags)
    variants = {band_importance.AS_IT_IS: {}} | variants
    return context.cached("left_out", _what(context, sample), lambda: explainer.answers(sample.stars, variants))


def regression_left_out(context: Context, sample: Sample) -> dict[str, np.ndarray]:
    """The same of regressions on catalogue magnitudes that are fitted anew without each: (n, n_targets) each.

    Raises:
        MissingPieceError: if there are too few training stars.
    """
    train = context.stars("train")
    names = [*context.trained.bands, band_importance.PARALLAX][: sample.inputs.shape[1]]
    labels = labels_of(train, context.targets)
    with _enough_stars():
        return band_importance.regression_without(sample.inputs, _inputs(context, train), labels, names)


def scatter_ratios(
    context: Context, sample: Sample, answers: Mapping[str, Mapping[str, np.ndarray]]
) -> list[Measurement]:
    """How much more each method's residuals scatter without an input than with all.

    Args:
        context: the evaluation.
        sample: the stars asked about.
        answers: (n, n_targets) by method and by input left out, and `as it is`.

    Returns:
        `std_ratio` by group of stars, but those that are too small, target and inputs, as in "without v".
    """
    reference, found = references(context)[-1], []
    groups = {name: belongs(sample.parameters) for name, belongs in GROUPS.items()}
    large = {name: inside for name, inside in groups.items() if inside.sum() >= MIN_STARS_PER_GROUP}
    keys = product(answers, large.items(), enumerate(context.targets))
    for method, (group, inside), (i, target) in keys:
        truth = sample.parameters[target][inside]
        residual = {name: answer[inside, i] - truth for name, answer in answers[method].items()}
        whole = residual.pop(band_importance.AS_IT_IS)
        for name, without in residual.items():
            ratio, inputs = std_ratio(without, whole, context.resamples), f"without {name}"
            found.append(Measurement(method, target, reference, "std_ratio", ratio, group=group, inputs=inputs))
    return found


@dataclass(frozen=True)
class Attributions:
    """Gradient times input over a part of the sample, and integrated gradients of one star of it."""

    response: np.ndarray  # (m, n_targets, n_bands), d(answer) / d(magnitude), of the sample's first m stars
    shares: np.ndarray  # (m, n_targets, n_bands) of the absolute attribution
    near: np.ndarray  # (m, n_targets), the share within NEAR_RADIUS_PX
    mean_map: np.ndarray  # (n_targets, y, x, band)
    row: np.ndarray  # (), of the star in the sample
    star_map: np.ndarray  # (n_targets, y, x, band), against a mean star as bright
    incomplete: np.ndarray  # (n_targets,), what their sum lacks
    mean_answer: np.ndarray  # (n_targets,), the answer to that mean star


def attributions(context: Context, sample: Sample, explainer: explain.Explainer) -> Attributions:
    """Where the network looks, from up to `MAX_MAPS` stars of the sample.

    Args:
        context: the evaluation.
        sample: the stars asked about.
        explainer: asks the network.

    Returns:
        the attributions; computed once and kept on disk.
    """

    def compute() -> dict[str, np.ndarray]:
        rows = _some(sample, context.options.seed)
        stars = sample.stars.take(rows)
        product = explainer.gradient_times_input(stars)
        row = rows[_metal_poor(sample.parameters["fe_h"][rows])]
        star = sample.stars.take([row])
        mean = explain.mean_stamp(sample.stars.stamps, star.stamps)
        star_map, incomplete = explainer.integrated_gradients(star, mean)
        return {
            "response": explain.magnitude_response(product),
            "shares": explain.band_shares(product),
            "near": explain.share_within(product, NEAR_RADIUS_PX),
            "mean_map": explain.mean_map(product),
            "row": np.asarray(row),
            "star_map": star_map[0],
            "incomplete": incomplete[0],
            "mean_answer": explainer.answers(star._replace(stamps=mean), {"": {}})[""][0],
        }

    return Attributions(**context.cached("attributions", _what(context, sample), compute))


def photometric_responses(context: Context, sample: Sample) -> np.ndarray:
    """d(label) / d(magnitude) of a regression on the training stars' catalogue magnitudes, mean: (n_targets, n_bands).

    Raises:
        MissingPieceError: if there are too few training stars.
    """
    train = context.stars("train")
    known, labels = _inputs(context, train), labels_of(train, context.targets)
    at = sample.inputs[_some(sample, context.options.seed)]
    with _enough_stars():
        return band_importance.label_response(known, labels, at, len(context.trained.bands)).mean(axis=0)


def injected_responses(context: Context, sample: Sample, response: np.ndarray) -> np.ndarray:
    """How the answer changes as a star turns into another at the same distance, mean over stars.

    Args:
        context: the evaluation.
        sample: the stars asked about.
        response: (m, n_targets, n_bands), d(answer) / d(magnitude), of `Attributions`.

    Returns:
        (n_targets, 3), d(answer) / d(parameter).

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
    with _enough_stars():
        change = band_importance.magnitude_change(labels_of(train, PARAMETERS), absolute, at)
    return band_importance.injected_response(response, change).mean(axis=0)


def _inputs(context: Context, fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Dereddened catalogue magnitudes and, if the network uses it, log10 of the parallax: (n, n_inputs)."""
    mags = fields["psf_mag"] - reddening(context, fields)
    if not context.trained.model.config.use_parallax:
        return mags
    parallax = fields["parallax"].astype(np.float64)
    return np.column_stack([mags, np.log10(np.where(parallax > 0, parallax, np.nan))])


def _some(sample: Sample, seed: int) -> np.ndarray:
    """Rows of the stars whose attributions are looked at."""
    return np.sort(np.random.default_rng(seed).permutation(len(sample.rows))[:MAX_MAPS])


def _metal_poor(fe_h: np.ndarray) -> int:
    """The row of a star that is metal-poor, yet no freak: the twentieth of the sample that is poorest."""
    return int(np.argsort(fe_h)[len(fe_h) // 20])


def _what(context: Context, sample: Sample) -> dict:
    # The seed decides which stars, and their number tells a sample after a change of MAX_STARS from one before.
    return {
        "seed": context.options.seed, "n": len(sample.rows), "n_maps": MAX_MAPS, **network_facts(context.trained),
        **split_facts(context.dataset, "validation"),
    }  # fmt: skip


@contextmanager
def _enough_stars() -> Iterator[None]:
    """Says what to do where a regression refuses its few training stars."""
    try:
        yield
    except ValueError as error:
        raise MissingPieceError(f"{error} Prepare a larger dataset.") from error
