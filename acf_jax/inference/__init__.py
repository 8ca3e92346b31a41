"""A trained network and stars -> parameters with their uncertainties."""
