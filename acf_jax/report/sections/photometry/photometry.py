"""Images against magnitudes, fairly: is what the network sees more than what photometry of the same stamps tells?

Trees on catalogue magnitudes (Table 1) differ from the network in two things at once. Here one is changed at a time:
the same prediction module on magnitudes, and magnitudes measured on the very stamps, isolated and crowded stars apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from acf_jax.labels import LABELS, number
from acf_jax.metrics.bootstrap import bootstrap_moments, std_ratio
from acf_jax.metrics.measurements import Measurement, distinct, estimates, select, to_dicts
from acf_jax.plots.predictions import BLUE, VERMILION
from acf_jax.report.context import Context, labels_of
from acf_jax.report.quantities import CROWDED_ARCSEC, is_crowded
from acf_jax.report.residuals import PREFIXES, references
from acf_jax.report.section import FigureFile, Section, Table
from acf_jax.report.sections.photometry import methods
from acf_jax.report.sections.photometry.methods import Answer
from acf_jax.report.words import NAMES, REFERENCES, low_quality_way, with_unit

IMAGES = "the stamps"

HOW = (
    "{mlp} is the network's own prediction module (dense 320, 160, GELU, dropout 0.2) on numbers instead of the image, "
    "trained on the same stars with the same loss and a like schedule, the best checkpoint chosen on the calibration "
    "split; {trees} has its usual hyperparameters and stops by the same split. All read dereddened magnitudes and "
    "neighbouring colours{parallax}. Apertures have 3, 6 and 12 px; PSF fits are Moffat profiles (beta = 3) of the "
    "seeing's width, fitted singly, so that a neighbour's light stays in them."
)
LIMITS = (
    "The last two rows are what perfect photometry of these stamps would give the same MLP: the true magnitudes, with "
    "noise drawn as large as the PSF fits report for isolated stars of that brightness, or as large as the fits "
    "scatter about the truth, which holds the errors of the exposures' zeropoints, too."
)
RATIO = (
    "Beside each std, in brackets: std of {network} / that of the row, with the 95 % interval of a paired bootstrap "
    "over the stars ({n:,} resamples); below 1 {network} is ahead. It tells nothing of how another seed would do."
)


def section(context: Context) -> Section:
    """The network, MLPs and trees on catalogue and stamp photometry, on each sample there is.

    Raises:
        MissingPieceError: if a dataset lacks a split or field.
    """
    samples = _samples(context)
    for sample in samples.values():
        methods.check(sample)
    found = [m for name, sample in samples.items() for m in measure(sample, name)]
    by_sample = [(sample, select(found, sample=name)) for name, sample in samples.items()]
    return Section(
        key="photometry",
        title="Images against magnitudes, fairly",
        text=(*(words for about in by_sample for words in _verdicts(*about)), *_explanations(context, samples)),
        tables=(
            *(table for about in by_sample for table in _tables(*about)),
            *(_accuracy_table(sample) for sample in samples.values() if sample.is_mock),
        ),
        figures=tuple(_figure(sample, name, select(found, sample=name)) for name, sample in samples.items()),
        values={
            "samples": [
                {"sample": name, "stars": sample.sample(), "failed_fits": _failed_fits(sample)}
                for name, sample in samples.items()
            ],
            "measurements": to_dicts(found),
        },
    )


def _samples(context: Context) -> dict[str, Context]:
    """A context for each sample, in which its own dataset and networks are the ones in question."""
    found = {"high_quality": context}
    if context.low_quality is not None:
        # Networks of the two samples go by the same names, so that one context cannot hold both.
        networks = context.low_quality_networks or {f"{context.name}, as it is,": context.trained}
        found["low_quality"] = dataclasses.replace(context, dataset=context.low_quality, networks=networks)
    return found


def _groups(context: Context) -> dict[str, np.ndarray]:
    """Which stars of the validation split (n,) are isolated and which crowded; no empty group."""
    crowded = is_crowded(context.stars())
    return {name: rows for name, rows in (("isolated", ~crowded), ("crowded", crowded)) if rows.any()}


def _answers(context: Context) -> list[Answer]:
    """The networks of the same labels, that in question first, then photometry's."""
    networks = [name for name, trained in context.networks.items() if trained.targets == context.targets]
    return [*(Answer(name, IMAGES, context.prediction(name).mean) for name in networks), *methods.answers(context)]


