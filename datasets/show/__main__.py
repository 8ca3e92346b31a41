"""Fig. 2 of any star: its detections on their way to its stamp. See `python -m datasets.show --help`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from datasets.archives.interface import Archive, ArchiveDownError, ArchiveError, Target
from datasets.build.parts import OURS
from datasets.build.prepare import prepared_folder
from datasets.build.star_table import STAR_TABLE
from datasets.errors import DataError, run
from datasets.show.figure_2 import SIZE_IN, STYLE, draw_figure_2
from datasets.skymapper import CUTOUT_SIZE_PX
from datasets.smss_stamps.configs import CONFIGS
from datasets.stamps import StampError, align_detections
from datasets.surveys.base import Sources
from datasets.surveys.opening import open_survey


class ShowError(DataError):
    """There is no figure of this star; the message says why and what to do."""


@dataclass(frozen=True)
class Star:
    """Where a star is, and behind how much dust."""

    object_id: int
    ra_deg: float
    dec_deg: float
    ebmv_sfd: float  # mag


@dataclass(frozen=True)
class Sky:
    """Which sky, in words, who has photographed it, and how its stamps are made."""

    name: str
    archive: Archive
    stamps: dict[str, Any] = dataclasses.field(default_factory=lambda: OURS.stamps)


def figure_2_of(dataset_folder: str | Path, object_id: int, n_shown: int = 2, contact: str = "") -> Figure:
    """The paper's Fig. 2 of a star of a prepared dataset's sky, made anew from the star's cutouts.

    Args:
        dataset_folder: from `datasets.build`; of the real sky, the cutouts come from the build's cache beside it, or
            from the archive.
        object_id: of a star in it, or of another that the archive has.
        n_shown: detections of a band, at most.
        contact: e-mail address, sent to the archive.

    Returns:
        The figure, not yet drawn on anything.

    Raises:
        ShowError: if there is no such dataset or star, or the star has no stamp; one sentence.
    """
    folder = Path(dataset_folder)
    sky = sky_of(folder, Sources(contact=contact))
    return figure_of(sky, star_of(folder, sky, object_id), n_shown)


def sky_of(folder: Path, sources: Sources) -> Sky:
    """The sky that a prepared dataset shows; services and cache that `sources` leaves open are those of the build.

    Raises:
        ShowError: if the folder holds no dataset.
    """
    try:
        provenance = json.loads((folder / "metadata.json").read_text())["provenance"]
        config, seed = provenance["recipe"]["config"], provenance["recipe"]["seed"]
    except (OSError, ValueError, KeyError) as error:
        raise ShowError(
            f"{folder} holds no dataset: prepare one, say by `python -m datasets.build --config mock`."
        ) from error
    services = provenance.get("services", {})
    sky = _sky(
        config,
        seed,
        dataclasses.replace(
            sources,
            cache=sources.cache or str(folder.absolute().parents[2] / "cache"),
            skymapper_tap_url=sources.skymapper_tap_url or services.get("skymapper_tap", ""),
            cutout_url=sources.cutout_url or services.get("cutouts", ""),
        ),
    )
    return dataclasses.replace(sky, stamps=provenance["recipe"].get("stamps", sky.stamps))


def _sky(config: str, seed: int, sources: Sources) -> Sky:
    if CONFIGS[config].is_mock:
        return Sky(f"mock sky, seed {seed}", open_survey("mock", seed, Sources()).archive)
    # All real configs share one archive, and `catalogue` opens it without the local files that the others need.
    return Sky("SkyMapper DR4", open_survey("catalogue", 0, sources).archive)


def star_of(folder: Path, sky: Sky, object_id: int) -> Star:
    """A star as a prepared dataset has it, or else as the catalogue of its sky does.

    Args:
        folder: of the dataset.
        sky: the one that it shows.
        object_id: the star's.

    Returns:
        The star.

    Raises:
        ShowError: if neither has it.
    """
    import pyarrow.parquet

    names = ["object_id", "ra", "dec", "ebmv_sfd"]
    if (folder / STAR_TABLE).exists():
        chosen = [("object_id", "=", object_id)]
        rows = pyarrow.parquet.read_table(folder / STAR_TABLE, columns=names, filters=chosen).to_pylist()
        if rows:
            return Star(*(rows[0][name] for name in names))
    with _told_as_show_errors(object_id):
        rows = sky.archive.table("dr4.master", [object_id])
    if not len(rows):
        raise ShowError(f"{sky.name} has no star with object_id {object_id}; those of a dataset are in {STAR_TABLE}.")
    values = (np.ma.filled(rows[name][0], np.nan) for name in ("raj2000", "dej2000", "ebmv_sfd"))
    return Star(object_id, *map(float, values))


def figure_of(sky: Sky, star: Star, n_shown: int = 2) -> Figure:
    """Fig. 2 of a star.

    Args:
        sky: the star's.
        star: where it is.
        n_shown: detections of a band, at most.

    Returns:
        The figure.

    Raises:
        ShowError: if the star has no stamp, or its cutouts cannot be had.
    """
    position = star.ra_deg, star.dec_deg
    with _told_as_show_errors(star.object_id):
        sky.archive.prefetch([Target(star.object_id, *position)], CUTOUT_SIZE_PX)
        detections = align_detections(sky.archive, star.object_id, *position, star.ebmv_sfd, **sky.stamps)
    width_in, height_in = SIZE_IN
    with rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in * (3 * n_shown + 2) / 8), layout="constrained")
        title = f"{sky.name}, object_id {star.object_id}, dereddened by E(B-V) = {star.ebmv_sfd:.3f} mag"
        draw_figure_2(figure, detections, *position, title, n_shown)
    return figure


@contextlib.contextmanager
def _told_as_show_errors(object_id: int) -> Iterator[None]:
    try:
        yield
    except StampError as error:
        raise ShowError(f"the star {object_id} has no stamp: {error}.") from error
    except (ArchiveError, ArchiveDownError) as error:
        raise ShowError(str(error)) from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run("datasets.show", lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.detections < 1:
        parser.error(f"--detections {options.detections}: show at least one.")
    path = Path(options.out or f"figure_2_{options.object_id}.png")
    folder = prepared_folder(options.data_dir, options.config)
    names = ("cache", "contact", "skymapper_tap_url", "cutout_url")
    given: dict[str, Any] = {name: getattr(options, name) or "" for name in names}
    sources = Sources(**given)
    if folder.exists():
        sky = sky_of(folder, sources)
    else:
        cache = sources.cache or str(Path(options.data_dir) / "cache")
        sky = _sky(options.config, 0, dataclasses.replace(sources, cache=cache))
    star = star_of(folder, sky, options.object_id)
    _save(figure_of(sky, star, options.detections), path)
    print(f"{path}: {sky.name}, star {star.object_id} at ({star.ra_deg:.5f}, {star.dec_deg:+.5f}) deg")
    return 0


def _save(figure: Figure, path: Path) -> None:
    try:
        with rc_context({"savefig.dpi": 200}):
            figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ShowError(f"{path} cannot be written ({error}): give another file with --out.") from error


_EPILOG = """
The cutouts are processed as for the dataset, by the same functions. Rows of the figure:
  original   two of a band's detections as the archive serves them, in ADU; their exposure time and seeing
  corrected  the same without sky, in microjansky by their zeropoints, dereddened
  aligned    the same on one grid of pixels, that of the sharpest r frame
  stacked    the mean of all detections of the band: what the network sees

