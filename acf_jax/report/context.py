"""What every section may ask for: the networks, their answers, the stars, and a place to keep what took long."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from acf_jax.data.batches import filled_batches
from acf_jax.data.prepared import PreparedDataset
from acf_jax.files import whole_file
from acf_jax.inference import mc_dropout
from acf_jax.inference.network import Network
from acf_jax.inference.split import STARS_AT_A_TIME, SplitPrediction, predict_split
from acf_jax.metrics.bootstrap import Draws
from acf_jax.models import acf
from acf_jax.report.section import FigureFile
from acf_jax.surveys.matching import Matched
from acf_jax.version import __version__

IMAGES = ("stamp", "mask")


@dataclass(frozen=True)
class Options:
    """What the user can set."""

    n_samples: int = 100  # Monte Carlo dropout samples a star
    seed: int = 0  # of the samples, the baselines, their studies and the bootstrap
    n_trials: int = 20  # of each baseline's study
    n_bootstrap: int = 1_000  # resamples of the stars
    progress: bool = True


@dataclass(frozen=True)
class Context:
    """One evaluation: the network in question, those to compare it with, and the labelled stars."""

    dataset: PreparedDataset
    networks: Mapping[str, Network]  # by name; the first is the one evaluated
    out_dir: Path
    options: Options = Options()
    external: Mapping[str, Matched] = field(default_factory=dict)  # by the survey's name
    low_quality: PreparedDataset | None = None
    low_quality_networks: Mapping[str, Network] = field(default_factory=dict)  # trained on that

    @property
    def name(self) -> str:
        """Of the network in question."""
        return next(iter(self.networks))

    @property
    def trained(self) -> Network:
        """The network in question."""
        return self.networks[self.name]

    @property
    def targets(self) -> tuple[str, ...]:
        """Labels that it predicts."""
        return self.trained.targets

    @property
    def resamples(self) -> Draws:
        """The bootstrap's."""
        return Draws(self.options.n_bootstrap, self.options.seed)

    @property
    def is_mock(self) -> bool:
        """Whether the truth is known."""
        return f"true_{self.targets[0]}" in self.dataset.fields

    @property
    def caveat(self) -> str:
        """What must be said of a network that was chosen by the stars that it is judged by; empty of any other."""
        if self.trained.sidecar.get("checkpoint_chosen_by") != "validation":
            return ""
        return (
            "The dataset has no calibration split, as the paper's: the checkpoint was chosen by the validation stars "
            "that it is judged by here, which flatters it, and its errors are not calibrated."
        )

    def sample(self, split: str = "validation", dataset: PreparedDataset | None = None) -> str:
        """The sample in words, for every caption: which sky, which split, how many stars."""
        dataset = dataset or self.dataset
        sky = "mock sky" if self.is_mock else f"{dataset.name}/{dataset.config}"
        if self.is_mock and "low_quality" in dataset.config:
            sky += ", low-quality sample"
        return f"{sky}, {split} split, {dataset.n_examples(split):,} stars"

    def stars(self, split: str = "validation", dataset: PreparedDataset | None = None) -> dict[str, np.ndarray]:
        """Every field but the images, of every star of a split: {field: (n, ...)}; read once."""
        return _stars((dataset or self.dataset), split)

    def prediction(
        self, name: str | None = None, split: str = "validation", dataset: PreparedDataset | None = None
    ) -> SplitPrediction:
        """A network's Monte Carlo answers for a split; computed once and kept on disk.

        Args:
            name: of the network; by default the one in question.
            split: of the dataset.
            dataset: by default the one evaluated.

        Returns:
            the answers, in the order of the split's stars.
        """
        dataset, trained = dataset or self.dataset, self.network(name)
        stars = self.stars(split, dataset)
        options = self.options

        def compute() -> dict[str, np.ndarray]:
            answer = predict_split(
                trained, dataset, stars, split=split, n_samples=options.n_samples, seed=options.seed,
                progress=options.progress,
            )  # fmt: skip
            return answer.to_arrays()

        what = {
            "n_samples": options.n_samples, "seed": options.seed, "code": code_digest(), **network_facts(trained),
            **split_facts(dataset, split),
        }  # fmt: skip
        return SplitPrediction.from_arrays(self.cached("prediction", what, compute))

    def features(self, name: str | None = None, split: str = "validation") -> np.ndarray:
        """The backbone's features of a split's stars, (n, n_features); computed once and kept on disk."""
        trained = self.network(name)

        def compute() -> dict[str, np.ndarray]:
            parts, n_stars = [], self.dataset.n_examples(split)
            with mc_dropout.progress_bar(n_stars, self.options.progress) as bar:
                for rows, n_real in filled_batches(n_stars, STARS_AT_A_TIME):
                    stamps = np.nan_to_num(self.dataset.arrays(split, ("stamp",), rows)["stamp"])
                    features = _encode(trained.model, trained.input_scaling, trained.params, stamps)
                    parts.append(np.asarray(features)[:n_real])
                    bar.update(n_real)
            return {"features": np.concatenate(parts)}

        what = {"code": code_digest(), **network_facts(trained), **split_facts(self.dataset, split)}
        return self.cached("features", what, compute)["features"]

    def network(self, name: str | None = None) -> Network:
        """A network by its name, those of the low-quality sample too; by default the one in question."""
        if name is None:
            return self.trained
        return self.networks[name] if name in self.networks else self.low_quality_networks[name]

    def cached(
        self, kind: str, what: Mapping, compute: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """The arrays that `compute` makes, from the evaluation's cache if they were made there before.

        Args:
            kind: of thing, for the file's name.
            what: all that determines the arrays, as JSON types; another `what` is another file.
            compute: makes the arrays, none of them of Python objects.

        Returns:
            the arrays by name.
        """
        what = {"code_version": __version__, **what}
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
        path = self.out_dir / "cache" / f"{kind}-{digest}.npz"
        if not path.exists():
            arrays = compute()
            with whole_file(path) as file:
                np.savez(file, **dict[str, Any](arrays))  # by its types a name might be one of its own options
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    def save(self, figure: Figure, name: str, caption: str) -> FigureFile:
        """Write a figure as PNG and PDF.

        Args:
            figure: drawn.
            name: of the files, without their endings.
            caption: names the sample.

        Returns:
            its entry for the section.
        """
        for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
            with whole_file(self.out_dir / "figures" / f"{name}.{kind}") as file:
                figure.savefig(file, format=kind, dpi=160, metadata=metadata)
        return FigureFile(name, caption)


def network_facts(trained: Network) -> dict:
    """What tells a network's answers from another's, for `Context.cached`."""
    sidecar = trained.sidecar
    validation = json.dumps(sidecar.get("validation", {}), sort_keys=True)
    return {"config": sidecar["config"], "step": trained.step, "dataset_of_training": sidecar["dataset"]["fingerprint"],
            "validation": validation}  # fmt: skip


def split_facts(dataset: PreparedDataset, split: str) -> dict:
    """What tells a split's stars from another's, for `Context.cached`."""
    return {"dataset": dataset.fingerprint, "split": split}


def labels_of(stars: Mapping[str, np.ndarray], targets: Sequence[str], prefix: str = "") -> np.ndarray:
    """Labels, or the truth, side by side.

    Args:
        stars: fields of the dataset, (n, ...).
        targets: names of labels.
        prefix: `true_` for the truth.

    Returns:
        (n, n_targets), in the targets' units.
    """
    return np.stack([stars[prefix + target] for target in targets], axis=-1).astype(np.float64)


def reddening(context: Context, stars: Mapping[str, np.ndarray]) -> np.ndarray:
    """What was taken off the stamps, by R_f and the catalogue's E(B-V), wrong as that may be: (n, n_bands) mag."""
    coefficients = context.dataset.metadata["extinction_coefficients"]
    extinctions = np.array([coefficients[band] for band in context.dataset.bands])
    return np.outer(stars["ebmv_sfd"].astype(np.float64), extinctions)


@functools.cache
def code_digest() -> str:
    """A hash of this package, so that nothing made by other code is kept."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


@functools.partial(jax.jit, static_argnames=("model", "scaling"))
def _encode(model: acf.ACF, scaling, params, stamps):
    return model.apply({"params": params}, scaling.stamps(stamps), method="encode")


_STARS: dict[tuple, dict[str, np.ndarray]] = {}


def _stars(dataset: PreparedDataset, split: str) -> dict[str, np.ndarray]:
    key = (str(dataset.folder), dataset.fingerprint, split)
    if key not in _STARS:
        fields = tuple(name for name in dataset.fields if name not in IMAGES)
        _STARS[key] = dataset.arrays(split, fields)
    return _STARS[key]
