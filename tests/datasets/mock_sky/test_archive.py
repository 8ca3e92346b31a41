"""The mock archive as a client sees it: FITS read by astropy, WCS by wcslib, fluxes by aperture, tables by column."""

import io
from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import local_partial_pixel_derivatives

from datasets.archives.interface import ArchiveError
from datasets.mock_sky.archive import TABLES, MockArchive
from datasets.mock_sky.exposures import CCD_SHAPE, GAIN_E_PER_ADU
from datasets.mock_sky.sky import BLOCK_SIZE, MockSky, object_id_of_star

SIZE = 56


@pytest.fixture(scope="module")
def archive():
    return MockArchive(seed=3, n_stars=BLOCK_SIZE + 40)


@pytest.fixture(scope="module")
def block():
    return MockSky(3).block(0)


@pytest.fixture(scope="module")
def served(archive, block):
    """(exposure, star, detection, image HDU, mask) of every frame of the first 6 stars."""
    frames = []
    for star in block.stars[:6]:
        exposures = block.exposures[block.exposures["star"] == star["star"]]
        for exposure, detection in zip(exposures, archive.detections(star["object_id"]), strict=True):
            cutout = archive.cutout(detection, star["ra"], star["dec"], SIZE)
            frames.append((exposure, star, detection, opened(cutout.image), opened(cutout.mask).data))
    return frames


def opened(content):
    with fits.open(io.BytesIO(content)) as hdus:
        hdus.verify("exception")
        assert len(hdus) == 1
        assert hdus[0].header["BITPIX"] in (8, 16)
        return fits.PrimaryHDU(hdus[0].data.copy(), hdus[0].header.copy())


def star_pixel(hdu, star):
    """0-based (x, y) of the star by its header."""
    return np.array(WCS(hdu.header).all_world2pix(star["ra"], star["dec"], 0))


def test_detections_are_the_rows_of_the_tables(archive, block):
    for star in block.stars[:5]:
        detections = archive.detections(star["object_id"])
        assert [(d.image_id, d.ccd) for d in detections] == sorted((d.image_id, d.ccd) for d in detections)
        photometry = archive.table("dr4.photometry", [star["object_id"]])
        images = {row["image_id"]: row for row in archive.table("dr4.images", [star["object_id"]])}
        assert len(detections) == len(photometry) == len(images) > 5
        rows = {(row["image_id"], row["ccd"]): row for row in photometry}
        for detection in detections:
            row, image = rows[detection.image_id, detection.ccd], images[detection.image_id]
            for name in ("object_id", "filter", "flags", "use_in_clipped", "mag_psf", "e_mag_psf"):
                assert getattr(detection, name) == row[name]
            for name in ("exp_time", "zpapprox", "fwhm", "date", "image_type", "background"):
                assert getattr(detection, name) == image[name]


def test_headers_say_what_the_tables_say(served):
    for exposure, _, detection, hdu, mask in served:
        header = hdu.header
        assert (header["CTYPE1"], header["CTYPE2"]) == ("RA---TPV", "DEC--TPV")
        assert (header["IMAGE_ID"], header["CCD"], header["FILTER"]) == (
            detection.image_id,
            detection.ccd,
            detection.filter,
        )
        assert header["EXPTIME"] == detection.exp_time
        assert header["GAIN"] == 0.75
        assert header["ZPAPPROX"] == pytest.approx(detection.zpapprox, abs=1e-4)
        assert header["QAFWHM"] == pytest.approx(detection.fwhm, abs=1e-4)
        assert header["DATE-OBS"].translate({ord(c): None for c in "-T:"}) == str(detection.image_id)
        assert header["MJD-OBS"] == exposure["date"]
        assert mask.shape == hdu.data.shape
        assert mask.dtype == np.uint8


