import itertools
import types

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from datasets.build import parts, scan
from datasets.stamps import Stamp, StampError
from datasets.surveys.stars import one_row_per_star

BANDS = "uvgriz"
BLOCK_SIZE = 50


class SmallSurvey:
    """Stars 0, 1, 2, ... in blocks of 50, of which every third has flags and is not selected."""

    is_paged = False
    cuts_made = ()
    archive = types.SimpleNamespace(prefetch=lambda targets, size_px: None)

    def blocks(self):
        return itertools.count()

    def stars(self, block, after=None):
        tables = self.tables_of_block(block)
        return one_row_per_star(tables["dr4.master"], tables["gaia"], tables["galah"], tables["truth"])

    def tables_of_block(self, index):
        star = np.arange(BLOCK_SIZE * index, BLOCK_SIZE * (index + 1))
        one = np.ones(BLOCK_SIZE)
        object_id = 2_000_000_000_000_000_000 + star
        source_id = 5_000_000_000_000_000_000 + 3 * star
        per_band = {f"{f}_ngood": one.astype(int) for f in BANDS}
        per_band |= {f"{f}_psf": 12 + i + star / 1000 for i, f in enumerate(BANDS)}
        per_band |= {f"e_{f}_psf": 0.01 * one for f in BANDS}
        master = {
            **{"object_id": object_id, "raj2000": 359.9 + 1e-9 * star, "dej2000": -1.0 * one, "glat": -45 * one},
            **{"flags": (star % 3 == 0).astype(int), "class_star": 0.9 * one, "ebmv_sfd": 0.1 * one},
            "self_dist1": MaskedColumn(one, mask=one > 0),
            **{"gaia_dr3_id1": source_id, "gaia_dr3_dist1": 0.1 * one},
            **per_band,
        }
        gaia = {"source_id": source_id, "parallax": 2.0 * one, "parallax_error": 0.1 * one, "ruwe": one}
        gaia |= {"phot_g_mean_mag": 12 * one, "bp_rp": MaskedColumn(one, mask=star % 5 == 0)}
        labels = {"teff": 5000.0 + star, "logg": 4 * one, "fe_h": 0 * one}
        galah = {"sobject_id": star, "dr3_source_id": source_id, **labels}
        galah |= {f"e_{name}": one for name in labels} | {"flag_sp": 0 * star, "flag_fe_h": 0 * star}
        galah |= {"snr_c3_iraf": 60 * one}
        truth = {"object_id": object_id, **{f"true_{name}": values for name, values in labels.items()}}
        truth |= {"true_parallax": 2 * one, "true_ebv": 0.1 * one, "true_mag": np.full((BLOCK_SIZE, 6), 12.0)}
        tables = {"dr4.master": master, "gaia": gaia, "galah": galah, "truth": truth}
        return {name: Table(columns) for name, columns in tables.items()}


def small_stamp(archive, object_id, ra_deg, dec_deg, ebmv_sfd, **settings):
    """A stamp whose pixels tell the star; every tenth star has none."""
    if object_id % 10 == 4:
        raise StampError("no r-band detection with use_in_clipped = 1")
    rng = np.random.default_rng(object_id)
    return Stamp(
        flux=rng.normal(size=(48, 48, 6)).astype(np.float32),
        mask=(rng.random((48, 48, 6)) < 0.01).astype(np.uint8),
        n_detections=np.full(6, 3, np.int32),
        n_dropped=np.zeros(6, np.int32),
        fwhm=np.full(6, 2.6, np.float32),
        n_masked_pixels=np.zeros(6, np.int32),
        reference=None,
        dropped=(),
    )


@pytest.fixture
def small_sky(monkeypatch):
    """Builds with one worker photograph `SmallSurvey`, in milliseconds."""
    for module in (parts, scan):
        monkeypatch.setattr(module, "open_survey", lambda config, seed, sources: SmallSurvey())
    monkeypatch.setattr(parts, "make_stamp", small_stamp)
