"""What the archives' tables say of a block of stars: their own columns, with errors, flags and NULLs."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.table import Column, MaskedColumn, Table

from datasets.mock_sky.randomness import Draws
from datasets.mock_sky.sky import SkyBlock
from datasets.mock_sky.stars.neighbours import contaminating_flux, nearest_catalogued
from datasets.mock_sky.wcs import frame_wcs
from datasets.skymapper import BANDS

MASTER_FLOOR = np.array([0.005, 0.005, 0.0055, 0.0055, 0.004, 0.0045])
"""The part of a mean magnitude's error that more detections do not lessen, mag."""
SFD_ERROR = 0.06
POSITION_ERROR_ARCSEC = 0.06


def _table(columns: dict[str, tuple]) -> Table:
    """A table of name -> (values, unit); masked and NaN values are NULL, in masked columns."""
    return Table([_column(name, values, unit) for name, (values, unit) in columns.items()], copy=False)


def _column(name: str, values, unit) -> Column:
    null = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
    if null is None and np.asarray(values).dtype.kind == "f" and np.isnan(values).any():
        null = np.isnan(values)
    if null is None:
        return Column(np.array(values), name, unit=unit)
    return MaskedColumn(np.ma.getdata(values), name, mask=null, unit=unit)


def master(block: SkyBlock) -> Table:
    """dr4.master: one row per star, the mean of its good detections per band."""
    stars, draws = block.stars, Draws(block.seed, "master", block.index)
    n = len(stars)
    ra, dec, offset = master_positions(draws, stars["ra"], stars["dec"])
    near_id, near_dist = nearest_catalogued(stars, block.neighbours)
    gaia_id, gaia_dist = _gaia_match(draws, stars, 3600 * np.hypot(*offset))
    mean = _mean_photometry(block)
    mean["mag"] += MASTER_FLOOR * draws.normal(size=(n, 6))
    ebv = stars["ebv_column"] * (1 + draws.normal(0.0, SFD_ERROR, n)) + draws.normal(0.0, 0.002, n)
    columns = {
        "object_id": (stars["object_id"], None),
        "smss_j": (_designations(ra, dec), None),
        "raj2000": (ra, u.deg),
        "dej2000": (dec, u.deg),
        "glon": (stars["glon"], u.deg),
        "glat": (stars["glat"], u.deg),
        "flags": (np.bitwise_or.reduce(mean["flags"], axis=1), None),
        "nimaflags": (mean["nimaflags"].sum(axis=1), None),
        "flags_psf": (((mean["chi2"] > 8) << np.arange(6)).sum(axis=1), None),
        "ngood": (mean["ngood"].sum(axis=1), None),
        "class_star": (_class_star(draws, mean["foreign"][:, 3]), None),
        "chi2_psf": (np.nanmax(np.where(mean["ngood"] > 0, mean["chi2"], 0.0), axis=1), None),
        "mean_epoch": (mean["epoch"], u.day),
        "self_id1": (np.ma.array(near_id, mask=near_id < 0), None),
        "self_dist1": (near_dist, u.arcsec),
        "gaia_dr3_id1": (gaia_id, None),
        "gaia_dr3_dist1": (gaia_dist, u.arcsec),
        "ebmv_sfd": (np.maximum(ebv, 0.003), u.mag),
        "ebmv_gnilc": (np.maximum(0.86 * ebv * (1 + draws.normal(0.0, 0.08, n)), 0.002), u.mag),
    }
    for number, band in enumerate(BANDS):
        petro_error = 2.5 * mean["error"][:, number]
        petro = mean["mag"][:, number] + draws.normal(-0.005, 1.0, n) * petro_error
        columns |= {
            f"{band}_flags": (mean["flags"][:, number], None),
            f"{band}_ngood": (mean["ngood"][:, number], None),
            f"{band}_psf": (mean["mag"][:, number], u.mag),
            f"e_{band}_psf": (mean["error"][:, number], u.mag),
            f"{band}_petro": (petro, u.mag),
            f"e_{band}_petro": (petro_error, u.mag),
        }
    return _table(columns)


