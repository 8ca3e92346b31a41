"""The paper's figures of the sample, of the regression and of its uncertainty: Figs. 1, 6, 8, 9 and 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from matplotlib.figure import Figure
from scipy import stats as statistics

from acf_jax.labels import LABELS, number
from acf_jax.metrics.measurements import Measurement, estimates, from_metrics, to_dicts
from acf_jax.metrics.residuals import ResidualBin, binned_residuals, magnitude_edges, residual_metrics
from acf_jax.plots.predictions import (
    COLUMN_IN,
    MIN_STARS_PER_BIN,
    PAGE_IN,
    ParameterSample,
    draw_figure_8,
    draw_figure_9,
    draw_residuals_against_g,
    for_print,
)
from acf_jax.plots.samples import draw_figure_1, plot_figure_6
from acf_jax.report.context import Context
from acf_jax.report.section import FigureFile, MissingPieceError, Section, Table, percent
from acf_jax.report.sections.parallax import WITHOUT, how_to_get
from acf_jax.report.words import NAMES, enumerated, in_words, with_unit

SPLITS = ("train", "validation")
UNLIKELY = 1e-3
"""Splits are called different if one of the tests finds, allowing for their number, less than this probability.

A split by chance is rarely called so: once in a thousand evaluations.
"""

NEAR_PARALLAX_MAS = 5.0
"""The paper notes that most stars have smaller parallaxes (Sec. 3.3)."""

PAPER_UNCERTAINTY = {
    "teff": (
        ("5,250 to 5,750 K", 5250.0, 5750.0, "23"),
        ("7,500 to 8,000 K", 7500.0, 8000.0, "-"),  # where the labels end that the selection leaves
        ("above 8,000 K", 8000.0, np.inf, "258"),
    ),
    "logg": (("above 3", 3.0, np.inf, "< 0.1"), ("below 2", -np.inf, 2.0, "0.22")),
    "fe_h": (("above -1 (metal-rich)", -1.0, np.inf, "0.03"), ("-1 and below (metal-poor)", -np.inf, -1.0, "0.4")),
}
"""Ranges of the label, lower < label <= upper, and the uncertainty that Sec. 4.2 tells of them."""


def sample_section(context: Context) -> Section:
    """Figs. 1 and 6: the training and validation stars, and whether the two are alike."""
    train, validation = (context.stars(split) for split in SPLITS)
    tests = {
        name: _compare_distributions(train[name], validation[name]) for name in (*LABELS, "parallax") if name in train
    }
    shown = (
        f"{context.sample('train')} (black), and validation split, {len(validation['object_id']):,} stars (vermilion)"
    )
    near = float(np.mean(np.concatenate([train["parallax"], validation["parallax"]]) < NEAR_PARALLAX_MAS))
    parallaxes = f"{percent(near)} of them have parallaxes below {NEAR_PARALLAX_MAS:g} mas; the paper says most."
    return Section(
        key="sample",
        title="The stars: Figs. 1 and 6",
        text=(_alike(tests), _ranges(train, validation), parallaxes, *_not_drawn(context)),
        figures=(_figure_1(context, train, validation, shown), _figure_6(context, train, validation, shown)),
        values={
            "n": {split: context.dataset.n_examples(split) for split in context.dataset.splits},
            "kolmogorov_smirnov": tests,
            "fraction_nearer_than_5_mas": near,
        },
    )


def regression_section(context: Context) -> Section:
    """Fig. 8, and the residuals against g, of the network in question."""
    samples, g_mag = parameter_samples(context, context.name), g_magnitude(context)
    bins = residuals_by_g(context, samples)
    found = _measured(context.name, samples)
    trends = {s.target: trend(g_mag, s.prediction - s.label) for s in samples}
    title = f"{context.name}, {context.sample()}"
    figure = for_print(
        PAGE_IN, 2.7, lambda figure: draw_residuals_against_g(figure, samples, g_mag, list(bins.values()), title)
    )
    caption = (
        f"Residuals of the {title} against observed g: single stars (grey), offset and standard deviation in bins of "
        f"0.5 mag that hold {MIN_STARS_PER_BIN} stars or more."
    )
    return Section(
        key="regression",
        title="Predictions against labels: Fig. 8",
        text=(_moments(context.name, found), _trends(trends, bins)),
        figures=(_figure_8(context, context.name, "figure_8"), context.save(figure, "residuals_against_g", caption)),
        values={
            "network": context.name,
            "measurements": to_dicts(found),
            "by_g": [{"target": target} | b.to_dict() for target, in_bins in bins.items() for b in in_bins],
            "trend_per_mag": [{"target": target} | fit for target, fit in trends.items()],
        },
    )


def uncertainty_section(context: Context) -> Section:
    """Fig. 9: the Monte Carlo uncertainty of the network in question against the labels, and the paper's beside it."""
    samples = parameter_samples(context, context.name)
    title = f"{context.name}, {context.sample()}"
    figure = for_print(PAGE_IN, 2.5, lambda figure: draw_figure_9(figure, samples, title))
    caption = (
        f"As Fig. 9 of the paper: Monte Carlo dropout's standard deviation against the label, {title}. Shades are the "
        "kernel density of stars (light: many), the line is a polynomial of 2nd order with its 95 % band."
    )
    rows = [row for sample in samples for row in uncertainty_rows(sample)]
    table = Table(
        caption=f"Median Monte Carlo uncertainty where the paper tells of it, {title}; the paper's is on the real sky.",
        header=("Parameter", "Label", "Stars", context.name, "Paper"),
        rows=tuple(
            (with_unit(r["target"]), r["range"], f"{r['n']:,}",
             number(r["median"], LABELS[r["target"]]), r["paper"])
            for r in rows
        ),
        n_text=2,
    )  # fmt: skip
    return Section(
        key="mc_uncertainty",
        title="Monte Carlo uncertainty: Fig. 9",
        text=(
            "The uncertainty is the paper's: the scatter of the Monte Carlo samples alone. How far it can be trusted "
            "is a question of its own, answered under uncertainty.",
        ),
        tables=(table,),
        figures=(context.save(figure, "figure_9", caption),),
        values={"network": context.name, "median_uncertainty": rows},
    )


