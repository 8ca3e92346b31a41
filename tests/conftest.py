"""What all tests share: one CPU device with few threads, no windows, and one small prepared mock dataset."""

import os

# Set before JAX, numpy and matplotlib are imported by any test.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TQDM_DISABLE", "1")
