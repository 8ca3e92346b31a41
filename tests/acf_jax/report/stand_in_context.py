"""A suite's context of networks whose errors are known, over stars drawn at random; nothing is trained or read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from acf_jax.report.context import Context, Options
from acf_jax.report.section import FigureFile

TARGETS = ("teff", "logg", "fe_h")
LABEL_NOISE = {"teff": 60.0, "logg": 0.05, "fe_h": 0.06}
N_STARS = 1_500
COEFFICIENTS = dict(zip("uvgriz", [4.3, 4.0, 3.0, 2.3, 1.6, 1.2], strict=True))


@dataclass(frozen=True)
class StandInContext(Context):
    """Answers from memory instead of from the networks."""

    answers: Mapping[str, np.ndarray] = field(default_factory=dict)  # of each network: (n, n_targets)
    draws: bool = False  # whether figures are written, which takes seconds

    def save(self, figure, name, caption):
        return super().save(figure, name, caption) if self.draws else FigureFile(name, caption)

    def prediction(self, name=None, split="validation", dataset=None):
        mean = self.answers[name or self.name]
        reason = [None if np.isfinite(row).all() else "stamp holds a pixel that is not a number" for row in mean]
        return SimpleNamespace(mean=mean, std=np.ones_like(mean), noise_std=None, reason=reason)


class StandInDataset(SimpleNamespace):
    """A prepared dataset in memory; `reads` notes how many stamps were asked for at a time."""

    def __init__(self, folder: Path, split_arrays: Mapping[str, Mapping[str, np.ndarray]], **changes):
        usual = {
            "folder": folder, "name": "smss_stamps", "config": "mock", "version": "1.0.0", "bands": "uvgriz",
            "fingerprint": "f" * 64, "metadata": {"extinction_coefficients": COEFFICIENTS}, "reads": [],
            "split_arrays": split_arrays, "fields": tuple(next(iter(split_arrays.values()))),
            "splits": {name: len(stars["object_id"]) for name, stars in split_arrays.items()},
        }  # fmt: skip
        super().__init__(**usual | changes)

    def n_examples(self, split):
        return self.splits[split]

    def arrays(self, split, fields=None, indices=None):
        rows = slice(None) if indices is None else np.asarray(indices)
        if "stamp" in fields:
            self.reads.append(len(rows))
        return {name: self.split_arrays[split][name][rows] for name in fields}


def draw_stars(n: int = N_STARS, seed: int = 0) -> dict[str, np.ndarray]:
    """Isolated stars of the mock sky, with noisy labels."""
    rng = np.random.default_rng(seed)
    true = {"teff": rng.uniform(4500, 6500, n), "logg": rng.uniform(1.5, 4.8, n), "fe_h": rng.uniform(-1, 0.3, n)}
    stars = {f"true_{target}": values for target, values in true.items()}
    stars |= {target: values + LABEL_NOISE[target] * rng.normal(size=n) for target, values in true.items()}
    stars |= {
        "object_id": np.arange(n),
        "psf_mag": rng.uniform(11, 14.4, (n, 6)),
        "ebmv_sfd": rng.exponential(0.05, n),
        "parallax": 10 ** rng.uniform(-0.5, 0.8, n),
        "parallax_error": np.full(n, 0.02),
        "self_dist1": np.full(n, np.nan),
    }
    return {name: values.astype(np.float64) for name, values in stars.items()}


def stand_in_network(*, use_parallax: bool = True, targets=TARGETS, fingerprint: str = "f" * 64, **settings):
    """As far as sections ask for one; `settings` of its training differ from the usual."""
    config = {"seed": 0, "model": {"use_parallax": use_parallax, "head_widths": [320, 160]}} | settings
    return SimpleNamespace(
        model=SimpleNamespace(config=SimpleNamespace(use_parallax=use_parallax)), targets=targets, bands="uvgriz",
        step=100, sidecar={"config": config, "dataset": {"fingerprint": fingerprint}}, members=(),
        config_of=lambda target: config,
    )  # fmt: skip


def make_context(
    folder: Path,
    stars: Mapping[str, np.ndarray],
    answers: Mapping[str, np.ndarray],
    networks: Mapping[str, SimpleNamespace] | None = None,
    *,
    n_bootstrap: int = 200,
    seed: int = 0,
    draws: bool = False,
) -> StandInContext:
    """Of these stars; a sky without `true_` fields is a real one. The first of `answers` is in question."""
    config = "mock" if "true_teff" in stars else "high_quality"
    return StandInContext(
        dataset=StandInDataset(folder, {"validation": stars}, config=config),
        networks=networks or {name: stand_in_network(use_parallax=name != "ACPF") for name in answers},
        out_dir=folder / "evaluation",
        options=Options(n_bootstrap=n_bootstrap, seed=seed, progress=False),
        answers=answers,
        draws=draws,
    )


def truth(stars: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n, n_targets)."""
    return np.stack([stars[f"true_{target}"] for target in TARGETS], axis=1)


def without_truth(stars: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same stars on a real sky."""
    return {name: values for name, values in stars.items() if not name.startswith("true_")}
