import re

import numpy as np
import pytest
from astropy import units as u
from astropy.io import ascii

from acf_jax.catalogue.errors import CatalogueError
from acf_jax.catalogue.files import formats
from acf_jax.catalogue.files.cds_readme import write_readme
from acf_jax.catalogue.files.contents import Contents
from acf_jax.catalogue.files.records import ascii_text
from tests.acf_jax.catalogue.synthetic_catalogue import COLUMNS, FLAGS, PROVENANCE, random_rows, write_shards


def write(folder, suffix, rows):
    path = folder / f"catalogue{suffix}"
    shards = write_shards(folder / "shards", rows)
    contents = Contents.from_shards(shards, COLUMNS, PROVENANCE, FLAGS)
    formats.write_catalogue(contents, path, progress=False)
    write_readme(folder / "ReadMe", path, contents)
    return path


def test_astropy_reads_the_file_by_its_readme(tmp_path):
    rows = random_rows(150)
    table = ascii.read(write(tmp_path, ".dat", rows), format="cds", readme=tmp_path / "ReadMe", guess=False)
    assert table.colnames == [column.name for column in COLUMNS]
    for column in COLUMNS:
        found, expected = table[column.name], rows[column.name]
        missing = np.isnan(expected) if column.is_float else expected == ("" if column.dtype == "str" else -1)
        assert np.array_equal(np.ma.getmaskarray(found), missing)
        assert column.description in found.description
        values, expected = np.asarray(found[~missing]), expected[~missing]
        if column.dtype == "str":
            assert values.tolist() == [ascii_text(text) for text in expected]
        elif column.is_float:
            half_digit = 0.5 * 10.0**-column.decimals
            np.testing.assert_allclose(values, expected, rtol=1e-15, atol=half_digit * (1 + 1e-6))
        else:
            np.testing.assert_array_equal(values, expected)
    assert table["logg"].unit == u.dex(u.cm / u.s**2)
    assert table["e_fe_h"].unit == u.dex
    assert table["parallax"].unit == u.mas


def test_every_line_of_the_file_has_the_length_that_the_readme_states(tmp_path):
    path = write(tmp_path, ".dat", random_rows(20))
    (n_bytes, n_lines) = re.search(r"catalogue\.dat +(\d+) +(\d+)", (tmp_path / "ReadMe").read_text()).groups()
    lines = path.read_bytes().split(b"\n")[:-1]
    assert len(lines) == int(n_lines) == 20
    assert {len(line) for line in lines} == {int(n_bytes)}


@pytest.mark.parametrize("suffix", [".dat", ".fits"])
def test_the_readme_is_ascii_of_80_columns_with_all_sections(tmp_path, suffix):
    write(tmp_path, suffix, random_rows(5))
    text = (tmp_path / "ReadMe").read_bytes().decode("ascii")
    assert max(map(len, text.splitlines())) <= 80
    heading = "Byte-by-byte Description of file" if suffix == ".dat" else "Description of the columns of file"
    for section in ("Abstract:", "File Summary:", f"{heading}: catalogue{suffix}", "Note on flags", "References:"):
        assert section in text
    for said in ("2 = WORSE: less", "log g < 1", "[Fe/H] <= -1", "CC BY 4.0", "mock sky, 12", "dataset.version: 2"):
        assert said in text
    assert all(f" {column.name} " in text for column in COLUMNS)


def test_a_file_of_fixed_width_without_its_metadata_is_one_sentence(tmp_path):
    path = write(tmp_path, ".dat", random_rows(5))
    (tmp_path / "catalogue.dat-metadata.json").unlink()
    contents = Contents.from_shards(sorted(tmp_path.glob("shards/*")), COLUMNS, PROVENANCE, FLAGS)
    with pytest.raises(CatalogueError, match=r"catalogue\.dat-metadata\.json"):
        write_readme(tmp_path / "ReadMe", path, contents)
    with pytest.raises(CatalogueError, match=r"catalogue\.dat-metadata\.json"):
        list(formats.read_columns(path, ["teff"]))
