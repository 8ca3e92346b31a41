"""What the tables of a prepared dataset say of its stars, whatever part is asked for."""

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.star_facts import StarFacts
from tests.acf_jax.catalogue import tiny_catalogue

N_STARS, N_REJECTED = 40, 6
N = N_STARS + N_REJECTED
BANDS = tiny_catalogue.BANDS


@pytest.fixture(scope="module")
def stars():
    stars = tiny_catalogue.make_stars(N_STARS)
    stars["object_id"][7] = stars["object_id"][31]
    stars["n_detections"][:] = np.arange(6 * N_STARS).reshape(N_STARS, 6)
    return stars


@pytest.fixture(scope="module")
def rejected(stars):
    rejected = tiny_catalogue.make_rejected(N_REJECTED)
    rejected["object_id"][0] = stars["object_id"][2]  # a star that is there twice, once without a stamp
    rejected["object_id"][3:5] = -1  # two that are not in SkyMapper are not the same star
    return rejected


@pytest.fixture(scope="module")
def plain(stars, rejected, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    tiny_catalogue.write_tables(folder, stars, rejected)
    return folder


@pytest.fixture(scope="module")
def ordered(stars, rejected, tmp_path_factory):
    """Of a user's table, in whose rows stars with and without a stamp alternate at random."""
    folder, places = tmp_path_factory.mktemp("ordered"), np.random.default_rng(5).permutation(N)
    tiny_catalogue.write_tables(folder, stars, rejected, input_rows=(places[:N_STARS], places[N_STARS:]))
    return folder, places


def test_examples_come_first_in_their_order_and_then_the_others(plain, stars, rejected):
    facts = StarFacts(plain, BANDS)
    assert (len(facts), facts.n_examples, facts.n_rejected, facts.has_input_row) == (N, N_STARS, N_REJECTED, False)
    found = facts.take(range(N))
    for name in ("object_id", "source_id", "ra", "dec"):
        np.testing.assert_array_equal(found[name], np.concatenate([stars[name], rejected[name]]))
    for name in ("parallax", "parallax_error", "self_dist1"):
        np.testing.assert_array_equal(found[name], np.concatenate([stars[name], np.full(N_REJECTED, np.nan)]))
    np.testing.assert_array_equal(found["n_detections"][:N_STARS], stars["n_detections"])
    assert (found["n_detections"][N_STARS:] == -1).all()
    assert (found["flags"][N_STARS:] == -1).all()
    assert found["reason"].tolist() == [""] * N_STARS + rejected["reason"].tolist()
    assert found["split"].tolist() == stars["split"].tolist() + [""] * N_REJECTED
    for split in np.unique(stars["split"]):
        of_split = found["index"][found["split"] == split]
        assert of_split.tolist() == list(range(len(of_split)))


def test_a_users_rows_are_in_the_order_of_the_table(ordered, stars, rejected):
    folder, places = ordered
    facts = StarFacts(folder, BANDS)
    found = facts.take(range(N))
    assert facts.has_input_row
    assert found["input_row"].tolist() == list(range(N))
    ids = np.concatenate([stars["object_id"], rejected["object_id"]])
    np.testing.assert_array_equal(found["object_id"][places], ids)
    assert found["reason"][places[N_STARS:]].tolist() == rejected["reason"].tolist()


@given(start=st.integers(0, N - 1), length=st.integers(1, N), has_rows=st.booleans())
def test_any_part_is_the_same_part_of_the_whole(plain, ordered, start, length, has_rows):
    facts = StarFacts(ordered[0] if has_rows else plain, BANDS)
    whole, part = facts.take(range(N)), facts.take(range(start, min(start + length, N)))
    assert whole.keys() == part.keys()
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][start : start + length])
        assert values.dtype == whole[name].dtype


def test_only_ids_that_are_there_twice_are_duplicates(plain):
    found = StarFacts(plain, BANDS).take(range(N))
    assert np.flatnonzero(found["duplicate"]).tolist() == [2, 7, 31, N_STARS]


def test_ids_keep_all_their_digits(plain, stars):
    found = StarFacts(plain, BANDS).take(range(N_STARS))
    assert found["source_id"].dtype == found["object_id"].dtype == np.int64
    assert found["source_id"].tolist() == stars["source_id"].tolist()
    assert int(found["source_id"].max()) > 2**62


def test_nulls_are_missing_values(stars, rejected, tmp_path):
    tiny_catalogue.write_tables(tmp_path, stars, rejected)
    table = pq.read_table(tmp_path / "stars.parquet")
    for name in ("source_id", "parallax", "flags", "self_dist1", "n_detections_g"):
        values = table[name].to_pylist()
        values[4] = None
        table = table.set_column(table.column_names.index(name), name, pyarrow.array(values, table[name].type))
    pq.write_table(table, tmp_path / "stars.parquet")
    found = StarFacts(tmp_path, BANDS).take(range(N))
    assert found["source_id"][4] == found["flags"][4] == found["n_detections"][4, BANDS.index("g")] == -1
    assert np.isnan([found["parallax"][4], found["self_dist1"][4]]).all()
    assert found["source_id"][5] == stars["source_id"][5]


def test_no_examples_or_no_rejected_stars(stars, rejected, tmp_path):
    none = {name: values[:0] for name, values in stars.items()}
    tiny_catalogue.write_tables(tmp_path, none, rejected)
    assert StarFacts(tmp_path, BANDS).take(range(2, 5))["reason"].tolist() == rejected["reason"][2:5].tolist()
    tiny_catalogue.write_tables(tmp_path, stars, tiny_catalogue.make_rejected(0))
    np.testing.assert_array_equal(StarFacts(tmp_path, BANDS).take(range(3))["object_id"], stars["object_id"][:3])


@pytest.mark.parametrize("column", ["object_id", "split", "n_detections_u"])
def test_a_table_without_a_column_is_one_sentence(stars, rejected, tmp_path, column):
    tiny_catalogue.write_tables(tmp_path, stars, rejected)
    path = tmp_path / "stars.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(CatalogueError, match=rf"stars\.parquet has no column {column}: prepare the dataset anew"):
        StarFacts(tmp_path, BANDS)


def test_what_is_damaged_in_the_middle_is_one_sentence(stars, rejected, tmp_path):
    tiny_catalogue.write_tables(tmp_path, stars, rejected)
    path = tmp_path / "stars.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 3] = bytes(len(content) // 3 - 4)
    path.write_bytes(content)
    with pytest.raises(CatalogueError, match=r"stars\.parquet cannot be read"):
        StarFacts(tmp_path, BANDS).take(range(N))
