"""What the network has learned of the stars."""
