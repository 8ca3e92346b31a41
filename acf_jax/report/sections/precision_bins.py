"""Where a network is biased: offset and scatter in bins of what may disturb it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import MomentsBin, bootstrap_bins
from acf_jax.metrics.measurements import distinct, select
from acf_jax.plots.precision import MIN_STARS, BinnedQuantity, draw_bins
from acf_jax.plots.predictions import SYMBOLS
from acf_jax.report.context import Context
from acf_jax.report.quantities import CROWDED_ARCSEC, Quantity, is_crowded, quantities
from acf_jax.report.residuals import PREFIXES, references, residuals
from acf_jax.report.section import Section, Table
from acf_jax.report.words import NAMES, REFERENCES, in_words, with_error

MIN_STARS_JUDGED = 50  # among many bins of fewer stars, the largest offset is chance

BINS_DEFINITIONS = (
    "Errors after ± are bootstrap standard deviations over {n_resamples:,} resamples of a bin's stars. In bins of a "
    "label, part of the offset is the label's own noise: the highest bin holds stars whose label erred upwards."
)

TRUE_BINS = (
    "About the truth, stars are binned in the true parameters instead, which is free of that: what remains, such as "
    "regression towards the mean, is the network's own."
)


@dataclass(frozen=True)
class BinnedResiduals:
    """Residuals of one target about one reference, in bins of one quantity."""

    reference: str
    target: str
    quantity: Quantity
    bins: list[MomentsBin]

    @property
    def binned_by(self) -> str:
        """The quantity's key."""
        return self.quantity.key

    @property
    def n_in_no_bin(self) -> int:
        """Stars without a residual, or whose quantity is unknown."""
        return len(self.quantity.x) - sum(b.n for b in self.bins)

    def to_dicts(self) -> list[dict]:
        """A record of JSON types for each bin."""
        identity = {"reference": self.reference, "target": self.target, "binned_by": self.binned_by}
        return [identity | {"bin": self.quantity.bin_name(i)} | b.to_dict() for i, b in enumerate(self.bins)]


def bins_section(context: Context) -> Section:
    """Offset and standard deviation of the network in question, in bins of what may disturb it."""
    binned = [each for reference in references(context) for each in _binned(context, reference)]
    n_crowded = int(is_crowded(context.stars()).sum())
    text = [BINS_DEFINITIONS.format(n_resamples=context.options.n_bootstrap), *[TRUE_BINS] * context.is_mock]
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
        text=(*_worst_bins(context, binned), " ".join(text)),
        tables=tuple(_bins_table(context, reference, binned) for reference in references(context)),
        figures=(context.save(figure, "precision_bins", _bins_caption(context)),),
        values={
            "sample": context.sample(),
            "network": context.name,
            "n_crowded": n_crowded,
            "bins": [record for each in binned for record in each.to_dicts()],
            "n_in_no_bin": [
                {"reference": b.reference, "target": b.target, "binned_by": b.binned_by, "n": b.n_in_no_bin}
                for b in binned
            ],
        },
    )


def _binned(context: Context, reference: str) -> list[BinnedResiduals]:
    found = quantities(context.stars(), context.targets, context.dataset.bands, PREFIXES[reference])
    draws = context.resamples
    return [
        BinnedResiduals(
            reference, target, quantity, bootstrap_bins(residual, quantity.x, quantity.edges.tolist(), draws)
        )
        for quantity in found
        for target, residual in residuals(context, context.name, reference).items()
    ]


def _columns(binned: Sequence[BinnedResiduals]) -> list[BinnedQuantity]:
    """What the figure shows: about the truth beside about the labels, where it is known."""
    columns = []
    for key in distinct(binned, "binned_by"):
        about = select(binned, binned_by=key)
        labels, truth = ({each.target: each.bins for each in select(about, reference=r)} for r in PREFIXES)
        quantity = about[0].quantity  # about the labels, which come first
        columns.append(BinnedQuantity(_axis(quantity), labels, truth, quantity.log, quantity.bin_names))
    return columns


def _axis(quantity: Quantity) -> str:
    """Of a parameter, its symbol alone: both its label and the truth are drawn along it."""
    return f"{SYMBOLS[quantity.key]} ({quantity.unit})" if quantity.key in SYMBOLS else quantity.axis


def _bins_caption(context: Context) -> str:
    truth = " Squares: offset about the injected truth, the bins of the parameters being of the truth too."
    return (
        f"{context.name} ({context.sample()}). Points: offset about the labels with its 95 % bootstrap interval, at "
        f"the median of the stars of each bin of {MIN_STARS} stars or more; band: one standard deviation to either "
        f"side of it.{truth if context.is_mock else ''}"
    )


def _bins_table(context: Context, reference: str, binned: Sequence[BinnedResiduals]) -> Table:
    moments = [
        f"{NAMES[target]} {moment} ({LABELS[target]})" for target in context.targets for moment in ("offset", "std")
    ]
    rows, about = [], select(binned, reference=reference)
    for key in distinct(about, "binned_by"):
        by_target = select(about, binned_by=key)
        quantity = by_target[0].quantity
        for i in range(len(quantity.edges) - 1):
            n = " / ".join(dict.fromkeys(f"{each.bins[i].n:,}" for each in by_target))
            cells = [cell for each in by_target for cell in _bin_cells(each.bins[i], each.target)]
            rows.append(("" if i else quantity.axis, quantity.bin_name(i), n, *cells))
    return Table(
        caption=f"{context.name}: residuals about {REFERENCES[reference]} in bins ({context.sample()}).",
        header=("quantity", "bin", "n", *moments),
        rows=tuple(rows),
        n_text=2,
    )


def _bin_cells(b: MomentsBin, target: str) -> tuple[str, str]:
    return ("-", "-") if b.n < MIN_STARS else (with_error(b.offset, target, "+"), with_error(b.std, target))


def _worst_bins(context: Context, binned: Sequence[BinnedResiduals]) -> list[str]:
    """For each target, the bins of enough stars in which it is most biased and most scattered."""
    words, reference = [], references(context)[-1]
    for target in context.targets:
        judged = [
            (f"{each.quantity.name} {each.quantity.bin_name(i)}", b)
            for each in select(binned, reference=reference, target=target)
            for i, b in enumerate(each.bins)
            if b.n >= MIN_STARS_JUDGED
        ]
        if not judged:
            continue
        where_off, off = max(judged, key=lambda named: abs(named[1].offset.value))
        where_wide, wide = max(judged, key=lambda named: named[1].std.value)
        words.append(
            f"{NAMES[target]} is furthest off at {where_off} "
            f"({with_error(off.offset, target, '+')} {LABELS[target]}, {off.n:,} stars) and scatters most at "
            f"{where_wide} ({in_words(wide.std.value, target)}, {wide.n:,} stars)"
        )
    if not words:
        return []
    where = f"About {REFERENCES[reference]}, in bins of {MIN_STARS_JUDGED} stars or more"
    return [f"{where}, {'; '.join(words)} ({context.sample()})."]
