"""What all tests share: the settings of JAX and matplotlib, made before any test imports them."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the tests' time is compiling small programs: leave out what makes them fast, and keep them for the next time
# and for the processes that some tests start.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("MPLBACKEND", "Agg")
# One thread for small matrices: with more, the test processes wait for each other (one fit: 0.03 s instead of 0.7 s).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")


@pytest.fixture(autouse=True)
def skip_remote_tests_without_a_network(request):
    """Tests marked `remote` ask the real archives; where those cannot be reached there is nothing to test."""
    if request.node.get_closest_marker("remote"):
        try:
            socket.create_connection(("api.skymapper.nci.org.au", 443), timeout=10).close()
        except OSError as error:
            pytest.skip(f"no network: {error}")


# The same examples for everybody: a red CI is the change's doing. `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("same")

pytest_plugins = ["tests.typechecking"]
