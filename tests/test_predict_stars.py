"""predict.py --stars: positions in, parameters out, over the mock sky and over servers that stand for the real ones."""

import jax
import numpy as np
import pytest
from astropy.table import Table

import predict
from acf_jax.catalogue.flags import Flag
from acf_jax.commands import predict as command
from acf_jax.devices import cores
from acf_jax.errors import ACFError
from acf_jax.inference.loading import load
from datasets.build.parts import Choices
from datasets.mock_sky.archive import MockArchive
from tests.acf_jax.catalogue import tiny_catalogue
from tests.loopback import serve

SKY = MockArchive(seed=5, n_stars=160)
MASTER, GAIA = SKY.table("dr4.master"), SKY.table("gaia")


@pytest.fixture(autouse=True)
def _as_the_script_runs(monkeypatch):
    """Leaves JAX as it was."""
    monkeypatch.setattr(cores, "split_cores", lambda: None)
    folder = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return tiny_catalogue.make_network(tmp_path_factory.mktemp("network") / "acf")


def make(network, table, out, *options):
    """The catalogue of a table's stars, by the command line."""
    settings = ("--checkpoint", network, "--stars", table, "--out", out, "--samples", 4, "--batch", 4, "--workers", 1)
    assert predict.main([str(value) for value in (*settings, "--data_dir", out.parent / "data", *options)]) == 0
    return Table.read(out)


def test_a_table_over_the_mock_sky(network, tmp_path):
    stars = MockArchive(seed=0, n_stars=4).table("dr4.master")
    lines = ["object_id,ra,dec", *(f"{star['object_id']},," for star in stars), "12x,,", ",abc,-30"]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    found = make(network, tmp_path / "mine.csv", tmp_path / "mine.vot", "--mock")

    assert found["input_row"].tolist() == list(range(6))
    assert found["object_id"][:4].tolist() == stars["object_id"].tolist()
    has_result = (np.asarray(found["flags"]) & Flag.NO_RESULT) == 0
    assert has_result[:4].any()
    np.testing.assert_array_equal(has_result, np.isfinite(np.ma.filled(found["teff"], np.nan)))
    reasons = np.ma.filled(found["reason"], "").astype(str)
    assert all((reason == "") == good for reason, good in zip(reasons, has_result, strict=True))
    assert "'12x'" in reasons[4]
    assert "'abc'" in reasons[5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.ReadMe", "mine.csv", "mine.vot"]


def test_stamps_are_made_as_those_of_the_training(network, tmp_path, monkeypatch):
    paper, ours = {"sky": "table", "aligner": "reproject"}, {"sky": "cutout", "aligner": "fast"}
    networks = {"ACF": load(network), "ACPF": load(network)}
    options = command.parse_arguments(
        ["--checkpoint", str(network), "--stars", "mine.csv", "--out", str(tmp_path / "mine.csv"), "--mock"]
    )
    built = []
    monkeypatch.setattr("datasets.build.prepare.build", lambda *args, **settings: built.append(settings) or 1 / 0)
    for stamps in (paper, ours):
        for each in networks.values():
            each.sidecar["dataset"]["stamps"] = stamps
        with pytest.raises(ZeroDivisionError):
            command.of_table(options, networks, predict.prepare_stars)
    assert [settings["choices"] for settings in built] == [Choices("reproject", "table"), Choices("fast", "cutout")]
    networks["ACF"].sidecar["dataset"]["stamps"] = paper
    with pytest.raises(ACFError, match="--checkpoint and --acpf were trained on stamps made in different ways"):
        command.of_table(options, networks, predict.prepare_stars)


def test_a_table_over_the_services_of_skymapper_and_gaia(network, tmp_path):
    """Positions alone: ids and parallaxes are fetched."""
    stars = MASTER[:6]
    Table({"ra": [*stars["raj2000"], 10.0], "dec": [*stars["dej2000"], 80.0]}).write(tmp_path / "mine.csv")
    with serve(SKY) as server:
        urls = {name: getattr(server, f"{name}_url") for name in ("skymapper_tap", "cutout", "gaia_tap")}
        options = [text for name, url in urls.items() for text in (f"--{name.replace('_', '-')}-url", url)]
        options += ["--contact", "test@example.org", "--rate", "10000"]
        found = make(network, tmp_path / "mine.csv", tmp_path / "mine.fits", *options)

    assert found["input_row"].tolist() == list(range(7))
    flags, reasons = np.asarray(found["flags"]), np.ma.filled(found["reason"], "").astype(str)
    good = (flags & Flag.NO_RESULT) == 0
    assert good.sum() >= 2
    assert found["object_id"][good].tolist() == stars["object_id"][good[:6]].tolist()
    parallax = dict(zip(GAIA["source_id"].tolist(), GAIA["parallax"].tolist(), strict=True))
    for row in np.flatnonzero(good):
        assert found["parallax"][row] == pytest.approx(parallax[int(found["source_id"][row])], rel=1e-6)
        assert found["own_parallax"][row] == 0
    assert "no star within 1 arcsec" in reasons[6]
