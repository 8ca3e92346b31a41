"""Stellar atmospheric parameters from photometric images: the network, its training, predictions and evaluation."""

__version__ = "0.1.0"