def test_the_header_puts_the_star_on_its_pixel(served):
    for exposure, star, _, hdu, _ in served:
        crpix = np.array([hdu.header["CRPIX1"], hdu.header["CRPIX2"]])
        corner = np.round(np.array([exposure["x_img"], exposure["y_img"]]) - star_pixel(hdu, star)) - 1
        pixel_on_ccd = star_pixel(hdu, star) + 1 + corner
        np.testing.assert_allclose(pixel_on_ccd, [exposure["x_img"], exposure["y_img"]], atol=1e-3)
        assert np.any(np.abs(crpix) > 300)  # the pointing is elsewhere


def test_the_frame_is_centred_on_the_position_and_shows_the_star_there(served):
    for exposure, star, _, hdu, mask in served:
        x, y = star_pixel(hdu, star)
        ny, nx = hdu.data.shape
        margin = min(
            exposure["x_img"], exposure["y_img"], *(np.array(CCD_SHAPE[::-1]) - [exposure["x_img"], exposure["y_img"]])
        )
        if margin > SIZE / 2 + 1:
            assert (ny, nx) == (SIZE, SIZE)
            assert max(abs(x - (nx - 1) / 2), abs(y - (ny - 1) / 2)) <= 0.51
        light = np.where(mask == 0, hdu.data - np.median(hdu.data), 0)
        rows, columns = np.mgrid[:ny, :nx]
        near = np.hypot(columns - x, rows - y) < 5
        if mask[near].any() or light[near].sum() < 20_000 or exposure["flags"]:
            continue
        centroid = np.average(columns[near], weights=light[near]), np.average(rows[near], weights=light[near])
        np.testing.assert_allclose(centroid, [x, y], atol=0.25)


def test_rotator_angle_turns_the_frame(served):
    for exposure, _, _, hdu, _ in served:
        angle = np.degrees(np.arctan2(hdu.header["CD1_2"], hdu.header["CD2_2"]))
        assert (angle - exposure["rotator_pos"] + 180) % 360 - 180 == pytest.approx(0, abs=0.8)


def aperture_pulls(archive, block, radius_px=12.0):
    """(aperture sum - expectation) / sigma of isolated stars in frames without masked pixels under them."""
    separation = np.hypot(block.neighbours["dx_arcsec"], block.neighbours["dy_arcsec"])
    light = 10 ** (-0.4 * (block.neighbours["mag"][:, 3] - 14))
    crowded = set(block.neighbours["star"][(light > 2e-3) & (separation > 0)])
    pulls = []
    for star in [s for s in block.stars if s["star"] not in crowded][:12]:
        exposures = block.exposures[block.exposures["star"] == star["star"]]
        for exposure, detection in zip(exposures, archive.detections(star["object_id"]), strict=True):
            cutout = archive.cutout(detection, star["ra"], star["dec"], SIZE)
            image, mask = opened(cutout.image), opened(cutout.mask).data
            rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
            x, y = star_pixel(image, star)
            inside = np.clip(radius_px + 0.5 - np.hypot(columns - x, rows - y), 0, 1)
            if mask[inside > 0].any() or mask.shape != (SIZE, SIZE):
                continue
            per_px = local_partial_pixel_derivatives(WCS(image.header), x, y) * [[np.cos(np.radians(star["dec"]))], [1]]
            pixel_arcsec = 3600 * abs(np.linalg.det(per_px)) ** 0.5
            alpha = exposure["fwhm"] / pixel_arcsec / 2 / (2 ** (1 / 3) - 1) ** 0.5
            flux = 10 ** (0.4 * (exposure["zeropoint"] - star["mag"][exposure["band"]]))
            expected = flux * (1 - (1 + (radius_px / alpha) ** 2) ** -2)
            total = np.sum((image.data - exposure["sky_adu"]) * inside)
            variance = (flux + exposure["sky_adu"] * inside.sum()) / GAIN_E_PER_ADU + inside.sum() * (7.5 / 0.75) ** 2
            model_error = 1e-3 * flux  # round apertures on slightly elongated stars, light of faint neighbours
            pulls.append((total - expected) / np.hypot(np.sqrt(variance), model_error))
    return np.array(pulls)


