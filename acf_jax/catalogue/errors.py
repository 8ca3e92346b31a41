"""What goes wrong with a catalogue."""

from __future__ import annotations

from acf_jax.errors import ACFError


class CatalogueError(ACFError):
    """A catalogue cannot be made, written or read; the message is one sentence for the user."""
