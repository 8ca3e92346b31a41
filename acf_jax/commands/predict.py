"""Make a catalogue of atmospheric parameters: of a prepared dataset's stars, or of the stars in your own table.

  python predict.py --checkpoint runs/acf --dataset smss_stamps/catalogue --out catalogue/
  python predict.py --checkpoint runs/acf --stars my_stars.csv --out my_stars.parquet

Every star that goes in comes out, with its parameters or with a flag and the reason why it has none. The checkpoint is
a run's folder or a bundle (python -m acf_jax.bundle), or those of one network a label: runs/acf_teff runs/acf_logg
runs/acf_fe_h. Columns, flags and formats: docs/catalogue.md.

With --dataset, --out is a folder: it holds shards during the run, and then catalogue.parquet (and .fits, .vot, .csv:
--format) with a ReadMe. With --stars, --out is one file whose suffix names its format. The table (CSV, FITS, VOTable or
Parquet) has positions, and ids and parallaxes if you have them: what it lacks is fetched, and cutouts are turned into
stamps. The folder OUT.work holds all of this until the file is there.

Stop it at any time, with ctrl-C or kill -9: the same command goes on where it was, and ends with the same file. Several
processes can share the work, on one machine or on many with one file system, if each is given its part:

  python predict.py ... --shard 0/4                                            of four; the others have 1/4, 2/4, 3/4
  sbatch --array=0-3 ... --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT  the same as a Slurm array
  srun -n 4 python predict.py ... --distributed                                as one job, by jax.distributed

On the mock sky:

  python -m datasets.build --config mock && python train.py --config configs/demo.py
  python predict.py --checkpoint runs/demo --dataset smss_stamps/mock --out catalogue
  python -m acf_jax.catalogue figures catalogue                                Figs. 14, 15 and 16
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from acf_jax.catalogue.files.formats import SUFFIXES
from acf_jax.commands.shared import help_text, keep_compiled_programs
from acf_jax.errors import ACFError
from acf_jax.files import Folders
from acf_jax.running import run

if TYPE_CHECKING:  # importing these takes seconds, and --help must not wait for it
    import pyarrow

    from acf_jax.catalogue.making import Options
    from acf_jax.data.prepared import PreparedDataset
    from acf_jax.inference.network import Network

PrepareStars = Callable[..., "Path | pyarrow.Table"]
"""`predict.py`'s, of a clone: (config, folder, stamps, seed, workers, fields of `Sources`) -> see there."""

FORMATS = tuple(suffix.lstrip(".") for suffix in SUFFIXES)
SOURCES = ("gaia", "dust_map", "cache", "contact", "rate_per_s", "skymapper_tap_url", "cutout_url", "gaia_tap_url")
SHUTDOWN_TIMEOUT_S = 7 * 24 * 3600  # that the first process to end waits for the last: longer than any share takes


