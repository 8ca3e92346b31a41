"""Everything before the network: archives, mock sky, stamps and the dataset on disk. Needs no JAX."""
