"""From a catalogue's file to the files of Figs. 14, 15 and 16."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.figures.drawings import draw_figure_14, draw_figure_15, draw_figure_16
from acf_jax.catalogue.figures.galactocentric import FRAME, PARALLAX_SNR_LIMIT
from acf_jax.catalogue.figures.maps import MAPS, NONE, GalaxyMap, Map, fill, flag_names, needed_columns
from acf_jax.catalogue.files import formats
from acf_jax.catalogue.flags import Flag
from acf_jax.catalogue.info import missing_columns
from acf_jax.files import whole_file
from acf_jax.plots.predictions import COLUMN_IN, for_print

_DRAW: Mapping[str, tuple[Callable, float, str]] = {  # drawing function, height in inches, caption
    "figure_14": (draw_figure_14, 2.6, "Stars per square degree in Galactic coordinates; dashed: |b| = 10 deg."),
    "figure_15": (
        draw_figure_15, 2.9,
        "Number of stars and median [Fe/H] in cells of 25 K x 0.04 dex; [Fe/H] below -2 has the colour of -2.",
    ),
    "figure_16": (
        draw_figure_16, 3.2,
        "Median [Fe/H] in cells of 0.2 x 0.15 kpc; [Fe/H] below -2 has the colour of -2; the star is the Sun.",
    ),
}  # fmt: skip


def write_figures(
    catalogue: Path, out_dir: Path, excluded: Flag = NONE, parallax_snr_limit: float = PARALLAX_SNR_LIMIT
) -> dict:
    """The figures of a catalogue's file or folder, as PNG and PDF, and `figures.json`, what is in them.

    A figure whose columns the catalogue lacks, or in which no star can be drawn, is left out; `figures.json` says so.

    Args:
        catalogue: what `formats.read_columns` reads.
        out_dir: made if need be.
        excluded: flags whose stars are left out.
        parallax_snr_limit: of Fig. 16, the least parallax that is inverted, in units of its error.

    Returns:
        what is in `figures.json`.

    Raises:
        CatalogueError: if the catalogue cannot be read, or a figure cannot be written.
    """
    provenance = formats.read_provenance(catalogue)
    sample = provenance.get("sample") or provenance.get("title") or "sample not stated in the catalogue"
    missing = {name: missing_columns(catalogue, kind.COLUMNS) for name, kind in MAPS.items()}
    maps = {name: kind() for name, kind in MAPS.items() if not missing[name]}
    if "figure_16" in maps:
        maps["figure_16"] = GalaxyMap(parallax_snr_limit)
    fill(maps.values(), formats.read_columns(catalogue, needed_columns(maps.values())), excluded)
    told: dict[str, Any] = {
        "catalogue": str(catalogue),
        "sample": sample,
        "networks": {name: told["fingerprint"] for name, told in provenance.get("networks", {}).items()},
        "stars_left_out_by_flags": flag_names(excluded),
        "figures": {},
    }
    stars = f"{sample}, flagged stars left out" if excluded else sample
    try:
        for name, without in missing.items():
            lacks = f"the catalogue has no column {' or '.join(without)}"
            told["figures"][name] = {"not_drawn": lacks} if without else _write(name, maps[name], out_dir, stars)
        with whole_file(out_dir / "figures.json", "x") as file:
            file.write(json.dumps(told, indent=2) + "\n")
    except OSError as error:
        raise CatalogueError(f"The figures cannot be written to {out_dir}: {error.strerror}.") from error
    return told


def _write(name: str, one_map: Map, out_dir: Path, stars: str) -> dict:
    """Draw and save one figure; its entry in `figures.json`."""
    draw, height_in, caption = _DRAW[name]
    entry = {"n_used": one_map.tally.n_used, "left_out": dict(one_map.tally.left_out)}
    if not one_map.tally.n_used:
        return {"not_drawn": "no star could be drawn", **entry}
    title = textwrap.fill(f"{stars}; n = {one_map.tally.n_used:,}", 60)
    figure = for_print(COLUMN_IN, height_in, lambda figure: draw(figure, one_map, title))
    files = save_figure(figure, out_dir, name)
    told = {"files": files, "caption": caption, **entry}
    if isinstance(one_map, GalaxyMap):
        told["distance"] = (
            f"1 / parallax, for parallaxes above {one_map.parallax_snr_limit:g} times their error; no zeropoint added"
            " to the parallax, no prior on the distance"
        )
        told["frame"] = vars(FRAME)
    return told


def save_figure(figure: Figure, out_dir: Path, name: str) -> list[str]:
    """Write a figure as PNG and PDF.

    Args:
        figure: drawn.
        out_dir: made if need be.
        name: of the files, without their endings.

    Returns:
        the files' names.
    """
    files: dict[str, dict[str, Any]] = {f"{name}.png": {}, f"{name}.pdf": {"metadata": {"CreationDate": None}}}
    for path, options in files.items():
        with whole_file(out_dir / path) as file:
            figure.savefig(file, format=path[-3:], dpi=300, **options)
    return list(files)
