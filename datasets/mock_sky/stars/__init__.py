"""Which stars are in the mock sky, and how bright they are."""
