"""Where a sample's stars are found: one row a star, block after block, one file a survey."""
