import numpy as np
import pytest
from astropy.table import Column

from datasets.tables.cells import exact_integers, integers

NOTHING = np.zeros(2, bool)


@pytest.mark.parametrize(("dtype", "first_rounded"), [(np.float64, 2**53), (np.float32, 2**24)])
def test_a_float_is_an_identifier_until_the_next_integer_becomes_the_same(dtype, first_rounded):
    assert dtype(first_rounded + 1) == dtype(first_rounded)
    assert exact_integers(np.array([first_rounded - 1, -3], dtype), NOTHING).tolist() == [first_rounded - 1, -3]
    for lost in (first_rounded, -first_rounded, 1.5, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"in row 1: a float has rounded the identifier"):
            exact_integers(np.array([7, lost], dtype), NOTHING)


def test_integers_keep_every_digit_and_missing_ones_do_not_count():
    large = np.array([2**63 - 1, 2**64 - 1], np.uint64)
    assert exact_integers(large, np.array([False, True])).tolist() == [2**63 - 1, 0]
    assert exact_integers(np.array([-5, 2**31 - 1], np.int32), NOTHING).dtype == np.int64
    assert exact_integers(np.array([np.nan, 4.0]), np.array([True, False])).tolist() == [0, 4]
    with pytest.raises(ValueError, match="18446744073709551615 in row 1: more than 64 bits"):
        exact_integers(large, NOTHING)


def test_numbers_that_are_no_identifiers_are_missing_or_named():
    values, bad = integers(Column([7.0, -3.0, np.nan, 1.5, -np.inf]))
    assert values.tolist() == [7, -1, -1, -1, -1]
    assert bad == {3: "1.5"}
