"""A trained network in one folder to publish: `python -m acf_jax.bundle` writes it, `acf_jax.load` reads it."""
