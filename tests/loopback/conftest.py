"""A small sky and a server without faults, shared by the tests of a module."""

import pytest
import pyvo
import requests

from datasets.mock_sky.archive import MockArchive
from tests.loopback import serve


@pytest.fixture(scope="session")
def archive():
    return MockArchive(seed=3, n_stars=150)


@pytest.fixture(scope="module")
def server(archive):
    with serve(archive) as server:
        yield server


@pytest.fixture
def http():
    """A session whose answers are all closed in the end: pyvo leaves them to the garbage collector."""
    with requests.Session() as session:
        answers = []
        session.hooks["response"].append(lambda answer, **_: answers.append(answer))
        yield session
        for answer in answers:
            answer.close()


@pytest.fixture
def skymapper(server, http):
    return pyvo.dal.TAPService(server.skymapper_tap_url, session=http)


@pytest.fixture
def gaia(server, http):
    return pyvo.dal.TAPService(server.gaia_tap_url, session=http)
