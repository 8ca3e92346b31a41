"""How work is divided among devices, and what they compile is kept."""
