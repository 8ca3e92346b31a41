"""How work is divided among devices, and how compiled programs are kept."""
