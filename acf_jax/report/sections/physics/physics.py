"""Why the network answers as it does: where it looks, what each band is worth to it, whether it learned physics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.figure import Figure

from acf_jax.explain.attributions import Explainer
from acf_jax.explain.band_importance import PARALLAX
from acf_jax.labels import LABELS, number
from acf_jax.metrics.measurements import Measurement, distinct, estimates, select, to_dicts
from acf_jax.plots import attributions as attribution_plots
from acf_jax.report.context import Context
from acf_jax.report.section import FigureFile, Section, Table, percent
from acf_jax.report.sections.physics import probes
from acf_jax.report.sections.physics.probes import NEAR_RADIUS_PX, PARAMETERS, Attributions, Sample
from acf_jax.report.words import NAMES, enumerated, ratio, with_unit

HOT = "hot (Teff > 6500 K)"
INJECTED = {"teff": 100.0, "logg": 0.1, "fe_h": 0.1}
"""By how much a star is changed in the last table, in each parameter's unit."""

EXPECTED = (("v", "fe_h", "all"), ("u", "logg", "all"), ("u", "teff", HOT), ("u", "logg", HOT))
"""(band, parameter, stars): where stellar physics has a band matter. Bessell 2005; paper Sec. 2.2."""

REGRESSION = "regression on magnitudes"


@dataclass(frozen=True)
class Responses:
    """What changes the answers, and by how much; means over stars."""

    network: np.ndarray  # (n_targets, n_bands), d(answer) / d(magnitude)
    regression: np.ndarray  # the same of a regression on magnitudes
    injected: np.ndarray  # (n_targets, 3), d(answer) / d(parameter)


METHOD = (
    "A band is left out by scaling its pixels to the flux that the star's other bands (and the parallax) lead one to "
    "expect, by a cubic polynomial in the training stars' catalogue magnitudes: zeros, or another star's pixels, would "
    "show the network what it never saw. The parallax is left out likewise. In brackets: 95 % paired bootstrap "
    "intervals. Beside the network stands a quadratic regression on the same magnitudes, fitted anew without the band: "
    "what there is to be lost. Bands tell much the same, so that a ratio of 1 does not mean that the network takes no "
    "notice of the band."
)


def section(context: Context) -> Section:
    """Attributions, bands left out, responses to magnitudes and to injected changes, and what they say.

    Raises:
        MissingPieceError: if the dataset has too few stars, or lacks what tells how bright they are.
    """
    sample = probes.choose(context)
    explainer = Explainer(context.trained, context.options.progress)
    network, regression = (
        probes.answers_left_out(context, sample, explainer), probes.regression_left_out(context, sample)
    )  # fmt: skip
    ratios = probes.scatter_ratios(context, sample, {context.name: network, REGRESSION: regression})
    attributions = probes.attributions(context, sample, explainer)
    responses = Responses(
        network=attributions.response.mean(axis=0),
        regression=probes.photometric_responses(context, sample),
        injected=probes.injected_responses(context, sample, attributions.response),
    )
    return Section(
        key="physics",
        title="Why: what the network looks at",
        text=(
            *verdict(context.targets, context.trained.bands, ratios, responses),
            METHOD,
            *_left_out_of_sample(sample),
        ),
        tables=(
            _ratio_table(context, len(sample.rows), ratios),
            _response_table(context, attributions, responses),
            _injected_table(context, attributions, responses.injected),
            _share_table(context, attributions),
        ),
        figures=_figures(context, sample, attributions, ratios, responses),
        values=_values(context, sample, attributions, ratios, responses),
    )


def verdict(targets: Sequence[str], bands: str, ratios: Sequence[Measurement], responses: Responses) -> list[str]:
    """What the numbers say of the physics, a paragraph each.

    Args:
        targets: of the network.
        bands: of the stamps.
        ratios: the network's scatter without each input, then the regression's.
        responses: of both.

    Returns:
        the paragraphs.
    """
    expectations = [
        _worth_of_band(band, target, select(ratios, group=group, target=target))
        for band, target, group in EXPECTED
        if band in bands and target in targets and group in distinct(ratios, "group")
    ]
    agreement = [
        f"{NAMES[target]} {np.corrcoef(ours, theirs)[0, 1]:.2f}"
        for target, ours, theirs in zip(targets, responses.network, responses.regression, strict=True)
    ]
    words = [
        "Across the bands, its response to 0.01 mag correlates with that of a regression on the same sky's catalogue "
        f"magnitudes as {enumerated(agreement)}."
    ]
    if "fe_h" in targets and "v" in bands:
        at = targets.index("fe_h"), bands.index("v")
        ours, theirs = (0.01 * response[at] for response in (responses.network, responses.regression))
        words.append(
            f"A star fainter by 0.01 mag in v alone is called {abs(ours):.4f} dex more metal-{_sign(ours)} (regression "
            f"on magnitudes: {abs(theirs):.4f} dex more metal-{_sign(theirs)}; calcium's H and K lines lie in v, so "
            "that metals make it fainter)."
        )
    followed = [
        f"{percent(responses.injected[i, PARAMETERS.index(target)], 0)} in {NAMES[target]}"
        for i, target in enumerate(targets)
    ]
    words.append(f"Of a change of a star's parameters its answer follows {enumerated(followed)}.")
    return [*([" ".join(expectations)] if expectations else []), " ".join(words)]


