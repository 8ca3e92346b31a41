"""Why the network answers as it does: where it looks, what each band is worth to it, whether it learned physics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from acf_jax.explain.attributions import Explainer
from acf_jax.explain.band_importance import PARALLAX
from acf_jax.labels import LABELS
from acf_jax.metrics.bootstrap import Estimate
from acf_jax.plots import attributions as attribution_plots
from acf_jax.report.context import Context
from acf_jax.report.quick_markdown import NAMES
from acf_jax.report.section import FigureFile, Section, Table, number, percent
from acf_jax.report.sections.physics import measurements as measurements
from acf_jax.report.sections.physics.measurements import NEAR_RADIUS_PX, PARAMETERS, Attributions, Sample
from acf_jax.report.words import enumerated

HOT = "hot (Teff > 6500 K)"
INJECTED = {"teff": 100.0, "logg": 0.1, "fe_h": 0.1}
"""By how much a star is changed in the last table, in each parameter's unit."""

EXPECTED = (("v", "fe_h", "all"), ("u", "logg", "all"), ("u", "teff", HOT), ("u", "logg", HOT))
"""(band, parameter, stars): where stellar physics has a band matter. Bessell 2005; paper Sec. 2.2."""

REGRESSION = "regression on magnitudes"

Ratios = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Estimate]]]]
"""By method, of which the first is the network, group of stars, target and input left out."""

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
    sample = measurements.choose(context)
    explainer = Explainer(context.trained, context.options.progress)
    answers = measurements.answers_left_out(context, sample, explainer)
    ratios = {
        context.name: measurements.scatter_ratios(context, sample, answers),
        REGRESSION: measurements.scatter_ratios(context, sample, measurements.regression_left_out(context, sample)),
    }
    attributions = measurements.attributions(context, sample, explainer)
    network = attributions.response.mean(axis=0)
    photometry = measurements.photometric_responses(context, sample)
    injected = measurements.injected_responses(context, sample, attributions.response)
    return Section(
        key="physics",
        title="Why: what the network looks at",
        text=(
            *verdict(context.targets, context.trained.bands, ratios, network, photometry, injected),
            METHOD,
            *_left_out_of_sample(sample),
        ),
        tables=(
            _ratio_table(context, sample, ratios),
            _response_table(context, attributions, network, photometry),
            _injected_table(context, attributions, injected),
            _share_table(context, attributions),
        ),
        figures=_figures(context, sample, attributions, ratios, network, photometry),
        values=_values(context, sample, attributions, ratios, network, photometry, injected),
    )


def verdict(
    targets: Sequence[str],
    bands: str,
    ratios: Ratios,
    network: np.ndarray,
    photometry: np.ndarray,
    injected: np.ndarray,
) -> list[str]:
    """What the numbers say of the physics, a paragraph each."""
    of_network, of_regression = ratios.values()
    expectations = [
        _worth_of_band(band, target, group, of_network[group][target], of_regression[group][target])
        for band, target, group in EXPECTED
        if band in bands and target in targets and group in of_network
    ]
    agreement = [
        f"{NAMES[target]} {np.corrcoef(ours, theirs)[0, 1]:.2f}"
        for target, ours, theirs in zip(targets, network, photometry, strict=True)
    ]
    responses = [
        "Across the bands, its response to 0.01 mag correlates with that of a regression on the same sky's catalogue "
        f"magnitudes as {enumerated(agreement)}."
    ]
    if "fe_h" in targets and "v" in bands:
        at = targets.index("fe_h"), bands.index("v")
        ours, theirs = (0.01 * response[at] for response in (network, photometry))
        responses.append(
            f"A star fainter by 0.01 mag in v alone is called {abs(ours):.4f} dex more metal-{_sign(ours)} (regression "
            f"on magnitudes: {abs(theirs):.4f} dex more metal-{_sign(theirs)}; calcium's H and K lines lie in v, so "
            "that metals make it fainter)."
        )
    followed = [
        f"{percent(injected[i, PARAMETERS.index(target)], 0)} in {NAMES[target]}" for i, target in enumerate(targets)
    ]
    responses.append(f"Of a change of a star's parameters its answer follows {enumerated(followed)}.")
    return [*([" ".join(expectations)] if expectations else []), " ".join(responses)]


def _worth_of_band(
    band: str, target: str, group: str, ratios: Mapping[str, Estimate], of_regression: Mapping[str, Estimate]
) -> str:
    """Whether a band matters to a parameter, and most of all bands."""
    of_bands = {name: estimate.value for name, estimate in ratios.items() if name != PARALLAX}
    order = sorted(of_bands, key=of_bands.get, reverse=True)
    estimate = ratios[band]
    stars = "" if group == "all" else f" of {group} stars"
    scatter = (
        f"Without {band}, {NAMES[target]}{stars} scatters {_ratio(estimate)} times as much as with all bands "
        f"({REGRESSION}: {_ratio(of_regression[band])}): "
    )
    if not estimate.lower > 1:
        nothing = f"{band} brings it nothing that the other bands lack, "
        there_was = of_regression[band].lower > 1
        return scatter + nothing + ("against expectation." if there_was else "nor does it bring the regression any.")
    if order[0] == band:
        return scatter + f"{band} matters to it more than any other band, as it should."
    first = order[0]
    return scatter + f"it matters, though {first} matters more ({_ratio(ratios[first])})."