def test_aperture_sums_are_the_fluxes_of_the_true_zeropoint(archive, block):
    pulls = aperture_pulls(archive, block)
    assert len(pulls) > 120
    assert np.median(pulls) == pytest.approx(0, abs=0.4)
    assert 1.4826 * np.median(np.abs(pulls - np.median(pulls))) == pytest.approx(1, abs=0.3)


def test_a_neighbour_shines_at_its_offset_east_and_north(archive, block):
    separation = np.hypot(block.neighbours["dx_arcsec"], block.neighbours["dy_arcsec"])
    bright = block.neighbours[(separation > 7) & (separation < 12) & (block.neighbours["mag"][:, 3] < 15.5)]
    checked = 0
    for neighbour in bright:
        star = block.stars[neighbour["star"]]
        angle = np.arctan2(neighbour["dx_arcsec"], neighbour["dy_arcsec"]) * u.rad
        distance = np.hypot(neighbour["dx_arcsec"], neighbour["dy_arcsec"]) * u.arcsec
        position = SkyCoord(star["ra"], star["dec"], unit="deg").directional_offset_by(angle, distance)
        for detection in archive.detections(star["object_id"]):
            if detection.filter not in "riz":
                continue
            cutout = archive.cutout(detection, star["ra"], star["dec"], SIZE)
            image, mask = opened(cutout.image), opened(cutout.mask).data
            x, y = np.array(WCS(image.header).all_world2pix(position.ra.deg, position.dec.deg, 0))
            rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
            near = np.hypot(columns - x, rows - y) < 3.5
            if not (4 < x < mask.shape[1] - 5 and 4 < y < mask.shape[0] - 5) or mask[near].any():
                continue
            peak = np.argmax(np.where(near, image.data, -np.inf))
            if image.data.flat[peak] < 400:
                continue
            assert np.hypot(columns.flat[peak] - x, rows.flat[peak] - y) < 1.6
            checked += 1
    assert checked > 5


def test_frames_hang_on_seed_star_and_frame_alone(archive):
    object_id = object_id_of_star(17)
    other = MockArchive(seed=3)
    other.detections(object_id_of_star(5 * BLOCK_SIZE))
    star = archive.table("truth", [object_id])[0]
    gaia = archive.table("gaia", [object_id])[0]
    assert gaia["source_id"] == star["source_id"]
    detections = archive.detections(object_id)
    assert other.detections(object_id) == detections
    backwards = [other.cutout(d, gaia["ra"], gaia["dec"], SIZE) for d in reversed(detections)]
    assert backwards[::-1] == [archive.cutout(d, gaia["ra"], gaia["dec"], SIZE) for d in detections]
    assert MockArchive(seed=4).detections(object_id) != detections


def test_a_pixel_is_the_same_in_cutouts_of_any_size(archive, block):
    star = block.stars[4]
    detection = archive.detections(star["object_id"])[0]
    small, large = (opened(archive.cutout(detection, star["ra"], star["dec"], n).image) for n in (30, 70))
    dx, dy = (int(large.header[f"CRPIX{axis}"] - small.header[f"CRPIX{axis}"]) for axis in (1, 2))
    np.testing.assert_array_equal(large.data[dy : dy + 30, dx : dx + 30], small.data)


def test_cutouts_end_at_the_edge_of_the_ccd(archive, block):
    exposures, size = block.exposures, 120
    right, top = CCD_SHAPE[1] - exposures["x_img"], CCD_SHAPE[0] - exposures["y_img"]
    at_edge = exposures[np.minimum.reduce([exposures["x_img"], exposures["y_img"], right, top]) < 58]
    assert len(at_edge) > 20
    edges = set()
    for exposure in at_edge[:40]:
        star = block.stars[exposure["star"]]
        detection = next(d for d in archive.detections(star["object_id"]) if d.image_id == exposure["image_id"])
        cutout = archive.cutout(detection, star["ra"], star["dec"], size)
        image, mask = opened(cutout.image), opened(cutout.mask)
        first = np.round([exposure["x_img"], exposure["y_img"]] - star_pixel(image, star)).astype(int)
        last = first + image.data.shape[::-1] - 1
        assert min(image.data.shape) < size
        assert mask.data.shape == image.data.shape
        assert np.all(first >= 1)
        assert np.all(last <= CCD_SHAPE[::-1])
        edges |= {("left", "bottom")[i] for i in np.flatnonzero(first == 1)}
        edges |= {("right", "top")[i] for i in np.flatnonzero(last == CCD_SHAPE[::-1])}
    assert edges == {"left", "bottom", "right", "top"}


