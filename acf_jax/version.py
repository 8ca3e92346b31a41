"""The version of this code, which checkpoints, bundles, reports and catalogues tell."""

__version__ = "0.1.0"
