"""The samples' ADQL, read by an ADQL parser, and run in DuckDB beside the cuts on the same tables.

DuckDB orders NaN as PostgreSQL does, above every number.
"""

import re
from functools import lru_cache

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from queryparser.adql import ADQLQueryTranslator
from queryparser.exceptions import QuerySyntaxError

from datasets.mock_sky.archive import MockArchive
from datasets.samples.selection import (
    CATALOGUE,
    HIGH_QUALITY,
    LOW_QUALITY,
    adql,
    first_failed,
    master_cuts,
    master_where,
    removed_per_cut,
)
from datasets.surveys.stars import MASTER_COLUMNS, best_spectra, one_row_per_star

SAMPLES = {"high_quality": HIGH_QUALITY, "low_quality": LOW_QUALITY, "catalogue": CATALOGUE}
ALL_CUTS = {cut.name: cut for cuts in SAMPLES.values() for cut in cuts}
NAN, INF, NULL = float("nan"), float("inf"), None


def beside(value):
    """The value, and those next to it in both precisions."""
    single = np.float32(value)
    neighbours = [np.nextafter(single, np.float32(end)) for end in (-INF, INF)]
    return [value, np.nextafter(value, -INF), np.nextafter(value, INF), *map(float, [single, *neighbours])]


NO_NUMBER = [NULL, NAN, INF, -INF, *beside(1e30)]
COUNT = [NULL, 0, 1, 2]
EDGES = {
    "dr4.master": {
        "glat": [*NO_NUMBER, 0.0, *beside(10.0), *beside(-10.0), *beside(90.0)],
        "flags": COUNT,
        "class_star": [*NO_NUMBER, 0.0, *beside(0.6), *beside(1.0)],
        **{f"{band}_ngood": COUNT for band in "uvgriz"},
        "self_dist1": [*NO_NUMBER, 0.0, *beside(15.0)],
        "gaia_dr3_dist1": [*NO_NUMBER, 0.0, *beside(1.0)],
        "gaia_dr3_id1": [NULL],
    },
    "gaia": {
        "parallax": [*NO_NUMBER, -1.0, *beside(0.0), *beside(1.0)],
        "parallax_error": [*NO_NUMBER, -1.0, *beside(0.0), *beside(0.3)],
    },
    "galah": {
        **{name: NO_NUMBER for name in ("teff", "logg", "fe_h")},
        "flag_sp": COUNT,
        "flag_fe_h": COUNT,
        "snr_c3_iraf": [*NO_NUMBER, 0.0, *beside(30.0)],
        "dr3_source_id": [NULL],
    },
}
"""Values on both sides of every boundary, and what is no value, of every column that a cut reads."""


def put(table, name, row, value):
    column = table[name]
    column.mask[row] = value is NULL
    if value is not NULL:
        column.data.data[row] = value


@lru_cache(maxsize=1)
def mock_tables():
    archive = MockArchive(seed=5, n_stars=2000)
    return {name: archive.table(name) for name in EDGES}


def with_edges(single):
    """The mock sky's tables with every edge value in three rows of its column, and relative errors around 0.3."""
    rng = np.random.default_rng(1)
    tables = {name: Table(table, masked=True, copy=True) for name, table in mock_tables().items()}
    set_precision(tables, single)
    for name, edges in EDGES.items():
        for column, values in edges.items():
            for value, row in zip(3 * values, rng.permutation(len(tables[name])), strict=False):
                put(tables[name], column, row, value)
    good = rng.permutation(len(tables["gaia"]))[:60]
    tables["gaia"]["parallax"][good], tables["gaia"]["parallax_error"][good] = 1.0, np.repeat([0.25, 0.3, 0.35], 20)
    return tables


def set_precision(tables, single):
    """Every float that a cut reads in one precision, except the parallax, which is always double in Gaia's table."""
    for name, edges in EDGES.items():
        for column in set(edges) - {"parallax"}:
            if tables[name][column].dtype.kind == "f":
                tables[name][column] = tables[name][column].astype(np.float32 if single else np.float64)


