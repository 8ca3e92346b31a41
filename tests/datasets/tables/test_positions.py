import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.surveys.table_stars import read_table_stars
from datasets.tables.local import TableError
from datasets.tables.positions import position_columns, positions

LON, LAT = [10.5, 187.25, 359.999], [-89.5, -30.25, 12.125]


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("ra", "dec"), ("ra", "dec")),
        (("RA", "DEC"), ("RA", "DEC")),
        (("RAJ2000", "DEJ2000"), ("RAJ2000", "DEJ2000")),
        (("ra_dr2", "dec_dr2"), ("ra_dr2", "dec_dr2")),
        (("raj2000", "dej2000", "ra", "dec", "x"), ("ra", "dec")),
        (("ra", "dej2000"), None),
        (("RA_deg", "DEC_deg"), ("RA_deg", "DEC_deg")),
    ],
)
def test_the_columns_of_positions(names, taken):
    assert position_columns(names) == taken
    table = Table({name: [100.0 + i] if name.lower().startswith("ra") else [i] for i, name in enumerate(names)})
    if taken is None:
        with pytest.raises(TableError, match=r"no columns ra and dec .*it has ra, dej2000"):
            positions(table)
    else:
        ra_deg, dec_deg, _ = positions(table)
        assert (ra_deg[0], dec_deg[0]) == (table[taken[0]][0], table[taken[1]][0])
        assert ra_deg.dtype == dec_deg.dtype == np.float64


def test_positions_are_converted_from_their_unit():
    ra_deg, dec_deg, _ = positions(Table({"ra": [1.5] * u.hourangle, "dec": [-0.5] * u.rad}))
    np.testing.assert_allclose([ra_deg[0], dec_deg[0]], [22.5, np.degrees(-0.5)])
    assert positions(Table({"ra": [1.5] * u.deg, "dec": [5.0] * u.deg}))[0].tolist() == [1.5]


def test_right_ascensions_that_may_be_hours_are_refused_and_can_be_declared():
    hours = {"ra": [1.5, 23.9], "dec": [-10.0, -60.0]}
    with pytest.raises(TableError, match=r"column ra has no unit and nothing above 23.9 \(row 1\): these may be hours"):
        positions(Table(hours))
    assert positions(Table({f"{name}_deg": values for name, values in hours.items()}))[0].tolist() == [1.5, 23.9]
    assert positions(Table(hours | {"ra": [1.5, 24.1]}))[0].tolist() == [1.5, 24.1]
    assert len(positions(Table({"ra": np.zeros(0), "dec": np.zeros(0)}))[0]) == 0


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ([100.0, 361.0], [0.0, 0.0]),
        ([100.0, -1.0], [0.0, 0.0]),
        ([100.0, 99.0], [0.0, -90.1]),
        (np.ma.array([100.0, 1.0], mask=[0, 1]), [0.0, 0.0]),
        ([100.0, 1.0], [0.0, np.nan]),
    ],
)
def test_a_row_off_the_sky_has_no_position_and_spoils_no_other(ra, dec):
    ra_deg, dec_deg, faults = positions(Table({"ra": ra, "dec": dec}))
    assert list(faults) == [1]
    np.testing.assert_array_equal(ra_deg, [100.0, np.nan])
    np.testing.assert_array_equal(dec_deg, [0.0, np.nan])


@pytest.mark.parametrize(
    ("ra", "dec", "message"),
    [
        ([1e5, 1e6], [0.0, 0.0], r"no row of columns ra and dec is a position .* the first is \(100000, 0\)"),
        (["abc", "13 h"], [0.0, 0.0], "column ra is abc in row 0: not a number"),
        ([1.0, 2.0] * u.h, [0.0, 0.0], "column ra has the unit h, not that of an angle"),
        ([1.0, 2.0] * u.K, [0.0, 0.0], "column ra has the unit K, not that of an angle"),
    ],
)
def test_columns_that_are_no_positions_are_refused(ra, dec, message):
    with pytest.raises(TableError, match=message):
        positions(Table({"ra": ra, "dec": dec}))


@settings(max_examples=50, deadline=None)
@given(
    ra_deg=st.floats(0, 359.999),
    dec_deg=st.floats(-89.999, 89.999),
    sep=st.sampled_from([":", " ", "hms"]),
)
def test_sexagesimal_texts_are_what_astropy_wrote(ra_deg, dec_deg, sep):
    at = SkyCoord(ra_deg * u.deg, dec_deg * u.deg)
    ra = at.ra.to_string(u.hourangle, sep=sep, precision=6)
    dec = at.dec.to_string(u.deg, sep="dms" if sep == "hms" else sep, precision=5, alwayssign=True)
    found = positions(Table({"ra": [ra, ra], "dec": [dec, dec]}))
    assert at.separation(SkyCoord(found[0][0] * u.deg, found[1][0] * u.deg)).arcsec < 1e-4
    assert not found[2]


def test_degrees_in_sexagesimal_are_declared_by_their_unit():
    table = Table({"ra": ["120:30:00"], "dec": ["-00:30:00"]}, units={"ra": "deg"})
    assert [values[0] for values in positions(table)[:2]] == [120.5, -0.5]


def test_a_sexagesimal_cell_among_numbers_is_a_fault_of_its_row():
    ra_deg, _, faults = positions(Table({"ra": ["120.5", "12:00:00", "x", ""], "dec": [1.0] * 4}))
    np.testing.assert_array_equal(ra_deg, [120.5, np.nan, np.nan, np.nan])
    assert faults[1] == "ra is not a number ('12:00:00')"
    assert faults[2] == "ra is not a number ('x')"
    assert faults[3] == "the table has no position for it"


