import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from datasets.surveys.reddening import MAPS, DustMapError, user_ebv

pytest.importorskip("dustmaps")
pytestmark = pytest.mark.filterwarnings("ignore:Configuration file not found")

SIZE = 256  # of the real map's 4096
NSIDE = 16


def _model(longitude_deg, latitude_deg):
    """A smooth E(B-V) over the Galactic sky, different in every direction."""
    l, b = np.radians(longitude_deg), np.radians(latitude_deg)  # noqa: E741
    return 0.5 + 0.2 * np.sin(b) + 0.1 * np.cos(b) * np.cos(l) + 0.05 * np.cos(b) * np.sin(l)


def _write_sfd(folder):
    """The two hemispheres in Lambert's zenithal projection with the real map's header cards (SFD 1998, appendix C)."""
    folder.mkdir(parents=True)
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    for name, sign in (("ngp", 1), ("sgp", -1)):
        # x = sqrt(1 - n sin b) cos l, y = -n sqrt(1 - n sin b) sin l, scaled so that the equator is at SIZE / 2.
        radius2 = (x**2 + y**2) / (SIZE / 2) ** 2
        latitude = sign * np.degrees(np.arcsin(np.clip(1 - radius2, -1, 1)))
        longitude = np.degrees(np.arctan2(-sign * y, x))
        header = fits.Header()
        header["CTYPE1"], header["CTYPE2"] = "GLON-ZEA", "GLAT-ZEA"
        header["CRPIX1"] = header["CRPIX2"] = (SIZE + 1) / 2
        header["CRVAL1"], header["CRVAL2"] = 90.0, 90.0 * sign
        degree_per_px = np.degrees(np.sqrt(2)) / (SIZE / 2)
        header["CD1_1"], header["CD1_2"] = -degree_per_px, 0.0
        header["CD2_1"], header["CD2_2"] = 0.0, degree_per_px
        header["LONPOLE"] = 180.0
        data = _model(longitude, latitude).astype(np.float32)
        fits.PrimaryHDU(data, header).writeto(folder / f"SFD_dust_4096_{name}.fits")


def _pixel_model():
    from astropy_healpix import HEALPix

    longitude, latitude = HEALPix(NSIDE, order="ring").healpix_to_lonlat(np.arange(12 * NSIDE**2))
    return _model(longitude.deg, latitude.deg).astype(np.float32)


def _sky():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    galactic = SkyCoord(ra * u.deg, dec * u.deg).galactic
    return ra, dec, _model(galactic.l.deg, galactic.b.deg)


def test_sfd_is_read_as_it_is(tmp_path):
    _write_sfd(tmp_path / "sfd")
    ra, dec, truth = _sky()
    ebv = user_ebv("sfd", ra, dec, tmp_path)
    assert ebv.dtype == np.float64
    # Linear interpolation over pixels of 0.6 degrees.
    np.testing.assert_allclose(ebv, truth, atol=2e-3)


def test_csfd_is_read_as_it_is(tmp_path):
    (tmp_path / "csfd").mkdir()
    for name, values in (("csfd_ebv.fits", _pixel_model()), ("mask.fits", np.zeros(12 * NSIDE**2, np.int16))):
        hdu = fits.BinTableHDU(Table({"T": values}), name="xtension")
        hdu.writeto(tmp_path / "csfd" / name)
    ra, dec, truth = _sky()
    # The map has steps of 3.7 degrees.
    np.testing.assert_allclose(user_ebv("csfd", ra, dec, tmp_path), truth, atol=0.02)


def test_planck_becomes_raw_sfd(tmp_path):
    (tmp_path / "planck").mkdir()
    tau = fits.BinTableHDU(Table({"TAU353": _pixel_model() / 1.49e4}))
    tau.header["ORDERING"] = "RING"
    tau.writeto(tmp_path / MAPS["planck_gnilc"].files[0])
    ra, dec, truth = _sky()
    ebv = user_ebv("planck_gnilc", ra, dec, tmp_path)
    np.testing.assert_allclose(0.86 * ebv, truth, atol=0.02)


def test_a_missing_position_has_no_reddening(tmp_path):
    _write_sfd(tmp_path / "sfd")
    ra = np.ma.array([10.0, 20.0, 30.0], mask=[0, 1, 0])
    np.testing.assert_array_equal(np.isnan(user_ebv("sfd", ra, [0.0, 0.0, np.nan], tmp_path)), [False, True, True])
    assert user_ebv("sfd", [], [], tmp_path).shape == (0,)


def test_an_unknown_map_is_refused_with_those_there_are():
    with pytest.raises(DustMapError, match=r"bayestar is not supported; these are: sfd: .*csfd: .*planck_gnilc: "):
        user_ebv("bayestar", [1.0], [1.0])


@pytest.mark.parametrize("name", MAPS)
def test_a_map_that_is_not_there_says_how_to_fetch_it(name, tmp_path, capsys):
    with pytest.raises(DustMapError, match=r"is not there .*: fetch it with: python -c ") as error:
        user_ebv(name, [1.0], [1.0], tmp_path)
    command = str(error.value).split('python -c "')[1].rstrip('"')
    compile(command, "command", "exec")
    assert str(tmp_path) in command
    assert capsys.readouterr().out == ""


def test_a_damaged_map_says_so(tmp_path):
    _write_sfd(tmp_path / "sfd")
    (tmp_path / "sfd" / "SFD_dust_4096_sgp.fits").write_bytes(b"<html>too many requests</html>")
    with pytest.raises(DustMapError, match=r"cannot be read .*delete it and fetch it again"):
        user_ebv("sfd", [1.0], [1.0], tmp_path)


def test_without_the_library_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['dustmaps'] = None\n"
        "from datasets.surveys.reddening import user_ebv, DustMapError\n"
        "try: user_ebv('sfd', [1.0], [1.0])\n"
        "except DustMapError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("pip install dustmaps")


def test_the_fetch_commands_name_functions_that_exist():
    import importlib
    import inspect

    for dust_map in MAPS.values():
        module = importlib.import_module(dust_map.module)
        assert callable(module.fetch)
        assert "which" not in dust_map.fetch or "which" in inspect.signature(module.fetch).parameters
