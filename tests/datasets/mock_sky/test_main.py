"""The command and its files, opened with astropy alone."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table, join
from astropy.wcs import WCS

from datasets.mock_sky.__main__ import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("files") / "sky"
    main(["--stars", "3", "--seed", "2", "--out", str(out)])
    return out


def test_tables_open_and_join(folder):
    names = {path.stem for path in folder.glob("*.fits")}
    assert names == {"dr4_master", "dr4_photometry", "dr4_images", "gaia", "galah", "truth"}
    master, photometry, images, gaia, truth = (
        Table.read(folder / f"{name}.fits") for name in ("dr4_master", "dr4_photometry", "dr4_images", "gaia", "truth")
    )
    assert len(master) == len(join(master, truth, "object_id")) == len(join(truth, gaia, "source_id")) == 3
    assert len(join(photometry, images, "image_id")) == len(photometry) > 30
    assert str(gaia["parallax"].unit) == "mas"


def test_every_detection_has_its_frame_and_mask(folder):
    master = {row["object_id"]: row for row in Table.read(folder / "dr4_master.fits")}
    for row in Table.read(folder / "dr4_photometry.fits"):
        stem = f"cutouts/{row['object_id']}/{row['image_id']}-{row['ccd']:02d}-{row['filter']}"
        with fits.open(folder / f"{stem}.fits") as image, fits.open(folder / f"{stem}-mask.fits") as mask:
            assert image[0].header["FILTER"] == row["filter"]
            assert mask[0].data.shape == image[0].data.shape
            star = master[row["object_id"]]
            x, y = WCS(image[0].header).all_world2pix(star["raj2000"], star["dej2000"], 0)
            x_mask, y_mask = WCS(mask[0].header).all_world2pix(star["raj2000"], star["dej2000"], 0)
            assert (x, y) == (x_mask, y_mask)
            assert np.hypot(x - 27.5, y - 27.5) < 1


def test_it_says_what_it_wrote_and_how_to_look_at_it(tmp_path, capsys):
    out = tmp_path / "sky"
    main(["--stars", "1", "--out", str(out)])
    printed = capsys.readouterr().out
    assert f"1 star, {len(list(out.glob('cutouts/*/*-mask.fits')))} frames" in printed
    assert f"topcat {out}/dr4_master.fits" in printed
    assert "ds9" in printed


def test_help_names_the_files(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for word in ("dr4_master.fits", "truth.fits", "-mask.fits", "saturated", "mock_sky survey apogee"):
        assert word in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--stars", "0", "--out", "{tmp}/sky"], "a mock sky of 0 stars is empty"),
        (["--seed", "-1", "--out", "{tmp}/sky"], "seed is -1"),
        (["--stars", "2", "--out", "{tmp}/file/sky"], "cannot write to"),
        (["--stars", "2", "--out", "{tmp}/file"], "cannot write to"),
        (["--stars", "2", "--out", "{tmp}"], "is not empty; give a new one with --out"),
    ],
)
def test_refusals_are_one_sentence(tmp_path, capsys, arguments, sentence):
    (tmp_path / "file").write_text("in the way")
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 1
    message = capsys.readouterr().err
    assert sentence in message
    assert message.startswith("datasets.mock_sky: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "sky").exists()
