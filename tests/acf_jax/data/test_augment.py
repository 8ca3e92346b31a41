from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acf_jax.data.augment import augment, check_rotations, rotate

STAMP = np.random.default_rng(0).normal(size=(6, 6, 2)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(1), 400)


def symmetries(stamp):
    turned = [np.rot90(stamp, k) for k in range(4)]
    return turned + [image[:, ::-1] for image in turned]


def counts(**options):
    images = np.asarray(jax.vmap(partial(augment, **options), in_axes=(0, None))(KEYS, STAMP))
    hits = np.array([[np.array_equal(image, symmetry) for symmetry in symmetries(STAMP)] for image in images])
    assert np.all(hits.sum(axis=1) == 1), "an image that is none of the eight, or bands moved differently"
    return hits.sum(axis=0)


@pytest.mark.parametrize(
    ("flips", "rotations", "allowed"),
    [
        (True, "quarter", [0, 1, 2, 3, 4, 5, 6, 7]),
        (False, "quarter", [0, 1, 2, 3]),
        (True, "none", [0, 4]),
        (False, "none", [0]),
    ],
)
def test_every_symmetry_comes_equally_often(flips, rotations, allowed):
    number = counts(flips=flips, rotations=rotations)
    expected = np.zeros(8)
    expected[allowed] = len(KEYS) / len(allowed)
    assert number.sum() == len(KEYS)
    # Five standard deviations of a binomial.
    assert np.all(np.abs(number - expected) <= 5 * np.sqrt(expected * (1 - expected / len(KEYS))))


def test_rotation_by_quarter_turns_is_exact():
    for k in range(4):
        # From columns towards rows is clockwise where rows run downwards, and rot90 is anticlockwise.
        np.testing.assert_allclose(rotate(STAMP, jnp.float32(k * np.pi / 2)), np.rot90(STAMP, -k), atol=1e-5)


def test_rotation_moves_a_star_to_where_trigonometry_says():
    y, x = np.mgrid[:48, :48] - 23.5
    star = partial(lambda x0, y0: np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 3.0**2))[..., None])
    angle = 0.7
    rotated = np.asarray(rotate(jnp.asarray(star(8.0, 0.0), jnp.float32), jnp.float32(angle)))
    expected = star(8 * np.cos(angle), 8 * np.sin(angle))
    # Bilinear interpolation flattens a Gaussian's peak by at most 1 / (8 sigma^2) an axis.
    np.testing.assert_allclose(rotated, expected, atol=2 / (8 * 3.0**2))
    np.testing.assert_allclose(rotated.sum(), expected.sum(), rtol=1e-3)


def test_free_rotations_depend_on_the_key():
    one, other = (np.asarray(augment(key, STAMP, flips=False, rotations="free")) for key in KEYS[:2])
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(one, augment(KEYS[0], STAMP, flips=False, rotations="free"))


def test_unknown_rotations_are_refused():
    with pytest.raises(ValueError, match="none, quarter, free"):
        check_rotations("any")
