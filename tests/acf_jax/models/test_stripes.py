import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acf_jax.models.stripes import image_from_stripes, stripes_from_image

maps_and_stripes = st.fixed_dictionaries(
    {name: st.integers(1, 4) for name in ("batch", "rows", "columns", "height", "width", "channels")}
)


def numbered_image(batch, rows, columns, height, width, channels, **_):
    shape = (batch, rows * height, columns * width, channels)
    return jnp.asarray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))


@settings(deadline=None, max_examples=30)
@given(maps_and_stripes)
def test_stripes_are_slices_of_the_image(sizes):
    image = numbered_image(**sizes)
    height, width = sizes["height"], sizes["width"]
    stripes, image = np.asarray(stripes_from_image(image, height, width)), np.asarray(image)
    assert stripes.shape[1] == sizes["rows"] * sizes["columns"]
    for number, stripe in enumerate(stripes.swapaxes(0, 1)):
        row, column = divmod(number, sizes["columns"])
        y, x = row * height, column * width
        np.testing.assert_array_equal(stripe, image[:, y : y + height, x : x + width])


@settings(deadline=None, max_examples=30)
@given(maps_and_stripes)
def test_round_trip(sizes):
    image = numbered_image(**sizes)
    stripes = stripes_from_image(image, sizes["height"], sizes["width"])
    np.testing.assert_array_equal(image_from_stripes(stripes, *image.shape[1:3]), image)


@settings(deadline=None, max_examples=30)
@given(maps_and_stripes, st.integers(1, 3), st.booleans())
def test_stripes_that_do_not_divide_are_refused(sizes, excess, in_height):
    """A map that is longer than whole stripes by less than one, in either direction; the sentence has its numbers."""
    stripe = [sizes["height"] + excess, sizes["width"] + excess]  # at least 2 tokens wide
    shape = [sizes["rows"] * stripe[0], sizes["columns"] * stripe[1]]
    shape[not in_height] += 1 + excess % (stripe[not in_height] - 1)
    sentence = f"Stripes of {stripe[0]} x {stripe[1]} tokens don't divide a map of {shape[0]} x {shape[1]} tokens"
    with pytest.raises(ValueError, match=sentence):
        stripes_from_image(jnp.zeros((sizes["batch"], *shape, sizes["channels"])), *stripe)
