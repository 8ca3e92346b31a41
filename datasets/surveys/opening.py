"""The survey in which a config's stars are found."""

from __future__ import annotations

import functools

from datasets.smss_stamps.configs import CONFIGS
from datasets.surveys.base import Sources, Survey
from datasets.surveys.catalogue import CatalogueSurvey
from datasets.surveys.galah import GalahSurvey
from datasets.surveys.mock import MockSurvey
from datasets.surveys.mock_table import MockTableSurvey
from datasets.surveys.table import TableSurvey


@functools.lru_cache(maxsize=1)
def open_survey(config: str, seed: int, sources: Sources) -> Survey:
    """The survey of a config, kept for this process.

    Args:
        config: a name in `CONFIGS`.
        seed: of the mock sky.
        sources: of the real one.

    Returns:
        The survey.

    Raises:
        TableError: if a local table cannot be read, or is not given.
        ValueError: if the config names a survey that does not exist.
    """
    match CONFIGS[config].survey:
        case "mock":
            return MockSurvey(seed)
        case "mock_table":
            return MockTableSurvey(seed, sources)
        case "galah":
            return GalahSurvey(sources)
        case "catalogue":
            return CatalogueSurvey(sources)
        case "table":
            return TableSurvey(sources)
    raise ValueError(f"config {config}: there is no survey {CONFIGS[config].survey!r}.")
