"""Who answers from photometry, and from which: the numbers behind "Images against magnitudes, fairly".

All learn from the training split of the network's own dataset, stop by its calibration split, and answer for its
validation split, whose labels never come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from acf_jax.baselines import photometric_network, stamp_photometry, tree_ensembles
from acf_jax.baselines.features import table
from acf_jax.baselines.gradient_boosting import photometric_features
from acf_jax.baselines.stamp_photometry import StampPhotometry, ab_magnitude
from acf_jax.data.batches import filled_batches
from acf_jax.data.prepared import how_to_prepare
from acf_jax.inference.split import STARS_AT_A_TIME
from acf_jax.report.context import Context, labels_of, reddening, split_facts
from acf_jax.report.quantities import is_crowded
from acf_jax.report.section import MissingPieceError
from acf_jax.version import __version__

SPLITS = ("train", "calibration", "validation")

CATALOGUE = "catalogue magnitudes"
APERTURES = "apertures on the stamps"
PROFILES = "PSF fits on the stamps"
PHOTON_LIMIT = "true magnitudes with the fits' own errors"
STAMP_LIMIT = "true magnitudes with the fits' true scatter"
MEASURED, LIMITS = (CATALOGUE, APERTURES, PROFILES), (PHOTON_LIMIT, STAMP_LIMIT)
ON_STAMPS = (APERTURES, PROFILES)

MLP, TREES = "MLP", "LightGBM"
STARS_PER_BIN = 50  # of brightness, at least
MAX_BINS = 20
MAGNITUDES_PER_LOG = 2.5 / np.log(10)


@dataclass(frozen=True)
class Answer:
    """What a method makes of an input."""

    method: str
    inputs: str
    mean: np.ndarray  # (n, n_targets), of the validation split


def check(context: Context) -> None:
    """Refuse a dataset that lacks what this needs.

    Raises:
        MissingPieceError: naming it.
    """
    dataset = context.dataset
    missing = [f"split {split}" for split in SPLITS if not dataset.splits.get(split)]
    missing += [name for name in ("extinction_coefficients", "pixel_scale_arcsec") if name not in dataset.metadata]
    missing += [f"field {name}" for name in ("psf_mag", "ebmv_sfd", "fwhm", "self_dist1") if name not in dataset.fields]
    if missing:
        raise MissingPieceError(
            f"The dataset {dataset.config} {dataset.version} lacks {', '.join(missing)}: prepare it anew, "
            f"without `--splits paper` ({how_to_prepare(dataset.config)}; more stars, should a split be empty)."
        )


def photometry(context: Context, split: str) -> StampPhotometry:
    """Of a split's stamps; measured once and kept on disk."""
    dataset = context.dataset
    fwhm_px = context.stars(split)["fwhm"] / dataset.metadata["pixel_scale_arcsec"]
    rows = (rows[:n_real] for rows, n_real in filled_batches(len(fwhm_px), STARS_AT_A_TIME))
    batches = ((dataset.arrays(split, ("stamp",), some)["stamp"], fwhm_px[some]) for some in rows)
    settings = (stamp_photometry.APERTURE_RADII_PX, stamp_photometry.FIT_RADIUS_PX, stamp_photometry.MOFFAT_BETA)
    what = split_facts(dataset, split) | {"settings": settings, "code": __version__}

    def compute() -> dict[str, np.ndarray]:
        return stamp_photometry.measure(batches, len(fwhm_px), progress=context.options.progress).to_arrays()

    return StampPhotometry(**context.cached("stamp_photometry", what, compute))


def _dereddened(context: Context, split: str, field: str) -> np.ndarray:
    """Magnitudes (n, n_bands) of the dataset, `psf_mag` or `true_mag`, dereddened as the stamps were."""
    stars = context.stars(split)
    return stars[field].astype(np.float64) - reddening(context, stars)


def magnitude_residuals(context: Context, split: str) -> dict[str, np.ndarray]:
    """Each photometry minus the true magnitudes, dereddened alike: {input: (n, n_bands)} mag."""
    measured, true = photometry(context, split), _dereddened(context, split, "true_mag")
    widest, catalogue = ab_magnitude(measured.aperture_flux[:, -1]), _dereddened(context, split, "psf_mag")
    return {CATALOGUE: catalogue - true, APERTURES: widest - true, PROFILES: ab_magnitude(measured.psf_flux) - true}


def inputs(context: Context, name: str, split: str) -> np.ndarray:
    """Columns (n, n_columns) of one of `MEASURED` or `LIMITS`; NaN where missing.

    Dereddened magnitudes and neighbouring bands' colours; with parallax its logarithm, its error's, and absolute
    magnitudes (Eq. 17), if the network in question reads it.

    Args:
        context: the evaluation.
        name: one of `MEASURED` or `LIMITS`.
        split: of the dataset.

    Returns:
        (n, n_columns).
    """
    if name == CATALOGUE:
        magnitudes = [_dereddened(context, split, "psf_mag")]
    elif name == APERTURES:
        magnitudes = list(ab_magnitude(np.moveaxis(photometry(context, split).aperture_flux, 1, 0)))
    elif name == PROFILES:
        magnitudes = [ab_magnitude(photometry(context, split).psf_flux)]
    else:
        magnitudes = [_dereddened(context, split, "true_mag") + noise(context, name, split)]
    columns = [_columns(context, magnitude, split) for magnitude in magnitudes]
    return table({f"{i} {key}": values for i, part in enumerate(columns) for key, values in part.items()})


