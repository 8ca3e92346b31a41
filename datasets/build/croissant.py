"""`croissant.json`: a prepared folder described for catalogues of datasets, in JSON-LD.

Format: Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html). No Croissant reader opens
array_record files, so they appear as files with checksums, and their fields as a table in the document itself (record
set `fields`); the record sets `stars` and `rejected` are the folder's Parquet tables, which readers load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from datasets.build.readme import stamp_words
from datasets.build.star_table import STAR_TABLE, columns
from datasets.smss_stamps.configs import CONFIGS, NAME, VERSION
from datasets.smss_stamps.fields import Field
from datasets.smss_stamps.terms import citations, terms

CROISSANT = "croissant.json"
REJECTED = "rejected.parquet"
HOMEPAGE = "https://skymapper.anu.edu.au"

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification asks to be copied; without all of it readers warn."""

_TYPES = {"str": "sc:Text", "int32": "cr:Int32", "int64": "cr:Int64", "float32": "cr:Float32", "float64": "cr:Float64"}
_FORMATS = {".parquet": "application/x-parquet", ".json": "application/json", ".md": "text/markdown"}
_REJECTED_FIELDS = {
    "object_id": Field((), "int64", "", "SkyMapper DR4 object_id; -1 if there is none"),
    "source_id": Field((), "int64", "", "Gaia EDR3 source_id; -1 if there is none"),
    "ra": Field((), "float64", "deg", "right ascension"),
    "dec": Field((), "float64", "deg", "declination"),
    "reason": Field((), "str", "", "why this selected star has no example"),
}


def write_croissant(folder: Path, metadata: Mapping, checksums: Mapping[str, str]) -> None:
    """Describe the files of `folder`, whose SHA-256 are given by name; `checksums.txt` comes after this one.

    Args:
        folder: of the files.
        metadata: that of `packing.metadata`.
        checksums: SHA-256 by file name.
    """
    config = CONFIGS[metadata["config"]]
    its_terms = terms(config)
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"{NAME}_{config.name}",
        "description": f"{config.description}: stamps of stars in six bands of the SkyMapper survey, with what "
        f"its catalogue, Gaia and GALAH say of them. Splits: {metadata['split']}. Stamps: {stamp_words(metadata)}. "
        f"{' '.join(its_terms.sources)}",
        "version": VERSION,
        "url": HOMEPAGE,
        "license": its_terms.licence_url,
        "citeAs": citations(config),
        "keywords": ["astronomy", "stars", "photometry", "SkyMapper", "Gaia"],
        "distribution": [_file(folder / name, checksum) for name, checksum in sorted(checksums.items())],
        "recordSet": [
            _record_set("stars", STAR_TABLE, "An example a row, without its images.", columns(config.fields())),
            _record_set("rejected", REJECTED, "The selected stars without an example.", _REJECTED_FIELDS),
            _fields(config.fields()),
        ],
    }
    if "date" in metadata["provenance"]:  # the mock sky has none
        document["datePublished"] = metadata["provenance"]["date"]
    (folder / CROISSANT).write_text(json.dumps(document, indent=1) + "\n")


def _file(path: Path, checksum: str) -> dict:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": _FORMATS.get(path.suffix, "application/octet-stream"),
        "sha256": checksum,
    }


def _record_set(name: str, file_name: str, description: str, fields: Mapping[str, Field]) -> dict:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "field": [
            _described(f"{name}/{column}", column, field)
            | {"source": {"fileObject": {"@id": file_name}, "extract": {"column": column}}}
            for column, field in fields.items()
        ],
    }


def _described(identifier: str, name: str, field: Field) -> dict:
    """A field; Croissant itself knows no units, so the unit is in schema.org's `unitText` and in the description."""
    description = f"{field.description} [{field.unit}]" if field.unit else field.description
    described = {"@type": "cr:Field", "@id": identifier, "name": name, "description": description}
    return described | {"dataType": _TYPES[field.dtype]} | ({"unitText": field.unit} if field.unit else {})


def _fields(fields: Mapping[str, Field]) -> dict:
    """The fields of the examples in the array_record files, as records of the document itself."""
    names = {
        "name": "name of the field in an example",
        "shape": "its shape, comma-separated; empty for a number",
        "type": "its NumPy type",
        "unit": "its unit, in astropy's spelling; empty for a pure number",
        "description": "its meaning",
    }
    values = [
        (name, ",".join(map(str, field.shape)), field.dtype, field.unit, field.description)
        for name, field in fields.items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "fields",
        "name": "fields",
        "description": "The fields of the examples in the array_record files, which TensorFlow Datasets reads.",
        "key": {"@id": "fields/name"},
        "field": [_described(f"fields/{name}", name, Field((), "str", "", meaning)) for name, meaning in names.items()],
        "data": [{f"fields/{name}": value for name, value in zip(names, row, strict=True)} for row in values],
    }
