"""The catalogue: stars -> parameters, errors and flags, in files that an archive accepts. `predict.py` makes it."""
