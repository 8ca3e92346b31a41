"""Prepare the dataset: a sky's stars -> selection -> stamps -> TFDS. See `python -m datasets.build --help`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from datasets.build.checksums import CHECKSUMS, damaged_files
from datasets.build.dry_run import Estimate, estimate
from datasets.build.packing import BuildError
from datasets.build.parts import OURS, Choices
from datasets.build.prepare import build, prepared_folder, selected_only
from datasets.errors import run
from datasets.smss_stamps.configs import CONFIGS, DIVISIONS, VERSION, Config
from datasets.surveys.base import Sources


def summary(folder: Path) -> str:
    """The selection and the counts of a prepared dataset, as a table for people."""
    metadata = json.loads((folder / "metadata.json").read_text())
    info = json.loads((folder / "dataset_info.json").read_text())
    splits = {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]}
    rows = [("stars looked at", metadata["n_scanned"])]
    for cut in metadata["selection"]:
        told = "" if cut["removed"] is not None else ", as the archive sees to it"
        rows.append((f"  fail: {cut['description']}{told}", -(cut["removed"] or 0)))
    rows += [("selected", metadata["n_stars"]), ("  without a stamp (rejected.parquet)", -metadata["n_rejected"])]
    rows += [("examples", sum(splits.values()))] + [(f"  {name}", n) for name, n in splits.items()]
    size = sum(path.stat().st_size for path in folder.iterdir())
    table = "\n".join(f"{label:<56}{count:>10,}" for label, count in rows)
    return f"{table}\n{folder}  {size / 1e6:,.0f} MB"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run("datasets.build", lambda: _main(arguments), when_stopped="The same command goes on from here.")


def _main(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    folder = prepared_folder(options.data_dir, options.config)
    started = time.perf_counter()
    if options.verify:
        return _verify(folder)
    if options.dry_run:
        print(_dry_run(options))
        return 0
    was_there = folder.exists()
    build(
        options.config,
        n_stars=options.stars,
        data_dir=options.data_dir,
        seed=options.seed,
        workers=options.workers,
        sources=_sources(options),
        choices=_choices(options),
        beam_options=None if options.beam is None else shlex.split(options.beam),
    )
    print(summary(folder))
    took = time.perf_counter() - started
    print("Already prepared: nothing to do." if was_there else f"Prepared in {took // 60:.0f} min {took % 60:.0f} s.")
    for leftover in sorted(folder.parent.glob(f"{VERSION}.parts-*")):
        print(f"Left by another build that was not finished: {leftover}; delete it unless that one is to go on.")
    print(_next_step(options.config, options.data_dir))
    return 0


def _next_step(config: str, data_dir: str) -> str:
    trained_by = {"mock": "demo", "mock_large": "mock", "high_quality": "acf"}.get(config)
    if trained_by is None:
        return f"Read it: tfds.builder_from_directory({str(prepared_folder(data_dir, config))!r}).as_data_source()"
    return f"Next: python train.py --config configs/{trained_by}.py --workdir runs/{trained_by} --data_dir {data_dir}"


def _sources(options: argparse.Namespace) -> Sources:
    names = Sources.__dataclass_fields__
    return Sources(**{name: value for name, value in vars(options).items() if name in names and value is not None})


def _choices(options: argparse.Namespace) -> Choices:
    return Choices(options.aligner, options.sky, options.splits)


def _dry_run(options: argparse.Namespace) -> Estimate:
    """Select as the build would, which goes on from there, and estimate the rest."""
    sources = _sources(options)
    job, n_workers = selected_only(
        options.config, options.stars, options.data_dir, options.seed, options.workers, sources, _choices(options)
    )
    return estimate(job, n_workers, sources.rate_per_s)


def _verify(folder: Path) -> int:
    if not (folder / CHECKSUMS).exists():
        raise BuildError(f"{folder} is not prepared; leave --verify away to prepare it.")
    damaged = damaged_files(folder)
    if damaged:
        raise BuildError(f"{folder}: {', '.join(damaged)} differ from {CHECKSUMS}; delete the folder and build again.")
    print(f"{folder}: every file is as it was built.")
    return 0


_EXAMPLES = """
The real configs ask the services of SkyMapper and Gaia, politely: --contact names you to them, --rate limits the
requests a second, and no answer is asked for twice (--cache). The mock ones need no network.

