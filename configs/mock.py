"""The published network and training on a mock sky of the published size.

    python -m datasets.build --config mock_large
    python train.py --config configs/mock.py

Not yet run by us: it needs a GPU. It is 1.6e17 FLOP: 7.2 GFLOP a stamp, 22 million stamps (74,301 training stars,
300 epochs).
"""

from ml_collections import ConfigDict

from configs import acf


def get_config() -> ConfigDict:
    """The published run on the mock sky."""
    config = acf.get_config()
    config.dataset.config = "mock_large"  # 106,145 stars
    config.cache_in_memory = True  # 6 GB; without it two cores read 1,500 stamps a second
    return config
