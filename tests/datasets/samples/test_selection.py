import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.samples.selection import (
    CATALOGUE,
    HIGH_QUALITY,
    LOW_QUALITY,
    adql,
    first_failed,
    master_where,
    removed_per_cut,
)

NAN = float("nan")
GOOD = {
    **{"source_id": 7, "gaia_dr3_dist1": 0.1, "sobject_id": 9, "teff": 5000.0, "logg": 4.4, "fe_h": 0.0},
    **{"glat": -30.0, "flag_sp": 0, "flag_fe_h": 0, "snr_c3_iraf": 60.0, "flags": 0, "class_star": 0.9},
    **{f"{band}_ngood": 1 for band in "uvgriz"},
    **{"self_dist1": NAN, "parallax": 2.0, "parallax_error": 0.1},
}


def failed_cut(cuts=HIGH_QUALITY, **changes):
    columns = {name: np.array([value]) for name, value in (GOOD | changes).items()}
    index = int(first_failed(columns, cuts)[0])
    return cuts[index].name if index < len(cuts) else None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"glat": 10.0},
        {"glat": -10.0},
        {"snr_c3_iraf": 30.001},
        {"class_star": 0.6},
        {"self_dist1": 15.0},
        {"gaia_dr3_dist1": 1.0},
        {"parallax": 1.0, "parallax_error": 0.2999},
    ],
)
def test_stars_inside_every_cut_are_selected(changes):
    assert failed_cut(**changes) is None


@pytest.mark.parametrize(
    ("changes", "cut"),
    [
        ({"source_id": -1, "gaia_dr3_dist1": NAN}, "gaia"),
        ({"gaia_dr3_dist1": 1.01}, "gaia"),
        ({"sobject_id": -1}, "galah"),
        ({"fe_h": NAN}, "labels"),
        ({"glat": 9.99}, "latitude"),
        ({"flag_sp": 1}, "flag_sp"),
        ({"flag_fe_h": 32}, "flag_fe_h"),
        ({"snr_c3_iraf": 30.0}, "snr"),
        ({"flags": 4}, "flags"),
        ({"class_star": 0.59}, "class_star"),
        ({"v_ngood": 0}, "bands"),
        ({"self_dist1": 14.99}, "isolated"),
        ({"parallax": 1.0, "parallax_error": 0.3}, "parallax"),
        ({"parallax": -2.0}, "parallax"),
        ({"parallax": -2.0, "parallax_error": -3.0}, "parallax"),
        ({"parallax": np.inf}, "parallax"),
        ({"snr_c3_iraf": np.inf}, "snr"),
        ({"teff": np.inf}, "labels"),
        ({"glat": np.inf}, "latitude"),
        ({"class_star": np.inf}, "class_star"),
    ],
)
def test_each_cut_removes_its_star(changes, cut):
    assert failed_cut(**changes) == cut


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"self_dist1"}))
def test_a_missing_value_never_passes(name):
    assert failed_cut(**{name: -1 if isinstance(GOOD[name], int) else NAN}) is not None


@pytest.mark.parametrize(
    ("changes", "is_low_quality"),
    [
        ({}, False),  # of high quality
        ({"glat": 9.99}, True),
        ({"glat": NAN}, True),
        ({"flags": 4}, True),
        ({"flags": -1}, True),
        ({"self_dist1": 14.99}, True),
        ({"glat": 3.0, "flags": 4, "self_dist1": 2.0}, True),
        ({"glat": 3.0, "parallax_error": 0.6}, False),  # what makes a label or a stamp is asked of all
        ({"glat": 3.0, "flag_fe_h": 1}, False),
        ({"glat": 3.0, "class_star": 0.5}, False),
        ({"glat": 3.0, "u_ngood": 0}, False),
    ],
)
def test_low_quality_is_what_high_quality_lost_to_latitude_flags_and_neighbours(changes, is_low_quality):
    assert (failed_cut(LOW_QUALITY, **changes) is None) == is_low_quality
    assert not (is_low_quality and failed_cut(HIGH_QUALITY, **changes) is None)


def test_the_catalogue_needs_no_label():
    unlabelled = {"sobject_id": -1, "teff": NAN, "logg": NAN, "fe_h": NAN, "flag_sp": -1, "flag_fe_h": -1}
    assert failed_cut(CATALOGUE, **unlabelled, snr_c3_iraf=NAN) is None
    assert failed_cut(HIGH_QUALITY, **unlabelled, snr_c3_iraf=NAN) == "galah"


@pytest.mark.parametrize(
    ("changes", "cut"),
    [
        ({"glat": 9.99}, "latitude"),
        ({"flags": 1}, "flags"),
        ({"class_star": 0.59}, "class_star"),
        ({"z_ngood": 0}, "bands"),
        ({"self_dist1": 3.0}, "isolated"),
        ({"source_id": -1}, "gaia"),
        ({"parallax_error": 0.6}, "parallax"),
    ],
)
def test_each_cut_of_the_catalogue_removes_its_star(changes, cut):
    assert failed_cut(CATALOGUE, **changes) == cut


def test_the_float32_next_to_a_boundary_falls_on_the_side_of_its_value():
    columns = {name: np.array([value], np.float32 if type(value) is float else int) for name, value in GOOD.items()}
    columns["class_star"] = np.float32([0.6])  # 0.60000002
    columns["parallax"], columns["parallax_error"] = np.float32([1.0]), np.float32([0.3])  # 0.30000001
    failed = {cut.name for cut in HIGH_QUALITY if not cut.keep(columns)[0]}
    assert failed == {"parallax"}


def test_a_query_names_its_cuts_and_joins_the_tables_that_they_read():
    query = adql(CATALOGUE, "m.object_id, g.parallax")
    assert query.startswith("SELECT m.object_id, g.parallax\nFROM dr4.master AS m\nJOIN gaiaedr3.gaia_source AS g ON ")
    assert "galah" not in query
    comments = [line for line in query.splitlines() if line.startswith("--")]
    assert comments == [f"-- {cut.name}: {cut.description}" for cut in CATALOGUE]
    assert "JOIN" not in adql([cut for cut in CATALOGUE if cut.on_master])
    assert adql([cut for cut in HIGH_QUALITY if cut.name == "snr"]).count("JOIN") == 1


def test_the_service_gets_bare_conditions_on_one_line():
    where = master_where(CATALOGUE)
    assert where.startswith(
        "ABS(glat) BETWEEN 10 AND 90 AND flags = 0 AND class_star BETWEEN 0.6 AND 1 AND u_ngood >= "
    )
    assert not [part for part in ("\n", "m.", "--", "gaia") if part in where]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), max_size=40))
def test_every_star_is_removed_once_or_selected(kept):
    kept = np.array(kept, bool).reshape(-1, 3)
    cuts = [type("Cut", (), {"keep": staticmethod(lambda columns, i=i: kept[:, i])}) for i in range(3)]
    index = first_failed({}, cuts)
    stay = np.ones(len(kept), bool)
    for i, removed in enumerate(removed_per_cut(index, cuts)):
        assert removed == (stay & ~kept[:, i]).sum()
        stay &= kept[:, i]
    np.testing.assert_array_equal(index == 3, stay)
