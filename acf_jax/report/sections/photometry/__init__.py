"""Images against photometry of the very stamps."""