def no_parallax_section(context: Context) -> Section:
    """Fig. 10: Fig. 8 of the network without parallax.

    Raises:
        MissingPieceError: if there is none.
    """
    if WITHOUT not in context.networks:
        raise MissingPieceError(f"There is no network without parallax: {how_to_get(context)}")
    found = _measured(WITHOUT, parameter_samples(context, WITHOUT))
    return Section(
        key="no_parallax",
        title="Without parallax: Fig. 10",
        text=(_moments(WITHOUT, found),),
        figures=(_figure_8(context, WITHOUT, "figure_10"),),
        values={"network": WITHOUT, "measurements": to_dicts(found)},
    )


def parameter_samples(context: Context, network: str) -> list[ParameterSample]:
    """Labels, predictions and Monte Carlo uncertainties of the validation split, a sample for each target."""
    prediction, labels = context.prediction(network), context.stars()
    return [
        ParameterSample(target, LABELS[target], labels[target], prediction.mean[:, i], prediction.std[:, i])
        for i, target in enumerate(context.network(network).targets)
    ]


def g_magnitude(context: Context) -> np.ndarray:
    """Observed g of the validation stars, AB mag: (n,)."""
    return context.stars()["psf_mag"][:, context.dataset.bands.index("g")]


def residuals_by_g(context: Context, samples: Sequence[ParameterSample]) -> dict[str, list[ResidualBin]]:
    """Residuals about the labels in bins of 0.5 mag of observed g, by target."""
    g_mag = g_magnitude(context)
    edges = magnitude_edges(g_mag)
    return {s.target: binned_residuals(s.prediction - s.label, g_mag, edges.tolist()) for s in samples}


def _figure_8(context: Context, network: str, name: str) -> FigureFile:
    samples, title = parameter_samples(context, network), f"{network}, {context.sample()}"
    figure = for_print(PAGE_IN, 3.1, lambda figure: draw_figure_8(figure, samples, title))
    n_without = int(np.sum([reason is not None for reason in context.prediction(network).reason]))
    without = f" {n_without:,} stars without a prediction are not shown." if n_without else ""
    caption = (
        f"As Fig. {name.removeprefix('figure_')} of the paper: predictions against labels (top), residuals and their "
        f"kernel density (below), {title}. Colours are the kernel density of stars; dashed lines are the one-to-one "
        f"relation (black) and zero residual (vermilion).{without}"
    )
    return context.save(figure, name, caption)


def _compare_distributions(a: np.ndarray, b: np.ndarray) -> dict[str, float | None]:
    """Two-sample Kolmogorov-Smirnov test of finite values: `statistic`, `p_value` (None without stars), numbers."""
    a, b = (values[np.isfinite(values)] for values in (a, b))
    told: dict[str, float | None] = {"n_train": len(a), "n_validation": len(b), "statistic": None, "p_value": None}
    if len(a) and len(b):
        test = statistics.ks_2samp(a, b, method="asymp")
        told |= {"statistic": float(test.statistic), "p_value": float(test.pvalue)}
    return told


