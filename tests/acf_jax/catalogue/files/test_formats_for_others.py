"""What other programs find in a catalogue's files."""

import shutil
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from acf_jax.catalogue.files import formats
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.files.records import ascii_text
from tests.acf_jax.catalogue.synthetic_catalogue import COLUMNS, FLAGS, PROVENANCE, random_rows, write_shards

ASTROPY = {".parquet": "parquet.votable", ".fits": "fits", ".vot": "votable", ".ecsv": "ascii.ecsv"}


@pytest.fixture(scope="module")
def rows():
    return random_rows(200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rows):
    """A catalogue in every format."""
    folder = tmp_path_factory.mktemp("catalogue")
    shards = write_shards(folder / "shards", rows)
    contents = Contents.from_shards(shards, COLUMNS, PROVENANCE, FLAGS)
    for suffix in formats.SUFFIXES:
        formats.write_catalogue(contents, folder / f"catalogue{suffix}", progress=False)
    return folder


@pytest.mark.parametrize("suffix", ASTROPY)
def test_astropy_reads_values_units_ucds_and_descriptions(folder, rows, suffix):
    table = Table.read(folder / f"catalogue{suffix}", format=ASTROPY[suffix])
    assert table.colnames == [column.name for column in COLUMNS]
    for column in COLUMNS:
        found = table[column.name]
        in_dex = column.unit == "dex"
        if in_dex and suffix != ".ecsv":
            assert not found.unit
            assert found.description == f"{column.description}, in dex"
        else:
            assert (found.unit or u.one) == u.Unit(column.unit)
            assert found.description == column.description
        assert found.meta["ucd"] == column.ucd
        _check_values(found, rows[column.name], column, suffix)


def _check_values(found, expected, column, suffix):
    values = np.ma.filled(found, {"s": "", "f": np.nan, "i": -1}[column.dtype[0]])
    if column.dtype == "str":
        texts = expected if suffix in (".parquet", ".ecsv") else [ascii_text(text) for text in expected]
        assert [str(value) for value in values] == list(texts)
    elif column.is_float and suffix == ".ecsv":
        half_digit = 0.5 * 10.0**-column.decimals
        np.testing.assert_allclose(values, expected, rtol=2 * np.finfo(column.dtype).eps, atol=half_digit)
    else:
        assert values.dtype.newbyteorder("=") == column.dtype
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".ecsv"])
def test_astropy_finds_missing_identifiers_masked(folder, rows, suffix):
    table = Table.read(folder / f"catalogue{suffix}", format=ASTROPY[suffix])
    np.testing.assert_array_equal(np.ma.getmaskarray(table["source_id"]), rows["source_id"] == -1)


def test_the_votable_is_valid_and_names_its_frames(folder):
    assert votable.validate(folder / "catalogue.vot", output=None).endswith("found no violations.\n\n")
    tree = votable.parse(folder / "catalogue.vot", verify="exception")
    table = tree.get_first_table()
    frames = {system.ID: system.system for system in tree.resources[0].coordinate_systems}
    assert frames == {"icrs": "ICRS", "galactic": "galactic"}
    refs = {field.name: field.ref for field in table.fields if field.ref}
    assert refs == {"raj2000": "icrs", "dej2000": "icrs", "glon": "galactic", "glat": "galactic"}
    information = {info.name: info.value for info in tree.resources[0].infos}
    assert information["dataset.version"] == "2.0.0"
    assert information["sample"] == "mock sky, 12 stars"
    assert information["flag.WORSE"] == '2: less "good"'


def test_the_fits_checksums_are_right_and_a_changed_byte_is_found(folder, tmp_path):
    with fits.open(folder / "catalogue.fits", checksum=True) as hdus:  # a wrong one warns, which is an error here
        hdus.verify("exception")
        assert len(hdus[1].data) == 200
        history = "".join(hdus[1].header["HISTORY"])
        assert "sample: mock sky, 12 stars" in history
        assert "flag.BAD: 1: not good" in history
    damaged = bytearray((folder / "catalogue.fits").read_bytes())
    damaged[-5000] ^= 1
    (tmp_path / "damaged.fits").write_bytes(damaged)
    with (
        pytest.warns(AstropyUserWarning, match="verification failed"),
        fits.open(tmp_path / "damaged.fits", checksum=True) as hdus,
    ):
        assert len(hdus) == 2


@pytest.mark.parametrize("command", [["fitsverify", "-q"], ["stilts", "votlint"]])
def test_the_archives_own_validators_find_nothing(folder, command):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    name = "catalogue.fits" if command[0] == "fitsverify" else "catalogue.vot"
    done = subprocess.run([*command, folder / name], capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    assert "verification OK" in said if command[0] == "fitsverify" else not said.strip()


def test_the_parquet_header_is_a_votable_without_data(folder):
    metadata = pq.read_schema(folder / "catalogue.parquet").metadata
    assert metadata[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    content = metadata[b"IVOA.VOTable-Parquet.content"].decode()
    assert "<DATA>" not in content
    assert '<VALUES null="-1"/>' in content
    assert pq.read_schema(folder / "catalogue.parquet").field("parallax").metadata[b"unit"] == b"mas"


def test_missing_floats_are_nulls_in_the_parquet_file_and_identifiers_stay_exact_in_pandas(folder, rows):
    table = pq.read_table(folder / "catalogue.parquet")
    assert table["teff"].null_count == np.isnan(rows["teff"]).sum() > 0
    np.testing.assert_array_equal(table["source_id"].to_numpy(), rows["source_id"])


def test_the_csv_is_plain_and_what_lies_beside_describes_it(folder):
    import csv
    import json

    with open(folder / "catalogue.csv", newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 200
    assert list(read[0]) == [column.name for column in COLUMNS]
    beside = json.loads((folder / "catalogue.csv-metadata.json").read_text())
    assert [column["unit"] for column in beside["tableSchema"]["columns"]] == [column.unit for column in COLUMNS]
    assert beside["flags"][1] == {"bit": 2, "name": "WORSE", "meaning": 'less "good"'}


def test_a_votable_of_another_program_is_read_too(folder, rows, tmp_path):
    table = Table.read(folder / "catalogue.vot")
    table.write(tmp_path / "other.vot", format="votable", tabledata_format="tabledata")
    (batch,) = formats.read_columns(tmp_path / "other.vot", ["source_id", "reason", "glat"])
    np.testing.assert_array_equal(batch["source_id"], rows["source_id"])
    np.testing.assert_array_equal(batch["glat"], rows["glat"])
    assert batch["reason"].tolist() == [ascii_text(text) for text in rows["reason"]]