def _sign(response: float) -> str:
    return "rich" if response > 0 else "poor"


def _ratio(estimate: Estimate) -> str:
    if np.isnan(estimate.value):
        return "-"
    return f"{estimate.value:.2f} [{estimate.lower:.2f}, {estimate.upper:.2f}]"


def _left_out_of_sample(sample: Sample) -> list[str]:
    if not sample.n_unusable:
        return []
    return [
        f"{sample.n_unusable:,} stars of the split lack a magnitude, a usable parallax, a parameter or a pixel and "
        "were left out."
    ]


def _some_of(context: Context, n: int) -> str:
    return f"{context.name}; {context.sample()}, {n:,} of them"


def _ratio_table(context: Context, sample: Sample, ratios: Ratios) -> Table:
    reference = "the truth" if context.is_mock else "the labels"
    inputs = list(ratios[context.name]["all"][context.targets[0]])
    rows = []
    for group, of_targets in ratios[context.name].items():
        for target in of_targets:
            for method, of_groups in ratios.items():
                estimates = list(of_groups[group][target].values())
                rows.append((group, NAMES[target], method, f"{estimates[0].n:,}", *map(_ratio, estimates)))
    return Table(
        f"How many times larger the residuals about {reference} scatter without a band or the parallax "
        f"({_some_of(context, len(sample.rows))}).",
        ("stars", "parameter", "method", "n", *(f"without {name}" for name in inputs)),
        tuple(rows),
        n_text=3,
    )


def _response_table(context: Context, found: Attributions, network: np.ndarray, photometry: np.ndarray) -> Table:
    rows = [
        (NAMES[target], LABELS[target], name, *(_small(0.01 * value, LABELS[target]) for value in response))
        for target, *responses in zip(context.targets, network, photometry, strict=True)
        for name, response in zip((context.name, REGRESSION), responses, strict=True)
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
        ("change", *(f"{NAMES[target]} ({LABELS[target]})" for target in context.targets)),
        tuple(rows),
    )


def _share_table(context: Context, found: Attributions) -> Table:
    shares, near = found.shares.mean(axis=0), found.near.mean(axis=0)
    rows = [
        (NAMES[target], *(percent(share) for share in of_target), percent(within))
        for target, of_target, within in zip(context.targets, shares, near, strict=True)
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
    context: Context,
    sample: Sample,
    found: Attributions,
    ratios: Ratios,
    network: np.ndarray,
    photometry: np.ndarray,
) -> tuple[FigureFile, ...]:
    bands, targets = context.trained.bands, context.targets
    wide = [Figure(figsize=(7.2, 1.15 * n + 0.3), layout="constrained") for n in (1 + len(targets), len(targets))]
    narrow = [Figure(figsize=(3.5, 1.6 * len(targets) + 0.4), layout="constrained") for _ in range(2)]
    row = int(found.row)
    attribution_plots.draw_star(wide[0], sample.stars.stamps[row], found.of_star, bands, targets)
    attribution_plots.draw_mean_maps(wide[1], found.mean_map, bands, targets)
    attribution_plots.draw_left_out(narrow[0], ratios[context.name], targets)
    attribution_plots.draw_responses(narrow[1], network, photometry, bands, targets, context.name)
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
    context: Context,
    sample: Sample,
    found: Attributions,
    ratios: Ratios,
    network: np.ndarray,
    photometry: np.ndarray,
    injected: np.ndarray,
) -> dict:
    bands, targets = context.trained.bands, context.targets

    def named(values: np.ndarray, columns: Sequence[str]) -> dict[str, dict[str, float]]:
        return {
            target: dict(zip(columns, map(float, row), strict=True))
            for target, row in zip(targets, values, strict=True)
        }

    return {
        "sample": context.sample(),
        "n": len(sample.rows),
        "n_unusable": sample.n_unusable,
        "n_attributions": len(found.response),
        "scatter_ratio_without": {
            method: {
                group: {
                    target: {name: estimate.to_dict() for name, estimate in of_inputs.items()}
                    for target, of_inputs in of_targets.items()
                }
                for group, of_targets in of_groups.items()
            }
            for method, of_groups in ratios.items()
        },
        "response_per_mag": {"network": named(network, bands), "regression": named(photometry, bands)},
        "injected_response": named(injected, PARAMETERS),
        "attribution_share": named(found.shares.mean(axis=0), bands),
        "attribution_share_near": dict(zip(targets, map(float, found.near.mean(axis=0)), strict=True)),
        "star": {
            "object_id": int(sample.fields["object_id"][int(found.row)]),
            "band_sum": named(found.of_star.sum(axis=(1, 2)), bands),
            "incomplete": dict(zip(targets, map(float, found.incomplete), strict=True)),
        },
    }