def _same_as(found, there):
    expected = there.icrs
    assert SkyCoord(found[0] * u.deg, found[1] * u.deg).separation(expected).arcsec.max() < 1e-6


@pytest.mark.parametrize("names", [("l", "b"), ("GLON", "GLAT"), ("glon", "glat")])
@pytest.mark.parametrize("unit", [None, "deg", "rad"])
def test_galactic_positions_go_to_icrs(names, unit):
    there = SkyCoord(LON * u.deg, LAT * u.deg, frame="galactic")
    of_unit = 1 if unit in (None, "deg") else np.pi / 180
    units = dict.fromkeys(names, unit) if unit else None
    table = Table(dict(zip(names, (np.array(LON) * of_unit, np.array(LAT) * of_unit), strict=True)), units=units)
    _same_as(positions(table), there)


def test_galactic_longitudes_may_be_negative_and_small_ones_are_no_hours():
    table = Table({"l": [-10.0, 3.0], "b": [0.0, 1.0]})
    _same_as(positions(table), SkyCoord([350, 3] * u.deg, [0, 1] * u.deg, frame="galactic"))


@pytest.mark.parametrize(
    ("cards", "frame", "equinox"),
    [
        ({}, "icrs", None),
        ({"RADESYS": "ICRS"}, "icrs", None),
        ({"RADESYS": "FK5"}, "fk5", "J2000"),
        ({"RADESYS": "FK5", "EQUINOX": 1975.0}, "fk5", "J1975"),
        ({"EQUINOX": 2000.0}, "fk5", "J2000"),
        ({"EQUINOX": 1950.0}, "fk4", "B1950"),
        ({"RADESYS": "FK4"}, "fk4", "B1950"),
        ({"RADESYS": "FK4-NO-E", "EQUINOX": 1950.0}, "fk4noeterms", "B1950"),
    ],
)
def test_a_fits_header_states_the_frame(cards, frame, equinox, tmp_path):
    there = SkyCoord(LON * u.deg, LAT * u.deg, frame=frame, **({"equinox": equinox} if equinox else {}))
    hdu = fits.BinTableHDU(Table({"ra": LON, "dec": LAT}))
    hdu.header.update(cards)
    hdu.writeto(tmp_path / "t.fits")
    stars = read_table_stars(tmp_path / "t.fits")
    _same_as((stars.ra_deg, stars.dec_deg), there)


def _votable(tmp_path, coosys, ref='ref="sys"', names=("ra", "dec")):
    path = tmp_path / "t.vot"
    rows = "".join(f"<TR><TD>{lon}</TD><TD>{lat}</TD></TR>" for lon, lat in zip(LON, LAT, strict=True))
    fields = "".join(f'<FIELD name="{name}" datatype="double" unit="deg" {ref}/>' for name in names)
    path.write_text(
        '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f"{coosys}<TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    return path


@pytest.mark.parametrize("ref", ['ref="sys"', ""])
@pytest.mark.parametrize(
    ("stated", "frame"),
    [
        ('system="ICRS"', {"frame": "icrs"}),
        ('system="eq_FK5" equinox="J2000"', {"frame": "fk5"}),
        ('system="FK4" equinox="B1950"', {"frame": "fk4"}),
        ('system="galactic"', {"frame": "galactic"}),
        ('system="supergalactic"', {"frame": "supergalactic"}),
        ('system="ecl_FK5"', {"frame": "barycentricmeanecliptic"}),
    ],
)
def test_a_votable_states_the_frame(stated, frame, ref, tmp_path):
    stars = read_table_stars(_votable(tmp_path, f'<COOSYS ID="sys" {stated}/>', ref))
    _same_as((stars.ra_deg, stars.dec_deg), SkyCoord(LON * u.deg, LAT * u.deg, **frame))


def test_what_the_columns_refer_to_counts_among_several_systems(tmp_path):
    two = '<COOSYS ID="other" system="FK4"/><COOSYS ID="sys" system="ICRS" epoch="J2016.0"/>'
    assert read_table_stars(_votable(tmp_path, two)).ra_deg.tolist() == LON
    with pytest.raises(TableError, match="states several frames for ra and dec"):
        read_table_stars(_votable(tmp_path, two, ref=""))


@pytest.mark.parametrize("system", ["geo_app", "barycentric", "xy"])
def test_an_unknown_frame_is_a_sentence(system, tmp_path):
    with pytest.raises(TableError, match=rf"in the frame '{system}', which is none of ICRS, FK5"):
        read_table_stars(_votable(tmp_path, f'<COOSYS ID="sys" system="{system}"/>'))


def test_frame_and_unit_come_through_ecsv_and_parquet(tmp_path):
    table = Table({"ra": np.radians(LON), "dec": np.radians(LAT)}, units={"ra": "rad", "dec": "rad"})
    table.meta["RADESYS"] = "FK5"
    table.write(tmp_path / "t.ecsv")
    there = SkyCoord(LON * u.deg, LAT * u.deg, frame="fk5")
    stars = read_table_stars(tmp_path / "t.ecsv")
    _same_as((stars.ra_deg, stars.dec_deg), there)
    table.write(tmp_path / "t.parquet", format="parquet.votable", metadata={n: {"unit": "rad"} for n in ("ra", "dec")})
    stars = read_table_stars(tmp_path / "t.parquet")
    _same_as((stars.ra_deg, stars.dec_deg), SkyCoord(LON * u.deg, LAT * u.deg))
