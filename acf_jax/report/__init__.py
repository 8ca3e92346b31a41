"""What an evaluation writes: the minute's, and all that a referee would ask of a trained network."""
