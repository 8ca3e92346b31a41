"""Figures on given axes."""
