"""Atmospheric parameters from stamps with JAX, its flatbuffers and NumPy alone: python example.py [STARS.npz]."""

import sys
from pathlib import Path

import jax
import jax.export
import numpy as np

here = Path(__file__).parent
stars = np.load(sys.argv[1] if len(sys.argv) > 1 else here / "example_stars.npz")
stamp, parallax, parallax_error = (stars[name].astype(np.float32) for name in ("stamp", "parallax", "parallax_error"))
ids = stars["object_id"].astype(np.int64).view(np.uint64)
ids = np.stack([ids >> np.uint64(32), ids & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.uint32)
predict = jax.jit(jax.export.deserialize(bytearray((here / "predict.jaxexport").read_bytes())).call)
mean, std, *noise_std = map(np.asarray, predict(stamp, parallax, parallax_error, ids, np.uint32(0)))  # seed 0
for star in zip(stars["object_id"], mean, std, strict=True):
    print(*star)
