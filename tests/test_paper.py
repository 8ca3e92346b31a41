"""The paper's numbers, a second time: what it prints beside where it stands in the code; and docs/paper.md.

Those of a training: tests/acf_jax/training/test_config.py. Sizes of the network: tests/acf_jax/models/test_acf.py and
test_cswin.py. Boundaries of the cuts, one by one: tests/datasets/samples/test_selection.py.
"""

import inspect
import itertools
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from acf_jax.baselines.features import INPUTS, N_COMPONENTS, PHOTOMETRIC_INPUTS, photometric_inputs
from acf_jax.baselines.tree_ensembles import TREE_ENSEMBLES
from acf_jax.catalogue import flags
from acf_jax.catalogue.columns import columns
from acf_jax.catalogue.figures import drawings, maps
from acf_jax.inference import mc_dropout
from acf_jax.models.acf import ACFConfig
from acf_jax.plots.predictions import polynomial_band
from acf_jax.report.sections import parallax, precision, sample
from acf_jax.report.sections.baselines import baselines
from acf_jax.report.sections.low_quality import low_quality
from acf_jax.surveys import known
from datasets.samples.selection import CATALOGUE, HIGH_QUALITY, LOW_QUALITY, master_where
from datasets.skymapper import BANDS, STAMP_SIZE_PX
from datasets.smss_stamps.configs import CONFIGS

PAGE = (Path(__file__).parents[1] / "docs/paper.md").read_text()
NAMES = {cut.name: cut.description for cut in (*HIGH_QUALITY, *LOW_QUALITY)}
BAND_DEFAULTS = inspect.signature(polynomial_band).parameters
ACF, BOTH = ("ACF", "stamps"), ("CatBoost", "magnitudes + colours")

# Section (or caption), what it is, as printed, in the code.
PRINTED = [
    ("2.1", "bands", "uvgriz", BANDS),
    ("2.2", "latitude, deg", 10, flags.LATITUDE_DEG),
    ("2.2", "flag_sp", "flag_sp = 0", NAMES["flag_sp"]),
    ("2.2", "flag_fe_h", "flag_fe_h = 0", NAMES["flag_fe_h"]),
    ("2.2", "snr_c3_iraf", "snr_c3_iraf > 30", NAMES["snr"]),
    ("2.2", "flags", "flags = 0", NAMES["flags"]),
    ("2.2", "class_star", "class_star >= 0.6", NAMES["class_star"]),
    ("2.2", "detections", "{f}_ngood >= 1 in every band", NAMES["bands"]),
    ("2.2", "neighbours, arcsec", 15, flags.NEIGHBOUR_ARCSEC),
    ("2.2", "parallax error / parallax", 0.3, flags.PARALLAX_ERROR_LIMIT),
    ("2.2", "stars of high quality", 106_145, CONFIGS["mock_large"].n_stars),
    ("2.2", "side of a stamp, px", 48, STAMP_SIZE_PX),
    ("2.2", "Teff of the training stars, K", (4000, 8000), (known.MIN_TEFF_K, known.MAX_TEFF_K)),
    ("3.1.4", "features of a stamp", 512, ACFConfig().backbone.num_features),
    ("3.3", "parallax of most stars, mas", 5, sample.NEAR_PARALLAX_MAS),
    ("4.1", "Teff", {"offset": "-0.15", "std": "95.02"}, precision.PAPER["teff"]),
    ("4.1", "log g", {"std": "0.07"}, precision.PAPER["logg"]),
    ("4.1", "[Fe/H]", {"std": "0.14"}, precision.PAPER["fe_h"]),
    ("4.2", "uncertainty of Teff, K", ["23", "-", "258"], [row[-1] for row in sample.PAPER_UNCERTAINTY["teff"]]),
    ("4.2", "above Teff, K", 8000, sample.PAPER_UNCERTAINTY["teff"][-1][1]),
    ("4.2", "uncertainty of log g", [(3, "< 0.1"), (2, "0.22")],
     [(limit, printed) for _, *limits, printed in sample.PAPER_UNCERTAINTY["logg"]
      for limit in limits if np.isfinite(limit)]),
    ("4.2", "uncertainty of [Fe/H]", ["0.03", "0.4"], [row[-1] for row in sample.PAPER_UNCERTAINTY["fe_h"]]),
    ("5.1", "log g", {"with": "0.07", "without": "0.28", "ratio": "4.0"}, parallax.PAPER["logg"]),
    ("5.1", "Teff and [Fe/H]", ["about 1.11"] * 2, [parallax.PAPER[target]["ratio"] for target in ("teff", "fe_h")]),
    ("5.2", "algorithms", ["random forest", "XGBoost", "LightGBM", "CatBoost"], list(TREE_ENSEMBLES)),
    ("5.2", "inputs", ("magnitudes", "colours", "magnitudes + colours", "image features"), INPUTS),
    ("5.2", "principal components", 16, N_COMPONENTS),
    ("5.2", "CatBoost on both, K", "99.331", baselines.PAPER[BOTH][True]["teff"]),
    ("5.2", "ACF", {"teff": "95.02", "logg": "0.07", "fe_h": "0.14"}, baselines.PAPER[ACF][True]),
    ("5.3", "cuts on APOGEE", ["STARFLAG = 0", "FE_H_FLAG = 0", "TEFF >= 4000 K"],
     [cut.description for cut in known.SURVEYS["apogee"].cuts]),
    ("5.3", "stars in common", {"apogee": 39_550, "lamost": 65_319},
     {name: known.SURVEYS[name].paper_n for name in ("apogee", "lamost")}),
    ("5.3", "APOGEE", {"logg": 0.13}, known.SURVEYS["apogee"].paper_std),
    ("5.3", "LAMOST", {"teff": 177.73, "fe_h": 0.22}, known.SURVEYS["lamost"].paper_std),
    ("5.4", "cuts dropped", {"latitude", "flags", "isolated"},
     {cut.name for cut in HIGH_QUALITY} - {cut.name for cut in LOW_QUALITY}),
    ("5.4", "growth of the scatter", {"teff": 9.25, "logg": 0.01, "fe_h": 0.01}, low_quality.PAPER_DEGRADATION),
    ("6", "Gaia's radius", "a Gaia EDR3 source within 1 arcsec", NAMES["gaia"]),
    ("6", "stars of the catalogue", 1_000_000, CONFIGS["catalogue"].n_stars),
    ("6", "log g to beware of", 1, flags.LOGG_LIMIT),
    ("6", "[Fe/H] to beware of", -1, flags.FE_H_LIMIT),
    ("Fig. 9", "polynomial's order", 2, BAND_DEFAULTS["degree"].default),
    ("Fig. 9", "its band", 0.95, BAND_DEFAULTS["confidence"].default),
    ("Fig. 15", "cells, K and dex", (25, 0.04), (maps.TEFF_K.width, maps.LOGG_DEX.width)),
    ("Fig. 15", "lowest [Fe/H] coloured", -2, drawings.FE_H_COLOURS.vmin),
    ("Fig. 16", "cells, kpc", (0.2, 0.15), (maps.R_KPC.width, maps.Z_KPC.width)),
    ("Table 3", "units", {"teff": "K", "e_teff": "K", "logg": "dex", "e_logg": "dex", "fe_h": "dex", "e_fe_h": "dex"},
     {c.name: c.unit for c in columns(("teff", "logg", "fe_h")) if re.fullmatch("(e_)?(teff|logg|fe_h)", c.name)}),
    ("ours", "T of Eq. 13", 100, inspect.signature(mc_dropout.predict).parameters["n_samples"].default),
]  # fmt: skip