def test_tables_of_blocks_add_up_to_the_table(archive):
    assert archive.n_blocks == 2
    blocks = [archive.tables_of_block(i) for i in range(2)]
    for name in TABLES:
        whole = archive.table(name)
        parts = [block[name] for block in blocks]
        assert whole.colnames == parts[0].colnames
        assert len(whole) == len(parts[0]) + len(parts[1])
        key = whole.colnames[0]
        np.testing.assert_array_equal(np.array(whole[key]), np.append(*[np.array(part[key]) for part in parts]))
    assert (
        len(archive.table("dr4.master")) == len(archive.table("gaia")) == len(archive.table("truth")) == BLOCK_SIZE + 40
    )
    assert len(archive.table("galah")) > BLOCK_SIZE + 40
    assert set(archive.table("dr4.photometry")["image_id"]) == set(archive.table("dr4.images")["image_id"])


def test_tables_of_some_stars(archive):
    wanted = [object_id_of_star(n) for n in (270, 3, 17, 3)]
    for name in ("dr4.master", "truth", "gaia"):
        assert len(archive.table(name, wanted)) == 3
        assert len(archive.table(name, [])) == 0
    assert set(archive.table("dr4.photometry", wanted)["object_id"]) == set(wanted)
    truth = archive.table("truth", wanted)
    assert set(archive.table("galah", wanted)["dr3_source_id"].filled(-1)) <= {*truth["source_id"], -1}
    assert archive.table("galah")["dr3_source_id"].unit is None
    assert archive.table("gaia", wanted)["parallax"].unit == u.mas


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (lambda a: a.table("dr4.maste"), "no table 'dr4.maste'; its tables are dr4.master"),
        (lambda a: MockArchive().table("gaia"), "endless: give object_ids or n_stars"),
        (lambda a: a.detections(12345), "object_id 12345 is not a star of the mock sky"),
        (lambda a: a.detections(object_id_of_star(400)), "ends at 296 stars"),
        (lambda a: a.tables_of_block(2), "no block 2 in this mock sky .2 blocks"),
        (lambda a: MockArchive(n_stars=0), "0 stars is empty"),
        (lambda a: MockArchive(seed=-1), "seed is -1"),
    ],
)
def test_what_the_sky_does_not_have_is_refused_in_a_sentence(archive, question, answer):
    with pytest.raises(ArchiveError, match=answer):
        question(archive)


@pytest.mark.parametrize(
    ("change", "ra_step_deg", "size_px", "answer"),
    [
        ({"image_id": 20000101000000}, 0, SIZE, "is not on frame 20000101000000-"),
        ({}, 0, 0, "0 px was asked for"),
        ({}, 0, 500, "shows the 128 px around object_id"),
        ({}, 0.1, SIZE, "shows the 128 px around object_id"),
        ({}, 180, SIZE, "shows the 128 px around object_id"),
        ({}, np.nan, SIZE, "shows the 128 px around object_id"),
    ],
)
def test_cutouts_that_cannot_be_served_are_refused_in_a_sentence(archive, block, change, ra_step_deg, size_px, answer):
    star = block.stars[0]
    detection = replace(archive.detections(star["object_id"])[0], **change)
    with pytest.raises(ArchiveError, match=answer):
        archive.cutout(detection, star["ra"] + ra_step_deg, star["dec"], size_px)
