"""The ACPF as published (paper, section 5.1): the ACF without its astrometric branch.

    python train.py --config configs/acpf.py

It costs as much as configs/acf.py: only a single dense layer is missing.
"""

from ml_collections import ConfigDict

from configs import acf


def get_config() -> ConfigDict:
    """The published run without parallaxes."""
    config = acf.get_config()
    config.model.use_parallax = False  # images alone
    return config
