"""A variant of the ACF that also reads the stamp's own fluxes: not the paper's network.

    python train.py --config configs/acf_growth.py

The scalar branch reads, beside the parallax, the growth curve of the stamp (`acf_jax/models/growth_curve.py`): its
flux in three apertures in every band, colours and luminosities. The last map's tokens are also averaged with learned
weights, and the head predicts the noise of each label. What it gains on the mock sky: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import acf


def get_config() -> ConfigDict:
    """The published run with another network."""
    return with_growth_curve(acf.get_config())


def with_growth_curve(config: ConfigDict) -> ConfigDict:
    """The same run of the variant."""
    config.model.growth_curve = True
    config.model.heteroscedastic = True
    config.model.pooling = "mean_attention"
    return config
