"""The four tree ensembles of Table 1 (paper Sec. 5.2) behind one function: random forest, XGBoost, LightGBM, CatBoost.

All run on one thread, so that a fit is the same to the last bit on every machine; several of them share the cores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np

# A boosted ensemble is grown tree by tree, and early stopping finds the best number in every trial, to the tree and at
# no cost: tuning it beside the learning rate would only leave fewer trials for the rest. A forest's is tuned.
MAX_TREES = 1_000
EARLY_STOPPING_ROUNDS = 30
FOREST_TREES = (30, 120)

Parameters = Mapping[str, float | int]
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Labelled:
    """Stars to learn from; features may be NaN."""

    features: np.ndarray  # (n, n_features)
    labels: np.ndarray  # (n,), finite

    def __post_init__(self):
        if self.features.ndim != 2 or self.labels.shape != (len(self.features),):
            raise ValueError(f"features {self.features.shape} and labels {self.labels.shape} are not of the same stars")
        if not len(self.labels) or not np.isfinite(self.labels).all():
            raise ValueError("every star to learn from needs a finite label, and there must be one star at least")


@dataclass(frozen=True)
class Fitted:
    """A fitted ensemble, which maps features (n, n_features) to predictions (n,)."""

    predict: Predict
    n_trees: int

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Predictions (n,) in the labels' unit."""
        return self.predict(features)


@dataclass(frozen=True)
class TreeEnsemble:
    """An algorithm, where its hyperparameters may lie, and where the search for them starts."""

    module: str  # whose version decides what comes out
    start: Parameters
    suggest: Callable[..., Parameters]  # from an Optuna trial
    fit: Callable[[Parameters, Labelled, Labelled, int], Fitted]


def fit(name: str, parameters: Parameters, train: Labelled, stopping: Labelled, seed: int = 0) -> Fitted:
    """Fit one of `TREE_ENSEMBLES`.

    Args:
        name: of the algorithm.
        parameters: its hyperparameters; `TREE_ENSEMBLES[name].start` for a usual choice.
        train: the stars that the trees are grown on.
        stopping: the stars on which the error must fall for another tree to be added. A forest does not look at them.
        seed: of the draws of stars and features.

    Returns:
        what predicts.

    Raises:
        KeyError: if there is no such algorithm.
    """
    offset, scale = train.labels.mean(), train.labels.std()  # penalties then mean the same in K and in dex
    if scale == 0:  # nothing to learn, which CatBoost refuses
        return Fitted(lambda features: np.full(len(features), offset), 0)
    train, stopping = (Labelled(sample.features, (sample.labels - offset) / scale) for sample in (train, stopping))
    fitted = TREE_ENSEMBLES[name].fit(parameters, train, stopping, seed)
    return Fitted(lambda features: offset + scale * np.asarray(fitted(features), np.float64), fitted.n_trees)


def import_libraries() -> None:
    """Import them, before several threads do so at once, of which one may find a half of a module."""
    import catboost  # noqa: F401
    import lightgbm  # noqa: F401
    import sklearn.ensemble
    import sklearn.impute
    import sklearn.pipeline  # noqa: F401
    import xgboost  # noqa: F401


def fingerprint(name: str, train: Labelled, stopping: Labelled, seed: int = 0) -> str:
    """A digest of all that determines a fit but the hyperparameters: stars, labels, seed, bounds, library.

    Args:
        name: of the algorithm.
        train: the stars that the trees are grown on.
        stopping: those that stop them.
        seed: of the draws.

    Returns:
        hexadecimal digits.
    """
    from optuna.trial import FixedTrial

    ensemble = TREE_ENSEMBLES[name]
    library, asked = import_module(ensemble.module).__version__, FixedTrial(dict(ensemble.start))
    ensemble.suggest(asked)
    settings = (name, library, dict(ensemble.start), asked.distributions, MAX_TREES, EARLY_STOPPING_ROUNDS, seed)
    digest = hashlib.sha256(repr(settings).encode())
    for array in (train.features, train.labels, stopping.features, stopping.labels):
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array, np.float64).tobytes())
    return digest.hexdigest()[:16]


def _fit_random_forest(parameters: Parameters, train: Labelled, stopping: Labelled, seed: int) -> Fitted:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    forest = RandomForestRegressor(random_state=seed, n_jobs=1, **parameters)
    medians = SimpleImputer(strategy="median", keep_empty_features=True)
    predict = make_pipeline(medians, forest).fit(train.features, train.labels).predict
    return Fitted(predict, len(forest.estimators_))


