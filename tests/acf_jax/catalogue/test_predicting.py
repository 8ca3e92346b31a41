"""Every star that goes in comes out: with a result, or with a reason and a flag; and no bad star harms another."""

import contextlib
import dataclasses
import threading
import time

import jax
import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest

from acf_jax.catalogue import predicting
from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.files.arrow_rows import arrow_schema
from acf_jax.catalogue.flags import Flag
from acf_jax.catalogue.making import Options, make_catalogue
from acf_jax.catalogue.predicting import read_ahead
from acf_jax.data.prepared import open_dataset
from acf_jax.inference.loading import load
from acf_jax.inference.mc_dropout import one_behind
from tests.acf_jax.catalogue import tiny_catalogue

N_STARS = 24
TARGETS = ("teff", "logg", "fe_h")
NUMBERS = ("teff", "e_teff", "logg", "fe_h", "e_fe_h_mc", "fe_h_lo95", "logg_hi68", "domain_distance")
NO_PARALLAX = {  # parallax and error of the stars that an ACF cannot be asked about
    2: (np.nan, np.nan),
    3: (1.0, np.nan),
    4: (1.0, 0.0),
    5: (1.0, -0.1),
    6: (np.inf, 0.1),
}
NEGATIVE = 7  # which is a parallax all the same
NAN_PIXEL, INFINITE_PIXEL, BLANK, TWINS = 9, 10, 11, (13, 14)
UNUSABLE = {
    NAN_PIXEL: "its stamp holds a pixel that is not a finite number",
    INFINITE_PIXEL: "its stamp holds a pixel that is not a finite number",
    BLANK: "its stamp is blank: every pixel is zero",
}
BAD_STAMPS = list(UNUSABLE)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return tiny_catalogue.make_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def stars():
    stars = tiny_catalogue.make_stars(N_STARS)
    for row, (parallax, error) in NO_PARALLAX.items():
        stars["parallax"][row], stars["parallax_error"][row] = parallax, error
    stars["parallax"][NEGATIVE] = -0.5
    stars["stamp"][NAN_PIXEL, 3, 4, 5], stars["stamp"][INFINITE_PIXEL, 3, 4, 5], stars["stamp"][BLANK] = (
        np.nan,
        np.inf,
        0,
    )
    stars["object_id"][TWINS[1]] = stars["object_id"][TWINS[0]]
    return stars


