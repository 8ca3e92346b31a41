"""Prints the peak memory of the process, MB, after a catalogue of each number of stars: RUN DATASET OUT N N ..."""

import json
import resource
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq

from acf_jax.catalogue.making import Options, make_catalogue
from acf_jax.data.prepared import open_dataset
from acf_jax.inference.loading import load


def main(run: str, folder: str, out: str, *numbers: str) -> None:
    """Of the dataset's stars, each as often as makes the number: their stamps are read every time."""
    stars = pq.read_table(Path(folder) / "stars.parquet")
    networks, peaks_mb = {"ACF": load(run)}, []
    for n in map(int, numbers):
        repeated = pyarrow.concat_tables([stars] * -(-n // len(stars))).slice(0, n)
        pq.write_table(repeated, Path(folder) / "stars.parquet", row_group_size=1000)
        path = Path(out) / str(n)
        options = Options(n_samples=2, shard_size=500, batch_size=100, progress=False)
        files = [path / f"catalogue.{suffix}" for suffix in ("parquet", "vot")]
        make_catalogue(networks, open_dataset(folder), path, files, path / "ReadMe", options)
        peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(peaks_mb))


if __name__ == "__main__":
    main(*sys.argv[1:])