def share_sources(tables):
    """400 pairs of objects name one Gaia source each: the second nearer, farther, as near or at no known distance."""
    master, rng = tables["dr4.master"], np.random.default_rng(2)
    for row in rng.permutation(len(master) // 2)[:400] * 2:
        put(master, "gaia_dr3_id1", row + 1, NULL if master["gaia_dr3_id1"].mask[row] else master["gaia_dr3_id1"][row])
        distance = master["gaia_dr3_dist1"]
        known = NULL if distance.mask[row] else distance[row]
        put(master, "gaia_dr3_dist1", row + 1, [known, 0.0, 0.9, NAN, NULL][rng.integers(5)])


TABLES = {
    "dr4.master": ("dr4.master", "object_id"),
    "gaia": ("gaiaedr3.gaia_source", "source_id"),
    "galah": ("tap_upload.galah", "sobject_id"),
}
"""What the queries call the tables, and each one's own id."""


class Database:
    """The tables under the names that the queries give them."""

    def __init__(self, tables):
        self._connection = duckdb.connect()
        for name, (table, own_id) in TABLES.items():
            rows = pa.table({column: arrow(tables[name][column]) for column in [own_id, *EDGES[name]]})
            self._connection.register("rows", rows)
            self._connection.execute(f"CREATE SCHEMA {table.split('.')[0]}; CREATE TABLE {table} AS SELECT * FROM rows")

    def select(self, query):
        """The object_id of every row of the answer, sorted."""
        return sorted(row[0] for row in self._connection.execute(query).fetchall())


def arrow(column):
    """NULL where masked, and only there."""
    return pa.array(np.array(np.ma.getdata(column)), mask=np.ma.getmaskarray(np.ma.asarray(column)))


def parsed(query):
    """The query in PostgreSQL's dialect, by a parser of ADQL."""
    return ADQLQueryTranslator(query).to_postgresql()


QUERIES = {
    # Between them they have every cut and every join; the parser takes seconds for a long one.
    **{name: adql(SAMPLES[name]) for name in ("high_quality", "catalogue")},
    **{f"cut {name}": adql([ALL_CUTS[name]]) for name in ("latitude", "parallax", "snr", "not_high_quality")},
    "a page": f"SELECT TOP 9 object_id FROM dr4.master WHERE ({master_where(CATALOGUE)}) AND object_id > 3",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_the_queries_are_adql_and_need_no_translation_to_sql(query):
    text = " ".join(re.sub(r"--.*", "", query).split())
    if "TOP 9 " in text:
        text = text.replace("TOP 9 ", "") + " LIMIT 9"
    assert parsed(query) == f"{text};"


def test_every_cut_is_in_a_query_that_is_parsed():
    assert all(any(cut.adql in query for query in QUERIES.values()) for cut in ALL_CUTS.values())


def test_the_parser_refuses_what_is_not_adql():
    with pytest.raises(QuerySyntaxError):
        parsed(QUERIES["cut latitude"].replace("BETWEEN 10 AND 90", "BETWEEN 10"))


def assert_same_after_every_cut(tables, samples):
    """Return how many stars each cut of the samples removed."""
    database, stars = Database(tables), one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"])
    removed = []
    for cuts in samples:
        failed = first_failed(stars, cuts)
        for n in range(1, len(cuts) + 1):
            by_cuts = stars["object_id"][failed >= n]
            assert database.select(adql(cuts[:n])) == sorted(by_cuts.tolist()), cuts[n - 1].name
        removed += removed_per_cut(failed, cuts)
    return removed


@pytest.mark.parametrize("single", [False, True], ids=["double", "single"])
def test_cut_after_cut_the_queries_keep_the_same_stars(single):
    tables = with_edges(single)
    share_sources(tables)
    removed = assert_same_after_every_cut(tables, SAMPLES.values())
    assert min(removed) > 0, "a cut that removes nothing is not tested"


@pytest.mark.parametrize("single", [False, True], ids=["double", "single"])
def test_each_cut_alone_keeps_the_same_stars(single):
    tables = with_edges(single)
    tables["galah"] = tables["galah"][best_spectra(tables["galah"])]  # which spectrum is used depends on several cuts
    database, stars = Database(tables), one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"])
    for cut in ALL_CUTS.values():
        joined = np.ones(len(stars["object_id"]), bool)  # a query that reads a table has the stars that are in it
        for letter, column in {"g": "source_id", "s": "sobject_id"}.items():
            joined &= (stars[column] >= 0) | (letter not in cut.tables)
        keep = cut.keep(stars) & joined
        assert database.select(adql([cut])) == sorted(stars["object_id"][keep].tolist()), cut.name
        assert 0 < keep.sum() < len(keep)


def good_tables(n):
    """`n` stars that pass every cut."""
    number = np.arange(n)
    good = {"glat": -45.0, "class_star": 0.9, "self_dist1": 15.0, "gaia_dr3_dist1": 0.1, "parallax": 1.0}
    good |= {"parallax_error": 0.1, "teff": 5000.0, "logg": 4.0, "fe_h": 0.0, "snr_c3_iraf": 60.0}
    good |= {f"{band}_ngood": 1 for band in "uvgriz"} | {"flags": 0, "flag_sp": 0, "flag_fe_h": 0}
    ids = {"gaia_dr3_id1": 2**62 + number, "dr3_source_id": 2**62 + number}
    own = {"dr4.master": {"object_id": number}, "gaia": {"source_id": 2**62 + number}, "galah": {"sobject_id": number}}
    own["dr4.master"] |= {name: np.full(n, 1.0) for name in MASTER_COLUMNS if "psf" in name or name == "ebmv_sfd"}
    own["dr4.master"] |= {name: np.full(n, 1.0) for name in ("raj2000", "dej2000")}
    own["gaia"] |= {name: np.full(n, 1.0) for name in ("phot_g_mean_mag", "bp_rp", "ruwe")}
    own["galah"] |= {name: np.full(n, 1.0) for name in ("e_teff", "e_logg", "e_fe_h")}
    return {
        name: Table(
            own[name] | {column: ids.get(column, np.full(n, good.get(column))) for column in edges}, masked=True
        )
        for name, edges in EDGES.items()
    }


CHANGES = [(name, column) for name, edges in EDGES.items() for column in edges]
N_DRAWN = 40


@st.composite
def drawn_tables(draw):
    """Good stars with a few values changed to edges or anything; rows may take their neighbour's ids."""
    tables = good_tables(N_DRAWN)
    set_precision(tables, single=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 60))):
        name, column = draw(st.sampled_from(CHANGES))
        row = draw(st.integers(0, N_DRAWN - 1))
        values = st.sampled_from(EDGES[name][column])
        if tables[name][column].dtype.kind == "f":
            values |= st.floats(width=32)
        elif column.endswith("id1") or column.endswith("source_id"):
            values |= st.integers(2**62, 2**62 + N_DRAWN - 1)
        put(tables[name], column, row, draw(values))
    return tables