# Sec. 6, as printed.
QUERY = """ABS (glat) >=10 AND flags=0 AND class_star >=0.6 AND u_ngood >=1 AND v_ngood >=1 AND g_ngood >=1
AND r_ngood >=1 AND i_ngood >=1 AND z_ngood >=1 AND self_dist1 =15"""


@pytest.mark.parametrize(("section", "what", "printed", "in_code"), PRINTED, ids=[f"{s} {w}" for s, w, *_ in PRINTED])
def test_the_code_has_what_the_paper_prints(section, what, printed, in_code):
    assert in_code == printed


def test_the_catalogues_query_selects_what_the_papers_does():
    values = {"glat": (-10, -9.99, 9.99, 10), "flags": (0, 4), "class_star": (0.59, 0.6), "self_dist1": (14.99, 15)}
    values |= {f"{band}_ngood": (0, 1) for band in BANDS}
    with sqlite3.connect(":memory:") as database:
        database.execute(f"CREATE TABLE master ({', '.join(values)})")
        marks = ", ".join("?" * len(values))
        database.executemany(f"INSERT INTO master VALUES ({marks})", itertools.product(*values.values()))
        theirs, ours = (
            database.execute(f"SELECT rowid FROM master WHERE {where}").fetchall()
            for where in (QUERY, master_where(CATALOGUE))
        )
    assert len(theirs) == 2
    assert ours == theirs


def test_colours_and_absolute_magnitudes_are_those_of_section_5_2():
    stars = {"psf_mag": np.array([[15, 14.5, 14, 13.5, 13.2, 13]]), "ebmv_sfd": np.array([0.1])}
    stars |= {"parallax": np.array([2.0]), "parallax_error": np.array([0.1])}
    no_dust = dict.fromkeys(BANDS, 0.0) | {"r": 2.0}
    found = photometric_inputs(stars, BANDS, no_dust, PHOTOMETRIC_INPUTS[2], use_parallax=True)
    assert {"u-v", "v-g", "g-r", "r-i", "i-z"} == {name for name in found if "-" in name}
    assert found["g-r"][0] == pytest.approx(14 - (13.5 - 0.2))
    assert found["M_r"][0] == pytest.approx(13.5 - 0.2 + 5 + 5 * np.log10(0.002))  # Eq. 17


@pytest.mark.parametrize(("word", "n"), [("Eq.", 17), ("Fig.", 16), ("Table", 3)])
def test_the_page_has_a_row_for_every_equation_figure_and_table(word, n):
    named = re.findall(rf"^\| {re.escape(word)} ([\d, to]+) \|", PAGE, re.MULTILINE)
    numbers = []
    for one in named:
        first, *last = map(int, re.findall(r"\d+", one))
        numbers += range(first, (last or [first])[0] + 1)
    assert numbers == list(range(1, n + 1))


def test_files_that_the_page_names_are_there():
    named = re.findall(r"`([\w/]+\.(?:py|md))`", PAGE)
    assert len(named) > 20
    assert [name for name in named if not (Path(__file__).parents[1] / name).exists()] == []
