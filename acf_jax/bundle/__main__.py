"""Publish a trained network: one folder with everything that others need to use it.

  python -m acf_jax.bundle runs/acf --out acf-bundle          the best checkpoint of a run
  python predict.py --checkpoint acf-bundle ...                in place of a run's folder
  python acf-bundle/example.py                                 with JAX, flatbuffers and NumPy alone
  python -m acf_jax.bundle runs/acf_teff runs/acf_logg runs/acf_fe_h --out acf-bundle     one network a label, joined

What is in it (of joined networks, each has a folder with its own bundle.json, weights, training domain and checksums):

  README.md                 the model card: data, training, precision, intended use, limits, licence, citation
  bundle.json               format, config, scaling, calibration of the errors, summary of the training domain
  parameters.safetensors    the weights
  training_domain.npz       for telling which stars are unlike the training stars, if the run has it
  predict.jaxexport         stamps and parallaxes -> mean and standard deviation, as one function for CPU and CUDA
  example.py                how to call it, on example_stars.npz
  metrics.json              what evaluate.py measured, if it was run
  checksums.txt             SHA-256 of all others; `sha256sum --check checksums.txt`

Evaluate first (python evaluate.py --checkpoint runs/acf), so that the card says how precise the network is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from acf_jax.bundle.writing import write_bundle
from acf_jax.inference.fingerprint import network_fingerprint
from acf_jax.running import run


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m acf_jax.bundle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", nargs="+", metavar="RUN",
        help="the run's folder, or a bundle to be written anew; several, of different labels, are joined",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="the bundle's folder, which must not be there yet")
    parser.add_argument(
        "--evaluation", metavar="DIR", help="folder of metrics.json (default: evaluation in the run's folder, if any)"
    )
    options = parser.parse_args(arguments)
    return run(lambda: _write(options), "acf_jax.bundle", out=options.out)


def _write(options: argparse.Namespace) -> None:
    trained = write_bundle(options.source, options.out, options.evaluation)
    for path in sorted(Path(options.out).rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size / 1e6:9.2f} MB  {path.relative_to(options.out)}")
    print(f"{options.out}: network {network_fingerprint(trained)[:12]}, step {trained.step:,}.")


if __name__ == "__main__":
    sys.exit(main())
