"""The version of this code, which checkpoints, bundles, reports and catalogues state."""

__version__ = "0.1.0"
