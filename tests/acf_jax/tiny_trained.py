"""A tiny trained model with random parameters, and stars for it. As a script, it prints the head's samples as JSON."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from acf_jax.data.scaling import InputScaling
from acf_jax.inference.mc_dropout import head_samples
from acf_jax.labels import LabelScaling
from acf_jax.models.acf import ACF, ACFConfig, init_params
from acf_jax.models.cswin import CSWinConfig

CONFIG = ACFConfig(
    backbone=CSWinConfig(embed_dim=4, depths=(1,), num_heads=(2,), stripe_widths=(1,)),
    astrometric_features=8,
    head_widths=(16, 8),
)
SCALING = LabelScaling(CONFIG.targets, mean=(5500.0, 4.0, -0.3), std=(900.0, 0.6, 0.4))


class Unscaled:
    """Stamps and parallaxes as they are; logarithms where a parallax is not positive are not finite."""

    network_inputs = InputScaling.network_inputs

    def stamps(self, stamps):
        return stamps

    def astrometry(self, parallax, parallax_error):
        return jnp.stack([jnp.log10(parallax), parallax_error], axis=-1)

    def scalars(self, stamps, parallax, parallax_error, use_parallax):
        return self.astrometry(parallax, parallax_error) if use_parallax else None


def trained_model(**changes):
    """A `Network` of random parameters, as far as predictions need one."""
    model = ACF(dataclasses.replace(CONFIG, **changes))
    generator = np.random.default_rng(0)
    shapes = init_params(model, 0, (8, 8, 6))
    params = jax.tree.map(lambda leaf: generator.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    return SimpleNamespace(
        model=model,
        params=params,
        input_scaling=Unscaled(),
        label_scaling=SCALING,
        targets=model.config.targets,
        bands="uvgriz",
        error_calibration=None,
    )


def make_stars(n_stars):
    """Arguments of `mc_dropout.predict`."""
    generator = np.random.default_rng(1)
    return {
        "stamps": generator.normal(size=(n_stars, 8, 8, 6)).astype(np.float32),
        "parallax": generator.uniform(0.5, 5, n_stars).astype(np.float32),
        "parallax_error": generator.uniform(0.01, 0.05, n_stars).astype(np.float32),
        "object_id": generator.integers(0, 2**62, n_stars),
    }


def make_head_inputs(n_stars):
    """Features, astrometry and object_id."""
    generator = np.random.default_rng(2)
    features = generator.normal(size=(n_stars, CONFIG.backbone.num_features)).astype(np.float32)
    astrometry = generator.normal(size=(n_stars, 2)).astype(np.float32)
    return features, astrometry, generator.integers(0, 2**62, n_stars)


def samples_over_devices(n_stars, n_samples):
    """`head_samples` of stars whose features lie on all devices in one array, and of the last device's stars alone."""
    trained, (features, astrometry, object_id) = trained_model(), make_head_inputs(n_stars)
    devices = jax.local_devices()
    sharding = NamedSharding(Mesh(np.array(devices), ("stars",)), PartitionSpec("stars"))
    whole = jax.device_put((features, astrometry), sharding)
    last = slice(-(n_stars // len(devices)), None)
    shard = jax.device_put((features[last], astrometry[last]), devices[-1])
    samples = {
        "together": head_samples(trained.model, trained.params, *whole, object_id, n_samples),
        "last_shard": head_samples(trained.model, trained.params, *shard, object_id[last], n_samples),
    }
    return {"n_devices": len(devices), **{name: np.asarray(values).tolist() for name, values in samples.items()}}


if __name__ == "__main__":
    print(json.dumps(samples_over_devices(*map(int, sys.argv[1:]))))
