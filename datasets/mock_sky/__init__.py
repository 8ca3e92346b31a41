"""A survey that never was: stars, catalogues and frames drawn from a seed, served as the real archives serve theirs."""