@pytest.fixture(scope="module")
def dataset(stars, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return open_dataset(tiny_catalogue.write_dataset(folder, stars, tiny_catalogue.make_rejected(3)))


def make(networks, dataset, folder, **options):
    """The catalogue's rows, nulls as NaN or None."""
    options = {"n_samples": tiny_catalogue.N_SAMPLES, "shard_size": 10, "batch_size": 8, "progress": False} | options
    path, _ = make_catalogue(
        networks, dataset, folder, [folder / "catalogue.parquet"], folder / "ReadMe", Options(**options)
    )
    shards = [pq.read_table(shard) for shard in sorted((path.parent / "shards").iterdir())]
    table = pyarrow.concat_tables(shards)
    return {
        name: table[name].to_numpy().astype(float) if name in NUMBERS else np.array(table[name].to_pylist(), object)
        for name in table.column_names
    }


def test_stars_that_cannot_be_predicted_have_a_reason_and_harm_no_other(networks, stars, dataset, tmp_path):
    rows = make({"ACF": networks["ACF"]}, dataset, tmp_path)
    without = [*NO_PARALLAX, *UNUSABLE, *range(N_STARS, N_STARS + 3)]
    good = [row for row in range(N_STARS) if row not in without]
    for name in NUMBERS:
        assert np.isnan(rows[name][without]).all()
        assert np.isfinite(rows[name][good]).all()
    assert [bool(flags & Flag.NO_RESULT) for flags in rows["flags"]] == [row in without for row in range(N_STARS + 3)]
    assert [rows["reason"][row] for row in UNUSABLE] == list(UNUSABLE.values())
    assert {rows["reason"][row] for row in NO_PARALLAX} == {
        "no parallax with a positive error, which the network needs (--acpf gives one without)"
    }
    assert rows["reason"][N_STARS:].tolist() == [f"no usable detection in {band}" for band in "uvg"]
    assert not rows["reason"][good].any()
    alone = tiny_catalogue.predict(networks["ACF"], stars, good)
    np.testing.assert_allclose(rows["teff"][good], alone.mean[:, 0], rtol=2e-5)
    np.testing.assert_allclose(rows["e_teff"][good], alone.calibrated_std[:, 0], rtol=1e-4)


def test_stars_without_a_parallax_are_given_to_the_network_that_reads_none(networks, stars, dataset, tmp_path):
    rows = make(networks, dataset, tmp_path)
    by_acf = [row for row in range(N_STARS) if row not in NO_PARALLAX and row not in UNUSABLE]
    for network, mine in (("ACF", by_acf), ("ACPF", list(NO_PARALLAX))):
        expected = tiny_catalogue.predict(networks[network], stars, mine)
        lower, _ = expected.interval(0.95)
        np.testing.assert_allclose(rows["teff"][mine], expected.mean[:, 0], rtol=2e-5)
        np.testing.assert_allclose(rows["e_teff"][mine], expected.calibrated_std[:, 0], rtol=1e-4)
        np.testing.assert_allclose(rows["fe_h_lo95"][mine], lower[:, 2], rtol=1e-4, atol=1e-4)
        has_bit = {bool(rows["flags"][row] & Flag.NO_PARALLAX) for row in mine}
        assert has_bit == {network == "ACPF"}
    assert not rows["reason"][[*by_acf, *NO_PARALLAX]].any()
    assert rows["flags"][NEGATIVE] & Flag.PARALLAX_UNCERTAIN


def test_a_network_without_parallax_alone_takes_all_stars(networks, stars, dataset, tmp_path):
    rows = make({"ACPF": networks["ACPF"]}, dataset, tmp_path)
    good = [row for row in range(N_STARS) if row not in UNUSABLE]
    np.testing.assert_allclose(
        rows["teff"][good], tiny_catalogue.predict(networks["ACPF"], stars, good).mean[:, 0], rtol=2e-5
    )
    assert all(rows["flags"][row] & Flag.NO_PARALLAX for row in good)


def test_networks_of_which_one_predicts_its_noise_work_together(networks, stars, dataset, tmp_path):
    noisy = load(tiny_catalogue.make_network(tmp_path / "run", model__heteroscedastic=True))
    rows = make({"ACF": noisy, "ACPF": networks["ACPF"]}, dataset, tmp_path / "out")
    good = [row for row in range(N_STARS) if row not in NO_PARALLAX and row not in UNUSABLE]
    expected = tiny_catalogue.predict(noisy, stars, good)
    np.testing.assert_allclose(rows["e_teff"][good], expected.calibrated_std[:, 0], rtol=1e-4)
    by_other = tiny_catalogue.predict(networks["ACPF"], stars, list(NO_PARALLAX))
    np.testing.assert_allclose(rows["e_teff"][list(NO_PARALLAX)], by_other.calibrated_std[:, 0], rtol=1e-4)


def test_duplicates_come_out_both_and_are_flagged(networks, stars, dataset, tmp_path):
    rows = make({"ACF": networks["ACF"]}, dataset, tmp_path)
    flagged = np.flatnonzero([bool(flags & Flag.DUPLICATE) for flags in rows["flags"]])
    assert flagged.tolist() == list(TWINS)
    assert rows["object_id"][TWINS[0]] == rows["object_id"][TWINS[1]] == stars["object_id"][TWINS[0]]
    assert rows["teff"][TWINS[0]] != rows["teff"][TWINS[1]]  # their stamps differ


def test_distance_from_the_training_set_is_the_domains_own(networks, stars, dataset, tmp_path):
    network = networks["ACPF"]
    rows = make({"ACPF": network}, dataset, tmp_path)
    good = [row for row in range(N_STARS) if row not in UNUSABLE]
    stamps = stars["stamp"][good]
    encode = jax.jit(lambda stamps: network.model.apply({"params": network.params}, stamps, method="encode"))
    features = encode(network.input_scaling.stamps(stamps))
    expected = network.training_domain.distance(np.asarray(features), stamps)
    np.testing.assert_allclose(rows["domain_distance"][good], expected, rtol=1e-4)
    unlike = [bool(flags & Flag.UNLIKE_TRAINING) for flags in rows["flags"][good]]
    assert unlike == (expected > 1).tolist()


def test_an_answer_that_is_not_finite_is_no_result(networks, dataset, tmp_path):
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), networks["ACF"].params)
    rows = make({"ACF": dataclasses.replace(networks["ACF"], params=broken)}, dataset, tmp_path)
    assert np.isnan(rows["teff"]).all()
    assert rows["reason"][0] == "the network's inputs or its answer are not finite"
    assert rows["reason"][BLANK] == UNUSABLE[BLANK]  # what is known better stays


