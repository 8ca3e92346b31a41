"""Sections one after the other -> the report; what was made before, of the same things by the same code, is kept."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from acf_jax.files import whole_file
from acf_jax.report import page, provenance
from acf_jax.report.context import Context, code_digest, network_facts
from acf_jax.report.section import MissingPieceError, Section
from acf_jax.report.sections import external, parallax, precision, precision_bins, sample
from acf_jax.report.sections.baselines import baselines
from acf_jax.report.sections.low_quality import low_quality
from acf_jax.report.sections.photometry import photometry
from acf_jax.report.sections.physics import physics
from acf_jax.report.sections.uncertainty import uncertainty
from acf_jax.running import bar_options
from acf_jax.surveys.matching import Matched

MakeSection = Callable[[Context], Section]

PAPER: dict[str, MakeSection] = {
    "sample": sample.sample_section,
    "precision": precision.section,
    "regression": sample.regression_section,
    "bins": precision_bins.bins_section,
    "mc_uncertainty": sample.uncertainty_section,
    "uncertainty": uncertainty.section,
    "parallax": parallax.section,
    "no_parallax": sample.no_parallax_section,
    "baselines": baselines.section,
    "photometry": photometry.section,
    "external": external.section,
    "low_quality": low_quality.section,
    "physics": physics.section,
}
"""The sections of `--suite paper` in their order, by the keys that `--sections` takes."""

CONCLUDING = ("precision", "uncertainty", "parallax", "baselines", "photometry", "low_quality", "physics")
"""Those whose first paragraph answers a question that the whole report is asked."""


def run(
    context: Context, sections: Mapping[str, MakeSection] = PAPER, command: Sequence[str] | None = None
) -> tuple[Path, list[Section]]:
    """Make every section, and write `report.html`, `report.md` and `results.json` into the context's folder.

    A section that lacks something says so in the report. One that fails is told of there too, and its traceback goes to
    `failed_<key>.txt`: it takes no other section with it.

    Args:
        context: the evaluation.
        sections: what to make, by key.
        command: as it was given, for the report.

    Returns:
        The page, and the sections.
    """
    made = []
    with tqdm(total=len(sections), unit="section", **bar_options(context.options.progress)) as bar:
        for key, make in sections.items():
            bar.set_description(key)
            made.append(_kept(context, key, make))
            bar.update()
    heading = page.Heading(
        context.name, context.sample(), verdict(made, context.caveat), provenance.gather(context, command)
    )
    return page.write(made, heading, context.out_dir), made


def failed(sections: Sequence[Section]) -> list[str]:
    """The keys of sections that failed, as opposed to those for which something is missing."""
    return [section.key for section in sections if section.values.get("failed")]


def verdict(sections: Sequence[Section], caveat: str = "") -> tuple[str, ...]:
    """What the sections conclude, a paragraph each, for the head of the report; the caveat goes before."""
    concluded = (section.text[0] for section in sections if section.key in CONCLUDING and section.text)
    return tuple(text for text in (caveat, *concluded) if text)


def _kept(context: Context, key: str, make: MakeSection) -> Section:
    """The section of this evaluation, from its cache if it was made of the same things by the same code."""
    what = json.dumps([key, _ingredients(context), code_digest()], sort_keys=True)
    path = context.out_dir / "cache" / f"section-{key}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.json"
    if path.exists():
        section = Section.from_dict(json.loads(path.read_text()))
        if all((context.out_dir / "figures" / f"{figure.name}.png").exists() for figure in section.figures):
            return section
    section = _made(context, key, make)
    if section.missing is None:
        with whole_file(path, "x") as file:
            json.dump(section.to_dict(), file, allow_nan=False)
    return section


def _made(context: Context, key: str, make: MakeSection) -> Section:
    title = key.replace("_", " ").capitalize()
    try:
        return make(context)
    except MissingPieceError as error:
        return Section(key, title, missing=str(error))
    except Exception as error:
        trace = context.out_dir / f"failed_{key}.txt"
        with whole_file(trace, "x") as file:
            file.write(traceback.format_exc())
        words = f"This section failed ({type(error).__name__}: {error}); {trace.name} has the details."
        return Section(key, title, missing=words, values={"failed": True})


def _ingredients(context: Context) -> dict:
    """All that a section may depend on besides the code, as JSON types."""
    datasets = (context.dataset, context.low_quality)
    options = context.options
    return {
        "networks": {name: network_facts(trained) for name, trained in context.networks.items()},
        "low_quality_networks": {
            name: network_facts(trained) for name, trained in context.low_quality_networks.items()
        },
        "datasets": [dataset and dataset.fingerprint for dataset in datasets],
        "external": {name: _digest_of(matched) for name, matched in context.external.items()},
        "options": [options.n_samples, options.seed, options.n_trials, options.n_bootstrap],
    }


def _digest_of(matched: Matched) -> str:
    """Of which stars have which labels, and how they were found."""
    digest = hashlib.sha256(repr((matched.survey.name, matched.is_mock, matched.counts)).encode())
    for values in (matched.row, *matched.labels.values()):
        digest.update(values.tobytes())
    return digest.hexdigest()
