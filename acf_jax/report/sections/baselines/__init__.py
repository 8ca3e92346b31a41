"""Table 1: tree algorithms on magnitudes, colours and features."""
