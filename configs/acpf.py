"""The ACPF as published (paper, section 5.1): the ACF without its astrometric branch.

python train.py --config configs/acpf.py

Costs what configs/acf.py costs: the branch that is missing is a single dense layer.
"""

from ml_collections import ConfigDict

from configs import acf


def get_config() -> ConfigDict:
    """The published run without parallaxes."""
    config = acf.get_config()
    config.model.use_parallax = False  # images alone
    return config
