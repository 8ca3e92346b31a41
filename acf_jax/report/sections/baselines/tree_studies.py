"""The studies of Tables 1 and 2: each tree ensemble tuned and fitted for each of its inputs, with and without parallax.

Trees are grown on the training split; the calibration split says when to stop adding them and which hyperparameters
are best, as it chooses the network's checkpoint. A dataset divided 8:2 has none: there some training stars tune, and
grow no trees. Of the validation split nothing but the inputs is looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from tqdm import tqdm

from acf_jax.baselines import tuning
from acf_jax.baselines.features import IMAGE_FEATURES, INPUTS, FeatureReduction, image_inputs, photometric_inputs, table
from acf_jax.baselines.gradient_boosting import PHOTOMETRY_FIELDS
from acf_jax.baselines.tree_ensembles import TREE_ENSEMBLES, Labelled, fingerprint, fit, import_libraries
from acf_jax.data.prepared import how_to_prepare
from acf_jax.report.context import Context, network_facts, split_facts
from acf_jax.report.section import MissingPieceError
from acf_jax.running import bar_options

TRAIN, CALIBRATION, VALIDATION = SPLITS = ("train", "calibration", "validation")
TUNES_EVERY = 8  # training stars from one that tunes to the next, without a calibration split: 8:2 becomes 7:1:2
MIN_LABELLED = 10  # stars, below which neither trees nor their stopping mean anything


@dataclass(frozen=True)
class Method:
    """A row of the tables, on one of its two sides."""

    algorithm: str
    inputs: str
    use_parallax: bool

    @property
    def all_inputs(self) -> str:
        """With or without the parallax, as in "colours, no parallax"."""
        return f"{self.inputs}, {'parallax' if self.use_parallax else 'no parallax'}"


@dataclass(frozen=True)
class Study:
    """A method and the label that it predicts."""

    method: Method
    target: str


@dataclass(frozen=True)
class Answer:
    """What a study came to."""

    prediction: np.ndarray  # (n,) of the validation stars, in the label's unit
    parameters: dict[str, float | int]  # the best
    n_trees: int
    calibration_std: float  # standard deviation of the residuals about the calibration stars' labels


def methods() -> list[Method]:
    """All of a table's; those that take longest first."""
    return [Method(*choice) for choice in product(TREE_ENSEMBLES, INPUTS, (False, True))]


def answers(context: Context) -> dict[Study, Answer]:
    """Every study's, from the evaluation's cache as far as it was there before.

    Raises:
        MissingPieceError: if the dataset lacks what the studies need.
    """
    _check_dataset(context)
    components = {target: image_components(context, target) for target in context.targets}
    tables = {split: _split_tables(context, split, components) for split, _ in roles(context).values()}
    import_libraries()
    storage = tuning.open_storage(context.out_dir / "cache" / "studies.sqlite3")
    studies = [Study(method, target) for method, target in product(methods(), context.targets)]
    # One thread a fit: at these sizes, and above all on shared cores, several threads in one fit wait for each other.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        futures = {study: threads.submit(_answer, context, study, tables, storage) for study in studies}
        ended, words = as_completed(futures.values()), f"trees, {context.dataset.config}"
        try:
            for future in tqdm(
                ended, total=len(studies), desc=words, unit="study", **bar_options(context.options.progress)
            ):
                future.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)  # what was begun is ended and kept, nothing else is begun
            raise
    return {study: future.result() for study, future in futures.items()}


def _check_dataset(context: Context) -> None:
    """Refuse a dataset whose splits would not make the comparison fair."""
    dataset = context.dataset
    missing = [split for split in (TRAIN, VALIDATION) if not dataset.splits.get(split)]
    if missing or "extinction_coefficients" not in dataset.metadata:
        what = f"the split {missing[0]}" if missing else "extinction_coefficients in its metadata"
        raise MissingPieceError(
            f"The tree ensembles need {what}, which the dataset in {dataset.folder} lacks: prepare it anew "
            f"({how_to_prepare(dataset.config)}), and train on it."
        )
    for one, other in combinations((split for split in SPLITS if dataset.splits.get(split)), 2):
        shared = np.intersect1d(context.stars(one)["object_id"], context.stars(other)["object_id"])
        if shared.size:
            raise MissingPieceError(
                f"{shared.size:,} stars, {shared[0]} among them, are in the {one} split and in the {other} split of "
                f"{dataset.folder}, which would flatter whoever learns them by heart: prepare the dataset anew."
            )


