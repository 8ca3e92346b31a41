"""The variant of configs/acf_growth.py at the demo's size.

python train.py --config configs/demo_growth.py
"""

from ml_collections import ConfigDict

from configs import acf_growth, demo


def get_config() -> ConfigDict:
    """The demo's run of the variant."""
    return acf_growth.with_growth_curve(demo.get_config())
