"""The published network and training on a mock sky of the published size.

python -m datasets.build --config mock_large
python train.py --config configs/mock.py
"""

from ml_collections import ConfigDict

from configs import acf


def get_config() -> ConfigDict:
    """The published run on the mock sky."""
    config = acf.get_config()
    config.dataset.config = "mock_large"  # 106,145 stars
    return config
