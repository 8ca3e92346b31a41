"""The TFDS dataset `smss_stamps`: one stamp, labels and astrometry per star."""
