import contextlib
import resource
import subprocess
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files import formats
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.files.records import ascii_text
from tests.acf_jax.catalogue.synthetic_catalogue import COLUMNS, FLAGS, PROVENANCE, random_rows, write_shards

NAMES = [column.name for column in COLUMNS]
ASCII_ONLY = (".fits", ".vot", ".xml", ".dat")
ROUNDED = (".csv", ".ecsv", ".dat")


def write(folder, suffix, rows=None, of=COLUMNS, n_shards=3):
    shards = write_shards(folder / "shards", random_rows(100) if rows is None else rows, of, n_shards)
    path = folder / f"catalogue{suffix}"
    formats.write_catalogue(Contents.from_shards(shards, of, PROVENANCE, FLAGS), path, progress=False)
    return path


def read(path, names=NAMES, batch_rows=37):
    batches = list(formats.read_columns(path, names, batch_rows))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def check_equal(found, rows, suffix, of=COLUMNS):
    """Every value, missing ones included; to the digits written where the format is text."""
    for column in of:
        values, expected = found[column.name], rows[column.name]
        if column.dtype == "str":
            texts = [ascii_text(text).rstrip() if suffix in ASCII_ONLY else text for text in expected]
            assert values.tolist() == texts
            continue
        assert values.dtype == column.dtype
        if column.is_float and suffix in ROUNDED:
            half_digit = 0.5 * 10.0**-column.decimals
            np.testing.assert_allclose(values, expected, rtol=2 * np.finfo(column.dtype).eps, atol=half_digit)
        else:
            np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_what_is_written_is_read_back_in_order_with_what_is_missing(tmp_path, suffix):
    rows = random_rows(100)
    path = write(tmp_path, suffix, rows)
    check_equal(read(path), rows, suffix)
    assert [len(batch["teff"]) for batch in formats.read_columns(path, ["teff"], 37)] != [100]


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_the_provenance_is_read_back(tmp_path, suffix):
    assert formats.read_provenance(write(tmp_path, suffix)) == PROVENANCE


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_a_long_and_nested_provenance_with_any_characters_is_read_back(tmp_path, suffix):
    settings = {f"setting_{i}": {"a'b": "it''s\n</TABLE> & " + "é" * i, "values": [1, None, 1.5e-5]} for i in range(80)}
    provenance = {"networks": {"ACF": {"config": settings}}, "empty": "", "none": None}
    shards = write_shards(tmp_path / "shards", random_rows(3))
    path = tmp_path / f"catalogue{suffix}"
    formats.write_catalogue(Contents.from_shards(shards, COLUMNS, provenance, FLAGS), path, progress=False)
    assert formats.read_provenance(path) == provenance


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
@pytest.mark.parametrize("case", ["no rows", "one row", "nothing missing", "all missing"])
def test_extremes_are_written_and_read(tmp_path, suffix, case):
    rows = random_rows(*{"no rows": (0,), "one row": (1,)}.get(case, (7,)), missing=float(case == "all missing"))
    path = write(tmp_path, suffix, rows, n_shards=1)
    batches = list(formats.read_columns(path, NAMES))
    if case != "no rows":
        check_equal(batches[0], rows, suffix)
    assert sum(len(batch["flags"]) for batch in batches) == len(rows["flags"])


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_a_catalogue_of_one_label_has_its_columns_alone(tmp_path, suffix):
    of = columns(("fe_h",))
    rows = random_rows(20, of=of)
    path = write(tmp_path, suffix, rows, of)
    check_equal(read(path, [column.name for column in of]), rows, suffix, of)
    with pytest.raises(CatalogueError, match="no column teff"):
        read(path, ["fe_h", "teff"])


@settings(max_examples=20, deadline=None)
@given(data=st.data(), suffix=st.sampled_from(formats.SUFFIXES))
def test_any_values_survive_every_format(tmp_path_factory, data, suffix):
    n = data.draw(st.integers(1, 5))
    text = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12).map(str.strip)
    kinds = {
        "s": text,
        "f": st.floats(-1e6, 1e6, width=32) | st.just(float("nan")),
        "i": st.integers(-1, 2**31 - 1) | st.integers(2**62, 2**63 - 1),
    }
    rows = {}
    for column in COLUMNS:
        kind = st.integers(0, 2**31 - 1) if column.dtype == "int32" else kinds[column.dtype[0]]
        if column.name == "input_row":
            kind = st.integers(0, 2**63 - 1)
        values = data.draw(st.lists(kind, min_size=n, max_size=n))
        rows[column.name] = np.array(values, object if column.dtype == "str" else column.dtype)
    check_equal(read(write(tmp_path_factory.mktemp("any"), suffix, rows, n_shards=1)), rows, suffix)


