"""A mock sky of a few thousand stars that the tests of its parts share, and its catalogues."""

import numpy as np
import pytest
from astropy.table import vstack

from datasets.mock_sky import catalogues
from datasets.mock_sky.sky import MockSky

N_BLOCKS = 24


@pytest.fixture(scope="session")
def blocks():
    sky = MockSky(0)
    return [sky.block(index) for index in range(N_BLOCKS)]


@pytest.fixture(scope="session")
def stars(blocks):
    return np.concatenate([block.stars for block in blocks])


@pytest.fixture(scope="session")
def exposures(blocks):
    return np.concatenate([block.exposures for block in blocks])


@pytest.fixture(scope="session")
def tables(blocks):
    names = ("master", "photometry", "images", "gaia", "galah", "truth")
    return {name: vstack([getattr(catalogues, name)(block) for block in blocks]) for name in names}