def _worth_of_band(band: str, target: str, ratios: Sequence[Measurement]) -> str:
    """Whether a band matters to a parameter of a group of stars, and most of all bands."""
    network, regression = (estimates(ratios, "inputs", method=method) for method in distinct(ratios, "method"))
    bands = {name: without.value for name, without in network.items() if name != f"without {PARALLAX}"}
    first = max(bands, key=lambda name: bands[name])
    without, group = f"without {band}", ratios[0].group
    stars = "" if group == "all" else f" of {group} stars"
    scatter = (
        f"Without {band}, {NAMES[target]}{stars} scatters {ratio(network[without])} times as much as with all bands "
        f"({REGRESSION}: {ratio(regression[without])}): "
    )
    if not network[without].lower > 1:
        nothing = f"{band} brings it nothing that the other bands lack, "
        there_was = regression[without].lower > 1
        return scatter + nothing + ("against expectation." if there_was else "nor does it bring the regression any.")
    if first == without:
        return scatter + f"{band} matters to it more than any other band, as it should."
    return scatter + f"it matters, though {first.removeprefix('without ')} matters more ({ratio(network[first])})."


def _sign(response: float) -> str:
    return "rich" if response > 0 else "poor"


def _left_out_of_sample(sample: Sample) -> list[str]:
    if not sample.n_unusable:
        return []
    return [
        f"{sample.n_unusable:,} stars of the split lack a magnitude, a usable parallax, a parameter or a pixel and "
        "were left out."
    ]


def _some_of(context: Context, n: int) -> str:
    return f"{context.name}; {context.sample()}, {n:,} of them"


def _ratio_table(context: Context, n: int, ratios: Sequence[Measurement]) -> Table:
    rows = []
    keys = product(distinct(ratios, "group"), context.targets, distinct(ratios, "method"))
    for group, target, method in keys:
        without = estimates(ratios, "inputs", group=group, target=target, method=method)
        n_stars = next(iter(without.values())).n
        rows.append((group, NAMES[target], method, f"{n_stars:,}", *map(ratio, without.values())))
    return Table(
        f"How many times larger the residuals about {'the truth' if context.is_mock else 'the labels'} scatter without "
        f"a band or the parallax ({_some_of(context, n)}).",
        ("stars", "parameter", "method", "n", *distinct(ratios, "inputs")),
        tuple(rows),
        n_text=3,
    )


def _response_table(context: Context, found: Attributions, responses: Responses) -> Table:
    rows = [
        (NAMES[target], LABELS[target], method, *(_small(0.01 * value, LABELS[target]) for value in response[i]))
        for i, target in enumerate(context.targets)
        for method, response in ((context.name, responses.network), (REGRESSION, responses.regression))
    ]
    return Table(
        "Mean change of the answer where one band alone is 0.01 mag fainter, beside that of a quadratic regression of "
        f"the labels on the training split's catalogue magnitudes ({_some_of(context, len(found.response))}).",
        ("parameter", "unit", "method", *context.trained.bands),
        tuple(rows),
        n_text=3,
    )


def _injected_table(context: Context, found: Attributions, injected: np.ndarray) -> Table:
    rows = [
        (
            f"{NAMES[name]} + {amount:g} {LABELS[name]}",
            *(number(amount * injected[j, i], LABELS[target], "+") for j, target in enumerate(context.targets)),
        )
        for i, (name, amount) in enumerate(INJECTED.items())
    ]
    return Table(
        "Mean change of the answer, to first order, where a star at the same distance changes one parameter and its "
        "magnitudes follow, as a quadratic regression of the training split's absolute magnitudes on the "
        f"{'injected' if context.is_mock else 'labelled'} parameters has it "
        f"({_some_of(context, len(found.response))}).",
        ("change", *map(with_unit, context.targets)),
        tuple(rows),
    )


