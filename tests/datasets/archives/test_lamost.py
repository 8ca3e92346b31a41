import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from datasets.archives.lamost import read_lamost
from datasets.tables.local import TableError

COLUMNS = {"ra": "RAJ2000", "dec": "DEJ2000", "teff": "Teff", "logg": "log_g_", "fe_h": "__Fe_H_"}


def _catalogue(path):
    Table(
        {
            "RAJ2000": [10.0, 350.0],
            "DEJ2000": [-9.5, 40.0],
            "Teff": [5000.0, -9999.0],
            "e_Teff": [80.0, np.nan],
            "log_g_": [4.0, 2.0],
            "__Fe_H_": [-0.5, 0.1],
            "Spec": ["a-1", "b-2"],
            "unused": [1, 2],
        }
    ).write(path)
    return path


@pytest.mark.parametrize("form", ["csv", "fits"])
def test_columns_come_under_our_names(form, tmp_path):
    table = read_lamost(_catalogue(tmp_path / f"lsp3.{form}"), COLUMNS | {"e_teff": "e_Teff", "spectrum": "Spec"})
    assert table.colnames == [*COLUMNS, "e_teff", "spectrum"]
    assert table["teff"].tolist() == [5000.0, None]
    assert table["e_teff"].tolist() == [80.0, None]
    assert table["spectrum"].tolist() == ["a-1", "b-2"]
    assert [table[name].unit for name in COLUMNS] == [u.deg, u.deg, u.K, u.dex, u.dex]


def test_one_column_may_serve_twice(tmp_path):
    table = read_lamost(_catalogue(tmp_path / "lsp3.csv"), COLUMNS | {"e_logg": "e_Teff", "e_fe_h": "e_Teff"})
    assert table["e_logg"].unit == table["e_fe_h"].unit == u.dex
    assert table["e_logg"].tolist() == [80.0, None]


def test_a_name_without_a_column_is_refused(tmp_path):
    columns = {name: column for name, column in COLUMNS.items() if name not in ("teff", "fe_h")}
    with pytest.raises(TableError, match="no column is given for teff, fe_h: name the file's column of each"):
        read_lamost(_catalogue(tmp_path / "lsp3.csv"), columns)


def test_a_column_that_is_not_there_is_named_with_those_like_it(tmp_path):
    with pytest.raises(TableError, match=r"has no column TEFF; it has .*Teff"):
        read_lamost(_catalogue(tmp_path / "lsp3.csv"), COLUMNS | {"teff": "TEFF"})