Stop a build at any time, with ctrl-C or harder: the same command goes on where it was. Neither interruptions nor the
number of workers change a byte of the result. A core makes some 25 stars a second once their cutouts are there.

examples:
  python -m datasets.build --config mock                               the demo's dataset, in data/
  python -m datasets.build --config mock --stars 64 --data-dir try     a taste of it, in seconds
  python -m datasets.build --config mock --verify                      is every file as it was built?
  python -m datasets.build --config high_quality --galah GALAH_DR3_main_allstar_v2.fits --dry-run
  python -m datasets.build --config stars --table my_stars.csv --contact me@observatory.edu
  python -m datasets.build --config mock_stars --table my_stars.csv    stars of the mock sky, by id or position
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.build",
        description="Prepare the dataset smss_stamps: select stars, make a stamp of each from its cutouts, and write\n"
        "them in TFDS's array_record format to DATA_DIR/smss_stamps/CONFIG/VERSION.",
        epilog="configs:\n" + "\n".join(_config_line(config) for config in CONFIGS.values()) + "\n" + _EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", required=True, choices=CONFIGS, help="what to build, see below")
    add("--data-dir", "--data_dir", default="data", help="where datasets are kept (default: %(default)s)")
    add("--workers", type=int, help="processes (default: one per CPU)")
    add("--stars", type=int, help="selected stars, of catalogue those drawn (default: the config's number)")
    add("--seed", type=int, default=0, help="seed of the mock sky and of drawing (default: %(default)s)")
    add("--verify", action="store_true", help="recompute the checksums of what is prepared")
    add(
        "--dry-run",
        action="store_true",
        help="select, and say what stars, requests, gigabytes and hours are to come",
    )
    add(
        "--beam",
        metavar="OPTIONS",
        help="make the stamps by Apache Beam, with these options: docs/distributed.md",
    )
    ways = parser.add_argument_group(
        "the paper's ways beside ours, which are the defaults (docs/paper.md)"
    ).add_argument
    ways("--sky", choices=("cutout", "table"), default=OURS.sky,
         help="a star's sky level: fitted to its cutout, or the survey's table's (default: %(default)s)")  # fmt: skip
    ways("--aligner", choices=("fast", "reproject"), default=OURS.aligner,
         help="ours, or astropy's reproject: the same stamps, three times slower (default: %(default)s)")  # fmt: skip
    ways("--splits", choices=DIVISIONS, default=OURS.splits,
         help="train:calibration:validation, or the paper's 8:2 alone (default: %(default)s)")  # fmt: skip
    real = parser.add_argument_group("the real sky").add_argument
    real("--galah", metavar="FILE", help="GALAH_DR3_main_allstar_v2.fits, for high_quality and low_quality")
    real("--table", metavar="FILE", help="your stars: CSV, FITS, VOTable or Parquet with ra, dec (or l, b) and, if"
         " there, object_id, source_id (Gaia), parallax and parallax_error: docs/real-data.md")  # fmt: skip
    real("--gaia", metavar="FILE", help="gaia_source rows in a local table, instead of Gaia's service")
    real("--dust-map", metavar="NAME", help="E(B-V) from this map of the library dustmaps, instead of ebmv_sfd")
    real("--cache", metavar="DIR", help="the archives' answers; many builds may share it (default: DATA_DIR/cache)")
    real("--contact", metavar="EMAIL", help="who asks, sent to the services")
    real("--rate", dest="rate_per_s", type=float, metavar="N", help="requests a second, at most (default: 5)")
    for name in ("skymapper_tap", "cutout", "gaia_tap"):
        real(f"--{name.replace('_', '-')}-url", metavar="URL", help="another address of this service, say a mirror")
    return parser


def _config_line(config: Config) -> str:
    n_stars = "" if config.n_stars is None else f"{config.n_stars:,} stars"
    return f"  {config.name:<13}{n_stars:>15}  {config.description}"


if __name__ == "__main__":
    sys.exit(main())
