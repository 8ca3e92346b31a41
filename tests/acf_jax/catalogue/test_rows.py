"""Positions and designations of the catalogue's rows, against astropy and exact arithmetic."""

import re
from fractions import Fraction

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from hypothesis import example, given
from hypothesis import strategies as st

from acf_jax.catalogue.rows import designations, galactic

RA = st.floats(0, 360, exclude_max=True)
DEC = st.floats(-90, 90)
PATTERN = re.compile(r"SMSS J(\d\d)(\d\d)(\d\d\.\d\d)([+-])(\d\d)(\d\d)(\d\d\.\d)")


def one(ra_deg, dec_deg):
    return designations(np.array([ra_deg]), np.array([dec_deg]))[0]


@given(ra_deg=RA, dec_deg=DEC)
@example(ra_deg=0.0, dec_deg=-1e-9)
@example(ra_deg=359.99999999, dec_deg=89.99999999)
@example(ra_deg=15.0, dec_deg=-90.0)
def test_a_designation_is_the_position_with_its_digits_cut_off(ra_deg, dec_deg):
    h, m, s, sign, d, dm, ds = PATTERN.fullmatch(one(ra_deg, dec_deg)).groups()
    assert int(h) < 24
    assert int(m) < 60
    assert float(s) < 60
    assert int(dm) < 60
    assert float(ds) < 60
    ra_cs = Fraction(ra_deg) * 24_000 - Fraction(s) * 100 - int(m) * 6_000 - int(h) * 360_000
    dec_ds = abs(Fraction(dec_deg)) * 36_000 - Fraction(ds) * 10 - int(dm) * 600 - int(d) * 36_000
    # Cut off, not rounded; the allowance is for numbers that are whole in decimal and not in binary.
    assert -1e-4 <= ra_cs < 1 or (one(ra_deg, dec_deg).startswith("SMSS J000000.00") and ra_deg > 359.99)
    assert -1e-4 <= dec_ds < 1
    assert sign == ("-" if dec_deg < 0 else "+")


@given(ra_cs=st.integers(0, 8_639_999), dec_ds=st.integers(-323_999 * 10, 323_999 * 10))
def test_a_position_that_is_whole_in_decimal_keeps_its_digits(ra_cs, dec_ds):
    ra_deg, dec_deg = ra_cs / 24_000, dec_ds / 36_000
    told = Angle(ra_deg, u.deg).to_string(u.hourangle, sep="", precision=2, pad=True)
    told += Angle(dec_deg, u.deg).to_string(u.deg, sep="", precision=1, pad=True, alwayssign=True)
    if dec_ds == 0:
        told = told.replace("-", "+")
    assert one(ra_deg, dec_deg) == f"SMSS J{told}"


def test_designations_of_known_stars():
    # SMSS J031300.36-670839.3 (Keller et al. 2014, Nature 506, 463): 03:13:00.36 -67:08:39.3
    ra_deg, dec_deg = 15 * (3 + 13 / 60 + 0.36 / 3600), -(67 + 8 / 60 + 39.3 / 3600)
    assert one(ra_deg, dec_deg) == "SMSS J031300.36-670839.3"
    assert one(ra_deg + 0.009 / 240, dec_deg - 0.09 / 3600) == "SMSS J031300.36-670839.3"  # cut off, not rounded
    assert one(1.0, -0.0001) == "SMSS J000400.00-000000.3"


def test_no_position_no_designation():
    assert designations(np.array([np.nan, 1.0, np.nan]), np.array([1.0, np.nan, np.nan])).tolist() == ["", "", ""]


@given(ra_deg=RA, dec_deg=DEC)
def test_galactic_positions_are_astropys(ra_deg, dec_deg):
    glon, glat = galactic(np.array([ra_deg]), np.array([dec_deg]))
    found = SkyCoord(glon * u.deg, glat * u.deg, frame="galactic")
    expected = SkyCoord(ra_deg * u.deg, dec_deg * u.deg, frame="icrs")
    assert expected.separation(found)[0].arcsec < 1e-6
    assert 0 <= glon[0] < 360
    assert -90 <= glat[0] <= 90


def test_galactic_poles_and_centre():
    """Defined by the IAU (Blaauw et al. 1960), in ICRS by Reid & Brunthaler (2004) and Murray (1989)."""
    glon, glat = galactic(np.array([192.85948, 266.40508]), np.array([27.12825, -28.93617]))
    assert glat[0] == pytest.approx(90, abs=1e-3)
    assert glat[1] == pytest.approx(0, abs=1e-3)
    assert (glon[1] + 180) % 360 == pytest.approx(180, abs=1e-3)


def test_a_missing_position_has_no_galactic_one():
    glon, glat = galactic(np.array([np.nan, 10.0]), np.array([np.nan, -30.0]))
    assert np.isnan([glon[0], glat[0]]).all()
    assert np.isfinite([glon[1], glat[1]]).all()
