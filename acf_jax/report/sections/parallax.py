"""What the parallax brings: the network with it against the same one without, star by star."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from acf_jax.inference.network import Network
from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import Estimate, bootstrap_moments, std_ratio
from acf_jax.report.context import Context
from acf_jax.report.quick_markdown import NAMES, REFERENCES
from acf_jax.report.section import MissingPieceError, Section, Table
from acf_jax.report.words import enumerated, references, residuals, with_interval

WITHOUT = "ACPF"

PAPER = {
    "teff": {"with": "95.02", "without": "-", "ratio": "about 1.11"},
    "logg": {"with": "0.07", "without": "0.28", "ratio": "4.0"},
    "fe_h": {"with": "0.14", "without": "-", "ratio": "about 1.11"},
}
"""Standard deviations that the paper prints, and their ratio: of Teff and [Fe/H] it gives no other (Sec. 5.1)."""

HOW_TO_GET = (
    "`python train.py --config configs/demo.py --config.model.use_parallax=False --workdir runs/demo_acpf` trains one "
    "(name the config and the seed of the network that is evaluated, if they are others), and `--acpf runs/demo_acpf` "
    "tells evaluate.py of it."
)


def section(context: Context) -> Section:
    """The ACF against the ACPF: standard deviations, and their ratio with a paired bootstrap interval.

    Raises:
        MissingPieceError: if there is no network without parallax, none with it, or their datasets differ.
    """
    name = _with_parallax(context)
    rows = {kind: _compare(context, name, kind) for kind in references(context)}
    differences = config_differences(context.networks[name], context.networks[WITHOUT])
    return Section(
        key="parallax",
        title="What the parallax brings",
        text=(_verdict(name, rows[references(context)[-1]], context), _how_alike(name, differences)),
        tables=tuple(_table(context, name, kind, of_kind) for kind, of_kind in rows.items()),
        values={
            "sample": context.sample(),
            "with": name,
            "without": WITHOUT,
            "config_differences": differences,
            "n_resamples": context.options.n_bootstrap,
            "std": {
                kind: {
                    target: {what: estimate.to_dict() for what, estimate in of_target.items()}
                    for target, of_target in of_kind.items()
                }
                for kind, of_kind in rows.items()
            },
            "paper": PAPER,
        },
    )


def config_differences(with_parallax: Network, without: Network) -> list[str]:
    """Settings in which two trainings differ beside the parallax, as in "optimizer.learning_rate: 0.001, 0.002"."""
    settings, others = (_flat(trained.sidecar["config"]) for trained in (with_parallax, without))
    return [
        f"{key}: {settings.get(key, 'not set')}, {others.get(key, 'not set')}"
        for key in sorted(settings.keys() | others.keys())
        if key != "model.use_parallax" and settings.get(key) != others.get(key)
    ]


def _with_parallax(context: Context) -> str:
    """The network to set against the one without: the ACF, or else the network in question."""
    without = context.networks.get(WITHOUT)
    if without is None:
        raise MissingPieceError(f"There is no network without parallax to compare with: {HOW_TO_GET}")
    if without.model.config.use_parallax:
        raise MissingPieceError(f"The network given as {WITHOUT} was trained with the parallax: {HOW_TO_GET}")
    name = "ACF" if "ACF" in context.networks else context.name
    if not context.networks[name].model.config.use_parallax:
        raise MissingPieceError(
            "Both networks go without the parallax: evaluate one that was trained with it (`--checkpoint`), and give "
            "this one as `--acpf`."
        )
    fingerprint, other = (n.sidecar["dataset"]["fingerprint"] for n in (context.networks[name], without))
    if fingerprint != other:
        raise MissingPieceError(
            f"{name} was trained on the dataset {fingerprint[:12]}, {WITHOUT} on {other[:12]}, so that their "
            f"difference is not the parallax's alone: train both on one dataset. {HOW_TO_GET}"
        )
    return name


def _compare(context: Context, name: str, kind: str) -> dict[str, dict[str, Estimate]]:
    """For each target: `with`, `without` and `ratio`, all of the stars for which both have a residual."""
    with_parallax, without = (residuals(context, network, kind) for network in (name, WITHOUT))
    draws = {"n_resamples": context.options.n_bootstrap, "seed": context.options.seed}
    compared = {}
    for target in (t for t in with_parallax if t in without):
        known = np.isfinite(with_parallax[target]) & np.isfinite(without[target])
        a, b = with_parallax[target][known], without[target][known]
        compared[target] = {
            "with": bootstrap_moments(a, names=("std",), **draws)["std"],
            "without": bootstrap_moments(b, names=("std",), **draws)["std"],
            "ratio": std_ratio(b, a, **draws),
        }
    return compared


def _table(context: Context, name: str, kind: str, compared: Mapping[str, Mapping[str, Estimate]]) -> Table:
    rows = []
    for target, of_target in compared.items():
        unit, ratio = LABELS[target], of_target["ratio"]
        cells = [with_interval(of_target[what], unit) for what in ("with", "without")]
        printed = list(PAPER[target].values()) if kind == "label" else []
        rows.append((f"{NAMES[target]} ({unit})", *cells, _ratio_words(ratio), f"{ratio.n:,}", *printed))
    header = ["parameter", f"std, {name}", f"std, {WITHOUT}", "ratio", "n"]
    if kind == "label":
        header += ["paper, ACF", "paper, ACPF", "paper, ratio"]
    return Table(
        caption=f"Standard deviation about {REFERENCES[kind]} with and without parallax ({context.sample()}); in "
        "brackets 95 % bootstrap intervals, of the ratio paired.",
        header=tuple(header),
        rows=tuple(rows),
    )


def _ratio_words(ratio: Estimate) -> str:
    if np.isnan(ratio.value):
        return "-"
    return f"{ratio.value:.2f} [{ratio.lower:.2f}, {ratio.upper:.2f}]"


def _verdict(name: str, compared: Mapping[str, Mapping[str, Estimate]], context: Context) -> str:
    """Whether the parallax improves log g most, as the paper claims, and what it does to the others."""
    ratios = {target: of_target["ratio"] for target, of_target in compared.items()}
    factors = enumerated(f"{_ratio_words(ratio)} in {NAMES[target]}" for target, ratio in ratios.items())
    about = REFERENCES[references(context)[-1]]
    words = f"Without parallax the scatter about {about} grows by a factor of {factors} ({context.sample()})."
    if "logg" not in ratios or len(ratios) < 2:
        return words
    others = [ratio for target, ratio in ratios.items() if target != "logg"]
    logg = ratios["logg"]
    if logg.lower > max(ratio.upper for ratio in others):
        return f"{words} The paper's claim holds here: the parallax improves log g most, with intervals well apart."
    if logg.value > max(ratio.value for ratio in others):
        return f"{words} The parallax improves log g most, but the intervals overlap: on these stars it is not certain."
    return f"{words} The paper's claim does not hold here: the parallax improves another parameter more than log g."


def _how_alike(name: str, differences: list[str]) -> str:
    """On what footing the two stand."""
    if differences:
        return (
            f"{name} and {WITHOUT} were trained on the same stars, but not alike, so that the difference is not the "
            f"parallax's alone. Settings that differ ({name}, {WITHOUT}): {'; '.join(differences)}."
        )
    return (
        f"{name} and {WITHOUT} were trained on the same stars with the same settings and seed but for the parallax. "
        "The intervals tell of the finite number of validation stars; another seed of both would add its own scatter."
    )


def _flat(config: Mapping, prefix: str = "") -> dict[str, object]:
    """A nested config with dotted keys; lists as tuples, since JSON makes lists of tuples."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = tuple(value) if isinstance(value, list) else value
    return flat
