"""A config and a dataset -> checkpoints."""
