"""Random flips and rotations of stamps (paper, section 3.4): the sky has no preferred direction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

from acf_jax.shapes import AnyArray

ROTATIONS = ("none", "quarter", "free")


def augment(
    key: Key[Array, ""], stamp: Float[AnyArray, "side side band"], *, flips: bool, rotations: str
) -> Float[AnyArray, "side side band"]:
    """One stamp flipped and rotated at random, all bands alike.

    Args:
        key: of this stamp in this step.
        stamp: its first axis is y.
        flips: whether to mirror half of the stamps.
        rotations: `quarter`: multiples of 90 degrees, which keep every pixel's value; `free`: any angle, by bilinear
            interpolation, which smooths; `none`.

    Returns:
        The stamp, of the same size.
    """
    flip_key, turn_key, angle_key = jax.random.split(key, 3)
    if flips:
        stamp = jnp.where(jax.random.bernoulli(flip_key), stamp[:, ::-1], stamp)
    if rotations == "quarter":
        turn, half_turn = jax.random.bernoulli(turn_key, shape=(2,))
        stamp = jnp.where(turn, jnp.rot90(stamp), stamp)
        stamp = jnp.where(half_turn, stamp[::-1, ::-1], stamp)
    elif rotations == "free":
        stamp = rotate(stamp, jax.random.uniform(angle_key, maxval=2 * jnp.pi))
    return stamp


def rotate(stamp: Float[AnyArray, "y x band"], angle_rad: float | Float[Array, ""]) -> Float[Array, "y x band"]:
    """A stamp rotated about its centre, from the x axis (columns) towards the y axis (rows).

    Bilinear; what comes from outside the stamp is 0, the level of the subtracted sky.
    """
    ny, nx, _ = stamp.shape
    y, x = jnp.meshgrid(jnp.arange(ny) - (ny - 1) / 2, jnp.arange(nx) - (nx - 1) / 2, indexing="ij")
    cos, sin = jnp.cos(angle_rad), jnp.sin(angle_rad)
    # Where each pixel of the result comes from: the inverse rotation.
    source = [cos * y - sin * x + (ny - 1) / 2, sin * y + cos * x + (nx - 1) / 2]
    return jax.vmap(lambda band: map_coordinates(band, source, order=1), in_axes=-1, out_axes=-1)(stamp)


def check_rotations(rotations: str) -> None:
    """Refuse an unknown kind of rotation.

    Raises:
        ValueError: naming the kinds there are.
    """
    if rotations not in ROTATIONS:
        raise ValueError(f"rotations = {rotations!r} must be one of {', '.join(ROTATIONS)}.")