@given(drawn_tables())
@settings(max_examples=12, deadline=None)
def test_any_rows_are_selected_alike(tables):
    assert_same_after_every_cut(tables, SAMPLES.values())


def test_the_samples_relate_as_the_paper_has_it():
    tables = with_edges(single=False)
    stars = one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"])
    high, low, _ = (first_failed(stars, cuts) == len(cuts) for cuts in SAMPLES.values())
    kept = [cut for cut in HIGH_QUALITY if cut.name not in ("latitude", "flags", "isolated")]
    assert not (high & low).any()
    np.testing.assert_array_equal(high | low, first_failed(stars, kept) == len(kept))
    assert {cut.name for cut in HIGH_QUALITY} - {cut.name for cut in CATALOGUE} == {
        *("galah", "labels", "flag_sp", "flag_fe_h", "snr")
    }


def test_the_service_and_the_columns_share_the_cuts():
    tables = with_edges(single=False)
    database = Database(tables)
    by_service = database.select(
        f"SELECT object_id FROM dr4.master WHERE ({master_where(CATALOGUE)}) AND object_id > 0"
    )
    master = tables["dr4.master"][np.isin(tables["dr4.master"]["object_id"], by_service)]
    stars, cuts = one_row_per_star(master, tables["gaia"]), [cut for cut in CATALOGUE if not cut.on_master]
    chosen = stars["object_id"][first_failed(stars, cuts) == len(cuts)]
    assert sorted(chosen.tolist()) == database.select(adql(CATALOGUE))
    assert 0 < len(chosen) < len(by_service)
    assert [cut.name for cut in cuts] == ["gaia", "parallax"]
    assert {*cuts, *master_cuts(CATALOGUE)} == set(CATALOGUE)


PRINTED = """SELECT object_id FROM dr4.master WHERE ABS(glat) >= 10 AND flags = 0 AND class_star >= 0.6
AND u_ngood >= 1 AND v_ngood >= 1 AND g_ngood >= 1 AND r_ngood >= 1 AND i_ngood >= 1 AND z_ngood >= 1"""


def test_on_the_archives_own_values_the_condition_is_the_printed_one():
    """The query of section 6; of its last condition, self_dist1 = 15, what is meant is taken from the same column."""
    master = mock_tables()["dr4.master"]
    database = Database({name: Table(table, masked=True) for name, table in mock_tables().items()})
    near = master["object_id"][np.ma.filled(master["self_dist1"] < 15, False)].tolist()
    printed = sorted(set(database.select(PRINTED)) - set(near))
    assert database.select(f"SELECT object_id FROM dr4.master WHERE {master_where(CATALOGUE)}") == printed
    assert 0 < len(printed) < len(master)


def test_nan_passes_where_a_condition_has_no_upper_bound():
    tables = good_tables(2)
    put(tables["dr4.master"], "class_star", 1, NAN)
    assert Database(tables).select("SELECT object_id FROM dr4.master WHERE class_star >= 0.6") == [0, 1]
    assert Database(tables).select(adql(CATALOGUE)) == [0]


def test_a_star_of_several_passing_spectra_comes_once():
    tables = good_tables(3)
    tables["galah"]["dr3_source_id"][1] = 2**62
    database = Database(tables)
    assert database.select(adql(HIGH_QUALITY)) == [0, 2]
    assert database.select(adql(HIGH_QUALITY, "m.object_id, s.sobject_id")) == [0, 0, 2]


def test_the_columns_asked_for_are_all_that_the_cuts_read():
    read = {name for cut in ALL_CUTS.values() for name in re.findall(r"\b[mo]\.(\w+)", cut.adql)}
    assert read <= set(MASTER_COLUMNS)
    assert read | {"gaia_dr3_id1", "object_id"} == {*EDGES["dr4.master"], "object_id"}, "EDGES is complete"
