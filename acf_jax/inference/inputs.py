"""A user's arrays and lists -> checked arrays that fit a network, or one sentence that says what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from acf_jax.data.batches import filled_batches
from acf_jax.inference.parts import NetworkParts


class StarInputs(NamedTuple):
    """Stars as the user gave them: any kind of number, masked arrays still masked."""

    stamps: np.ndarray  # (n, height, width, bands), microjansky per pixel
    parallax: np.ndarray | None  # (n,) mas; None where the network uses none
    parallax_error: np.ndarray | None  # (n,) mas
    object_id: np.ndarray  # (n,) int64

    @classmethod
    def check(
        cls, network: NetworkParts, stamps: Any, parallax: Any | None, parallax_error: Any | None, object_id: Any
    ) -> StarInputs:
        """The stars, if they fit the network.

        Args:
            network: the one that they must fit.
            stamps: (n, height, width, bands) in microjansky per pixel, as an array or lists.
            parallax: (n,) mas; None where the network reads none.
            parallax_error: (n,) mas; likewise.
            object_id: (n,) integers.

        Returns:
            Arrays; what was an array is not copied.

        Raises:
            ValueError: naming what does not fit.
        """
        config, stamps = network.model.config, check_stamps(network, stamps)
        columns = {"object_id": as_ids(object_id)}
        for name, values in (("parallax", parallax), ("parallax_error", parallax_error)):
            if config.use_parallax and values is None:
                raise ValueError(f"The model uses the parallax: give {name} (mas), one a star.")
            if config.use_parallax:
                columns[name] = as_numbers(name, values)
        for name, values in columns.items():
            if values.shape != (len(stamps),):
                raise ValueError(f"{name} has shape {values.shape}; {len(stamps)} stamps need ({len(stamps)},).")
        return cls(stamps, columns.get("parallax"), columns.get("parallax_error"), columns["object_id"])

    def batches(self, batch_size: int) -> Iterator[StarInputs]:
        """Batches of float32, NaN where masked, all of `batch_size` stars: the last one repeats its last star."""
        for rows, _ in filled_batches(len(self.object_id), batch_size):
            parallax, error = (None if a is None else as_float32(a[rows]) for a in (self.parallax, self.parallax_error))
            yield StarInputs(as_float32(self.stamps[rows]), parallax, error, self.object_id[rows])


def check_stamps(network: NetworkParts, stamps: Any) -> np.ndarray:
    """Stamps as an array, if they fit the network.

    Raises:
        ValueError: naming what does not fit.
    """
    stamps = as_numbers("stamps", stamps)
    if stamps.ndim != 4:
        raise ValueError(
            f"Stamps must be (n, height, width, bands), not {stamps.shape}; a single one goes as stamp[None]."
        )
    if stamps.shape[-1] != len(network.bands):
        raise ValueError(f"Stamps have {stamps.shape[-1]} bands; the model has {''.join(network.bands)}.")
    for backbone in network.model.config.backbones:
        backbone.check_stamps(stamps.shape)
    return stamps


def as_numbers(name: str, values: Any) -> np.ndarray:
    """An array of real numbers, masked if `values` is.

    Raises:
        ValueError: if it is something else.
    """
    try:
        values = np.asanyarray(values) if np.ma.isMaskedArray(values) else np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: rows of unequal length; give an array of numbers.") from None
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{name} has dtype {values.dtype}; give an array of numbers.")
    return values


def as_ids(object_id: Any) -> np.ndarray:
    """Identifiers as int64.

    Raises:
        ValueError: if they are not integers, or some are masked.
    """
    if np.ma.is_masked(object_id):
        raise ValueError("object_id has masked entries; give every star an integer of its own.")
    ids = np.asarray(object_id)
    if ids.size and ids.dtype.kind not in "iu":
        raise ValueError(f"object_id has dtype {ids.dtype}; give integers (a float loses a long id's last digits).")
    return ids.astype(np.int64)


def as_float32(values: np.ndarray) -> np.ndarray:
    """float32, NaN where masked; numbers too large for float32 become infinite."""
    with np.errstate(over="ignore"):
        return np.ma.filled(values.astype(np.float32), np.nan)
