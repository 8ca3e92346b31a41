"""The files of a bundle, and the version of their format."""

FORMAT_VERSION = 1

DESCRIPTION = "bundle.json"  # all about the network but its arrays
PARAMETERS = "parameters.safetensors"
TRAINING_DOMAIN = "training_domain.npz"  # where the network has one
EXPORTED = "predict.jaxexport"
MODEL_CARD = "README.md"
METRICS = "metrics.json"  # where the network was evaluated
EXAMPLE = "example.py"
EXAMPLE_STARS = "example_stars.npz"

NEEDED = (DESCRIPTION, PARAMETERS)
"""Without these there is no network."""
