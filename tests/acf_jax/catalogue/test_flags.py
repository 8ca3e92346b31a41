"""Each bit has its cause, and nothing else sets it."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acf_jax.catalogue.flags import TABLE, Flag, compute, describe

TARGETS = ("teff", "logg", "fe_h")
DOMAIN = SimpleNamespace(
    label_min={"teff": 4000.0, "logg": 0.5, "fe_h": -2.5},
    label_max={"teff": 8000.0, "logg": 5.0, "fe_h": 0.5},
    error_limits={"teff": 200.0, "logg": 0.3, "fe_h": 0.2},
)
GOOD_ROW = {
    "parallax": 2.0, "parallax_error": 0.02, "glat": -35.0, "teff": 5500.0, "e_teff": 90.0, "e_teff_cal": 90.0,
    "logg": 4.3, "e_logg": 0.1, "e_logg_cal": 0.1, "fe_h": -0.2, "e_fe_h": 0.1, "e_fe_h_cal": 0.1,
    "domain_distance": 0.4,
}  # fmt: skip
GOOD_FACTS = {
    "flags_master": 0,
    "self_dist1": np.nan,
    "n_detections": [5] * 6,
    "network": "ACF",
    "duplicate": False,
    "trained_on": False,
}
NO_RESULT = {name: np.nan for name in GOOD_ROW if name not in ("parallax", "parallax_error", "glat")}


def flags_of(changes=(), facts=(), domain=DOMAIN, targets=TARGETS):
    """The flags of one star, good but for the changes."""
    rows = {name: np.array([value]) for name, value in {**GOOD_ROW, **dict(changes)}.items()}
    rows = {name: values.astype(np.float64 if name == "glat" else np.float32) for name, values in rows.items()}
    others = {name for target in TARGETS if target not in targets for name in rows if target in name}
    rows = {name: values for name, values in rows.items() if name not in others}
    facts = {name: np.array([value]) for name, value in {**GOOD_FACTS, **dict(facts)}.items()}
    flags = compute(rows, facts, domain, targets)
    assert flags.shape == (1,)
    assert flags.dtype == np.int32
    return Flag(int(flags[0]))


def test_a_good_star_has_no_flag():
    assert flags_of() == 0


CAUSES = [
    (Flag.NO_RESULT, NO_RESULT, {}),
    (Flag.LOW_GRAVITY, {"logg": 0.999}, {}),
    (Flag.METAL_POOR, {"fe_h": -1.0}, {}),
    (Flag.TEFF_OUTSIDE, {"teff": 3999.0}, {}),
    (Flag.TEFF_OUTSIDE, {"teff": 8001.0}, {}),
    (Flag.PARALLAX_UNCERTAIN, {"parallax_error": 0.61}, {}),
    (Flag.PARALLAX_UNCERTAIN, {"parallax": 0.0, "parallax_error": 0.0}, {}),
    (Flag.PARALLAX_UNCERTAIN, {"parallax": -2.0}, {}),
    (Flag.PARALLAX_UNCERTAIN, {"parallax_error": np.nan}, {}),
    (Flag.NO_PARALLAX, {}, {"network": "ACPF"}),
    (Flag.NO_PARALLAX, {"parallax": np.nan, "parallax_error": np.nan}, {"network": "ACPF"}),
    (Flag.CROWDED, {}, {"self_dist1": 14.9}),
    (Flag.SATURATED, {}, {"flags_master": 4}),
    (Flag.SATURATED, {}, {"flags_master": 3 + 4 + 16}),
    (Flag.FEW_DETECTIONS, {}, {"n_detections": [5, 5, 1, 5, 5, 5]}),
    (Flag.FEW_DETECTIONS, {}, {"n_detections": [5, 5, 5, 5, 5, 0]}),
    (Flag.LOW_LATITUDE, {"glat": -9.9}, {}),
    (Flag.LOW_LATITUDE, {"glat": 0.0}, {}),
    (Flag.UNLIKE_TRAINING, {"domain_distance": 1.01}, {}),
    (Flag.LARGE_UNCERTAINTY, {"e_logg": 0.31}, {}),
    (Flag.UNCALIBRATED, {f"e_{target}_cal": np.nan for target in TARGETS}, {}),
    (Flag.DUPLICATE, {}, {"duplicate": True}),
    (Flag.TRAINED_ON, {}, {"trained_on": True}),
]


@pytest.mark.parametrize(("flag", "changes", "facts"), CAUSES)
def test_each_cause_sets_its_bit_and_no_other(flag, changes, facts):
    assert flags_of(changes, facts) == flag


def test_every_bit_has_a_cause_and_a_meaning_in_order():
    assert {flag for flag, *_ in CAUSES} == set(Flag)
    assert [flag for flag, _ in TABLE] == list(Flag)
    assert [flag.value for flag in Flag] == [2**i for i in range(15)]
    assert all(text for _, text in TABLE)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"logg": 1.0}, {}),
        ({"fe_h": -0.999}, {}),
        ({"teff": 4000.0}, {}),
        ({"teff": 8000.0}, {}),
        ({"parallax": 2.0, "parallax_error": 0.59}, {}),
        ({"parallax": np.nan, "parallax_error": np.nan}, {}),
        ({"glat": 10.0}, {}),
        ({"glat": np.nan}, {}),
        ({"domain_distance": 1.0}, {}),
        ({"domain_distance": np.nan}, {}),
        ({"e_teff": 200.0}, {}),
        ({}, {"self_dist1": 15.0}),
        ({}, {"flags_master": -1}),  # missing
        ({}, {"flags_master": 3}),
        ({}, {"n_detections": [-1] * 6}),  # missing
        ({}, {"n_detections": [2] * 6}),
        ({}, {"network": ""}),
    ],
)
def test_what_is_just_good_enough_or_missing_sets_no_bit(changes, facts):
    assert flags_of(changes, facts) == 0


@given(st.sets(st.sampled_from(range(1, len(CAUSES)))))
def test_causes_add_up_and_none_hides_another(numbers):
    chosen = [CAUSES[i] for i in numbers]
    changes, facts = {}, {}
    for _, change, fact in chosen:
        if not (changes.keys() & change.keys() or facts.keys() & fact.keys()):
            changes, facts = changes | change, facts | fact
    taken = [
        flag for flag, change, fact in chosen if change.items() <= changes.items() and fact.items() <= facts.items()
    ]
    assert flags_of(changes, facts) == sum(set(taken), Flag(0))


def test_a_star_without_a_result_keeps_the_flags_that_need_none():
    flags = flags_of(NO_RESULT | {"glat": 3.0, "parallax": -1.0}, {"flags_master": 4, "duplicate": True})
    assert flags == Flag.NO_RESULT | Flag.LOW_LATITUDE | Flag.PARALLAX_UNCERTAIN | Flag.SATURATED | Flag.DUPLICATE


def test_one_missing_parameter_makes_no_result():
    assert flags_of({"logg": np.nan}) == Flag.NO_RESULT


def test_a_network_of_one_label_is_judged_by_that_alone():
    strange = {"logg": 0.1, "fe_h": -3.0, "teff": 9000.0}
    assert flags_of(strange, targets=("logg",)) == Flag.LOW_GRAVITY
    assert flags_of(strange, targets=("fe_h",)) == Flag.METAL_POOR
    assert flags_of(strange, targets=("teff",)) == Flag.TEFF_OUTSIDE


def test_without_a_training_domain_its_bits_are_not_set():
    changes = {"teff": 9000.0, "e_teff": 1e4, "domain_distance": np.nan}
    assert flags_of(changes, domain=None) == 0


def test_facts_known_of_no_star_may_be_left_out():
    rows = {name: np.full(3, value) for name, value in GOOD_ROW.items()}
    assert compute(rows, {}, DOMAIN, TARGETS).tolist() == [0, 0, 0]


@given(st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_a_star_s_flags_hang_on_no_other_star(n, seed):
    rng = np.random.default_rng(seed)
    rows = {
        name: np.where(rng.random(n) < 0.2, np.nan, value * rng.normal(1, 1, n)) for name, value in GOOD_ROW.items()
    }
    facts = {
        "flags_master": rng.integers(-1, 64, n),
        "self_dist1": rng.uniform(5, 25, n),
        "n_detections": rng.integers(-1, 9, (n, 6)),
        "network": rng.choice(["ACF", "ACPF", ""], n),
        "duplicate": rng.random(n) < 0.5,
        "trained_on": rng.random(n) < 0.5,
    }
    together, order = compute(rows, facts, DOMAIN, TARGETS), rng.permutation(n)
    rows, facts = ({name: values[order] for name, values in arrays.items()} for arrays in (rows, facts))
    np.testing.assert_array_equal(compute(rows, facts, DOMAIN, TARGETS), together[order])


@given(st.integers(0, 2**15 - 1))
def test_describe_tells_each_bit_that_is_set(flags):
    lines = describe(flags)
    assert sum(Flag[line.split(":")[0]] for line in lines) == flags


@pytest.mark.parametrize("flags", [2**15, -1])
def test_bits_without_a_meaning_are_refused(flags):
    with pytest.raises(ValueError, match="not in the table of flags"):
        describe(flags)
