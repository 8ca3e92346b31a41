"""Fig. 2: its pictures against the archive's own files and the injected star, and the command that draws it."""

import io
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from astropy.io import fits
from matplotlib.figure import Figure
from matplotlib.text import Text

from datasets.archives import http
from datasets.mock_sky.archive import MockArchive
from datasets.show import __main__ as show
from datasets.show.figure_2 import BLOCKS, SIZE_IN, STYLE, brightness, chosen, draw_figure_2, panels_of
from datasets.stamps import StampError, align_detections, make_stamp
from tests.datasets.synthetic_cutouts import DEC_DEG, OBJECT_ID, RA_DEG, Exposure, SyntheticArchive, flux_of, six_bands
from tests.loopback import serve

BANDS = "uvgriz"
MAG = 13.0
SKY = MockArchive(seed=0, n_stars=40)
ROW = SKY.table("dr4.master")[3]
STAR = show.Star(int(ROW["object_id"]), float(ROW["raj2000"]), float(ROW["dej2000"]), float(ROW["ebmv_sfd"]))


def three_g_exposures():
    """A star with one exposure a band but three in g, of unlike depth, seeing, rotation and place on the frame."""
    more = [
        Exposure("g", MAG, 20150403000000, zpapprox=24.9, exp_time=5.0, fwhm=2.2, rotator_deg=90.0, shift=(1.3, -0.8)),
        Exposure("g", MAG, 20150404000000, zpapprox=26.0, exp_time=20.0, fwhm=2.4, sky_adu=300.0),
    ]
    return SyntheticArchive(six_bands(mag=MAG, fwhm=2.9) + more)


@pytest.fixture(scope="module")
def detections():
    return align_detections(three_g_exposures(), OBJECT_ID, RA_DEG, DEC_DEG, 0.0)


@pytest.fixture(scope="module")
def drawn(detections):
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_IN, layout="constrained")
        images = draw_figure_2(figure, detections, RA_DEG, DEC_DEG, "a star")
    return figure, images


def centroid(pixels):
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return np.array([(pixels * columns).sum(), (pixels * rows).sum()]) / pixels.sum()


def test_original_panels_are_the_served_files(detections):
    archive = three_g_exposures()
    panels = panels_of(detections, "original", RA_DEG, DEC_DEG, 3)
    shown = {d.image_id: d for d in archive.detections(OBJECT_ID)}
    for band in BANDS:
        for panel, aligned in zip(panels[band], chosen(detections.of_band[band], 3), strict=True):
            served = archive.cutout(shown[aligned.frame.detection.image_id], RA_DEG, DEC_DEG, 56)
            np.testing.assert_array_equal(panel.pixels, fits.getdata(io.BytesIO(served.image)))


def test_corrected_panels_show_one_flux_whatever_the_exposure(detections):
    panels = panels_of(detections, "corrected", RA_DEG, DEC_DEG, 3)["g"]
    counts = [p.pixels.sum() for p in panels_of(detections, "original", RA_DEG, DEC_DEG, 3)["g"]]
    assert max(counts) > 1.5 * min(counts)
    np.testing.assert_allclose([panel.pixels.sum() for panel in panels], flux_of(MAG), rtol=0.01)


def test_aligned_panels_have_the_star_in_one_place(detections):
    before, after = (panels_of(detections, block, RA_DEG, DEC_DEG, 3)["g"] for block in ("corrected", "aligned"))
    places = np.array([centroid(np.nan_to_num(panel.pixels)) for panel in after])
    assert np.ptp([centroid(panel.pixels) for panel in before], axis=0).max() > 1
    assert np.ptp(places, axis=0).max() < 0.05
    np.testing.assert_allclose(places, [(panel.x, panel.y) for panel in after], atol=0.05)


def test_marks_are_at_the_star_of_every_frame(detections):
    for panel in panels_of(detections, "corrected", RA_DEG, DEC_DEG, 3)["g"]:
        np.testing.assert_allclose(centroid(panel.pixels), (panel.x, panel.y), atol=0.05)


def test_the_stack_is_the_networks_input(detections):
    stamp = make_stamp(three_g_exposures(), OBJECT_ID, RA_DEG, DEC_DEG, 0.0)
    panels = panels_of(detections, "stacked", RA_DEG, DEC_DEG, 1)
    for i, band in enumerate(BANDS):
        np.testing.assert_array_equal(panels[band][0].pixels.astype(np.float32), stamp.flux[..., i])


def test_two_of_three_detections_are_the_shallowest_and_the_deepest(detections):
    assert [a.frame.detection.exp_time for a in chosen(detections.of_band["g"], 2)] == [5.0, 100.0]
    assert [a.frame.detection.exp_time for a in chosen(detections.of_band["g"], 9)] == [5.0, 20.0, 100.0]
    assert len(chosen(detections.of_band["u"], 2)) == 1
    with pytest.raises(ValueError, match="at least one"):
        chosen(detections.of_band["g"], 0)