def roles(context: Context) -> dict[str, tuple[str, np.ndarray]]:
    """The stars that grow the trees, tune them and judge them: the split and (n,) rows of it, by `SPLITS`."""
    found = {split: (split, np.arange(n)) for split, n in context.dataset.splits.items() if split in SPLITS and n}
    if CALIBRATION not in found:
        _, rows = found[TRAIN]
        tunes = rows % TUNES_EVERY == 0
        found |= {TRAIN: (TRAIN, rows[~tunes]), CALIBRATION: (TRAIN, rows[tunes])}
    return found


def _split_tables(context: Context, split: str, components: Mapping) -> dict[tuple[str, bool, str], np.ndarray]:
    """What every method gets of a split's stars: {(inputs, use_parallax, target): (n, n_columns)}."""
    stars = {field: context.stars(split)[field] for field in PHOTOMETRY_FIELDS}
    coefficients, tables = context.dataset.metadata["extinction_coefficients"], {}
    for inputs, use_parallax in product(INPUTS, (False, True)):
        if inputs == IMAGE_FEATURES:
            for target, of_target in components.items():
                tables[inputs, use_parallax, target] = table(image_inputs(of_target[split], stars, use_parallax))
        else:
            columns = photometric_inputs(stars, context.dataset.bands, coefficients, inputs, use_parallax)
            tables |= dict.fromkeys(((inputs, use_parallax, target) for target in components), table(columns))
    return tables


def image_components(context: Context, target: str) -> dict[str, np.ndarray]:
    """Principal components of what the backbone in question, of joined ones that of the label, makes of the stamps.

    Args:
        context: of the evaluation.
        target: the label.

    Returns:
        (n, 16) for every split that there is; and their `explained_variance`, ().
    """
    trained, splits = context.trained, [split for split in SPLITS if context.dataset.splits.get(split)]
    own, start = slice(None), 0
    for member in trained.members:
        end = start + member.model.config.num_features
        own, start = (slice(start, end) if target in member.targets else own), end

    def compute() -> dict[str, np.ndarray]:
        reduction = FeatureReduction(context.features(split=TRAIN)[:, own])
        components = {split: reduction(context.features(split=split)[:, own]) for split in splits}
        return components | {"explained_variance": np.array(reduction.explained_variance)}

    what = network_facts(trained) | {"dataset": context.dataset.fingerprint, "features": [own.start, own.stop]}
    return context.cached("components", what, compute)


def _labelled(features: np.ndarray, context: Context, target: str, role: str) -> Labelled:
    """The features (n, n_columns) and labels of those stars of a role that have one; refused if they are few."""
    split, rows = roles(context)[role]
    labels = context.stars(split)[target][rows].astype(np.float64)
    known = np.isfinite(labels)
    if known.sum() < MIN_LABELLED:
        raise MissingPieceError(
            f"{known.sum()} stars of the {split} split have a label {target}: the tree ensembles need {MIN_LABELLED} "
            "at least, so prepare a larger dataset and train on it."
        )
    return Labelled(features[known], labels[known])


def _answer(context: Context, study: Study, tables: Mapping, storage) -> Answer:
    """Tune, fit and predict, unless that was done before."""
    method, options = study.method, context.options
    kind = method.inputs, method.use_parallax, study.target
    table_of = {role: tables[split][kind][rows] for role, (split, rows) in roles(context).items()}
    train, calibration = (_labelled(table_of[role], context, study.target, role) for role in (TRAIN, CALIBRATION))
    words = (method.algorithm, method.all_inputs, study.target)
    name = ", ".join((*words, fingerprint(method.algorithm, train, calibration, options.seed)))

    def calibration_std(parameters: tuning.Parameters) -> float:
        predict = fit(method.algorithm, parameters, train, calibration, options.seed)
        return float(np.std(predict(calibration.features) - calibration.labels))

    def compute() -> dict[str, np.ndarray]:
        ensemble = TREE_ENSEMBLES[method.algorithm]
        kept_as = tuning.Study(name, storage, options.n_trials, options.seed)
        tuned = tuning.tune(calibration_std, ensemble.suggest, ensemble.start, kept_as)
        fitted = fit(method.algorithm, tuned.parameters, train, calibration, options.seed)
        return {
            "prediction": fitted(table_of[VALIDATION]),
            "n_trees": np.array(fitted.n_trees),
            "parameters": np.array(json.dumps(tuned.parameters)),
            "calibration_std": np.array(tuned.loss),
        }

    what = {"study": name, "n_trials": options.n_trials, **split_facts(context.dataset, VALIDATION)}
    arrays = context.cached("trees", what, compute)
    parameters = json.loads(str(arrays["parameters"]))
    return Answer(arrays["prediction"], parameters, int(arrays["n_trees"]), float(arrays["calibration_std"]))
