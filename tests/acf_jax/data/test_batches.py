import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from acf_jax.data.batches import filled_batches


@given(st.integers(0, 50), st.integers(1, 20))
def test_every_row_once_in_batches_of_one_size(n_stars, batch_size):
    batches = list(filled_batches(n_stars, batch_size))
    assert all(len(rows) == batch_size for rows, _ in batches)
    real = [row for rows, n_real in batches for row in rows[:n_real]]
    assert real == list(range(n_stars))
    assert all((rows[n_real:] == n_stars - 1).all() for rows, n_real in batches)
    assert len(batches) == int(np.ceil(n_stars / batch_size))
