"""A prepared dataset -> batches that a network reads."""
