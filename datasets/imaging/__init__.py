"""FITS bytes -> pixels, in microjansky, on a star's own grid."""
