"""Other surveys' labels: their tables, which entry is which of our stars, and how far our parameters are from them."""
