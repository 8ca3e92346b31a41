"""Prints by how many MB the head's moments and samples raise the peak memory of the process, for each "stars,T"."""

import json
import resource
import sys

import jax
import numpy as np

from acf_jax.inference.mc_dropout import head_moments, head_samples
from acf_jax.models.acf import ACF, ACFConfig, init_params
from acf_jax.models.cswin import CSWinConfig


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(cases):
    """The first case pays for the compilation. The head has the paper's widths."""
    model = ACF(ACFConfig(CSWinConfig(depths=(1, 1, 1, 1))))
    shapes = jax.eval_shape(lambda: init_params(model, 0))
    params = {name: jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes[name]) for name in shapes}
    raised = {}
    for case in cases:
        n_stars, n_samples = map(int, case.split(","))
        inputs = np.ones((n_stars, 512), np.float32), np.ones((n_stars, 2), np.float32), np.arange(n_stars)
        before = peak_mb()
        for head in (head_moments, head_samples):
            jax.block_until_ready(head(model, params, *inputs, n_samples))
        raised[case] = peak_mb() - before
    print(json.dumps(raised))


if __name__ == "__main__":
    main(sys.argv[1:])
