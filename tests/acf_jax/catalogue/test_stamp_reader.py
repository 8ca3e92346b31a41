"""Stamps read one by one: what is damaged is told, and costs no other star."""

import shutil

import numpy as np
import pytest

from acf_jax.catalogue.stamp_reader import StampReader
from acf_jax.data.prepared import open_dataset
from tests.acf_jax.catalogue import tiny_catalogue

N_STARS = 24


@pytest.fixture(scope="module")
def stars():
    return tiny_catalogue.make_stars(N_STARS)


@pytest.fixture(scope="module")
def prepared(stars, tmp_path_factory):
    return tiny_catalogue.write_dataset(tmp_path_factory.mktemp("data"), stars)


@pytest.fixture
def folder(prepared, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(prepared, tmp_path / "data/smss_stamps/mock/1.0.0")


def read(folder, stars, **changes):
    """Every star's stamp, in the order of selection."""
    index = np.zeros(N_STARS, np.int64)
    for split in np.unique(stars["split"]):
        index[stars["split"] == split] = np.arange((stars["split"] == split).sum())
    asked = {"split": stars["split"], "index": index, "object_id": stars["object_id"]} | changes
    return StampReader(open_dataset(folder)).read(**asked)


def stars_of_file(stars, path) -> list[int]:
    """The stars in one of the two files of a split."""
    split = path.name.split(".")[0].removeprefix("smss_stamps-")
    rows = np.flatnonzero(stars["split"] == split)
    half = len(rows) // 2
    return (rows[:half] if "00000-of" in path.name else rows[half:]).tolist()


def test_every_star_gets_its_own_stamp(prepared, stars):
    stamps, reasons = read(prepared, stars)
    np.testing.assert_array_equal(stamps, stars["stamp"])
    assert stamps.dtype == np.float32
    assert reasons == [""] * N_STARS


def damage_by_truncation(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_all(path):
    path.write_bytes(b"\x00" * path.stat().st_size)


def damage_by_emptying(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_by_truncation, damage_all, damage_by_emptying, lambda path: path.unlink()])
def test_a_file_that_cannot_be_read_costs_its_own_stars_alone(folder, stars, damage):
    path = sorted(folder.glob("*validation*array_record*"))[1]
    lost = stars_of_file(stars, path)
    assert len(lost) == 8
    damage(path)
    stamps, reasons = read(folder, stars)
    assert [row for row, reason in enumerate(reasons) if reason] == lost
    assert all(reasons[row].startswith("its stamp cannot be read: ") and "\n" not in reasons[row] for row in lost)
    kept = [row for row in range(N_STARS) if row not in lost]
    np.testing.assert_array_equal(stamps[kept], stars["stamp"][kept])


def test_flipped_bytes_never_give_a_wrong_stamp_without_a_word(folder, stars):
    path = sorted(folder.glob("*validation*array_record*"))[0]
    content, theirs = path.read_bytes(), stars_of_file(stars, path)
    rng, n_told = np.random.default_rng(0), 0
    filled = np.flatnonzero(np.frombuffer(content, np.uint8))  # most of a file so small is padding
    for place in rng.choice(filled, 30):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        path.write_bytes(flipped)
        stamps, reasons = read(folder, stars)
        told = [row for row, reason in enumerate(reasons) if reason]
        assert set(told) <= set(theirs)
        good = [row for row in range(N_STARS) if row not in told]
        np.testing.assert_array_equal(stamps[good], stars["stamp"][good])
        n_told += bool(told)
    assert n_told >= 25


def test_a_stamp_of_another_star_is_told(prepared, stars):
    other = stars["object_id"].copy()
    other[5] += 1
    _, reasons = read(prepared, stars, object_id=other)
    assert reasons[5] == f"its place in the dataset holds another star, {stars['object_id'][5]}"
    assert not any(reasons[:5] + reasons[6:])


def test_a_place_that_the_dataset_does_not_have_is_told(prepared, stars):
    places = np.full(N_STARS, 1_000)
    places[:2] = -1
    _, reasons = read(prepared, stars, index=places)
    assert all(reason.startswith("its stamp cannot be read: ") for reason in reasons)
    _, reasons = read(prepared, stars, split=np.full(N_STARS, "test"))
    assert all(reason.startswith("its stamp cannot be read: ") for reason in reasons)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "its stamp holds a pixel that is not a finite number"),
        (-np.inf, "its stamp holds a pixel that is not a finite number"),
        (0.0, "its stamp is blank: every pixel is zero"),
    ],
)
def test_stamps_without_light_or_with_holes_are_told(stars, tmp_path, value, reason):
    spoilt = stars | {"stamp": stars["stamp"].copy()}
    spoilt["stamp"][3] = value
    _, reasons = read(tiny_catalogue.write_dataset(tmp_path, spoilt), spoilt)
    assert [row for row, told in enumerate(reasons) if told] == [3]
    assert reasons[3] == reason
