"""The README.md of a prepared folder: what a stranger needs who is handed the folder and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from datasets.smss_stamps.configs import CONFIGS, NAME, VERSION
from datasets.smss_stamps.fields import Field
from datasets.smss_stamps.terms import citations, terms

MOST_REASONS = 10
REASON_LENGTH = 120

_TEXT = """\
# {name}: {config} {version}

{description}. {n_examples:,} stars, one example each: stamps in six bands, 48 x 48 pixels of {pixel_scale} arcsec,
stacked from cutouts as the SkyMapper Southern Survey serves them, with what the catalogues say of the star.

- `*.array_record-*`: the examples, by split: {splits}.
- `stars.parquet`: everything but the images as a table, a row per example; `split` and `index` say which.
- `rejected.parquet`: the selected stars without an example, and why.
- `metadata.json`: units, selection, provenance and fingerprint for programs; `croissant.json`: a description for
  catalogues of datasets; `checksums.txt`: for `sha256sum --check checksums.txt`, in this folder.

Fingerprint of the content: `{fingerprint}`

## Reading it

    pip install tensorflow-datasets array_record

```python
import tensorflow_datasets as tfds

examples = tfds.builder_from_directory("path/of/this/folder").as_data_source("{split}")
print(len(examples), examples[0]["stamp"].shape, examples[0]["object_id"])
```

The table needs no more than `pandas.read_parquet("stars.parquet")`; TOPCAT shows its units.

{split_rule}

{stamps_rule}

## Selection

{counts}

{reasons}## Fields

Missing values are NaN, or -1 in integers. The sum of `stamp` over a band is the star's dereddened flux in that band
(AB: 23.9 mag is 1 uJy).

{fields}

## Provenance

{provenance}

## Licence

{licence} ({licence_url})

{sources}

## Citations

```bibtex
{citations}```
"""


def prepared_readme(metadata: Mapping, n_of_split: Mapping[str, int], reasons: Sequence[str]) -> str:
    """The text, from the folder's metadata, the examples of each split, and the reasons of all rejections.

    Args:
        metadata: that of `packing.metadata`.
        n_of_split: examples of each split.
        reasons: why stars were rejected, one a star.

    Returns:
        Markdown.
    """
    config = CONFIGS[metadata["config"]]
    its_terms = terms(config)
    return _TEXT.format(
        name=NAME,
        config=config.name,
        version=VERSION,
        description=config.description[0].upper() + config.description[1:],
        n_examples=sum(n_of_split.values()),
        pixel_scale=metadata["pixel_scale_arcsec"],
        splits=", ".join(f"`{split}` {n:,}" for split, n in n_of_split.items()),
        split=config.splits[0],
        split_rule=f"Splits: {metadata['split']}.",
        stamps_rule=f"Stamps: {stamp_words(metadata)}.",
        fingerprint=metadata["fingerprint"],
        counts=_table(("", "stars"), _counts(metadata, n_of_split)),
        reasons=_reasons(reasons),
        fields=field_table(config.fields()),
        provenance="\n".join(_bullets(metadata["provenance"])),
        licence=its_terms.licence,
        licence_url=its_terms.licence_url,
        sources="\n".join(f"- {source}" for source in its_terms.sources),
        citations=citations(config),
    )


_SKY = {
    "cutout": "the sky level under a star is fitted to its cutout, together with the star's wings",
    "table": "the sky level under a star is that of the survey's table (`background`)",
}
_ALIGNER = {
    "fast": "frames are aligned by a bicubic spline",
    "reproject": "frames are aligned by astropy's reproject (`reproject_interp`, bicubic)",
}


def stamp_words(metadata: Mapping) -> str:
    """How the stamps were made, where a build may choose."""
    stamps = metadata["provenance"]["recipe"]["stamps"]
    return f"{_SKY[stamps['sky']]}; {_ALIGNER[stamps['aligner']]}"


def field_table(fields: Mapping[str, Field]) -> str:
    """Fields as a Markdown table."""
    rows = [
        (f"`{name}`", " x ".join(map(str, field.shape)), field.dtype, field.unit, field.description)
        for name, field in fields.items()
    ]
    return _table(("field", "shape", "type", "unit", "meaning"), rows)


def _counts(metadata: Mapping, n_of_split: Mapping[str, int]) -> list[tuple[str, str]]:
    """From the stars looked at to the examples, in rows that add up."""
    rows = [("looked at", metadata["n_scanned"])]
    rows += [(f"fail: {_cell(cut['description'])}", cut["removed"]) for cut in metadata["selection"]]
    rows += [("not drawn", metadata["n_not_drawn"])] if metadata["n_not_drawn"] else []
    rows += [("**selected**", metadata["n_stars"]), ("rejected", metadata["n_rejected"])]
    rows += [("**examples**", sum(n_of_split.values()))]
    return [(label, "not looked at: the archive left them out" if n is None else f"{n:,}") for label, n in rows]


def _reasons(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    counted = Counter(_cell(_kind(reason)) for reason in reasons)
    rows = [(reason, f"{n:,}") for reason, n in counted.most_common(MOST_REASONS)]
    if others := len(reasons) - sum(n for _, n in counted.most_common(MOST_REASONS)):
        rows.append(("other reasons", f"{others:,}"))
    return f"{_table(('rejected because', 'stars'), rows)}\n\n"


def _kind(reason: str) -> str:
    """A reason without what is in parentheses: the frames and numbers of this one star."""
    return re.sub(r" \([^()]*\)", "", reason)


def _cell(text: str) -> str:
    """A text that may come from a server, made fit for a table's cell."""
    text = " ".join(text.split()).replace("|", "&#124;").replace("<", "&lt;")
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}..."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def _bullets(value: Mapping, indent: str = "") -> list[str]:
    """A dictionary as nested lists, texts of several lines (queries) as code."""
    lines = []
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            lines += [f"{indent}- {name}:", *_bullets(item, f"{indent}  ")]
        elif isinstance(item, str) and "\n" in item:
            code = [f"{indent}      {line}".rstrip() for line in item.strip().splitlines()]
            lines += [f"{indent}- {name}:", "", *code, ""]
        elif item or item == 0:
            lines.append(f"{indent}- {name}: `{item}`")
    return lines
