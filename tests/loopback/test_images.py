"""Cutouts and SIAP lists, read with astropy alone."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.wcs import WCS
from PIL import Image

REAL_ANSWER = Path(__file__).parents[1] / "data" / "skymapper_dr2_siap_response.xml"
SIZE_DEG = 0.0083


def url_of(server, detection, ra, dec, format="fits", size=SIZE_DEG):
    name = f"{detection.image_id}-{detection.ccd:02d}"
    return f"{server.cutout_url}/get_image?IMAGE={name}&SIZE={size}&POS={ra},{dec}&FORMAT={format}"


def position_of(archive, object_id):
    row = archive.table("gaia", [object_id])[0]
    return float(row["ra"]), float(row["dec"])


def near_the_edge(archive, x):
    """A detection of a star near its CCD's first column, and the position at column `x` in the star's row."""
    photometry = archive.table("dr4.photometry")
    row = photometry[np.argmin(photometry["x_img"])]
    assert 20 < row["x_img"] < 40
    detections = archive.detections(row["object_id"])
    detection = next(d for d in detections if (d.image_id, d.ccd) == (row["image_id"], row["ccd"]))
    ra, dec = position_of(archive, row["object_id"])
    wcs = WCS(fits.Header.fromstring(archive.cutout(detection, ra, dec, 31).image))
    star = wcs.wcs_world2pix(ra, dec, 1)
    there = wcs.wcs_pix2world(star[0] + x - row["x_img"], star[1], 1)
    return detection, float(there[0]), float(there[1])


@pytest.fixture
def star(archive):
    """A star far from all edges: its position and a bright detection."""
    object_id = archive.table("dr4.master")["object_id"][7]
    detection = next(d for d in archive.detections(object_id) if d.filter == "r" and d.use_in_clipped)
    return *position_of(archive, object_id), detection


def test_a_cutout_is_the_mock_skys_with_its_mask(archive, server, http, star):
    ra, dec, detection = star
    n = math.floor(SIZE_DEG * 3600 / 0.497) + 2
    cutout = archive.cutout(detection, ra, dec, n)
    image, mask = (http.get(url_of(server, detection, ra, dec, kind)) for kind in ("fits", "mask"))
    assert image.headers["Content-Type"] == mask.headers["Content-Type"] == "image/fits"
    assert (image.content, mask.content) == (cutout.image, cutout.mask)
    with fits.open(io.BytesIO(image.content)) as hdus:
        header, counts = hdus[0].header, hdus[0].data
    assert counts.shape == (n, n) == (62, 62)
    # The star is where the header says that it is.
    x, y = WCS(header).wcs_world2pix(ra, dec, 0)
    good = fits.getdata(io.BytesIO(mask.content)) == 0
    row, column = np.unravel_index(np.argmax(counts * good), counts.shape)
    assert math.hypot(row - y, column - x) < 2


def test_two_sizes_are_width_and_height(server, http, star):
    ra, dec, detection = star
    square = http.get(url_of(server, detection, ra, dec)).content
    wide = http.get(url_of(server, detection, ra, dec, size=f"{SIZE_DEG},{SIZE_DEG / 2}")).content
    with fits.open(io.BytesIO(square)) as one, fits.open(io.BytesIO(wide)) as two:
        assert two[0].data.shape == (32, 62)
        np.testing.assert_array_equal(two[0].data, one[0].data[15:47])
        pixel = WCS(one[0].header).wcs_pix2world(30, 20, 0)
        np.testing.assert_allclose(WCS(two[0].header).wcs_pix2world(30, 5, 0), pixel, rtol=0, atol=1e-10)


def test_a_png_is_an_image(server, http, star):
    ra, dec, detection = star
    answer = http.get(url_of(server, detection, ra, dec, "png"))
    assert answer.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (62, 62)


def test_a_cutout_ends_where_the_ccd_ends(archive, server, http):
    detection, ra, dec = near_the_edge(archive, x=10)
    header = fits.Header.fromstring(http.get(url_of(server, detection, ra, dec)).content)
    assert 36 <= header["NAXIS1"] <= 42
    assert header["NAXIS2"] == 62
    # The first pixel is the CCD's first: a position lies on the same column of both.
    assert WCS(header).wcs_world2pix(ra, dec, 1)[0] == pytest.approx(10, abs=0.01)


def test_off_the_ccd_there_is_nothing(archive, server, http):
    on, off = (near_the_edge(archive, x) for x in (8, -8))
    assert http.get(url_of(server, *on, size=0.0014)).status_code == 200
    assert http.get(url_of(server, *off, size=0.0014)).status_code == 404
    detection, ra, dec = on
    assert http.get(url_of(server, detection, ra, dec + 3)).status_code == 404


def test_an_unknown_frame_is_not_found(server, http, star):
    ra, dec, _ = star
    answer = http.get(f"{server.cutout_url}/get_image?IMAGE=20140101000000-01&SIZE=0.008&POS={ra},{dec}&FORMAT=fits")
    assert answer.status_code == 404
    assert "20140101000000-01" in answer.text


@pytest.mark.parametrize("wrong", ["SIZE=0.171", "SIZE=-1", "POS=400,0", "POS=3", "POS=nan,0", "FORMAT=gif", "IMAGE="])
def test_nonsense_is_refused(server, http, wrong):
    params = {"IMAGE": "20140101000000-01", "SIZE": "0.008", "POS": "10,-10", "FORMAT": "fits"}
    params |= dict([wrong.split("=")])
    assert http.get(f"{server.cutout_url}/get_image", params=params).status_code == 400


def siap(server, http, ra, dec, **params):
    params = {"POS": f"{ra},{dec}", "SIZE": str(SIZE_DEG), "FORMAT": "all", "INTERSECT": "COVERS", "VERB": "3"} | params
    answer = http.get(f"{server.cutout_url}/query", params=params | {"RESPONSEFORMAT": "VOTABLE"})
    assert answer.status_code == 200
    return answer.content


# The service's own unit "mjd" and its VOTable 1.2 are no unit and not the newest version to astropy.
@pytest.mark.filterwarnings("ignore::astropy.io.votable.exceptions.VOWarning", "ignore::astropy.units.UnitsWarning")
class TestSiap:
    def test_fields_are_those_of_a_real_answer(self, server, http, star):
        mine = parse(io.BytesIO(siap(server, http, *star[:2]))).get_first_table()
        real = parse(REAL_ANSWER).get_first_table()

        def described(table):
            return [(f.name, f.datatype, f.arraysize, str(f.unit), f.ucd) for f in table.fields]

        assert described(mine) == described(real)

    def test_every_frame_that_covers_the_star_is_listed_twice(self, archive, server, http, star):
        ra, dec, detection = star
        table = parse(io.BytesIO(siap(server, http, ra, dec))).get_first_table().to_table()
        shape = (62, 62)
        whole = set()
        for d in archive.detections(detection.object_id):
            if fits.getdata(io.BytesIO(archive.cutout(d, ra, dec, 62).image)).shape == shape:
                whole.add(f"{d.image_id}-{d.ccd:02d}")
        assert len(table) == 2 * len(whole) > 10
        for kind in ("image/fits", "image/png"):
            assert set(table["unique_image_id"][table["format"] == kind]) == whole

    def test_a_rows_links_serve_what_the_row_says(self, archive, server, http, star):
        ra, dec, detection = star
        content = siap(server, http, ra, dec, BAND="r,z", FORMAT="image/fits")
        table = parse(io.BytesIO(content)).get_first_table().to_table()
        detections = {f"{d.image_id}-{d.ccd:02d}": d for d in archive.detections(detection.object_id)}
        assert set(table["band"]) == {"r", "z"}
        for row in table:
            assert row["get_image"] == row["get_fits"]
            header = fits.Header.fromstring(http.get(row["get_fits"]).content)
            assert fits.Header.fromstring(http.get(row["get_mask"]).content)["BITPIX"] == 8
            assert row["naxis"].tolist() == [header["NAXIS1"], header["NAXIS2"]]
            np.testing.assert_allclose(row["crpix"], [header["CRPIX1"], header["CRPIX2"]], rtol=1e-6)
            np.testing.assert_allclose(row["crval"], [header["CRVAL1"], header["CRVAL2"]], atol=1e-5)
            cd = [header[key] for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
            np.testing.assert_allclose(row["cdmatrix"], cd, rtol=1e-5)
            centre = WCS(header).wcs_pix2world(31.5, 31.5, 1)
            np.testing.assert_allclose([row["ra_cntr"], row["dec_cntr"]], centre, atol=1e-5)
            seen = detections[row["unique_image_id"]]
            assert row["image_type"] == {"ms": "main", "fs": "short"}[seen.image_type]
            assert abs(row["zpapprox"] - seen.zpapprox) < 1e-3
            assert abs(row["mjd_obs"] - seen.date) < 1e-5

    def test_covers_leaves_out_clipped_frames_and_overlaps_does_not(self, archive, server, http):
        detection, ra, dec = near_the_edge(archive, x=10)
        name = f"{detection.image_id}-{detection.ccd:02d}"
        listed = {
            overlap: set(parse(io.BytesIO(siap(server, http, ra, dec, INTERSECT=overlap))).get_first_table().array[
                "unique_image_id"
            ])
            for overlap in ("COVERS", "CENTER", "OVERLAPS")
        }  # fmt: skip
        assert name not in listed["COVERS"]
        assert name in listed["CENTER"]
        assert name in listed["OVERLAPS"]

    def test_where_nothing_was_observed_the_list_is_empty(self, server, http):
        assert len(parse(io.BytesIO(siap(server, http, 0.0, 89.9))).get_first_table().array) == 0


def test_siap_refuses_large_areas(server, http):
    params = {"POS": "10,-10", "SIZE": "0.18", "FORMAT": "all"}
    assert http.get(f"{server.cutout_url}/query", params=params).status_code == 400
