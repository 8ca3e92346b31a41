"""Real pixels and tables, which are not part of the project: tests that read them skip where they are not."""

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("ACF_REAL_DATA") or Path(__file__).parents[2] / "shared/real")
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="no real data: ACF_REAL_DATA names no folder of them")
