"""The fields of an example on disk: the one owner of their names, shapes, types and units.

`builder`, README and readers all derive from `FIELDS`. Values missing in the archives are NaN (floats) or -1
(integers).
"""

from __future__ import annotations

from dataclasses import dataclass

from datasets.skymapper import BANDS, STAMP_SIZE_PX

_N = len(BANDS)


@dataclass(frozen=True)
class Field:
    """One field: its shape, numpy type, unit (astropy spelling; empty for a pure number) and meaning."""

    shape: tuple[int, ...]
    dtype: str
    unit: str
    description: str


FIELDS: dict[str, Field] = {
    "object_id": Field((), "int64", "", "SkyMapper DR4 object_id"),
    "source_id": Field((), "int64", "", "Gaia EDR3 source_id"),
    "ra": Field((), "float64", "deg", "right ascension, raj2000 of dr4.master"),
    "dec": Field((), "float64", "deg", "declination, dej2000 of dr4.master"),
    "stamp": Field(
        (STAMP_SIZE_PX, STAMP_SIZE_PX, _N),
        "float32",
        "uJy / pix",
        "stacked, sky-subtracted, dereddened flux; (y, x, band), bands u v g r i z",
    ),
    "mask": Field(
        (STAMP_SIZE_PX, STAMP_SIZE_PX, _N),
        "uint8",
        "",
        "1 where no detection had a good pixel: the stamp's value there is a fill",
    ),
    "n_detections": Field((_N,), "int32", "", "detections averaged, per band"),
    "n_dropped": Field((_N,), "int32", "", "detections that could not be used, per band"),
    "fwhm": Field((_N,), "float32", "arcsec", "mean seeing of the averaged detections, per band"),
    "n_masked_pixels": Field((_N,), "int32", "pix", "masked pixels over all averaged detections, per band"),
    "parallax": Field((), "float32", "mas", "Gaia EDR3 parallax"),
    "parallax_error": Field((), "float32", "mas", "Gaia EDR3 parallax_error"),
    "phot_g_mean_mag": Field((), "float32", "mag", "Gaia G (Vega)"),
    "bp_rp": Field((), "float32", "mag", "Gaia BP - RP (Vega)"),
    "ruwe": Field((), "float32", "", "Gaia ruwe"),
    "teff": Field((), "float32", "K", "GALAH DR3 effective temperature"),
    "e_teff": Field((), "float32", "K", "its error"),
    "logg": Field((), "float32", "dex", "GALAH DR3 surface gravity, log10(cm / s2)"),
    "e_logg": Field((), "float32", "dex", "its error"),
    "fe_h": Field((), "float32", "dex", "GALAH DR3 [Fe/H]"),
    "e_fe_h": Field((), "float32", "dex", "its error"),
    "snr_c3_iraf": Field((), "float32", "", "GALAH signal-to-noise ratio in camera 3"),
    "psf_mag": Field((_N,), "float32", "mag", "dr4.master {f}_psf, AB, as observed (reddened)"),
    "e_psf_mag": Field((_N,), "float32", "mag", "dr4.master e_{f}_psf"),
    "ebmv_sfd": Field((), "float32", "mag", "dr4.master ebmv_sfd, raw SFD E(B-V)"),
    "class_star": Field((), "float32", "", "dr4.master class_star"),
    "flags": Field((), "int32", "", "dr4.master flags"),
    "self_dist1": Field((), "float32", "arcsec", "distance to the nearest other DR4 object within 15; NaN if none"),
}

TRUTH_FIELDS: dict[str, Field] = {
    "true_teff": Field((), "float32", "K", "injected effective temperature"),
    "true_logg": Field((), "float32", "dex", "injected surface gravity"),
    "true_fe_h": Field((), "float32", "dex", "injected [Fe/H]"),
    "true_parallax": Field((), "float32", "mas", "injected parallax"),
    "true_ebv": Field((), "float32", "mag", "injected reddening, on the scale of ebmv_sfd"),
    "true_mag": Field((_N,), "float32", "mag", "injected AB magnitude of the star alone, reddened"),
}
"""Further fields of the mock configs: what was put in."""

INPUT_FIELDS: dict[str, Field] = {
    "input_row": Field((), "int64", "", "row of the star in the user's table, from 0"),
    "own_parallax": Field((), "int32", "", "1: parallax and parallax_error are the user's own; 0: Gaia's, or none"),
}
"""Further fields of the configs of a user's table."""
