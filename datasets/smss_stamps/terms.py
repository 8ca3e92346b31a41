"""Under which terms a config's data may be used, and whom to cite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets.smss_stamps.configs import Config


@dataclass(frozen=True)
class Terms:
    """A licence, its address, and what each source of the data asks for."""

    licence: str
    licence_url: str
    sources: tuple[str, ...]


_MOCK = Terms(
    "BSD-3-Clause, as the code that generates it",
    "https://spdx.org/licenses/BSD-3-Clause",
    ("The mock sky holds no survey data. It is drawn from MIST isochrones and bolometric corrections.",),
)
_REAL = Terms(
    "CC BY 4.0, as SkyMapper DR4; README.md says what Gaia and GALAH ask for",
    "https://creativecommons.org/licenses/by/4.0/",
    (
        "Stamps and photometry are derived from SkyMapper Southern Survey DR4 (doi:10.25914/5M47-S621), CC BY 4.0: "
        "name and cite the survey, and say that the data were changed. "
        "Acknowledgement: https://skymapper.anu.edu.au/data-release/dr4/",
        "Astrometry is Gaia EDR3's: free to use with credit to ESA/Gaia/DPAC. "
        "Acknowledgement: https://gea.esac.esa.int/archive/documentation/GEDR3/Miscellaneous/sec_credit_and_citation_instructions/",
        "Labels, where there are any, are GALAH+ DR3's, which asks for citation and acknowledgement. "
        "Acknowledgement: https://docs.datacentral.org.au/galah/dr3/acknowledgements/",
    ),
)
_ONLY_MOCK = ("choi2016", "dotter2016")


def terms(config: Config) -> Terms:
    """The terms of a config."""
    return _MOCK if config.is_mock else _REAL


def citations(config: Config) -> str:
    """The references of a config, in BibTeX."""
    entries = Path(__file__).with_name("CITATIONS.bib").read_text().split("\n@")
    kept = [entry for entry in entries if config.is_mock or entry.split("{")[1].split(",")[0] not in _ONLY_MOCK]
    return "\n@".join(kept).strip() + "\n"