def noise(context: Context, name: str, split: str) -> np.ndarray:
    """Errors of a perfect photometry of the stamps, drawn by each star's object_id: (n, n_bands) mag.

    Their standard deviation is what isolated training stars of the same brightness have: the error that the fits
    report (`PHOTON_LIMIT`), which is about the photons' and the sky's, or the fits' scatter about the truth
    (`STAMP_LIMIT`), which holds the exposures' zeropoints, too.

    Args:
        context: the evaluation.
        name: one of `LIMITS`.
        split: of the dataset.

    Returns:
        (n, n_bands) mag.
    """
    train, true = photometry(context, "train"), _dereddened(context, "train", "true_mag")
    isolated = ~is_crowded(context.stars("train"))
    if name == PHOTON_LIMIT:
        size = MAGNITUDES_PER_LOG * train.psf_flux_error / np.where(train.psf_flux > 0, train.psf_flux, np.nan)
    else:
        residual = magnitude_residuals(context, "train")[PROFILES]
        size = 1.4826 * np.abs(residual - np.nanmedian(residual[isolated], axis=0))
    wanted = _dereddened(context, split, "true_mag")
    sigma = [by_brightness(true[isolated, b], size[isolated, b], wanted[:, b]) for b in range(wanted.shape[1])]
    seed, ids = context.options.seed, context.stars(split)["object_id"].tolist()
    draws = [np.random.default_rng([seed, LIMITS.index(name), i]).normal(size=wanted.shape[1]) for i in ids]
    return np.stack(sigma, axis=1) * np.array(draws)


def by_brightness(mag: np.ndarray, size: np.ndarray, at_mag: np.ndarray) -> np.ndarray:
    """The median of `size` (n,) among stars of like `mag` (n,), at other magnitudes (m,); NaN left out.

    Between the medians of bins that hold equally many stars it runs straight, beyond the outermost it is theirs.

    Args:
        mag: (n,) of known stars.
        size: (n,) of these.
        at_mag: (m,) where to tell it.

    Returns:
        (m,), in the unit of `size`.
    """
    known = np.isfinite(mag) & np.isfinite(size)
    mag, size = mag[known], size[known]
    if not len(mag):
        return np.full(len(at_mag), np.nan)
    groups = np.array_split(np.argsort(mag, kind="stable"), np.clip(len(mag) // STARS_PER_BIN, 1, MAX_BINS))
    medians = [(np.median(mag[group]), np.median(size[group])) for group in groups]
    return np.interp(at_mag, *np.array(medians).T)


def answers(context: Context) -> list[Answer]:
    """Of every method on every input, for the validation split."""
    found = [Answer(method, name, ask(context, name)) for method, ask in ASKED.items() for name in MEASURED]
    return found + [Answer(MLP, name, _network(context, name)) for name in LIMITS if context.is_mock]


def _samples(context: Context, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Columns (n, n_columns) and labels (n, n_targets) of the stars learned from, then of those to stop by."""
    return [(inputs(context, name, split), labels_of(context.stars(split), context.targets)) for split in SPLITS[:2]]


def _network(context: Context, name: str) -> np.ndarray:
    settings = photometric_network.Settings(seed=context.options.seed)

    def compute() -> dict[str, np.ndarray]:
        train, calibration = _samples(context, name)
        fitted = photometric_network.fit(
            train, calibration, context.targets, settings, progress=context.options.progress
        )  # fmt: skip
        columns, ids = inputs(context, name, "validation"), context.stars()["object_id"]
        mean, _ = fitted.predict(columns, ids, n_samples=context.options.n_samples, seed=settings.seed)
        return {"mean": mean}

    what = _what(context, name) | {"settings": asdict(settings), "n_samples": context.options.n_samples}
    return context.cached("photometric_network", what, compute)["mean"]


def _trees(context: Context, name: str) -> np.ndarray:
    algorithm, seed = tree_ensembles.TREE_ENSEMBLES[TREES], context.options.seed

    def compute() -> dict[str, np.ndarray]:
        samples, columns, means = _samples(context, name), inputs(context, name, "validation"), []
        for i in range(len(context.targets)):
            train, stopping = (
                tree_ensembles.Labelled(features[known], labels[known, i])
                for features, labels in samples
                for known in [np.isfinite(labels[:, i])]
            )
            means.append(tree_ensembles.fit(TREES, algorithm.start, train, stopping, seed)(columns))
        return {"mean": np.stack(means, axis=1)}

    what = _what(context, name) | {"parameters": dict(algorithm.start), "seed": seed}
    return context.cached("photometric_trees", what, compute)["mean"]


ASKED = {MLP: _network, TREES: _trees}


def _what(context: Context, name: str) -> dict:
    return split_facts(context.dataset, "validation") | {
        "inputs": name, "targets": list(context.targets), "parallax": _use_parallax(context),
        "code": __version__,
    }  # fmt: skip


def _use_parallax(context: Context) -> bool:
    return context.trained.model.config.use_parallax


def _columns(context: Context, magnitude: np.ndarray, split: str) -> Mapping[str, np.ndarray]:
    """Features of magnitudes (n, n_bands) that are dereddened already."""
    stars = context.stars(split)
    dereddened = {"psf_mag": magnitude, "ebmv_sfd": np.zeros(len(magnitude))}
    astrometry = {field: stars[field] for field in ("parallax", "parallax_error")}
    bands = context.dataset.bands
    return photometric_features(dereddened | astrometry, bands, dict.fromkeys(bands, 0.0), _use_parallax(context))