def test_shards_hold_nulls_where_values_are_missing(tmp_path):
    rows = random_rows(50)
    (shard,) = write_shards(tmp_path, rows, n_shards=1)
    table = pq.read_table(shard)
    n_missing = {"f": lambda v: np.isnan(v).sum(), "i": lambda v: (v == -1).sum(), "s": lambda v: (v == "").sum()}
    for column in COLUMNS:
        assert table[column.name].null_count == n_missing[column.dtype[0]](rows[column.name])
        assert table.schema.field(column.name).metadata[b"ucd"].decode() == column.ucd
    check_equal(formats.from_arrow(table, COLUMNS), rows, ".parquet")


def test_a_folder_is_read_by_its_file_or_else_by_its_shards(tmp_path):
    rows = random_rows(40)
    write_shards(tmp_path / "shards", rows)
    check_equal(read(tmp_path), rows, ".parquet")
    check_equal(read(tmp_path / "shards"), rows, ".parquet")
    write(tmp_path, ".fits", {name: values[:20] for name, values in rows.items()})
    assert len(read(tmp_path)["teff"]) == 20
    with pytest.raises(CatalogueError, match="neither"):
        read(tmp_path.parent)
    with pytest.raises(CatalogueError, match="no catalogue"):
        read(tmp_path / "other.fits")


def test_an_unknown_suffix_names_those_there_are(tmp_path):
    with pytest.raises(CatalogueError, match=r"\.parquet, \.fits, \.vot"):
        write(tmp_path, ".xlsx")


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_a_file_cut_short_is_one_sentence(tmp_path, suffix):
    path = write(tmp_path, suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3 + 7])
    if suffix in (".csv", ".ecsv"):
        rows, last = whole.rstrip(b"\n").rsplit(b"\n", 1)
        path.write_bytes(rows + b"\n" + b",".join(last.split(b",")[:3]))  # numbers: no comma is part of a text there
    with pytest.raises(CatalogueError, match="catalogue"):
        read(path)


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"nonsense\x00\xff", b"# %ECSV 1.0\n"])
def test_a_file_of_something_else_is_one_sentence(tmp_path, suffix, content):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(CatalogueError, match="other"):
        read(path)


def test_a_damaged_shard_and_one_of_another_run_are_named(tmp_path):
    rows = random_rows(30)
    shards = write_shards(tmp_path, rows)
    of = columns(("teff",))
    write_shards(tmp_path / "other", random_rows(3, of=of), of, 1)[0].replace(shards[1])
    with pytest.raises(CatalogueError, match=r"shard-000001\.parquet has other columns"):
        formats.write_catalogue(Contents.from_shards(shards, COLUMNS, {}, FLAGS), tmp_path / "c.fits", progress=False)
    shards[1].write_bytes(shards[0].read_bytes()[:-100])
    with pytest.raises(CatalogueError, match=r"shard-000001\.parquet cannot be read: delete it"):
        formats.write_catalogue(Contents.from_shards(shards, COLUMNS, {}, FLAGS), tmp_path / "c.fits", progress=False)


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_a_shard_damaged_inside_leaves_the_former_file_and_no_other(tmp_path, suffix):
    path = write(tmp_path, suffix)
    before = path.read_bytes()
    shards = sorted((tmp_path / "shards").iterdir())
    damaged = bytearray(shards[1].read_bytes())
    damaged[4:3000] = bytes(2996)
    shards[1].write_bytes(damaged)
    files = set(tmp_path.iterdir())
    with pytest.raises(CatalogueError, match=r"shard-000001\.parquet"):
        formats.write_catalogue(Contents.from_shards(shards, COLUMNS, PROVENANCE, FLAGS), path, progress=False)
    assert path.read_bytes() == before
    assert set(tmp_path.iterdir()) == files


