"""Train a network on a prepared dataset: `python train.py --help`."""

import sys

from acf_jax.commands import train

if __name__ == "__main__":
    sys.exit(train.main("train.py"))
