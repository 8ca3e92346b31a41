import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.selection import HIGH_QUALITY, first_failed, removed_per_cut

NAN = float("nan")
GOOD = {
    **{"source_id": 7, "gaia_dr3_dist1": 0.1, "sobject_id": 9, "teff": 5000.0, "logg": 4.4, "fe_h": 0.0},
    **{"glat": -30.0, "flag_sp": 0, "flag_fe_h": 0, "snr_c3_iraf": 60.0, "flags": 0, "class_star": 0.9},
    **{f"{band}_ngood": 1 for band in "uvgriz"},
    **{"self_dist1": NAN, "parallax": 2.0, "parallax_error": 0.1},
}
NAMES = [cut.name for cut in HIGH_QUALITY]


def failed_cut(**changes):
    columns = {name: np.array([value]) for name, value in (GOOD | changes).items()}
    index = int(first_failed(columns)[0])
    return NAMES[index] if index < len(NAMES) else None


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
    ],
)
def test_each_cut_removes_its_star(changes, cut):
    assert failed_cut(**changes) == cut


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"self_dist1"}))
def test_a_missing_value_never_passes(name):
    assert failed_cut(**{name: -1 if isinstance(GOOD[name], int) else NAN}) is not None


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
