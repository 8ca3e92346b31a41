import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acf_jax.stripes import image_from_stripes, stripes_from_image

maps_and_stripes = st.fixed_dictionaries(
    {name: st.integers(1, 4) for name in ("batch", "rows", "columns", "height", "width", "channels")}
)


def numbered_image(batch, rows, columns, height, width, channels, **_):
    shape = (batch, rows * height, columns * width, channels)
    return np.arange(np.prod(shape)).reshape(shape)


@settings(deadline=None, max_examples=30)
@given(maps_and_stripes)
def test_stripes_are_slices_of_the_image(sizes):
    image = numbered_image(**sizes)
    height, width = sizes["height"], sizes["width"]
    stripes = np.asarray(stripes_from_image(image, height, width))
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


@pytest.mark.parametrize(("height", "width"), [(4, 6), (6, 4)])
def test_stripes_that_do_not_divide_are_refused(height, width):
    with pytest.raises(ValueError, match=f"Stripes of {height} x {width} tokens don't divide a map of 6 x 6"):
        stripes_from_image(np.zeros((1, 6, 6, 1)), height, width)
