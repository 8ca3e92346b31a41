"""Stellar atmospheric parameters (Teff, log g, [Fe/H]) from photometric images.

    import acf_jax

    network = acf_jax.load("runs/demo")                        # a training run, or a bundle that somebody published
    dataset = acf_jax.open_dataset("smss_stamps/mock")         # as `python -m datasets.build --config mock` prepared it
    prediction = network.predict_split(dataset, "validation")  # or network.predict(stamps, parallax, ...)

`dir(acf_jax)` lists what there is; `help(acf_jax.load)` and so on explain it, with examples.
"""

import importlib

from acf_jax.version import __version__

TYPE_CHECKING = False  # as type checkers know it; the module typing takes half of the import's time
if TYPE_CHECKING:
    from acf_jax.data.prepared import open_dataset
    from acf_jax.inference.loading import load
    from acf_jax.inference.network import Network
    from acf_jax.inference.prediction import Prediction
    from acf_jax.models.acf import ACF, ACFConfig
    from acf_jax.models.cswin import CSWin, CSWinConfig
    from acf_jax.report.quick import evaluate
    from acf_jax.training.loop import train

__all__ = [
    "ACF",
    "ACFConfig",
    "CSWin",
    "CSWinConfig",
    "Network",
    "Prediction",
    "__version__",
    "evaluate",
    "load",
    "open_dataset",
    "train",
]

# Where each is. Imported at its first use: JAX takes a second, and a reader of predictions need not have Orbax.
_MODULES = {
    "load": "acf_jax.inference.loading",
    "Network": "acf_jax.inference.network",
    "Prediction": "acf_jax.inference.prediction",
    "open_dataset": "acf_jax.data.prepared",
    "train": "acf_jax.training.loop",
    "evaluate": "acf_jax.report.quick",
    "ACF": "acf_jax.models.acf",
    "ACFConfig": "acf_jax.models.acf",
    "CSWin": "acf_jax.models.cswin",
    "CSWinConfig": "acf_jax.models.cswin",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"acf_jax has no {name}; it has {', '.join(__all__)}.")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # so that this function is called once for it
    return value


def __dir__() -> list[str]:
    return list(__all__)
