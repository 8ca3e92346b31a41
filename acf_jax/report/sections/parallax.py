"""What the parallax brings: the network with it against the same one without, star by star."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from acf_jax.inference.network import Network
from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import bootstrap_moments, std_ratio
from acf_jax.metrics.measurements import Measurement, distinct, estimates, select, to_dicts
from acf_jax.report.context import Context
from acf_jax.report.residuals import references, residuals
from acf_jax.report.section import MissingPieceError, Section, Table
from acf_jax.report.words import NAMES, REFERENCES, enumerated, ratio, with_interval, with_unit

WITHOUT = "ACPF"

PAPER = {
    "teff": {"with": "95.02", "without": "-", "ratio": "about 1.11"},
    "logg": {"with": "0.07", "without": "0.28", "ratio": "4.0"},
    "fe_h": {"with": "0.14", "without": "-", "ratio": "about 1.11"},
}
"""Standard deviations that the paper prints, and their ratio: of Teff and [Fe/H] it gives no other (Sec. 5.1)."""


def how_to_get(context: Context) -> str:
    """How to train a network without parallax on the same sky, and to compare with it."""
    sample = "" if context.is_mock else f" --config.dataset.config={context.dataset.config}"
    config, run = ("demo", "runs/demo_acpf") if context.is_mock else ("acf", "runs/acpf")
    return (
        f"`python train.py --config configs/{config}.py{sample} --config.model.use_parallax=False --workdir {run}` "
        "trains one (name the config and the seed of the network that is evaluated, if they are others), and `--acpf "
        f"{run}` tells evaluate.py of it."
    )


def section(context: Context) -> Section:
    """The ACF against the ACPF: standard deviations, and their ratio with a paired bootstrap interval.

    Raises:
        MissingPieceError: if there is no network without parallax, or none with it.
    """
    name = _with_parallax(context)
    found = [m for reference in references(context) for m in _compare(context, name, reference)]
    differences = config_differences(context.networks[name], context.networks[WITHOUT])
    return Section(
        key="parallax",
        title="What the parallax brings",
        text=(_verdict(context, found), _how_alike(name, differences)),
        tables=tuple(_table(context, reference, found) for reference in references(context)),
        values={
            "sample": context.sample(),
            "with": name,
            "without": WITHOUT,
            "config_differences": differences,
            "n_resamples": context.options.n_bootstrap,
            "measurements": to_dicts(found),
            "paper": PAPER,
        },
    )


def config_differences(with_parallax: Network, without: Network) -> list[str]:
    """Settings in which two trainings differ beside the parallax, as in "optimizer.learning_rate: 0.001, 0.002"."""
    found: dict[str, None] = {}
    for target in with_parallax.targets:
        settings, others = (_flat(trained.config_of(target)) for trained in (with_parallax, without))
        found |= dict.fromkeys(
            f"{key}: {settings.get(key, 'not set')}, {others.get(key, 'not set')}"
            for key in sorted(settings.keys() | others.keys())
            if key != "model.use_parallax" and settings.get(key) != others.get(key)
        )
    return list(found)


def _with_parallax(context: Context) -> str:
    """The network to set against the one without: the ACF, or else the network in question."""
    without = context.networks.get(WITHOUT)
    if without is None:
        raise MissingPieceError(f"There is no network without parallax to compare with: {how_to_get(context)}")
    if without.model.config.use_parallax:
        raise MissingPieceError(f"The network given as {WITHOUT} was trained with the parallax: {how_to_get(context)}")
    name = "ACF" if "ACF" in context.networks else context.name
    if not context.networks[name].model.config.use_parallax:
        raise MissingPieceError(
            "Both networks go without the parallax: evaluate one that was trained with it (`--checkpoint`), and give "
            "this one as `--acpf`."
        )
    return name


def _compare(context: Context, name: str, reference: str) -> list[Measurement]:
    """Both standard deviations and their ratio, for each target, of the stars for which both have a residual."""
    with_parallax, without = (residuals(context, network, reference) for network in (name, WITHOUT))
    found, draws = [], context.resamples
    for target in (t for t in with_parallax if t in without):
        known = np.isfinite(with_parallax[target]) & np.isfinite(without[target])
        a, b = with_parallax[target][known], without[target][known]
        for method, residual in ((name, a), (WITHOUT, b)):
            std = bootstrap_moments(residual, draws, ("std",))["std"]
            found.append(Measurement(method, target, reference, "std", std))
        found.append(Measurement(WITHOUT, target, reference, "std_ratio", std_ratio(b, a, draws), against=name))
    return found


def _table(context: Context, reference: str, found: Sequence[Measurement]) -> Table:
    about, rows = select(found, reference=reference), []
    stds = select(about, quantity="std")
    for target, growth in estimates(about, "target", quantity="std_ratio").items():
        cells = [with_interval(std, LABELS[target]) for std in estimates(stds, "method", target=target).values()]
        printed = list(PAPER[target].values()) if reference == "label" else []
        rows.append((with_unit(target), *cells, ratio(growth), f"{growth.n:,}", *printed))
    header = ["parameter", *(f"std, {method}" for method in distinct(stds, "method")), "ratio", "n"]
    if reference == "label":
        header += ["paper, ACF", "paper, ACPF", "paper, ratio"]
    return Table(
        caption=f"Standard deviation about {REFERENCES[reference]} with and without parallax ({context.sample()}); in "
        "brackets 95 % bootstrap intervals, of the ratio paired.",
        header=tuple(header),
        rows=tuple(rows),
    )


def _verdict(context: Context, found: Sequence[Measurement]) -> str:
    """Whether the parallax improves log g most, as the paper claims, and what it does to the others."""
    last = references(context)[-1]
    ratios = estimates(found, "target", reference=last, quantity="std_ratio")
    factors = enumerated(f"{ratio(growth)} in {NAMES[target]}" for target, growth in ratios.items())
    words = (
        f"Without parallax the scatter about {REFERENCES[last]} grows by a factor of {factors} ({context.sample()})."
    )
    if "logg" not in ratios or len(ratios) < 2:
        return words
    others = [growth for target, growth in ratios.items() if target != "logg"]
    logg = ratios["logg"]
    if logg.lower > max(growth.upper for growth in others):
        return f"{words} The paper's claim holds here: the parallax improves log g most, with intervals well apart."
    if logg.value > max(growth.value for growth in others):
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