def trend(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Slope of y over x by least squares, with its standard error, over the stars where both are finite."""
    good = np.isfinite(x) & np.isfinite(y)
    told: dict[str, float | None] = {"n": int(good.sum()), "slope": None, "error": None}
    if good.sum() > 2 and np.ptp(x[good]) > 0:
        fit = statistics.linregress(x[good].astype(np.float64), y[good].astype(np.float64))
        told |= {"slope": float(fit.slope), "error": float(fit.stderr)}
    return told


class UncertaintyRow(TypedDict):
    """The median uncertainty, in the target's unit, of stars with labels in a range, and the paper's."""

    target: str
    range: str
    n: int
    median: float | None
    paper: str


def uncertainty_rows(sample: ParameterSample) -> list[UncertaintyRow]:
    """A row for each of the ranges of `PAPER_UNCERTAINTY`; none of a sample without uncertainties."""
    rows: list[UncertaintyRow] = []
    if sample.std is None:
        return rows
    for words, lower, upper, paper in PAPER_UNCERTAINTY[sample.target]:
        inside = sample.std[(sample.label > lower) & (sample.label <= upper) & np.isfinite(sample.std)]
        median = float(np.median(inside)) if inside.size else None
        rows.append({"target": sample.target, "range": words, "n": int(inside.size), "median": median, "paper": paper})
    return rows


def _figure_1(context: Context, train: Mapping, validation: Mapping, shown: str) -> FigureFile:
    figure = for_print(PAGE_IN, 3.2, lambda figure: draw_figure_1(figure, train, validation, LABELS, _sky(context)))
    return context.save(figure, "figure_1", f"As Fig. 1 of the paper: the labels of the stars, {shown}.")


def _figure_6(context: Context, train: Mapping, validation: Mapping, shown: str) -> FigureFile:
    parallaxes = train["parallax"], validation["parallax"]

    def draw(figure: Figure) -> None:
        figure.suptitle(_sky(context))
        plot_figure_6(figure.subplots(), *parallaxes)

    n_left_out = sum(int(np.sum(~(values > 0))) for values in parallaxes)
    left_out = f" {n_left_out:,} stars without a positive parallax are left out." if n_left_out else ""
    caption = f"As Fig. 6 of the paper: parallaxes, {shown}.{left_out}"
    return context.save(for_print(COLUMN_IN, 2.6, draw), "figure_6", caption)


def _sky(context: Context) -> str:
    """What all the samples share: the caption's words before the split."""
    return context.sample().rpartition(", validation split")[0]


def _alike(tests: Mapping[str, Mapping[str, float | None]]) -> str:
    names = NAMES | {"parallax": "parallax"}
    tested = {name: p for name, test in tests.items() if (p := test["p_value"]) is not None}
    if not tested:
        return "No star has labels to compare the splits by."
    least = min(tested, key=lambda name: tested[name])
    # Bonferroni: the least of several probabilities is small by chance more often than one alone.
    alike = min(1.0, len(tested) * tested[least]) >= UNLIKELY
    return (
        f"The training and the validation stars are {'alike' if alike else 'not alike'}: of "
        f"{enumerated(names[name] for name in tested)} the two-sample Kolmogorov-Smirnov test finds {names[least]} to "
        f"differ most, with p = {tested[least]:.2g}. The paper's Fig. 1 shows a consistent distribution too."
    )


def _ranges(train: Mapping[str, np.ndarray], validation: Mapping[str, np.ndarray]) -> str:
    def written(name: str) -> str:
        both = np.concatenate([train[name], validation[name]])
        lowest, highest = (f"{f(both):,.{0 if LABELS[name] == 'K' else 2}f}" for f in (np.nanmin, np.nanmax))
        return f"{NAMES[name]} from {lowest} to {highest} {LABELS[name]}"

    return f"Their labels run in {enumerated(written(name) for name in LABELS)}."


def _not_drawn(context: Context) -> tuple[str, ...]:
    if "calibration" not in context.dataset.splits:
        return ()
    n = context.dataset.n_examples("calibration")
    return (
        f"Of the paper's training eight tenths, one is set apart here for what is chosen and fitted after training: "
        f"the calibration split, {n:,} stars, which the figures leave out.",
    )


def _measured(network: str, samples: Sequence[ParameterSample]) -> list[Measurement]:
    """The residuals' moments about the labels."""
    return [
        m
        for s in samples
        for m in from_metrics(
            residual_metrics(s.prediction, s.label), method=network, target=s.target, reference="label"
        )
    ]


def _moments(network: str, found: Sequence[Measurement]) -> str:
    words = []
    for target, std in estimates(found, "target", quantity="std").items():
        offset = estimates(found, "target", quantity="offset")[target]
        moments = f"{in_words(offset.value, target, '+')} and {in_words(std.value, target)}"
        words.append(f"in {NAMES[target]} {moments} ({std.n:,} stars)")
    return f"Offset and standard deviation of the {network} about the labels are {enumerated(words)}."


def _trends(trends: Mapping[str, Mapping], bins: Mapping[str, list[ResidualBin]]) -> str:
    """How the residuals run with magnitude: what a network does that has lost the amplitude of its stamps."""
    words = []
    for target, fit in trends.items():
        if fit["slope"] is None:
            continue
        offsets = [b.offset for b in bins[target] if b.n >= MIN_STARS_PER_BIN]
        span = f", offsets of bins spanning {in_words(np.ptp(offsets), target)}" if offsets else ""
        slope, error = (number(fit[name], LABELS[target], sign) for name, sign in (("slope", "+"), ("error", "")))
        words.append(f"{NAMES[target]} by {slope} ± {error} {LABELS[target]} a magnitude{span}")
    if not words:
        return "There are too few stars to say how residuals run with magnitude."
    return f"With g, residuals run in {'; '.join(words)}."
