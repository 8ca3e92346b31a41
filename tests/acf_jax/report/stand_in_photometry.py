"""A context over drawn stamps of stars whose magnitudes follow their parameters; its network's errors are known."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from acf_jax.report.context import Context, Options
from tests.acf_jax.report.stand_in_context import COEFFICIENTS, StandInDataset

TARGETS = ("teff", "logg", "fe_h")
LABEL_NOISE = {"teff": 60.0, "logg": 0.05, "fe_h": 0.06}
NETWORK_NOISE = {"teff": 70.0, "logg": 0.08, "fe_h": 0.09}
N_STARS = {"train": 70, "calibration": 20, "validation": 50}
PIXEL_SCALE_ARCSEC = 0.5
LOW_QUALITY = {"fingerprint": "low", "config": "mock_low_quality", "crowded": True, "seed": 10}
TEFF_SLOPES = np.array([-1.2, -1.1, -0.6, -0.35, -0.25, -0.2])  # mag per 600 K
FE_H_SLOPES = np.array([0.3, 0.45, 0.1, 0.03, 0.0, 0.0])  # mag per dex


@dataclass(frozen=True)
class StandIn(Context):
    """Answers with the truth and noise of known size instead of a network's."""

    factor: float = 1.0

    def prediction(self, name=None, split="validation", dataset=None):
        stars = (dataset or self.dataset).split_arrays[split]
        rng = np.random.default_rng(5)
        truth = stars["hidden_truth"]
        noise = np.array(list(NETWORK_NOISE.values())) * rng.normal(size=truth.shape)
        return SimpleNamespace(mean=truth + self.factor * noise, reason=[None] * len(truth))


def draw_stars(n, seed, *, crowded=False):
    """Stars and stamps; every other one with a neighbour 5 px away, a magnitude fainter, if `crowded`."""
    rng = np.random.default_rng(seed)
    truth = np.stack([rng.uniform(4500, 7000, n), rng.uniform(2, 4.8, n), rng.uniform(-1, 0.4, n)], axis=1)
    parallax, ebmv, fwhm_px = 10 ** rng.uniform(-0.2, 0.6, n), rng.uniform(0, 0.3, n), rng.uniform(5, 6.5, (n, 6))
    dereddened = (2.5 * (truth[:, 1] - 4.4) + 15 - 5 * np.log10(parallax))[:, None]
    dereddened = dereddened + np.outer((truth[:, 0] - 5500) / 600, TEFF_SLOPES) + np.outer(truth[:, 2], FE_H_SLOPES)
    true_mag = dereddened + np.outer(ebmv, list(COEFFICIENTS.values()))
    has_neighbour = np.arange(n) % 2 == 1 if crowded else np.zeros(n, bool)
    flux = 10 ** (0.4 * (23.9 - dereddened))
    stamps = _profiles(flux, rng.uniform(23, 24, (n, 2)), fwhm_px)
    stamps += _profiles(flux * 0.4 * has_neighbour[:, None], np.tile([28.5, 23.5], (n, 1)), fwhm_px)
    stars = {
        "psf_mag": true_mag + rng.normal(0, 0.01, (n, 6)), "true_mag": true_mag, "ebmv_sfd": ebmv,
        "parallax": parallax, "parallax_error": np.full(n, 0.02), "fwhm": fwhm_px * PIXEL_SCALE_ARCSEC,
        "self_dist1": np.where(has_neighbour, 5 * PIXEL_SCALE_ARCSEC, np.nan),
        "stamp": stamps + rng.normal(size=stamps.shape) * np.sqrt(3.0**2 + 0.2 * stamps),
        **{f"true_{target}": truth[:, i] for i, target in enumerate(TARGETS)},
        **{t: truth[:, i] + LABEL_NOISE[t] * rng.normal(size=n) for i, t in enumerate(TARGETS)},
    }  # fmt: skip
    stars = {name: values.astype(np.float32) for name, values in stars.items()}
    return stars | {"object_id": 2**40 + 1000 * seed + np.arange(n), "hidden_truth": truth}


def _profiles(flux, xy, fwhm_px):
    """Moffat profiles (n, 48, 48, n_bands) of fluxes (n, n_bands)."""
    axis = np.arange(48)
    distance2 = (axis[:, None] - xy[:, 1, None, None]) ** 2 + (axis - xy[:, 0, None, None]) ** 2
    alpha2 = (fwhm_px**2 / 4 / (2 ** (1 / 3) - 1))[:, None, None, :]
    return flux[:, None, None, :] * 2 / np.pi / alpha2 * (1 + distance2[..., None] / alpha2) ** -3


def make_dataset(folder, *, fingerprint="high", config="mock", crowded=False, truth=True, seed=0):
    """All three splits."""
    splits = {name: draw_stars(n, seed + i, crowded=crowded) for i, (name, n) in enumerate(N_STARS.items())}
    fields = [name for name in splits["train"] if name != "hidden_truth" and (truth or not name.startswith("true_"))]
    metadata = {"extinction_coefficients": COEFFICIENTS, "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC}
    return StandInDataset(
        folder, splits, config=config, fingerprint=fingerprint, metadata=metadata, fields=tuple(fields)
    )  # fmt: skip


def make_context(folder, factor=1.0, **settings):
    """Of one network, ACF, with errors of `factor` times NETWORK_NOISE."""
    network = SimpleNamespace(
        targets=TARGETS, model=SimpleNamespace(config=SimpleNamespace(use_parallax=True)), step=1, sidecar={}
    )
    return StandIn(
        dataset=make_dataset(folder, **settings), networks={"ACF": network}, out_dir=folder / "evaluation",
        options=Options(n_samples=5, n_bootstrap=100, progress=False), factor=factor,
    )  # fmt: skip
