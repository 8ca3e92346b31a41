"""Writes small prepared datasets whose stamps depend on their labels, in seconds; not the mock sky."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

BANDS = "uvgriz"
SHAPES = {"stamp": (48, 48, 6), "psf_mag": (6,)}
DTYPES = {"object_id": np.int64}


def make_stars(n: int, seed: int) -> dict[str, np.ndarray]:
    """Stamps (uJy / pix) of stars whose colours tell teff and fe_h and whose flux and parallax tell logg."""
    rng = np.random.default_rng(seed)
    teff, logg, fe_h = rng.uniform(4000, 8000, n), rng.uniform(1, 5, n), rng.uniform(-2, 0.5, n)
    parallax = 10 ** rng.uniform(-0.5, 0.5, n)
    log_flux = 4.0 + 2 * np.log10(parallax) - 0.4 * (logg - 3)
    colour = np.outer(teff / 6000 - 1, np.linspace(0.5, -0.5, 6)) + np.outer(fe_h, [-0.1, -0.2, 0, 0, 0, 0])
    y, x = np.mgrid[:48, :48] - 24
    profile = (1 + (x**2 + y**2) / 3.0**2) ** -3
    profile /= profile.sum()
    flux = 10 ** (log_flux[:, None] + colour)
    stamp = flux[:, None, None, :] * profile[None, :, :, None] + rng.normal(0, 1, (n, 48, 48, 6))
    labels = {"teff": teff, "logg": logg, "fe_h": fe_h}
    return {
        "object_id": 3_000_000_000 * (1 + np.arange(n)) + 17 * seed,
        "stamp": stamp,
        "parallax": parallax,
        "parallax_error": rng.uniform(0.01, 0.05, n),
        **labels,
        **{f"true_{name}": values for name, values in labels.items()},
    }


def photographed(n, seed):
    """Stars of `make_stars` with the fields that the evaluation reads besides."""
    stars = make_stars(n, seed)
    stars["psf_mag"] = 23.9 - 2.5 * np.log10(stars["stamp"].sum(axis=(1, 2)))
    return stars | {"source_id": np.arange(n), "ra": np.arange(n), "dec": -np.arange(n), "ebmv_sfd": np.zeros(n)}


class SmssStamps(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # beside the real one, in one process
    """A stand-in for the builder of `smss_stamps`: the same name, some of its fields."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="mock")]  # noqa: RUF012

    def __init__(self, splits, metadata, **kwargs):
        self._arrays, self._metadata = splits, metadata
        super().__init__(**kwargs)

    def _info(self):
        names = next(iter(self._arrays.values()))
        features = {
            name: tfds.features.Tensor(
                shape=SHAPES.get(name, ()),
                dtype=DTYPES.get(name, np.float32),
                encoding="bytes" if name in SHAPES else "none",
            )
            for name in names
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(self._metadata),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self._arrays}

    def _generate_examples(self, split):
        arrays = {name: np.asarray(a, DTYPES.get(name, np.float32)) for name, a in self._arrays[split].items()}
        for i in range(len(arrays["object_id"])):
            yield i, {name: array[i] for name, array in arrays.items()}


def write(data_dir: Path, splits: dict[str, dict[str, np.ndarray]], bands=BANDS, fingerprint="abc", **facts) -> Path:
    """Prepares `smss_stamps/mock` in `data_dir`; returns its folder. `facts` join its metadata."""
    metadata = {"bands": bands, "fingerprint": fingerprint, **facts}
    builder = SmssStamps(splits, metadata, data_dir=data_dir, config="mock", file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_path)


def write_stars(data_dir: Path, n_train: int = 40, n_calibration: int = 10, n_validation: int = 10) -> Path:
    """Prepares `smss_stamps/mock` with stars of `make_stars`."""
    numbers = {"train": n_train, "calibration": n_calibration, "validation": n_validation}
    return write(data_dir, {split: make_stars(n, seed=i) for i, (split, n) in enumerate(numbers.items(), start=1)})
