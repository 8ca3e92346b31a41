"""Write a small mock sky to files that DS9 and TOPCAT open, or a mock survey: `python -m datasets.mock_sky --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow.parquet
from astropy.table import Table
from tqdm import tqdm

from datasets.archives.interface import Detection
from datasets.errors import DataError, run
from datasets.mock_sky.archive import TABLES, MockArchive
from datasets.mock_sky.spectroscopic_surveys import LABELS, PRECISION, write_mock_table
from datasets.skymapper import BANDS, CUTOUT_SIZE_PX

_DESCRIPTION = """\
Draw a mock sky and write what the archives would serve of it: the catalogues as FITS tables, and a FITS cutout with
its mask for every detection of every star. The same seed gives the same sky; star 17 of it is the same whether 20 stars
are written or 200.
"""
_EPILOG = f"""\
files:
  dr4_master.fits           SkyMapper: one row per star, mean magnitudes
  dr4_photometry.fits       SkyMapper: one row per detection
  dr4_images.fits           SkyMapper: one row per exposure
  gaia.fits, galah.fits     parallaxes; atmospheric parameters, one row per spectrum
  truth.fits                what was put in
  cutouts/<object_id>/<image_id>-<ccd>-<band>.fits
                            {CUTOUT_SIZE_PX} pixels around the star, ADU, with its TPV coordinate system
  cutouts/<object_id>/<image_id>-<ccd>-<band>-mask.fits
                            the same pixels: 0 good, 1 bad pixel or column, 2 saturated, 4 cosmic ray (added up)

A star takes about 0.6 MB. examples:
  python -m datasets.mock_sky --stars 20 --seed 3 --out mock_sky_files
  python -m datasets.mock_sky survey apogee --dataset smss_stamps/mock --out mock_apogee.fits
"""
_SURVEY = """\
Write what a mock APOGEE or LAMOST says of the stars of a prepared mock dataset, with noise, zero points, flags and a
selection of its own, as the survey's own file would have it. A star's entry depends on the star and the seed alone.
"""
_SURVEY_EPILOG = """\
example, after `python -m datasets.build --config mock` and a catalogue of that by predict.py:
  python -m datasets.mock_sky survey apogee --dataset smss_stamps/mock --out mock_apogee.fits
  python -m acf_jax.catalogue compare catalogue/ --apogee mock_apogee.fits
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run("datasets.mock_sky", lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["survey"]:
        return _write_survey(arguments[1:])
    parser = argparse.ArgumentParser(
        "python -m datasets.mock_sky",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stars", type=int, default=20, help="how many stars to write, from star 0 on (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="which sky, a number >= 0 (default 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder for the files")
    options = parser.parse_args(arguments)
    archive = MockArchive(options.seed, options.stars)
    try:
        _claim(options.out)
        n_frames = write_sky(archive, options.out)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot write to {options.out}: {reason}; choose another folder with --out.") from error
    print(_summary(options.out, options.stars, n_frames))
    return 0


def _write_survey(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m datasets.mock_sky survey",
        description=_SURVEY,
        epilog=_SURVEY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("survey", choices=tuple(PRECISION), help="which survey")
    parser.add_argument("--dataset", required=True, help="smss_stamps/CONFIG, or the folder of a prepared dataset")
    parser.add_argument("--data-dir", "--data_dir", default="data", metavar="DIR", help="where it lies (default: data)")
    parser.add_argument("--seed", type=int, default=0, help="of the survey's noise (default 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.fits", help="the table")
    options = parser.parse_args(arguments)
    folders = [Path(options.dataset), *sorted((Path(options.data_dir) / options.dataset).glob("*"), reverse=True)]
    tables = [folder / "stars.parquet" for folder in folders if (folder / "stars.parquet").is_file()]
    if not tables:
        raise DataError(f"there is no dataset {options.dataset} in {options.data_dir}: `python -m datasets.build`.")
    n = write_mock_table(options.survey, _stars_of(tables[0]), options.seed, options.out)
    print(f"{options.out}: {n:,} entries of a mock {options.survey.upper()}")
    return 0


def _stars_of(path: Path) -> dict[str, np.ndarray]:
    """What `write_mock_table` reads, of all stars of a prepared dataset."""
    try:
        rows = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read: prepare the dataset with `python -m datasets.build`.") from error
    if "true_teff" not in rows.column_names:
        raise DataError(f"the stars of {path} have no true parameters: a mock survey needs a dataset of the mock sky.")
    names = ("object_id", "source_id", "ra", "dec", *(f"true_{label}" for label in LABELS))
    stars = {name: rows[name].to_numpy() for name in names}
    return stars | {"psf_mag": np.stack([rows[f"psf_mag_{band}"].to_numpy() for band in BANDS], axis=1)}


def write_sky(archive: MockArchive, out: Path) -> int:
    """Write the tables and cutouts of the archive's whole sky into the folder `out`; return the number of frames."""
    for name in TABLES:
        _without_dex(archive.table(name)).write(out / f"{name.replace('.', '_')}.fits", overwrite=True)
    n_frames = 0
    master = archive.table("dr4.master")
    for star in tqdm(master, desc="cutouts", unit="star", file=sys.stderr):
        folder = out / "cutouts" / str(star["object_id"])
        folder.mkdir(parents=True, exist_ok=True)
        for detection in archive.detections(star["object_id"]):
            cutout = archive.cutout(detection, star["raj2000"], star["dej2000"], CUTOUT_SIZE_PX)
            (folder / f"{_stem(detection)}.fits").write_bytes(cutout.image)
            if cutout.mask is not None:
                (folder / f"{_stem(detection)}-mask.fits").write_bytes(cutout.mask)
            n_frames += 1
    return n_frames


def _claim(out: Path) -> None:
    """Make the folder. A folder with other files would end up as a mixture of two skies."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise DataError(f"the folder {out} is not empty; give a new one with --out, or empty it first.")


def _without_dex(table: Table) -> Table:
    """FITS has no unit dex: such columns are pure numbers there."""
    for column in table.itercols():
        if column.unit == u.dex:
            column.unit = None
    return table


def _stem(detection: Detection) -> str:
    return f"{detection.image_id}-{detection.ccd:02d}-{detection.filter}"


def _summary(out: Path, n_stars: int, n_frames: int) -> str:
    first = sorted((out / "cutouts").iterdir())[0]
    return f"""
{n_stars} star{"s" * (n_stars != 1)}, {n_frames} frames with masks, {len(TABLES)} tables in {out}

  all r-band frames of one star, north up:  ds9 -zscale -lock frame wcs -wcs align yes {first}/*-r.fits
  the catalogues, to match by object_id:    topcat {out}/dr4_master.fits {out}/truth.fits
"""


if __name__ == "__main__":
    sys.exit(main())