def parse_arguments(arguments: list[str] | None = None, prog: str = "acf-predict") -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=prog, description=help_text(__doc__, prog), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, nargs="+", action="extend", metavar="DIR",
        help="a run's folder, e.g. runs/acf, or a bundle; several, of different labels, are joined")  # fmt: skip
    add("--acpf", nargs="+", action="extend", metavar="DIR",
        help="another network, or several, trained without parallax, for the stars that have none")  # fmt: skip
    stars = parser.add_mutually_exclusive_group(required=True)
    stars.add_argument("--dataset", metavar="NAME", help="prepared: smss_stamps/catalogue, or its folder")
    stars.add_argument("--stars", metavar="FILE", help="table of your stars: CSV, FITS, VOTable or Parquet")
    add("--out", required=True, type=Path, metavar="PATH", help=f"folder, or file: {', '.join(SUFFIXES)}")
    add("--data_dir", "--data-dir", default="data", metavar="DIR", help="where datasets are (default: %(default)s)")
    add("--format", type=lambda text: text.split(","), default=["parquet"], metavar="A,B",
        help=f"files in the folder: {', '.join(FORMATS)} (default: parquet)")  # fmt: skip
    add("--samples", type=int, default=100, help="Monte Carlo dropout samples a star (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the samples (default: %(default)s)")
    add("--batch", type=int, help="stars on a device at a time (default: 128 on a CPU, else 512)")
    add("--shard-size", type=int, default=10_000, help="stars in a file while it runs (default: %(default)s)")
    share = parser.add_mutually_exclusive_group()
    share.add_argument("--shard", metavar="I/N", type=_share, default=(0, 1), help="make the I-th of N shares, from 0")
    share.add_argument("--distributed", action="store_true", help="take the share from jax.distributed")
    add_source_arguments(parser.add_argument_group("with --stars"))
    options = parser.parse_args(arguments)
    for name, least in (("samples", 2), ("seed", 0), ("batch", 1), ("shard_size", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} {value}: give {least} or more.")
    if unknown := [name for name in options.format if name not in FORMATS]:
        parser.error(f"--format: there is no {unknown[0]}; there are {', '.join(FORMATS)}.")
    if options.stars and options.out.suffix not in SUFFIXES:
        parser.error(f"--out {options.out}: of a table's stars give a file: {', '.join(SUFFIXES)}.")
    if options.stars and (options.distributed or options.shard != (0, 1)):
        parser.error(
            "--stars is one process's work. To share it, prepare the stars first: python -m datasets.build --config "
            f"{stars_config(options)} --table {options.stars}; then --dataset smss_stamps/{stars_config(options)}."
        )
    return options


def stars_config(options: argparse.Namespace) -> str:
    """The sample that a table's stars make."""
    return "mock_stars" if options.mock else "stars"


def add_source_arguments(group) -> None:
    """Where a table's stars are looked up."""
    add = group.add_argument
    add("--mock", action="store_true", help="on the mock sky, instead of SkyMapper's and Gaia's services")
    add("--sky-seed", type=int, default=0, help="of the mock sky (default: %(default)s)")
    add("--workers", type=int, help="processes that make stamps (default: one per CPU)")
    add("--contact", metavar="EMAIL", help="who asks, told to the services")
    add("--rate", dest="rate_per_s", type=float, metavar="N", help="requests a second, at most (default: 5)")
    add("--cache", metavar="DIR", help="the services' answers, kept (default: DATA_DIR/cache)")
    add("--gaia", metavar="FILE", help="gaia_source rows in a local table, instead of Gaia's service")
    add("--dust-map", metavar="NAME", help="E(B-V) from this map of the library dustmaps, instead of ebmv_sfd")
    for name in ("skymapper_tap", "cutout", "gaia_tap"):
        add(f"--{name.replace('_', '-')}-url", metavar="URL", help="another address of this service, say a mirror")
    add("--keep-work", action="store_true", help="leave OUT.work, with the stamps, where it is")


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a share: 0/4, 1/4, 2/4 and 3/4 are the shares of four.")
    return int(found[1]), int(found[2])


def main(
    arguments: list[str] | None = None, prog: str = "acf-predict", prepare_stars: PrepareStars | None = None
) -> int:
    """Make a catalogue.

    Args:
        arguments: of the command line; by default this process's.
        prog: the command's name.
        prepare_stars: makes a dataset of a table's stars; it needs the package `datasets`.

    Returns:
        The exit status.
    """
    options = parse_arguments(arguments, prog)
    stopped = "stopped. The same command goes on from here."
    return run(lambda: predict(options, prepare_stars), prog, out=options.out, stopped=stopped)


def predict(options: argparse.Namespace, prepare_stars: PrepareStars | None) -> None:
    """Make a catalogue, and say where it is.

    Raises:
        ACFError: if that cannot be done.
    """
    if options.stars and prepare_stars is None:
        raise ACFError("--stars needs a clone of the repository, where predict.py makes stamps; --dataset needs none.")
    # Importing what predicts takes seconds; --help and a wrong option must not wait for it.
    from acf_jax.devices import cores

    cores.split_cores()
    keep_compiled_programs()
    if options.distributed:
        options.shard = distributed_share()
    networks = loads(options.checkpoint, options.acpf)
    if options.stars and prepare_stars:
        made = of_table(options, networks, prepare_stars)
    else:
        made = of_dataset(options, networks)
    if made:
        print(f"Made {', '.join(map(str, made))}. Look at it: python -m acf_jax.catalogue info {made[0]}")
    else:
        print("This share is done. The process that finds all shares done puts the catalogue together.")


def distributed_share() -> tuple[int, int]:
    """The number of this process in its job, from 0, and of all, as jax.distributed gets them from the cluster.

    Raises:
        ACFError: if there is no such job.
    """
    import jax

    try:
        jax.distributed.initialize(shutdown_timeout_seconds=SHUTDOWN_TIMEOUT_S)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ACFError(
            f"--distributed: jax.distributed finds no job ({reason}). It knows those of Slurm and Open MPI, among "
            "others; elsewhere give each process its --shard I/N."
        ) from error
    return jax.process_index(), jax.process_count()


def loads(checkpoint: Folders, acpf: Folders | None) -> dict[str, Network]:
    """The networks by the names that the catalogue gives them.

    Raises:
        CheckpointError: if one cannot be read.
        ACFError: if the second is not one without parallax.
    """
    from acf_jax.inference.loading import load

    trained = load(checkpoint)
    networks = {"ACF" if trained.model.config.use_parallax else "ACPF": trained}
    if acpf is None:
        return networks
    other = load(acpf)
    if other.model.config.use_parallax or "ACPF" in networks:
        raise ACFError(
            "--acpf is for the stars without a parallax: give --checkpoint a network that reads parallaxes, and --acpf "
            "one that was trained with --config.model.use_parallax=False."
        )
    return networks | {"ACPF": other}


def of_dataset(options: argparse.Namespace, networks: dict[str, Network]) -> list[Path]:
    """A catalogue of a prepared dataset."""
    from acf_jax.catalogue.making import make_catalogue

    dataset, out = open_named(options.dataset, options.data_dir), options.out
    if out.suffix in SUFFIXES:
        return make_catalogue(
            networks, dataset, out.with_name(f"{out.name}.work"), [out], readme_beside(out), making_options(options)
        )
    files = [out / f"catalogue.{name}" for name in options.format]
    return make_catalogue(networks, dataset, out, files, out / "ReadMe", making_options(options))


def of_table(options: argparse.Namespace, networks: dict[str, Network], prepare_stars: PrepareStars) -> list[Path]:
    """A catalogue of the stars of a user's table.

    Args:
        options: the command line.
        networks: see `loads`.
        prepare_stars: see `main`.

    Returns:
        The catalogue's file.

    Raises:
        ACFError: if the table cannot be read, or the services do not answer.
    """
    from acf_jax.catalogue.making import make_catalogue
    from acf_jax.catalogue.star_facts import dataset_without_stamps
    from acf_jax.data.prepared import open_dataset

    config = stars_config(options)
    out, work = options.out, options.out.with_name(f"{options.out.name}.work")
    given = {name: getattr(options, name) for name in SOURCES if getattr(options, name) is not None}
    sources = {"cache": str(Path(options.data_dir) / "cache"), "table": options.stars} | given
    stamps = stamps_of_training(networks)
    prepared = prepare_stars(config, work, stamps, seed=options.sky_seed, workers=options.workers, **sources)
    if isinstance(prepared, Path):
        dataset = open_dataset(prepared)
    else:
        bands, archive = next(iter(networks.values())).bands, "mock sky" if options.mock else "SkyMapper DR4"
        dataset = dataset_without_stamps(work / "without_stamps", prepared, bands, config, archive)
    made = make_catalogue(networks, dataset, work / "catalogue", [out], readme_beside(out), making_options(options))
    if not options.keep_work:
        shutil.rmtree(work)
    return made


def stamps_of_training(networks: dict[str, Network]) -> dict[str, str]:
    """How the stamps were made that the networks were trained on, `sky` and `aligner`; empty where none says so.

    Raises:
        ACFError: if two networks were trained on different ones.
    """
    first, *others = (network.sidecar["dataset"].get("stamps", {}) for network in networks.values())
    if any(other != first for other in others):
        raise ACFError(
            f"--checkpoint and --acpf were trained on stamps made in different ways ({first}, {others[0]}): give two "
            "trained on the same, or predict for each alone."
        )
    return first


def making_options(options: argparse.Namespace) -> Options:
    """The library's options from the command line."""
    from acf_jax.catalogue.making import Options

    process, n_processes = options.shard
    return Options(
        n_samples=options.samples,
        seed=options.seed,
        shard_size=options.shard_size,
        batch_size=options.batch,
        process=process,
        n_processes=n_processes,
    )


def open_named(name: str, data_dir: str) -> PreparedDataset:
    """A prepared dataset by its folder, or as `name/config`.

    Raises:
        ACFError: if it is not there.
    """
    from acf_jax.data.prepared import find_dataset, open_dataset

    if (Path(name) / "dataset_info.json").exists():
        return open_dataset(name)
    dataset, _, config = name.partition("/")
    if not config or "/" in config:
        raise ACFError(f"--dataset {name}: give smss_stamps/CONFIG, or the folder of one version of a dataset.")
    return open_dataset(find_dataset(data_dir, dataset, config))


def readme_beside(file: Path) -> Path:
    """The ReadMe of a catalogue that is one file."""
    return file.with_name(f"{file.stem}.ReadMe")
