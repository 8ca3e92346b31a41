"""A trained network in one folder to publish, that `python -m acf_jax.bundle` writes and `loading` reads."""
