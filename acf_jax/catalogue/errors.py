"""What goes wrong with a catalogue."""

from __future__ import annotations


class CatalogueError(Exception):
    """A catalogue cannot be made, written or read; the message is one sentence for the user."""