def test_a_damaged_file_of_examples_costs_its_own_stars_alone(networks, stars, tmp_path):
    folder = tiny_catalogue.write_dataset(tmp_path / "data", stars)
    whole = make({"ACPF": networks["ACPF"]}, open_dataset(folder), tmp_path / "whole")
    _, second = sorted(folder.glob("*train*array_record*"))
    second.unlink()
    rows = make({"ACPF": networks["ACPF"]}, open_dataset(folder), tmp_path / "out")
    of_split = np.flatnonzero(stars["split"] == "train")
    lost = of_split[len(of_split) // 2 :].tolist()
    assert all(rows["reason"][row].startswith("its stamp cannot be read: ") for row in lost)
    assert np.isnan(rows["teff"][lost]).all()
    kept = [row for row in range(N_STARS) if row not in lost]
    np.testing.assert_array_equal(rows["reason"][kept], whole["reason"][kept])
    np.testing.assert_allclose(rows["teff"][kept], whole["teff"][kept], rtol=2e-5)


def test_a_users_rows_come_out_in_their_order(networks, tmp_path):
    stars, rejected = tiny_catalogue.make_stars(9), tiny_catalogue.make_rejected(6)
    places = np.random.default_rng(3).permutation(15)
    folder = tiny_catalogue.write_dataset(tmp_path / "data", stars, rejected, input_rows=(places[:9], places[9:]))
    rows = make({"ACF": networks["ACF"]}, open_dataset(folder), tmp_path / "out", shard_size=4)
    assert rows["input_row"].tolist() == list(range(15))
    ids = np.concatenate([stars["object_id"], rejected["object_id"]])
    np.testing.assert_array_equal(rows["object_id"][places].astype(np.int64), ids)
    expected = tiny_catalogue.predict(networks["ACF"], stars)
    np.testing.assert_allclose(rows["teff"][places[:9]], expected.mean[:, 0], rtol=2e-5)
    assert rows["reason"][places[9:]].tolist() == rejected["reason"].tolist()


def test_shards_hold_the_columns_with_nulls_where_something_is_missing(networks, dataset, tmp_path):
    make({"ACF": networks["ACF"]}, dataset, tmp_path)
    for path in sorted((tmp_path / "shards").iterdir()):
        assert pq.read_schema(path).equals(arrow_schema(columns(TARGETS)), check_metadata=True)
    last = pq.read_table(path)  # neither in Gaia nor with a place on the sky, nor with a stamp
    present = [name for name in last.column_names if last[name][-1].is_valid]
    assert present == ["object_id", "flags", "reason"]
    first = pq.read_table(tmp_path / "shards/shard-000000.parquet")
    assert [name for name in first.column_names if not first[name][0].is_valid] == ["reason"]


def test_items_are_handed_on_one_behind():
    log = []

    def items():
        for i in range(3):
            log.append(f"launch {i}")
            yield i

    for i in one_behind(items()):
        log.append(f"fetch {i}")
    assert log == ["launch 0", "launch 1", "fetch 0", "launch 2", "fetch 1", "fetch 2"]
    assert list(one_behind([])) == []


def test_reading_ahead_keeps_the_order_and_a_bound():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    with read_ahead(items()) as ready:
        for i in ready:
            time.sleep(0.001)
            assert len(made) <= i + 1 + predicting.READ_AHEAD + 1  # in hand, in the queue, waiting for room
    assert made == list(range(50))


def test_what_goes_wrong_while_reading_ahead_is_raised_where_it_is_used():
    def items():
        yield 1
        raise OSError("gone")

    with read_ahead(items()) as ready:
        assert next(ready) == 1
        with pytest.raises(OSError, match="gone"):
            next(ready)
    before = threading.active_count()
    with contextlib.suppress(KeyError), read_ahead(iter(range(1000))) as ready:
        next(ready)
        raise KeyError
    assert threading.active_count() == before  # the reader ends with its user
