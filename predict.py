"""Make a catalogue of atmospheric parameters: of a prepared dataset's stars, or of the stars of a table of yours.

  python predict.py --checkpoint runs/acf --dataset smss_stamps/catalogue --out catalogue/
  python predict.py --checkpoint runs/acf --stars my_stars.csv --out my_stars.parquet

Every star that goes in comes out, with its parameters or with a flag and the reason why it has none. The checkpoint is
a run's folder or a bundle (python -m acf_jax.bundle). Columns, flags and formats: docs/catalogue.md.

Of a dataset, --out is a folder: shards while it runs, and then catalogue.parquet (and .fits, .vot, .csv: --format)
with a ReadMe. Of a table, --out is one file whose suffix names its format; the table (CSV, FITS, VOTable or Parquet)
has positions, and ids and parallaxes if you have them: what it lacks is fetched, cutouts are turned into stamps, and
all of that is done in OUT.work, which goes when the file is there.

Stop it at any time, with ctrl-C or harder: the same command goes on where it was, and ends with the same file. Several
processes share the work when each is given its part, on one machine or on many with one file system:

  python predict.py ... --shard 0/4                                            of four; the others have 1/4, 2/4, 3/4
  sbatch --array=0-3 ... --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT  the same as a Slurm array
  srun -n 4 python predict.py ... --distributed                                as one job, by jax.distributed

On the mock sky:

  python -m datasets.build --config mock && python train.py --config configs/demo.py
  python predict.py --checkpoint runs/demo --dataset smss_stamps/mock --out catalogue
  python -m acf_jax.catalogue figures catalogue                                Figs. 14, 15 and 16
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import jax

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files.formats import SUFFIXES
from acf_jax.catalogue.making import BATCH_SIZE_ON_CPU, SHARD_SIZE, Options, make_catalogue
from acf_jax.catalogue.star_facts import dataset_without_stamps
from acf_jax.checkpoints import CheckpointError
from acf_jax.data.prepared import DatasetError, PreparedDataset, find_dataset, open_dataset
from acf_jax.devices import compilation_cache, cores
from acf_jax.inference.loading import load
from acf_jax.inference.network import Network

FORMATS = tuple(suffix.lstrip(".") for suffix in SUFFIXES)
SOURCES = ("gaia", "dust_map", "cache", "contact", "rate_per_s", "skymapper_tap_url", "cutout_url", "gaia_tap_url")
SHUTDOWN_TIMEOUT_S = 7 * 24 * 3600  # that the first process to end waits for the last: no share takes as long


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="predict.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="DIR", help="a run's folder, e.g. runs/acf, or a bundle")
    add("--acpf", metavar="DIR", help="another, trained without parallax, for the stars that have none")
    stars = parser.add_mutually_exclusive_group(required=True)
    stars.add_argument("--dataset", metavar="NAME", help="prepared: smss_stamps/catalogue, or its folder")
    stars.add_argument("--stars", metavar="FILE", help="table of your stars: CSV, FITS, VOTable or Parquet")
    add("--out", required=True, type=Path, metavar="PATH", help=f"folder, or file: {', '.join(SUFFIXES)}")
    add("--data_dir", "--data-dir", default="data", metavar="DIR", help="where datasets are (default: %(default)s)")
    add("--format", type=lambda text: text.split(","), default=["parquet"], metavar="A,B",
        help=f"files in the folder: {', '.join(FORMATS)} (default: parquet)")  # fmt: skip
    add("--samples", type=int, default=100, help="Monte Carlo dropout samples a star (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the samples (default: %(default)s)")
    add("--batch", type=int, help=f"stars on a device at a time (default: {BATCH_SIZE_ON_CPU} on a CPU, else 512)")
    add("--shard-size", type=int, default=SHARD_SIZE, help="stars in a file while it runs (default: %(default)s)")
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
            f"stars --table {options.stars}; then --dataset smss_stamps/stars."
        )
    return options


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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_arguments(arguments)
    cores.split_cores()
    compilation_cache.enable(Path(__file__).parent / ".jax_cache")
    try:
        if options.distributed:
            options.shard = distributed_share()
        networks = loads(options.checkpoint, options.acpf)
        made = of_table(options, networks) if options.stars else of_dataset(options, networks)
    except (CatalogueError, CheckpointError, DatasetError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\npredict.py: stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    if made:
        print(f"Made {', '.join(map(str, made))}. Look at it: python -m acf_jax.catalogue info {made[0]}")
    else:
        print("This share is done. The process that finds all shares done puts the catalogue together.")
    return 0


def distributed_share() -> tuple[int, int]:
    """The number of this process in its job, from 0, and of all, as the cluster tells them to jax.distributed.

    Raises:
        CatalogueError: if there is no such job.
    """
    try:
        jax.distributed.initialize(shutdown_timeout_seconds=SHUTDOWN_TIMEOUT_S)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise CatalogueError(
            f"--distributed: jax.distributed finds no job ({reason}). It knows those of Slurm and Open MPI, among "
            "others; elsewhere give each process its --shard I/N."
        ) from error
    return jax.process_index(), jax.process_count()


def loads(checkpoint: str, acpf: str | None) -> dict[str, Network]:
    """The networks by the names that the catalogue gives them.

    Raises:
        CheckpointError: if one cannot be read.
        CatalogueError: if the second is not one without parallax.
    """
    trained = load(checkpoint)
    networks = {"ACF" if trained.model.config.use_parallax else "ACPF": trained}
    if acpf is None:
        return networks
    other = load(acpf)
    if other.model.config.use_parallax or "ACPF" in networks:
        raise CatalogueError(
            "--acpf is for the stars without a parallax: give --checkpoint a network that reads parallaxes, and --acpf "
            "one that was trained with --config.model.use_parallax=False."
        )
    return networks | {"ACPF": other}


def of_dataset(options: argparse.Namespace, networks: dict[str, Network]) -> list[Path]:
    """A catalogue of a prepared dataset."""
    dataset, out = open_named(options.dataset, options.data_dir), options.out
    if out.suffix in SUFFIXES:
        return make_catalogue(
            networks, dataset, out.with_name(f"{out.name}.work"), [out], readme_beside(out), making_options(options)
        )
    files = [out / f"catalogue.{name}" for name in options.format]
    return make_catalogue(networks, dataset, out, files, out / "ReadMe", making_options(options))


def of_table(options: argparse.Namespace, networks: dict[str, Network]) -> list[Path]:
    """A catalogue of the stars of a user's table."""
    from datasets.build.packing import BuildError, NoStampError
    from datasets.build.prepare import build
    from datasets.surveys.base import Sources

    config = "mock_stars" if options.mock else "stars"
    out, work = options.out, options.out.with_name(f"{options.out.name}.work")
    given = {name: getattr(options, name) for name in SOURCES if getattr(options, name) is not None}
    sources = Sources(**({"cache": str(Path(options.data_dir) / "cache")} | given), table=options.stars)
    try:
        dataset = open_dataset(
            build(config, data_dir=work, seed=options.sky_seed, workers=options.workers, sources=sources)
        )
    except NoStampError as error:
        bands, archive = next(iter(networks.values())).bands, "mock sky" if options.mock else "SkyMapper DR4"
        dataset = dataset_without_stamps(work / "without_stamps", error.rejected, bands, config, archive)
    except BuildError as error:
        raise CatalogueError(str(error)) from error
    made = make_catalogue(networks, dataset, work / "catalogue", [out], readme_beside(out), making_options(options))
    if not options.keep_work:
        shutil.rmtree(work)
    return made


def making_options(options: argparse.Namespace) -> Options:
    """What the library wants to know of the command line."""
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
        DatasetError: if it is not there.
    """
    if (Path(name) / "dataset_info.json").exists():
        return open_dataset(name)
    dataset, _, config = name.partition("/")
    if not config or "/" in config:
        raise DatasetError(f"--dataset {name}: give smss_stamps/CONFIG, or the folder of one version of a dataset.")
    return open_dataset(find_dataset(data_dir, dataset, config))


def readme_beside(file: Path) -> Path:
    """The ReadMe of a catalogue that is one file."""
    return file.with_name(f"{file.stem}.ReadMe")


if __name__ == "__main__":
    sys.exit(main())