@contextlib.contextmanager
def no_file_longer_than(n_bytes):
    """What a full disk does, but for the error's number; of pytest's own output in a file, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
@pytest.mark.parametrize("n_bytes", [0, 30_000])
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path, suffix, n_bytes):
    shards = write_shards(tmp_path / "shards", random_rows(500))
    path = tmp_path / f"catalogue{suffix}"
    path.write_bytes(b"the former one")
    told = pytest.raises(CatalogueError, match=r"disk is full: .* Make room and run the same command again")
    with told, no_file_longer_than(n_bytes):
        formats.write_catalogue(Contents.from_shards(shards, COLUMNS, PROVENANCE, FLAGS), path, progress=False)
    assert path.read_bytes() == b"the former one"
    assert not list(tmp_path.glob(".*"))


_WRITE_SLOWLY = """
import sys, time
from pathlib import Path
from acf_jax.catalogue.files import contents, formats
from tests.acf_jax.catalogue.synthetic_catalogue import COLUMNS, FLAGS
batches = contents.Contents.batches
def slowly(self, progress=""):
    for rows in batches(self, progress):
        yield rows
        print("one", flush=True)
        time.sleep(60)
contents.Contents.batches = slowly
folder = Path(sys.argv[1])
written = contents.Contents.from_shards(sorted(folder.glob("shards/*")), COLUMNS, {}, FLAGS)
formats.write_catalogue(written, folder / "catalogue.fits", False)
"""


def test_a_killed_writing_leaves_the_former_file_and_the_next_one_ends_well(tmp_path):
    path = write(tmp_path, ".fits")
    before = path.read_bytes()
    with subprocess.Popen([sys.executable, "-c", _WRITE_SLOWLY, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"one\n"
        process.kill()
    assert path.read_bytes() == before
    assert len(list(tmp_path.glob(".catalogue.fits.*.part"))) == 1
    assert write(tmp_path, ".fits").read_bytes() == before


@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_the_same_rows_in_other_shards_make_the_same_rows(tmp_path, suffix):
    rows = random_rows(60)
    one = read(write(tmp_path / "a", suffix, rows, n_shards=1))
    many = read(write(tmp_path / "b", suffix, rows, n_shards=7))
    for name in NAMES:
        np.testing.assert_array_equal(one[name], many[name])


def peak_bytes(work):
    """What NumPy, Python and Arrow held at most while `work()` ran, beyond what they held before."""
    arrow_before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] + max(pa.total_allocated_bytes() - arrow_before, 0)
    finally:
        tracemalloc.stop()


def write_and_read(folder, suffix, shards, of):
    path = folder / f"catalogue{suffix}"
    formats.write_catalogue(Contents.from_shards(shards, of, PROVENANCE, FLAGS), path, progress=False)
    assert sum(len(batch["fe_h"]) for batch in formats.read_columns(path, ["fe_h", "reason"], 1000)) == 1000 * len(
        shards
    )


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".vot", ".csv", ".dat"])  # each writer and reader once
def test_memory_does_not_grow_with_the_catalogue(tmp_path, suffix):
    of = columns(("fe_h",))
    shards = write_shards(tmp_path / "shards", random_rows(8_000, of=of), of, 8)
    write_and_read(tmp_path, suffix, shards[:1], of)  # so that what is imported once counts for none
    few = peak_bytes(lambda: write_and_read(tmp_path, suffix, shards[:2], of))
    many = peak_bytes(lambda: write_and_read(tmp_path, suffix, shards, of))
    assert many < 1.5 * few


@pytest.mark.slow
@pytest.mark.parametrize("suffix", formats.SUFFIXES)
def test_a_catalogue_of_200_000_rows_takes_less_than_60_megabytes(tmp_path, suffix):
    shards = write_shards(tmp_path / "shards", random_rows(200_000), n_shards=20)
    path = tmp_path / f"catalogue{suffix}"
    contents = Contents.from_shards(shards, COLUMNS, PROVENANCE, FLAGS)
    peak = peak_bytes(lambda: formats.write_catalogue(contents, path, progress=False))
    assert peak < 60e6
    peak = peak_bytes(lambda: sum(len(batch["teff"]) for batch in formats.read_columns(path, NAMES, 10_000)))
    assert peak < 60e6
