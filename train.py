"""Train a network on a prepared dataset: `python train.py --help`."""

import sys

from acf_jax.commands.starting import start

if __name__ == "__main__":
    sys.exit(start("train", "train.py"))
