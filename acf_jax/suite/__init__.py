"""What a referee would ask of a trained network: a file for each section of the report, and what puts them together."""