def measure(context: Context, sample: str) -> list[Measurement]:
    """The standard deviation of every method on every input, and the ratio of the network in question to it.

    Args:
        context: of this sample.
        sample: its name in the measurements.

    Returns:
        `std` and `std_ratio` by group of stars, reference, method and inputs, and target.
    """
    answers, draws, found = _answers(context), context.resamples, []
    for (group, rows), reference in product(_groups(context).items(), references(context)):
        labels = labels_of(context.stars(), context.targets, PREFIXES[reference])[rows]
        residuals = [answer.mean[rows] - labels for answer in answers]
        pairs = zip(answers, residuals, strict=True)
        for (answer, residual), (i, target) in product(pairs, enumerate(context.targets)):
            std = bootstrap_moments(residual[:, i], draws, ("std",))["std"]
            m = Measurement(answer.method, target, reference, "std", std, sample, group, answer.inputs)
            ratio = std_ratio(residuals[0][:, i], residual[:, i], draws)
            found += [m, dataclasses.replace(m, quantity="std_ratio", estimate=ratio, against=answers[0].method)]
    return found


def _rows(found: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The measurements of each method on each of its inputs, as in "MLP on PSF fits on the stamps"."""
    answers = dict.fromkeys((m.method, m.inputs) for m in found)
    return {f"{method} on {inputs}": select(found, method=method, inputs=inputs) for method, inputs in answers}


def _verdicts(context: Context, found: Sequence[Measurement]) -> list[str]:
    """A sentence for each group: the network against the best photometry of the same stamps."""
    sentences, reference = [], references(context)[-1]
    for group in distinct(found, "group"):
        about = select(found, group=group, reference=reference)
        words = [_against_best(select(about, target=target), target) for target in context.targets]
        n = max(m.estimate.n for m in select(about, quantity="std"))
        sentences.append(
            f"{group.capitalize()} stars ({context.sample()}; {n:,} of them {group}), about "
            f"{REFERENCES[reference]}: {about[0].method} against the better photometry of the same stamps has "
            f"{'; '.join(words)}."
        )
    return sentences


def _against_best(found: Sequence[Measurement], target: str) -> str:
    """As in "1.31 (1.25 to 1.37) times its scatter in Teff, behind the MLP on PSF fits on the stamps"."""
    rivals = _rows([m for m in found if m.inputs in methods.ON_STAMPS])
    measured = {row: estimates(measurements, "quantity") for row, measurements in rivals.items()}
    best = min(measured, key=lambda row: np.nan_to_num(measured[row]["std"].value, nan=np.inf))
    ratio = measured[best]["std_ratio"]
    place = "ahead of" if ratio.upper < 1 else "behind" if ratio.lower > 1 else "not told apart from"
    return (
        f"{ratio.value:.2f} ({ratio.lower:.2f} to {ratio.upper:.2f}) times its scatter in {NAMES[target]}, "
        f"{place} the {best}"
    )


def _explanations(context: Context, samples: Mapping[str, Context]) -> list[str]:
    parallax = ", the parallax and absolute magnitudes" if context.trained.model.config.use_parallax else ""
    paragraphs = [
        HOW.format(mlp=methods.MLP, trees=methods.TREES, parallax=parallax),
        *[LIMITS] * context.is_mock,
        RATIO.format(network=context.name, n=context.options.n_bootstrap),
    ]
    how_low_quality = (
        f"To have the low-quality sample, where crowded stars are: {'; '.join(low_quality_way(context.is_mock))}."
    )
    if "crowded" not in _groups(context):
        paragraphs.append(
            f"No star ({context.sample()}) has a neighbour within {CROWDED_ARCSEC:g} arcsec: the sample's own cuts "
            f"leave none. {'' if 'low_quality' in samples else how_low_quality}".strip()
        )
    if "low_quality" in samples and not context.low_quality_networks:
        paragraphs.append(
            f"No network trained on the low-quality sample was given, so there {context.name} stands as it is, without "
            f"having seen crowded stars, against photometry that was fitted to them. {how_low_quality}"
        )
    for sample in samples.values():
        paragraphs += _failures(sample)
    return paragraphs


def _failed_fits(context: Context) -> dict[str, int]:
    """PSF fits without an answer in the validation split, by band."""
    counts = methods.photometry(context, "validation").n_failed_fits.tolist()
    return dict(zip(context.dataset.bands, counts, strict=True))


def _failures(context: Context) -> list[str]:
    failed = {band: count for band, count in _failed_fits(context).items() if count}
    if not failed:
        return []
    counts = ", ".join(f"{count:,} in {band}" for band, count in failed.items())
    return [f"No profile could be fitted to some stamps ({context.sample()}): {counts}. They count as missing numbers."]


def _tables(context: Context, found: Sequence[Measurement]) -> list[Table]:
    header, tables = ("method", "of", "stars", *map(with_unit, context.targets)), []
    for group, reference in product(distinct(found, "group"), references(context)):
        about = select(found, group=group, reference=reference)
        caption = (
            f"Standard deviation of the residuals about {REFERENCES[reference]}, {group} stars; "
            f"{context.sample()}. In brackets: ratio of {about[0].method} to the row, with its 95 % interval."
        )
        rows = tuple(map(_table_row, _rows(about).values()))
        tables.append(Table(caption, header, rows, n_text=2))
    return tables


def _table_row(found: Sequence[Measurement]) -> tuple[str, ...]:
    stds, ratios = (estimates(found, "target", quantity=quantity) for quantity in ("std", "std_ratio"))
    cells = [
        f"{number(std.value, LABELS[t])} [{ratios[t].value:.2f}, {ratios[t].lower:.2f} to {ratios[t].upper:.2f}]"
        for t, std in stds.items()
    ]
    return (found[0].method, found[0].inputs, f"{found[0].estimate.n:,}", *cells)


def _accuracy_table(context: Context) -> Table:
    """How good the photometry itself is, on stars whose magnitudes are known."""
    residuals, rows = methods.magnitude_residuals(context, "validation"), []
    for group, chosen in _groups(context).items():
        for name, residual in residuals.items():
            inside = residual[chosen]
            middle = np.nanmedian(inside, axis=0)
            spread = 1.4826 * np.nanmedian(np.abs(inside - middle), axis=0)
            cells = [f"{m:+.3f} ± {s:.3f}" for m, s in zip(middle, spread, strict=True)]
            rows.append((group, "12 px apertures" if name == methods.APERTURES else name, *cells))
    caption = (
        f"Photometry minus true magnitude (mag), both dereddened by the catalogue's E(B-V): median ± 1.4826 MAD; "
        f"{context.sample()}."
    )
    return Table(caption, ("stars", "photometry", *context.dataset.bands), tuple(rows), n_text=2)


def _figure(context: Context, name: str, found: Sequence[Measurement]) -> FigureFile:
    reference = references(context)[-1]
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    draw_scatter(figure, select(found, reference=reference, quantity="std"), context.targets)
    caption = (
        f"Standard deviation of the residuals about {REFERENCES[reference]} by method, with 95 % bootstrap "
        f"intervals; {context.sample()}."
    )
    return context.save(figure, f"photometry_{name}", caption)


def draw_scatter(
    figure: Figure, stds: Sequence[Measurement], targets: Sequence[str]
) -> dict[tuple[str, str], ErrorbarContainer]:
    """A panel per target, a line per method, a point with its interval per group of stars.

    Args:
        figure: to draw on.
        stds: standard deviations about one reference.
        targets: the panels, from left to right.

    Returns:
        The error bars by (group, target).
    """
    panels, drawn = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0], {}
    styles = {"isolated": (BLUE, "o"), "crowded": (VERMILION, "s")}
    rows, groups = list(_rows(stds)), distinct(stds, "group")
    shifts = {group: 0.24 * i - 0.12 * (len(groups) - 1) for i, group in enumerate(groups)}
    for panel, target in zip(panels, targets, strict=True):
        for group in groups:
            colour, marker = styles[group]
            shown = [m.estimate for m in select(stds, group=group, target=target)]
            std = np.array([(e.value, e.value - e.lower, e.upper - e.value) for e in shown]).T
            drawn[group, target] = panel.errorbar(
                std[0], np.arange(len(rows)) + shifts[group], xerr=np.maximum(std[1:], 0), fmt=marker, color=colour,
                label=group, markersize=4, linewidth=1,
            )  # fmt: skip
        panel.set_xlabel(f"std of {with_unit(target)}", fontsize=8)
        panel.set_yticks(np.arange(len(rows)), rows)
        panel.tick_params(labelsize=7)
        panel.grid(axis="x", linewidth=0.4, alpha=0.5)
        panel.set_xlim(left=0)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, ncols=2, loc="outside upper right")
    return drawn
