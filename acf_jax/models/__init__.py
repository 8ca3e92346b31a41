"""The networks, and other codes' weights for them."""
