"""Image <-> stripes: the windows in which CSWin attends (Dong et al. 2022, Sec. 3.2)."""

from jaxtyping import Array, Float

from acf_jax.shapes import FeatureMap

Stripes = Float[Array, "star stripe y x channel"]


def stripes_from_image(
    image: FeatureMap, stripe_height: int, stripe_width: int
) -> Float[Array, "star stripe {stripe_height} {stripe_width} channel"]:
    """Cuts a feature map into equal, non-overlapping stripes.

    A vertical stripe of CSWin has the map's whole height, a horizontal one its whole width. Stripes are numbered
    row by row over the map, and a stripe keeps its two axes, because LePE convolves inside it.

    Args:
        image: the map.
        stripe_height: of one stripe, in tokens; divides the map's height.
        stripe_width: of one stripe, in tokens; divides the map's width.

    Returns:
        The stripes.

    Raises:
        ValueError: if the stripes don't divide the map.
    """
    batch, height, width, channels = image.shape
    if height % stripe_height or width % stripe_width:
        raise ValueError(
            f"Stripes of {stripe_height} x {stripe_width} tokens don't divide a map of {height} x {width} tokens; "
            "choose a stamp size or a stripe width that does."
        )
    rows, columns = height // stripe_height, width // stripe_width
    stripes = image.reshape(batch, rows, stripe_height, columns, stripe_width, channels).swapaxes(2, 3)
    return stripes.reshape(batch, rows * columns, stripe_height, stripe_width, channels)


def image_from_stripes(stripes: Stripes, height: int, width: int) -> Float[Array, "star {height} {width} channel"]:
    """Puts stripes back into the feature map they were cut from: the inverse of `stripes_from_image`.

    Args:
        stripes: as `stripes_from_image` numbers them.
        height: of the map, in tokens.
        width: of the map, in tokens.

    Returns:
        The map.
    """
    batch, _, stripe_height, stripe_width, channels = stripes.shape
    rows, columns = height // stripe_height, width // stripe_width
    image = stripes.reshape(batch, rows, columns, stripe_height, stripe_width, channels).swapaxes(2, 3)
    return image.reshape(batch, height, width, channels)