def master_positions(
    draws: Draws, ra_deg: np.ndarray, dec_deg: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What SkyMapper measures, in deg: right ascensions, declinations, and (2, n) how far off they are.

    The first that is drawn of a block's `master` stream, so that positions can be had without all else.

    Args:
        draws: the stream `master` of the block, at its beginning.
        ra_deg: (n,) true right ascensions.
        dec_deg: (n,) true declinations.

    Returns:
        (n,), (n,) and (2, n), in deg.
    """
    offset = POSITION_ERROR_ARCSEC / 3600 * draws.normal(size=(2, len(ra_deg)))
    return (ra_deg + offset[0] / np.cos(np.radians(dec_deg))) % 360.0, dec_deg + offset[1], offset


def _mean_photometry(block: SkyBlock) -> dict[str, np.ndarray]:
    """Means over the detections with use_in_clipped = 1, each (n, 6); NaN where a band has none."""
    n = len(block.stars)
    used = block.exposures[block.exposures["use_in_clipped"] == 1]
    row = used["star"] - block.stars["star"][0]
    key = row * 6 + used["band"]

    def total(values):
        return np.bincount(key, values, minlength=6 * n).reshape(n, 6)

    weight = used["e_mag_psf"] ** -2.0
    weights, count = total(weight), total(None)
    flags = np.zeros((n, 6), dtype=np.int32)
    np.bitwise_or.at(flags, (row, used["band"]), used["flags"])
    foreign = contaminating_flux(block.stars, block.neighbours, row, used["fwhm"], used["band"])
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mag": total(weight * used["mag_psf"]) / weights,
            "error": np.where(count > 0, np.hypot(weights**-0.5, MASTER_FLOOR), np.nan),
            "chi2": total(used["chi2_psf"]) / count,
            "foreign": np.nan_to_num(total(foreign) / count),
            "epoch": total(used["date"]).sum(axis=1) / count.sum(axis=1),
            "ngood": count.astype(np.int32),
            "nimaflags": total(used["nimaflags"]).astype(np.int32),
            "flags": flags,
        }


def _class_star(draws: Draws, foreign: np.ndarray) -> np.ndarray:
    """SExtractor's star/galaxy index: near 1, lower for blends, low for a few that only look extended."""
    index = 0.995 - 0.04 * np.abs(draws.normal(size=len(foreign))) - 1.5 * foreign
    extended = draws.happens(0.03, len(foreign))
    return np.clip(np.where(extended, draws.uniform(0.02, 0.7, len(foreign)), index), 0.0, 1.0)


def _gaia_match(draws: Draws, stars: np.ndarray, separation_arcsec: np.ndarray):
    """Gaia's nearest source: mostly the star itself; a few have another source or none."""
    n = len(stars)
    wrong, none = draws.happens(0.006, n), draws.happens(0.002, n)
    source_id = np.ma.array(np.where(wrong, stars["source_id"] + 64, stars["source_id"]), mask=none)
    distance = np.where(wrong, draws.uniform(1.0, 14.0, n), separation_arcsec)
    return source_id, np.where(none, np.nan, distance)


def _sexagesimal(ra_deg: np.ndarray, dec_deg: np.ndarray) -> list[tuple]:
    """(h, m, s, sign, d, m, s) of each position, seconds as floats."""
    hours, arc = ra_deg / 15.0, np.abs(dec_deg)
    parts = (hours // 1, hours * 60 % 60 // 1, hours * 3600 % 60, arc // 1, arc * 60 % 60 // 1, arc * 3600 % 60)
    sign = np.where(dec_deg < 0, "-", "+")
    return [(int(a), int(b), c, s, int(d), int(e), f) for a, b, c, d, e, f, s in zip(*parts, sign, strict=True)]


def _designations(ra_deg: np.ndarray, dec_deg: np.ndarray) -> list[str]:
    """SMSS J names; digits cut off, not rounded, as the IAU asks."""
    return [
        f"SMSS J{a:02d}{b:02d}{int(c * 100) / 100:05.2f}{s}{d:02d}{e:02d}{int(f * 10) / 10:04.1f}"
        for a, b, c, s, d, e, f in _sexagesimal(ra_deg, dec_deg)
    ]


def photometry(block: SkyBlock) -> Table:
    """dr4.photometry: one row per detection."""
    e, draws = block.exposures, Draws(block.seed, "photometry", block.index)
    star = block.stars[e["star"] - block.stars["star"][0]]
    offset = 0.1 / 3600 * draws.normal(size=(2, len(e)))
    names = ("object_id", "image_id", "ccd", "filter", "x_img", "y_img", "flags", "nimaflags", "use_in_clipped")
    columns = {name: (e[name], u.pix if name in ("x_img", "y_img") else None) for name in names}
    columns |= {
        "ra_img": ((star["ra"] + offset[0] / np.cos(np.radians(star["dec"]))) % 360.0, u.deg),
        "decl_img": (star["dec"] + offset[1], u.deg),
        "img_qual": (e["img_qual"], None),
        "mag_psf": (e["mag_psf"], u.mag),
        "e_mag_psf": (e["e_mag_psf"], u.mag),
        "chi2_psf": (e["chi2_psf"], None),
    }
    return _table(columns)


def images(block: SkyBlock) -> Table:
    """dr4.images: one row per exposure. In the mock every exposure was made for one star alone."""
    e = block.exposures
    star = block.stars[e["star"] - block.stars["star"][0]]
    pointing = frame_wcs(star["ra"], star["dec"], e["x_img"], e["y_img"], e["ccd"], e["rotator_pos"]).crval
    units = {"exp_time": u.s, "rotator_pos": u.deg, "fwhm": u.arcsec, "zpapprox": u.mag, "date": u.day}
    names = ("image_id", "date", "exp_time", "airmass", "filter", "rotator_pos", "image_type", "fwhm", "elong",
             "background", "zpapprox")  # fmt: skip
    columns = {name: (e[name], units.get(name)) for name in names}
    columns |= {
        "night_mjd": (np.floor(e["date"]).astype(np.int32), u.day),
        "ra": (pointing[:, 0] % 360.0, u.deg),
        "decl": (pointing[:, 1], u.deg),
        "field_id": ((10_000 + (90 + star["dec"]) // 2 * 100 + star["ra"] // 4).astype(np.int32), None),
        "object": (np.where(e["image_type"] == "ms", "Main Survey", "Short Survey"), None),
    }
    return _table(columns)


def gaia(block: SkyBlock) -> Table:
    """Gaia EDR3 gaia_source rows of the stars."""
    stars, draws = block.stars, Draws(block.seed, "gaia", block.index)
    n = len(stars)
    g = stars["phot_g_mean_mag"]
    binary = draws.happens(0.07, n)
    ruwe = np.exp(draws.normal(0.01, 0.05, n)) * np.where(binary, 1.15 + 3.0 * draws.uniform(size=n) ** 3, 1.0)
    error = (0.018 + 0.006 * np.maximum(g - 13.0, 0.0)) * np.exp(draws.normal(0.0, 0.12, n)) * ruwe**1.5
    two_parameters = draws.happens(0.008, n)
    parallax = np.where(two_parameters, np.nan, stars["parallax_mas"] + error * draws.normal(size=n))
    motion = [np.where(two_parameters, np.nan, stars[m] + error * draws.normal(size=n)) for m in ("pmra", "pmdec")]
    bp_rp = stars["phot_bp_mean_mag"] - stars["phot_rp_mean_mag"] + draws.normal(0.0, 0.004, n)
    return _table(
        {
            "source_id": (stars["source_id"], None),
            "ra": (stars["ra"], u.deg),
            "dec": (stars["dec"], u.deg),
            "parallax": (parallax, u.mas),
            "parallax_error": (np.where(two_parameters, np.nan, error).astype(np.float32), u.mas),
            "pmra": (motion[0], u.mas / u.yr),
            "pmdec": (motion[1], u.mas / u.yr),
            "ruwe": (np.where(two_parameters, np.nan, ruwe).astype(np.float32), None),
            "phot_g_mean_mag": ((g + draws.normal(0.0, 0.002, n)).astype(np.float32), u.mag),
            "bp_rp": (np.where(draws.happens(0.002, n), np.nan, bp_rp).astype(np.float32), u.mag),
        }
    )


def galah(block: SkyBlock) -> Table:
    """GALAH DR3 allspec: one row per spectrum, every star with at least one."""
    draws = Draws(block.seed, "galah", block.index)
    stars = block.stars
    n_spectra = 1 + draws.happens(0.11, len(stars)).astype(int) * (1 + draws.happens(0.2, len(stars)))
    row = np.repeat(np.arange(len(stars)), n_spectra)
    visit = np.arange(len(row)) - np.repeat(np.cumsum(n_spectra) - n_spectra, n_spectra)
    star, n = stars[row], len(row)
    snr = 48.0 * 10 ** (-0.15 * (star["v_mag"] - 13.3)) * np.exp(draws.normal(0.0, 0.3, n))
    labels = _labels(draws, stars, row, snr)
    day = 131216 + 10_000 * (draws.uniform(size=n) * 5).astype(np.int64)
    unmatched = draws.happens(0.002, len(stars))[row]
    return _table(
        {
            "sobject_id": (day * 1_000_000_000 + star["star"] * 100 + visit, None),
            "star_id": ([_two_mass_name(*p) for p in _sexagesimal(star["ra"], star["dec"])], None),
            "dr3_source_id": (np.ma.array(star["source_id"], mask=unmatched), None),
            "ra_dr2": (star["ra"], u.deg),
            "dec_dr2": (star["dec"], u.deg),
            "snr_c3_iraf": (snr, None),
            **labels,
        }
    )


def _two_mass_name(a, b, c, s, d, e, f) -> str:
    return f"{a:02d}{b:02d}{int(c * 100):04d}{s}{d:02d}{e:02d}{int(f * 10):03d}"


def _labels(draws: Draws, stars: np.ndarray, row: np.ndarray, snr: np.ndarray) -> dict[str, tuple]:
    """Labels with errors of GALAH's size: a part common to a star's spectra, and a part that falls with the S/N."""
    star, n = stars[row], len(row)
    hot = 1 + np.maximum(star["teff"] - 6500.0, 0.0) / 1500.0
    poor = 1 + 0.4 * np.maximum(-1.0 - star["fe_h"], 0.0)
    noise = 40.0 / snr
    columns = {}
    for name, unit, common, single, quoted, harder in (
        ("teff", u.K, 55.0, 45.0, 1.2, hot),
        ("logg", u.dex, 0.035, 0.035, 3.7, hot),
        ("fe_h", u.dex, 0.055, 0.06, 1.2, hot * poor),
    ):
        error = np.hypot(common, single * noise) * harder
        shared = draws.normal(size=len(stars))[row]
        value = star[name] + harder * (common * shared + single * noise * draws.normal(size=n))
        columns[name] = value, unit
        # GALAH quotes errors larger than its labels' scatter: for log g, which rests on the parallax, much larger.
        columns["e_" + name] = quoted * error * np.exp(draws.normal(0.0, 0.1, n)), unit
    teff = columns["teff"][0]
    outside = (teff < 4000.0) | (teff > 8000.0)
    flag_sp = np.where(draws.happens(0.11, len(stars))[row], draws.pick([1, 2, 8, 32, 64], [4, 1, 2, 6, 1], n), 0)
    flag_sp |= np.where(outside, 512, 0) | np.where(snr < 10.0, 4, 0)
    failed = draws.happens(0.004, n)
    flag_sp |= np.where(failed, 128, 0)
    weak_lines = draws.happens(np.clip(0.02 + 0.06 * (poor - 1) + 0.1 * (hot - 1) + 0.1 * (snr < 20.0), 0, 1), n)
    flag_fe_h = np.where(weak_lines, draws.pick([1, 32], [2, 1], n), 0) | np.where(failed, 32, 0)
    for name in ("teff", "logg", "fe_h"):
        missing = failed | (flag_fe_h >= 32) if name == "fe_h" else failed
        for column in (name, "e_" + name):
            columns[column] = np.where(missing, np.nan, columns[column][0]), columns[column][1]
    return columns | {"flag_sp": (flag_sp, None), "flag_fe_h": (flag_fe_h, None)}


def truth(block: SkyBlock) -> Table:
    """What was put in, under the names of `TRUTH_FIELDS` and a few others."""
    stars = block.stars
    return _table(
        {
            "star": (stars["star"], None),
            "object_id": (stars["object_id"], None),
            "source_id": (stars["source_id"], None),
            "true_teff": (stars["teff"], u.K),
            "true_logg": (stars["logg"], u.dex),
            "true_fe_h": (stars["fe_h"], u.dex),
            "true_parallax": (stars["parallax_mas"], u.mas),
            "true_ebv": (stars["ebv"], u.mag),
            "true_mag": (stars["mag"], u.mag),
            "distance_pc": (stars["distance_pc"], u.pc),
            "mass": (stars["mass"], u.Msun),
            "age_gyr": (stars["age_gyr"], u.Gyr),
            "v_mag": (stars["v_mag"], u.mag),
        }
    )