def test_every_block_has_its_panels(drawn):
    _, images = drawn
    expected = {(block, band, 0) for block in BLOCKS for band in BANDS}
    expected |= {(block, "g", 1) for block in ("original", "corrected", "aligned")}
    assert set(images) == expected


def test_panels_hold_the_pictures_in_one_range_of_brightness(drawn, detections):
    _, images = drawn
    for block in ("original", "corrected", "aligned"):
        first, second = (images[block, "g", row] for row in range(2))
        assert (first.norm.vmin, first.norm.vmax) == (second.norm.vmin, second.norm.vmax)
        for image, panel in zip((first, second), panels_of(detections, block, RA_DEG, DEC_DEG, 2)["g"], strict=True):
            np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), panel.pixels)
    uncovered = images["aligned", "g", 0].get_array().mask
    np.testing.assert_array_equal(uncovered, ~chosen(detections.of_band["g"], 2)[0].on_grid.covered)


def test_brightness_runs_from_the_sky_to_the_star(detections):
    panels = panels_of(detections, "corrected", RA_DEG, DEC_DEG, 2)["g"]
    norm = brightness(panels)
    assert norm.vmax == max(panel.pixels.max() for panel in panels)
    assert abs(norm.vmin) < 0.01 * norm.vmax
    at = np.linspace(norm.vmin, norm.vmax, 50)
    shades = np.asarray(norm(at))
    assert (np.diff(shades) > 0).all()
    assert shades[[0, -1]] == pytest.approx([0, 1])
    np.testing.assert_allclose(norm.inverse(shades), at)
    assert float(norm(norm.vmin + 0.01 * (norm.vmax - norm.vmin))) > 0.1, "the faint wings must show"


def test_a_neighbour_brighter_than_the_star_does_not_darken_it(detections):
    panel = panels_of(detections, "corrected", RA_DEG, DEC_DEG, 1)["g"][0]
    with_neighbour = panel.pixels.copy()
    with_neighbour[4, 4] = 100 * panel.pixels.max()
    assert brightness([replace(panel, pixels=with_neighbour)]).vmax == panel.pixels.max()


def test_words_name_title_bands_units_and_exposures(drawn):
    figure, _ = drawn
    words = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
    assert "a star" in words
    assert {"g, 3 detections", "u, 1 detection"} <= set(words)
    assert set(BLOCKS.values()) <= set(words)
    assert all("(ADU)" in words or "(µJy / px)" in words for words in BLOCKS.values())
    assert {"5 s, 2.2″", "100 s, 2.9″"} <= set(words)


def test_text_is_readable_on_a_page_and_nothing_overlaps(drawn):
    figure, _ = drawn
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    assert figure.get_figwidth() <= 7.2
    assert min(text.get_fontsize() for text in texts) >= 7
    boxes = [text.get_window_extent() for text in texts]
    whole = figure.bbox
    cut_off = [
        text.get_text()
        for text, box in zip(texts, boxes, strict=True)
        if not (whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1)
    ]
    assert not cut_off
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


# A star of a dataset.


def prepare(data_dir, config="mock", *, stars=(STAR,), **provenance):
    """The files of a prepared dataset that Fig. 2 reads; returns its folder."""
    folder = data_dir / f"smss_stamps/{config}/2.0.0"
    folder.mkdir(parents=True)
    provenance |= {"recipe": {"config": config, "seed": SKY.seed}}
    (folder / "metadata.json").write_text(json.dumps({"provenance": provenance}))
    names = ("object_id", "ra_deg", "dec_deg", "ebmv_sfd")
    rows = [
        dict(zip(("object_id", "ra", "dec", "ebmv_sfd"), (getattr(s, n) for n in names), strict=True)) for s in stars
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "stars.parquet")
    return folder


def peaks(figure):
    """What is written into the stacked panels: the peaks in uJy / px."""
    return [t.get_text() for t in figure.findobj(Text) if re.match(r"peak \d", t.get_text())][-6:]


def test_a_star_of_a_dataset_is_shown_as_it_was_built(tmp_path):
    dusty = replace(STAR, ebmv_sfd=1.0)  # as from the user's own dust map
    figure = show.figure_2_of(prepare(tmp_path, stars=(dusty,)), STAR.object_id)
    assert figure.get_suptitle() == f"mock sky, seed 0, object_id {STAR.object_id}, dereddened by E(B-V) = 1.000 mag"
    stamp = make_stamp(SKY, STAR.object_id, STAR.ra_deg, STAR.dec_deg, 1.0)
    assert peaks(figure) == [f"peak {peak:,.0f}" for peak in stamp.flux[18:30, 18:30].max(axis=(0, 1))]


