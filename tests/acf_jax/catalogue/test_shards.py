"""Shards: whole or not there."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest

from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files.arrow_rows import arrow_schema, from_arrow
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.flags import TABLE
from acf_jax.catalogue.shards import is_whole, shard_path, write_shard
from tests.acf_jax.catalogue.synthetic_catalogue import random_rows
from tests.acf_jax.catalogue.test_plan import make_plan

TARGETS = ("teff", "logg", "fe_h")


@pytest.mark.parametrize("has_input_row", [False, True])
def test_rows_come_back_as_they_went_in(tmp_path, has_input_row):
    described = columns(TARGETS, has_input_row)
    rows, path = random_rows(50), shard_path(tmp_path, 7)
    write_shard(path, rows, TARGETS, has_input_row)
    assert path == tmp_path / "shards/shard-000007.parquet"
    table = pq.read_table(path)
    assert table.schema.equals(arrow_schema(described), check_metadata=True)
    for name, values in from_arrow(table, described).items():
        np.testing.assert_array_equal(values, rows[name])
    assert table["source_id"].null_count == (rows["source_id"] == -1).sum() > 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_shard_is_whole_if_it_can_be_read_and_has_its_rows(tmp_path):
    plan, path = make_plan(n_stars=25, shard_size=10), shard_path(tmp_path, 2)
    assert not is_whole(path, plan, 2)
    write_shard(path, random_rows(5), TARGETS, False)
    assert is_whole(path, plan, 2)
    assert not is_whole(path, plan, 1)
    assert not is_whole(path, dataclasses.replace(plan, n_stars=26), 2)
    content = path.read_bytes()
    for damaged in (b"", content[:3], content[:-1], content[: len(content) // 2], b"x" * len(content)):
        path.write_bytes(damaged)
        assert not is_whole(path, plan, 2)


def test_a_byte_that_changed_inside_a_shard_is_noticed_when_it_is_read(tmp_path):
    path, described = shard_path(tmp_path, 0), columns(TARGETS)
    write_shard(path, random_rows(500), TARGETS, False)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)
    contents = Contents.from_shards([path], described, {}, TABLE)
    with pytest.raises(CatalogueError, match=r"shard-000000\.parquet cannot be read: delete it and run again"):
        list(contents.batches())


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path):
    path = shard_path(tmp_path, 0)
    path.mkdir(parents=True)
    with pytest.raises(CatalogueError, match=r"shard-000000\.parquet could not be written: Is a directory"):
        write_shard(path, random_rows(5), TARGETS, False)
    rows = random_rows(5)
    del rows["flags"]
    with pytest.raises(KeyError):
        write_shard(path, rows, TARGETS, False)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
