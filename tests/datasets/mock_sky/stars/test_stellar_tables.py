"""Colours against the values of an independent evaluation of the published tables and of the solar spectrum."""

import hashlib
import re

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from datasets.mock_sky.stars.stellar_tables import DATA, PASSBANDS, bolometric_corrections, isochrones


def magnitudes(teff, logg, fe_h, mbol=4.74):
    arguments = (np.array([float(value)]) for value in (mbol, teff, logg, fe_h))
    return dict(zip(PASSBANDS, bolometric_corrections().absolute_magnitudes(*arguments)[0], strict=True))


def colour(first, second, *star):
    m = magnitudes(*star)
    return m[first] - m[second]


@pytest.mark.parametrize(
    ("bands", "from_tables", "from_solar_spectrum"),
    [("ug", 1.473, 1.500), ("vg", 1.118, 1.122), ("gr", 0.278, 0.293), ("gi", 0.405, 0.428), ("iz", 0.006, 0.007)],
)
def test_colours_of_the_sun(bands, from_tables, from_solar_spectrum):
    sun = colour(*bands, 5772, 4.44, 0)
    assert sun == pytest.approx(from_tables, abs=0.001)
    assert sun == pytest.approx(from_solar_spectrum, abs=0.03)


def test_absolute_magnitude_of_the_sun():
    assert magnitudes(5772, 4.44, 0)["g"] == pytest.approx(4.917, abs=0.001)


@pytest.mark.parametrize(("fe_h", "expected"), [(0, 2.068), (-1, 1.513), (-2, 1.229)])
def test_v_minus_g_of_a_giant_follows_metallicity(fe_h, expected):
    assert colour("v", "g", 4800, 1.8, fe_h) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(("teff", "logg", "fe_h", "expected"), [(4800, 2.5, -0.25, 0.287), (6300, 4.0, -2.0, 0.024)])
def test_metallicity_gradient_of_v_minus_g(teff, logg, fe_h, expected):
    # The gradient about a star, [Fe/H] +- 0.25 dex.
    change = colour("v", "g", teff, logg, fe_h + 0.25) - colour("v", "g", teff, logg, fe_h - 0.25)
    assert change == pytest.approx(expected, abs=0.002)


def test_u_band_tells_gravity_in_warm_stars():
    # The Balmer jump: at 6500 K u - g reddens by a tenth and more towards giants; g - i hardly moves.
    u_g = colour("u", "g", 6500, 3.0, -0.25) - colour("u", "g", 6500, 4.5, -0.25)
    g_i = colour("g", "i", 6500, 3.0, -0.25) - colour("g", "i", 6500, 4.5, -0.25)
    assert u_g > 0.1
    assert abs(g_i) < 0.2 * u_g


def test_corrections_agree_with_scipys_interpolation():
    tables, rng = bolometric_corrections(), np.random.default_rng(0)
    points = [rng.uniform(axis[0], axis[-1], 200) for axis in tables.axes]
    expected = RegularGridInterpolator(tables.axes, tables.correction)(np.stack(points, axis=1))
    np.testing.assert_allclose(-tables.absolute_magnitudes(np.zeros(200), *points), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(
        tables.absolute_v(np.zeros(200), *points), tables.absolute_magnitudes(np.zeros(200), *points)[:, -1]
    )


def test_isochrones_return_their_own_rows_at_grid_points():
    with np.load(DATA / "mist_isochrones_compact.npz") as file:
        table, columns = file["table"].astype(float), list(file["columns"])
    complete = table[table[:, columns.index("eep")] > 325]  # below, some isochrones begin
    rows = complete[np.random.default_rng(0).integers(len(complete), size=300)]
    row = dict(zip(columns, rows.T, strict=True))
    star = isochrones().star(row["feh"], row["log_age"].round(4), row["eep"])
    np.testing.assert_allclose(star["mass"], row["star_mass"], rtol=1e-9)
    np.testing.assert_allclose(star["teff"], 10 ** row["log_Teff"], rtol=1e-9)
    np.testing.assert_allclose(star["logg"], row["log_g"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(star["mbol"], 4.74 - 2.5 * row["log_L"], rtol=0, atol=1e-9)


def test_a_star_between_grid_points_is_a_star():
    """The surface gravity of interpolated stars obeys log g = log M + 4 log Teff + 0.4 Mbol - 12.503."""
    rng = np.random.default_rng(1)
    feh, log_age, eep = rng.uniform(-1.5, 0.5, 500), rng.uniform(9.0, 10.1, 500), rng.uniform(330, 800, 500)
    star = isochrones().star(feh, log_age, eep)
    identity = np.log10(star["mass"]) + 4 * np.log10(star["teff"]) + 0.4 * star["mbol"] - 12.503
    assert np.abs(identity - star["logg"]).max() < 0.01
    assert np.abs(np.mean(identity - star["logg"])) < 0.002


def test_files_are_those_whose_origin_is_told():
    told = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", (DATA / "PROVENANCE.md").read_text(), re.MULTILINE))
    by_name = {name: digest for digest, name in told.items()}
    files = sorted(path.name for path in DATA.glob("*.npz"))
    assert len(files) == 2
    for name in files:
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == by_name[name]
