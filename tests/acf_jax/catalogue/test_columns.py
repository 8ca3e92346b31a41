"""The catalogue's columns, and what the documentation says of columns and flags."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io.votable.ucd import check_ucd

from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.flags import TABLE

TARGETS = ("teff", "logg", "fe_h")
DOC = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text()


@pytest.mark.parametrize("column", columns(TARGETS, has_input_row=True), ids=lambda column: column.name)
def test_every_ucd_is_in_the_vocabulary(column):
    assert check_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=True)


def test_columns_are_those_that_were_asked_for():
    names = [column.name for column in columns(TARGETS)]
    assert len(set(names)) == len(names)
    paper = ["object_id", "smss_j", "source_id", "raj2000", "dej2000", "glon", "glat", "parallax", "parallax_error"]
    paper += [name for target in TARGETS for name in (target, f"e_{target}")]
    assert [name for name in names if name in paper] == paper
    assert {f"{target}_{end}" for target in TARGETS for end in ("lo68", "hi68", "lo95", "hi95")} <= set(names)
    assert columns(("logg",), has_input_row=True)[0].name == "input_row"


def test_a_column_has_the_type_that_its_name_promises():
    for column in columns(TARGETS, has_input_row=True):
        if column.dtype != "str":
            assert np.dtype(column.dtype).kind == ("f" if column.decimals is not None else "i")
        assert not column.name.endswith("_id") or column.dtype == "int64"


def test_the_documentation_names_every_flag_with_its_bit():
    for flag, _ in TABLE:
        assert f"| {flag.value} | `{flag.name}` |" in DOC


def test_the_documentation_names_every_column_of_one_label():
    for column in columns(("teff",), has_input_row=True):
        assert f"`{column.name}`" in DOC
