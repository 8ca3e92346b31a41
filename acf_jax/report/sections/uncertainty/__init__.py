"""Whether the uncertainties can be trusted."""
