"""`python -m acf_jax.catalogue`: files in, figures and counts out."""

import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from acf_jax.catalogue.__main__ import main
from acf_jax.catalogue.flags import Flag
from acf_jax.catalogue.info import MAX_REASONS, survey
from tests.acf_jax.catalogue import galaxy

FIGURES = ("figure_14", "figure_15", "figure_16")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return galaxy.write(tmp_path_factory.mktemp("catalogue") / "catalogue.parquet", galaxy.rows_of())


@pytest.fixture
def nothing_saved(monkeypatch):
    """Saving takes longest, and another test looks at it."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def test_figures_are_written_beside_the_catalogue_with_what_is_in_them(catalogue, capsys):
    assert main(["figures", str(catalogue.parent)]) == 0
    folder = catalogue.parent / "figures"
    told = json.loads((folder / "figures.json").read_text())
    assert told["sample"] == galaxy.PROVENANCE["sample"]
    assert told["networks"] == {"ACF": "f" * 64}
    assert list(told["figures"]) == list(FIGURES)
    for name in FIGURES:
        figure = told["figures"][name]
        assert (folder / f"{name}.png").read_bytes()[1:4] == b"PNG"
        assert (folder / f"{name}.pdf").read_bytes()[:4] == b"%PDF"
        assert figure["n_used"] + sum(figure["left_out"].values()) == 3000
    assert told["figures"]["figure_16"]["frame"]["galcen_distance_kpc"] == 8.122
    printed = capsys.readouterr().out
    assert "figure_15.png: 2,960 stars; left out: 40 no result" in printed


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".csv"])
@pytest.mark.usefixtures("nothing_saved")
def test_another_format_has_the_same_figures(catalogue, suffix, tmp_path):
    other = galaxy.write(tmp_path / f"stars{suffix}", galaxy.rows_of())
    for path, out in ((catalogue, "a"), (other, "b")):
        assert main(["figures", str(path), "--out", str(tmp_path / out)]) == 0
    a, b = (json.loads((tmp_path / out / "figures.json").read_text()) for out in "ab")
    assert a["figures"] == b["figures"]
    assert a["sample"] == b["sample"]


@pytest.mark.usefixtures("nothing_saved")
def test_flagged_stars_are_left_out_on_demand(catalogue, tmp_path):
    for name, choice in (("a", ["--flags-none", "crowded, saturated"]), ("b", ["--good"])):
        assert main(["figures", str(catalogue), "--out", str(tmp_path / name), *choice]) == 0
    crowded, good = (json.loads((tmp_path / name / "figures.json").read_text()) for name in "ab")
    assert crowded["stars_left_out_by_flags"] == ["CROWDED", "SATURATED"]
    assert crowded["figures"]["figure_14"]["left_out"] == {"flagged": 300}
    assert good["figures"]["figure_15"]["left_out"] == {"flagged": 300 + 40 - 4}  # four have both flags


@pytest.mark.usefixtures("nothing_saved")
def test_the_papers_figure_16_has_parallaxes_down_to_30_percent(catalogue, tmp_path, capsys):
    rows = galaxy.rows_of()
    told = []
    for snr in ("3.33", "0"):
        assert main(["figures", str(catalogue), "--out", str(tmp_path / snr), "--parallax-snr", snr]) == 0
        told.append(json.loads((tmp_path / snr / "figures.json").read_text())["figures"]["figure_16"])
        above = np.isfinite(rows["fe_h"]) & (rows["parallax"] > float(snr) * rows["parallax_error"])
        assert told[-1]["n_used"] + told[-1]["left_out"].get("outside the figure's cells", 0) == above.sum()
        assert f"for parallaxes above {snr} times their error" in told[-1]["distance"]
    assert told[0]["n_used"] < told[1]["n_used"]
    with pytest.raises(SystemExit):
        main(["figures", str(catalogue), "--parallax-snr", "-1"])
    assert "-1 must be at least 0" in capsys.readouterr().err


def test_a_flag_that_is_none_is_refused_with_those_there_are(catalogue, capsys):
    with pytest.raises(SystemExit):
        main(["figures", str(catalogue), "--flags-none", "CROWDED,CLOUDY"])
    assert "CLOUDY is no flag; there are NO_RESULT," in capsys.readouterr().err


def test_a_catalogue_of_one_parameter_has_the_figures_it_can_have(tmp_path, capsys):
    path = galaxy.write(tmp_path / "c.parquet", galaxy.rows_of(targets=("teff",)), targets=("teff",))
    assert main(["figures", str(path), "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert told["figure_14"]["n_used"] == 3000
    assert told["figure_15"] == {"not_drawn": "the catalogue has no column logg or fe_h"}
    assert "figure_16: not drawn: the catalogue has no column fe_h." in capsys.readouterr().out
    assert list(survey(path)["ranges"]) == ["teff"]


def test_a_figure_without_a_star_is_not_drawn_and_said_to_be(tmp_path):
    rows = galaxy.rows_of(40)  # none has a result
    assert main(["figures", str(galaxy.write(tmp_path / "c.parquet", rows)), "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert told["figure_15"] == {"not_drawn": "no star could be drawn", "n_used": 0, "left_out": {"no result": 40}}
    assert not (tmp_path / "figure_15.png").exists()


def test_info_counts_rows_results_flags_and_reasons(catalogue, capsys):
    assert main(["info", str(catalogue), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_rows"], found["n_with_result"], found["n_without_flag"]) == (3000, 2960, 3000 - 336)
    assert {name: n for name, n in found["flags"].items() if n} == {"NO_RESULT": 40, "CROWDED": 300}
    assert list(found["flags"]) == [flag.name for flag in Flag]
    assert found["reasons"] == {"no detection in u": 40}
    assert found["provenance"] == galaxy.PROVENANCE
    assert found["ranges"]["teff"] == [np.nanmin(galaxy.rows_of()["teff"]), np.nanmax(galaxy.rows_of()["teff"])]

    assert main(["info", str(catalogue)]) == 0
    printed = capsys.readouterr().out
    assert "another SkyMapper DR4 object within 15 arcsec" in printed
    assert "mock sky, 3,000 stars drawn for a test" in printed
    assert "  10.00 %" in printed


def test_info_counts_a_reason_once_for_all_images(tmp_path):
    rows = galaxy.rows_of(3)
    rows["reason"] = np.array([f"no usable detection (u 2017012012585{i}-1{i}: masked)" for i in range(3)], object)
    assert survey(galaxy.write(tmp_path / "images.parquet", rows))["reasons"] == {"no usable detection (masked)": 3}


def test_info_of_an_empty_catalogue_and_of_as_many_reasons_as_stars(tmp_path, capsys):
    rows = galaxy.rows_of()
    empty = galaxy.write(tmp_path / "empty.parquet", {name: values[:0] for name, values in rows.items()})
    assert main(["info", str(empty)]) == 0
    assert survey(empty)["ranges"] == {}
    rows["reason"] = np.array([f"ra is 'x{i}'" for i in range(3000)], object)
    reasons = survey(galaxy.write(tmp_path / "many.parquet", rows))["reasons"]
    assert len(reasons) == MAX_REASONS + 1
    assert reasons["other reasons"] == 3000 - MAX_REASONS


def test_what_cannot_be_read_or_written_ends_in_one_sentence(catalogue, tmp_path, capsys):
    (tmp_path / "a_file").write_text("not a folder")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    for arguments in (
        ["figures", str(tmp_path / "nowhere")],
        ["info", str(tmp_path / "bad.parquet")],
        ["figures", str(catalogue), "--out", str(tmp_path / "a_file")],
    ):
        assert main(arguments) == 1
        message = capsys.readouterr().err
        assert message.startswith("acf_jax.catalogue: ")
        assert message.count("\n") == 1


def test_the_help_teaches_and_info_imports_no_matplotlib(catalogue):
    shown = subprocess.run(
        [sys.executable, "-m", "acf_jax.catalogue", "figures", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(word in shown for word in ("figure_16", "--flags-none", "CROWDED", "above 30%"))
    assert "%%" not in shown
    code = (
        "import sys; from acf_jax.catalogue.__main__ import main\n"
        f"main(['info', {str(catalogue)!r}]); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