def test_stamps_are_shown_as_the_dataset_makes_them(tmp_path, monkeypatch):
    folder, asked = prepare(tmp_path), []
    monkeypatch.setattr(show, "align_detections", lambda *star, **settings: asked.append(settings) or 1 / 0)
    for stamps in ({}, {"stamps": {"aligner": "reproject", "sky": "table"}}):
        recipe = {"config": "mock", "seed": SKY.seed} | stamps
        (folder / "metadata.json").write_text(json.dumps({"provenance": {"recipe": recipe}}))
        with pytest.raises(ZeroDivisionError):
            show.figure_2_of(folder, STAR.object_id)
    assert asked == [{"aligner": "fast", "sky": "cutout"}, {"aligner": "reproject", "sky": "table"}]


def test_a_star_outside_the_dataset_is_looked_up_in_the_catalogue(tmp_path):
    figure = show.figure_2_of(prepare(tmp_path, stars=(replace(STAR, object_id=1),)), STAR.object_id)
    assert f"E(B-V) = {STAR.ebmv_sfd:.3f}" in figure.get_suptitle()


def test_of_the_real_sky_cutouts_come_from_the_services_of_the_build(tmp_path, monkeypatch):
    monkeypatch.setitem(http.Client.__init__.__kwdefaults__, "backoff_s", 0.01)
    show.open_survey.cache_clear()
    with serve(SKY) as server:
        services = {"skymapper_tap": server.skymapper_tap_url, "cutouts": server.cutout_url}
        folder = prepare(tmp_path, "high_quality", services=services)
        figure = show.figure_2_of(folder, STAR.object_id, contact="test@example.org")
        n_requests = len(server.requests)
        assert "test@example.org" in server.requests[0].headers["user-agent"]
    assert n_requests > 0
    assert (tmp_path / "cache").is_dir()
    assert figure.get_suptitle().startswith(f"SkyMapper DR4, object_id {STAR.object_id}")
    assert peaks(figure) == peaks(show.figure_of(show.Sky("mock sky", SKY), STAR))
    show.open_survey.cache_clear()
    again = show.figure_2_of(folder, STAR.object_id)  # the server is gone: all of it is in the cache
    assert peaks(again) == peaks(figure)
    show.open_survey.cache_clear()


def test_a_star_without_a_stamp_is_told_with_its_reason(tmp_path, monkeypatch):
    def no_stamp(*arguments, **options):
        raise StampError("no usable r-band detection (r 20150402130000-17: the star's core is masked or saturated)")

    monkeypatch.setattr(show, "align_detections", no_stamp)
    with pytest.raises(show.ShowError, match=r"star \d+ has no stamp: no usable r-band detection .*saturated\)\.$"):
        show.figure_2_of(prepare(tmp_path), STAR.object_id)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(show.ShowError, match="holds no dataset: prepare one, say by `python"):
        show.figure_2_of(tmp_path, STAR.object_id)


# The command.


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_command_writes_the_figure(tmp_path, capsys, suffix, start):
    out = tmp_path / f"star.{suffix}"
    assert show.main([str(STAR.object_id), "--data-dir", str(tmp_path), "--out", str(out), "--detections", "1"]) == 0
    assert out.read_bytes().startswith(start)
    said = capsys.readouterr().out
    assert all(words in said for words in (str(out), "mock sky", str(STAR.object_id), f"{STAR.ra_deg:.5f}"))


@pytest.mark.parametrize(
    ("object_id", "out", "message"),
    [
        ("7", "a.png", "object_id 7 is not a star of the mock sky"),
        (str(STAR.object_id), "a.xyz", "give another file with --out."),
        (str(STAR.object_id), "nowhere/a.png", "give another file with --out."),
    ],
    ids=["unknown star", "unknown format", "no folder"],
)
def test_what_cannot_be_shown_is_one_sentence(tmp_path, capsys, object_id, out, message):
    assert show.main([object_id, "--data-dir", str(tmp_path), "--out", str(tmp_path / out), "--detections", "1"]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("datasets.show: ")
    assert said.count("\n") == 1


def test_the_command_refuses_no_detections(tmp_path, capsys):
    with pytest.raises(SystemExit):
        show.main([str(STAR.object_id), "--data-dir", str(tmp_path), "--detections", "0"])
    assert "show at least one" in capsys.readouterr().err


def test_the_help_teaches_and_no_jax_is_loaded():
    unwanted = "{'jax', 'acf_jax', 'matplotlib.pyplot'}"
    code = "import sys; from datasets.show import __main__ as show\n"
    code += f"assert not {unwanted} & set(sys.modules); show.main(['-h'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(words in done.stdout for words in ("stars.parquet", "examples:", "original", "--detections"))