def _share_table(context: Context, found: Attributions) -> Table:
    shares, near = found.shares.mean(axis=0), found.near.mean(axis=0)
    rows = [
        (NAMES[target], *map(percent, by_band), percent(within))
        for target, by_band, within in zip(context.targets, shares, near, strict=True)
    ]
    return Table(
        "Shares of the bands in the absolute attribution (gradient times input, summed over pixels), and of the pixels "
        f"within {NEAR_RADIUS_PX:g} px of the star in all bands ({_some_of(context, len(found.response))}).",
        ("parameter", *context.trained.bands, f"within {NEAR_RADIUS_PX:g} px"),
        tuple(rows),
    )


def _small(value: float, unit: str) -> str:
    return f"{value:+z.{2 if unit == 'K' else 4}f}"


def _figures(
    context: Context, sample: Sample, found: Attributions, ratios: Sequence[Measurement], responses: Responses
) -> tuple[FigureFile, ...]:
    bands, targets = context.trained.bands, context.targets
    wide = [Figure(figsize=(7.2, 1.15 * n + 0.3), layout="constrained") for n in (1 + len(targets), len(targets))]
    narrow = [Figure(figsize=(3.5, 1.6 * len(targets) + 0.4), layout="constrained") for _ in range(2)]
    row = int(found.row)
    attribution_plots.draw_star(wide[0], sample.stars.stamps[row], found.star_map, bands, targets)
    attribution_plots.draw_mean_maps(wide[1], found.mean_map, bands, targets)
    attribution_plots.draw_left_out(narrow[0], select(ratios, method=context.name), targets)
    by_method = {context.name: responses.network, REGRESSION: responses.regression}
    attribution_plots.draw_responses(narrow[1], by_method, bands, targets)
    lacking = enumerated(
        f"{abs(value):.2g} {LABELS[target]}" for value, target in zip(found.incomplete, targets, strict=True)
    )
    parameters = enumerated(
        f"{NAMES[name]} = {number(values[row], LABELS[name])} {LABELS[name]}"
        for name, values in sample.parameters.items()
    )
    n = len(found.response)
    return (
        context.save(
            wide[0], "physics_star",
            f"What each pixel of the star {int(sample.fields['object_id'][row])} ({parameters}) adds to the answer, "
            "against a star of the sample's mean stamp, as bright and at the same parallax: integrated gradients, with "
            f"each band's sum; they lack {lacking} of the answers' difference. The inner 24 x 24 pixels "
            f"({context.name}; {context.sample()}).",
        ),
        context.save(
            wide[1], "physics_mean_maps",
            "Where the network looks: mean share of each pixel and band in the absolute attribution (gradient times "
            f"input); the numbers are the bands' shares. The inner 24 x 24 pixels ({_some_of(context, n)}).",
        ),
        context.save(
            narrow[0], "physics_left_out",
            "Scatter of the residuals without an input, in units of that with all, with 95 % bootstrap intervals "
            f"({_some_of(context, len(sample.rows))}).",
        ),
        context.save(
            narrow[1], "physics_responses",
            "Mean change of the answer where one band alone is 0.01 mag fainter, and that of a regression on catalogue "
            f"magnitudes ({_some_of(context, n)}).",
        ),
    )  # fmt: skip


def _values(
    context: Context, sample: Sample, found: Attributions, ratios: Sequence[Measurement], responses: Responses
) -> dict:
    bands, targets = context.trained.bands, context.targets

    def records(values: np.ndarray, column: str, names: Sequence[str], **identity: str) -> list[dict]:
        return [
            identity | {"target": target, column: name, "value": float(value)}
            for target, row in zip(targets, values, strict=True)
            for name, value in zip(names, row, strict=True)
        ]

    return {
        "sample": context.sample(),
        "n": len(sample.rows),
        "n_unusable": sample.n_unusable,
        "n_attributions": len(found.response),
        "measurements": to_dicts(ratios),
        "response_per_mag": [
            *records(responses.network, "band", bands, method=context.name),
            *records(responses.regression, "band", bands, method=REGRESSION),
        ],
        "injected_response": records(responses.injected, "parameter", PARAMETERS),
        "attribution_share": records(found.shares.mean(axis=0), "band", bands),
        "attribution_share_near": dict(zip(targets, map(float, found.near.mean(axis=0)), strict=True)),
        "star": {
            "object_id": int(sample.fields["object_id"][int(found.row)]),
            "band_sum": records(found.star_map.sum(axis=(1, 2)), "band", bands),
            "incomplete": dict(zip(targets, map(float, found.incomplete), strict=True)),
        },
    }