Any star of the sky will do. Those of a prepared dataset are in its stars.parquet; for a star without a stamp
the reason is printed. Cutouts of the real sky come from the build's cache or else from the archive, to which --contact
tells who asks.

examples:
  python -m datasets.show 10000000192                          a star of the mock sky, to figure_2_10000000192.png
  python -m datasets.show 10000000192 --out star.pdf --detections 3
  python -m datasets.show 66292900 --config high_quality --contact me@observatory.edu
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.show",
        description="Draw the paper's Fig. 2 of a star: how its detections become its stamp.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("object_id", type=int, metavar="OBJECT_ID", help="SkyMapper's, as in the dataset's field object_id")
    add("--config", default="mock", choices=CONFIGS, help="whose sky (default: %(default)s)")
    add("--data-dir", "--data_dir", default="data", help="where datasets are kept (default: %(default)s)")
    add("--out", metavar="FILE", help="PNG, PDF or SVG, by its suffix (default: figure_2_OBJECT_ID.png)")
    add("--detections", type=int, default=2, metavar="N", help="to show of a band, at most (default: %(default)s)")
    real = parser.add_argument_group("the real sky").add_argument
    real("--cache", metavar="DIR", help="the archives' answers (default: DATA_DIR/cache)")
    real("--contact", metavar="EMAIL", help="who asks, sent to the archive")
    for name in ("skymapper_tap", "cutout"):
        real(f"--{name.replace('_', '-')}-url", metavar="URL", help="another address (default: the build's)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
