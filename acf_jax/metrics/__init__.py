"""Residuals, their intervals, and how good an uncertainty is."""