def _suggest_random_forest(trial) -> Parameters:
    return {
        "n_estimators": trial.suggest_int("n_estimators", *FOREST_TREES, log=True),
        "max_features": trial.suggest_float("max_features", 0.2, 1.0),
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 10, log=True),
        "max_samples": trial.suggest_float("max_samples", 0.3, 1.0),
    }


def _fit_xgboost(parameters: Parameters, train: Labelled, stopping: Labelled, seed: int) -> Fitted:
    import xgboost

    regressor = xgboost.XGBRegressor(
        n_estimators=MAX_TREES, early_stopping_rounds=EARLY_STOPPING_ROUNDS, eval_metric="rmse", tree_method="hist",
        n_jobs=1, random_state=seed, **parameters,
    )  # fmt: skip
    regressor.fit(train.features, train.labels, eval_set=[(stopping.features, stopping.labels)], verbose=False)
    return Fitted(regressor.predict, regressor.best_iteration + 1)


def _suggest_xgboost(trial) -> Parameters:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 3, 8),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 20.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 10.0, log=True),
    }


def _fit_lightgbm(parameters: Parameters, train: Labelled, stopping: Labelled, seed: int) -> Fitted:
    import lightgbm

    settings = {
        "objective": "regression", "metric": "rmse", "verbosity": -1, "num_threads": 1, "deterministic": True,
        "force_row_wise": True, "bagging_freq": 1, "seed": seed, **parameters,
    }  # fmt: skip
    grown = lightgbm.Dataset(train.features, train.labels, params={"verbosity": -1})
    booster = lightgbm.train(
        settings, grown, MAX_TREES, valid_sets=[grown.create_valid(stopping.features, stopping.labels)],
        callbacks=[lightgbm.early_stopping(EARLY_STOPPING_ROUNDS, verbose=False)],
    )  # fmt: skip
    return Fitted(lambda features: np.asarray(booster.predict(features, num_threads=1)), booster.best_iteration)


def _suggest_lightgbm(trial) -> Parameters:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 7, 63, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 50, log=True),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.5, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.01, 10.0, log=True),
    }


def _fit_catboost(parameters: Parameters, train: Labelled, stopping: Labelled, seed: int) -> Fitted:
    import catboost

    regressor = catboost.CatBoostRegressor(
        iterations=MAX_TREES, early_stopping_rounds=EARLY_STOPPING_ROUNDS, thread_count=1, random_seed=seed,
        logging_level="Silent", allow_writing_files=False, **parameters,
    )  # fmt: skip
    regressor.fit(train.features, train.labels, eval_set=(stopping.features, stopping.labels))
    return Fitted(lambda features: regressor.predict(features, thread_count=1), regressor.tree_count_)


def _suggest_catboost(trial) -> Parameters:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.3, log=True),
        "depth": trial.suggest_int("depth", 4, 7),  # 8 takes twice the time
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 1.0, 10.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "rsm": trial.suggest_float("rsm", 0.5, 1.0),
    }


TREE_ENSEMBLES: dict[str, TreeEnsemble] = {
    "random forest": TreeEnsemble(
        "sklearn",
        {"n_estimators": 100, "max_features": 0.5, "min_samples_leaf": 2, "max_samples": 1.0},
        _suggest_random_forest,
        _fit_random_forest,
    ),
    "XGBoost": TreeEnsemble(
        "xgboost",
        {
            "learning_rate": 0.1, "max_depth": 5, "min_child_weight": 3.0, "subsample": 0.8, "colsample_bytree": 0.8,
            "reg_lambda": 1.0,
        },
        _suggest_xgboost,
        _fit_xgboost,
    ),
    "LightGBM": TreeEnsemble(
        "lightgbm",
        {
            "learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 20, "bagging_fraction": 0.8,
            "feature_fraction": 0.8, "lambda_l2": 0.1,
        },
        _suggest_lightgbm,
        _fit_lightgbm,
    ),
    "CatBoost": TreeEnsemble(
        "catboost",
        {"learning_rate": 0.1, "depth": 6, "l2_leaf_reg": 3.0, "subsample": 0.8, "rsm": 1.0},
        _suggest_catboost,
        _fit_catboost,
    ),
}  # fmt: skip
