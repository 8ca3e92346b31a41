"""Facts of the SkyMapper Southern Survey, data release 4 (Onken et al. 2024, PASA 41, e061)."""

BANDS = "uvgriz"
"""The six bands, in the order of a stamp's last axis."""

PIXEL_SCALE_ARCSEC = 0.497
"""Mean pixel scale; frames range from 0.4957 to 0.4976 arcsec per pixel."""

STAMP_SIZE_PX = 48
"""Side of a stamp (paper, section 2.2)."""

CUTOUT_SIZE_PX = 56
"""Asked of the archive: a stamp and a margin for sub-pixel shifts and interpolation.

The corners of frames rotated by odd angles stay uncovered.
"""

EXTINCTION_COEFFICIENTS = {"u": 4.294, "v": 4.026, "g": 2.986, "r": 2.288, "i": 1.588, "z": 1.206}
"""A_f / E(B-V) for the raw SFD reddening of `ebmv_sfd`.

The 0.86 recalibration of Schlafly & Finkbeiner (2011) is already inside: never multiply by it again.
"""
