"""Where a network is biased: offset and scatter in bins of what may disturb it."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import MomentsBin, bootstrap_bins
from acf_jax.plots.precision import MIN_STARS, BinnedQuantity, draw_bins
from acf_jax.plots.predictions import SYMBOLS
from acf_jax.report.context import Context
from acf_jax.report.quantities import CROWDED_ARCSEC, Quantity, is_crowded, quantities
from acf_jax.report.quick_markdown import NAMES, REFERENCES
from acf_jax.report.section import Section, Table, number
from acf_jax.report.words import PREFIXES, in_words, references, residuals

Binned = list[tuple[Quantity, dict[str, list[MomentsBin]]]]
"""Each quantity with its bins for every target."""

MIN_STARS_JUDGED = 50  # among many bins of fewer stars, the largest offset is chance

BINS_DEFINITIONS = (
    "Errors after ± are bootstrap standard deviations over {n_resamples:,} resamples of a bin's stars. In bins of a "
    "label, part of the offset is the label's own noise: the highest bin holds stars whose label erred upwards."
)

TRUE_BINS = (
    "About the truth, stars are binned in the true parameters instead, which is free of that: what remains, such as "
    "regression towards the mean, is the network's own."
)


def bins_section(context: Context) -> Section:
    """Offset and standard deviation of the network in question, in bins of what may disturb it."""
    kinds = references(context)
    binned = {kind: _binned(context, kind) for kind in kinds}
    n_crowded = int(is_crowded(context.stars()).sum())
    text = [BINS_DEFINITIONS.format(n_resamples=context.options.n_bootstrap)]
    if context.is_mock:
        text.append(TRUE_BINS)
    if n_crowded:
        text.append(f"A crowded star has a neighbour within {CROWDED_ARCSEC:g} arcsec.")
    else:
        text.append(
            f"No star of this sample has a neighbour within {CROWDED_ARCSEC:g} arcsec, so crowded stars cannot be set "
            "against isolated ones here: the low-quality sample holds both."
        )
    figure = Figure(figsize=(7.2, 1.1 + 1.3 * len(context.targets)), layout="constrained")
    draw_bins(figure, _columns(binned), {target: LABELS[target] for target in context.targets})
    return Section(
        key="bins",
        title="Where it is biased",
        text=(*_worst_bins(context, binned[kinds[-1]], kinds[-1]), " ".join(text)),
        tables=tuple(_bins_table(context, kind, binned[kind]) for kind in kinds),
        figures=(context.save(figure, "precision_bins", _bins_caption(context)),),
        values={
            "sample": context.sample(),
            "network": context.name,
            "n_crowded": n_crowded,
            "bins": {
                kind: {quantity.key: _bins_to_values(quantity, bins) for quantity, bins in of_kind}
                for kind, of_kind in binned.items()
            },
        },
    )


def _binned(context: Context, kind: str) -> Binned:
    """Each quantity with the bins of every target."""
    options, of_target = context.options, residuals(context, context.name, kind)
    found = quantities(context.stars(), context.targets, context.dataset.bands, PREFIXES[kind])
    return [
        (
            quantity,
            {
                target: bootstrap_bins(
                    residual, quantity.x, quantity.edges, n_resamples=options.n_bootstrap, seed=options.seed
                )
                for target, residual in of_target.items()
            },
        )
        for quantity in found
    ]


def _columns(binned: Mapping[str, Binned]) -> list[BinnedQuantity]:
    """What the figure shows: about the truth beside about the labels, where it is known."""
    about_truth = {quantity.key: bins for quantity, bins in binned.get("truth", ())}
    return [
        BinnedQuantity(_axis(quantity), bins, about_truth.get(quantity.key, {}), quantity.log, quantity.bin_names)
        for quantity, bins in binned["label"]
    ]


def _axis(quantity: Quantity) -> str:
    """Of a parameter, its symbol alone: both its label and the truth are drawn along it."""
    return f"{SYMBOLS[quantity.key]} ({quantity.unit})" if quantity.key in SYMBOLS else quantity.axis


def _bins_caption(context: Context) -> str:
    truth = (
        " Squares: offset about the injected truth, the bins of the parameters being of the truth too."
        if context.is_mock
        else ""
    )
    return (
        f"{context.name} ({context.sample()}). Points: offset about the labels with its 95 % bootstrap interval, at "
        f"the median of the stars of each bin of {MIN_STARS} stars or more; band: one standard deviation to either "
        f"side of it.{truth}"
    )


def _bins_table(context: Context, kind: str, binned: Binned) -> Table:
    moments = [
        f"{NAMES[target]} {moment} ({LABELS[target]})" for target in context.targets for moment in ("offset", "std")
    ]
    rows = []
    for quantity, bins in binned:
        for i in range(len(quantity.edges) - 1):
            of_target = {target: of_bin[i] for target, of_bin in bins.items()}
            n = " / ".join(dict.fromkeys(f"{b.n:,}" for b in of_target.values()))
            cells = [cell for target, b in of_target.items() for cell in _bin_cells(b, LABELS[target])]
            rows.append(("" if i else quantity.axis, quantity.bin_name(i), n, *cells))
    return Table(
        caption=f"{context.name}: residuals about {REFERENCES[kind]} in bins ({context.sample()}).",
        header=("quantity", "bin", "n", *moments),
        rows=tuple(rows),
        n_text=2,
    )


def _bin_cells(b: MomentsBin, unit: str) -> tuple[str, str]:
    if b.n < MIN_STARS:
        return "-", "-"
    return (
        f"{number(b.offset.value, unit, '+')} ± {number(b.offset.error, unit)}",
        f"{number(b.std.value, unit)} ± {number(b.std.error, unit)}",
    )


def _bins_to_values(quantity: Quantity, bins: Mapping[str, list[MomentsBin]]) -> dict:
    n = len(quantity.x)
    return {
        "unit": quantity.unit,
        "names": [quantity.bin_name(i) for i in range(len(quantity.edges) - 1)],
        "targets": {target: [b.to_dict() for b in of_target] for target, of_target in bins.items()},
        "n_in_no_bin": {target: n - sum(b.n for b in of_target) for target, of_target in bins.items()},
    }


def _worst_bins(context: Context, binned: Binned, kind: str) -> list[str]:
    """For each target, the bins of enough stars in which it is most biased and most scattered."""
    words = []
    for target in context.targets:
        judged = [
            (f"{quantity.name} {quantity.bin_name(i)}", b)
            for quantity, bins in binned
            for i, b in enumerate(bins[target])
            if b.n >= MIN_STARS_JUDGED
        ]
        if not judged:
            continue
        where_off, off = max(judged, key=lambda named: abs(named[1].offset.value))
        where_wide, wide = max(judged, key=lambda named: named[1].std.value)
        words.append(
            f"{NAMES[target]} is furthest off at {where_off} "
            f"({number(off.offset.value, LABELS[target], '+')} ± {number(off.offset.error, LABELS[target])} "
            f"{LABELS[target]}, {off.n:,} stars) and scatters most at {where_wide} "
            f"({in_words(wide.std.value, target)}, {wide.n:,} stars)"
        )
    if not words:
        return []
    where = f"About {REFERENCES[kind]}, in bins of {MIN_STARS_JUDGED} stars or more"
    return [f"{where}, {'; '.join(words)} ({context.sample()})."]
