"""What a catalogue says about how it was made."""

from __future__ import annotations

from collections.abc import Mapping

import jax

from acf_jax.catalogue.plan import Plan
from acf_jax.data.prepared import PreparedDataset
from acf_jax.inference.fingerprint import network_fingerprint
from acf_jax.inference.network import Network
from acf_jax.version import __version__

TITLE = "Stellar atmospheric parameters from SkyMapper stamps and Gaia parallaxes, by the ACF"
METHOD = "Atmospheric CSWin Framework (A&A 698, A322, 2025), reimplemented in JAX: ACF-JAX"


def provenance(plan: Plan, networks: Mapping[str, Network], dataset: PreparedDataset, date: str) -> dict:
    """As JSON types. It names no machine, path or hour: a catalogue made in two parts is the same catalogue.

    Args:
        plan: of the catalogue.
        networks: by name.
        dataset: whose stars these are.
        date: ISO, when the catalogue was begun.

    Returns:
        Names and values, nested.
    """
    return {
        "title": TITLE,
        "method": METHOD,
        "sample": sample(dataset, plan.n_stars),
        "date": date,
        "code_version": __version__,
        "jax_version": jax.__version__,
        "device": jax.local_devices()[0].device_kind,
        "dataset": dict(plan.dataset) | {"archive": dataset.metadata.get("provenance", {}).get("archive", "unknown")},
        "networks": {
            name: {
                "fingerprint": plan.networks[name],
                "step": trained.step,
                "trained_on": {k: v for k, v in trained.sidecar["dataset"].items() if k != "folder"},
                "code_version": trained.sidecar["code_version"],
                "config": trained.sidecar["config"],
                "errors": "calibrated on stars not trained on" if trained.error_calibration else "not calibrated",
                **_members(trained),
            }
            for name, trained in networks.items()
        },
        "n_samples": plan.n_samples,
        "seed": plan.seed,
        "batch_size": plan.batch_size,
    }


def _members(trained: Network) -> dict:
    """The networks that were joined, by the labels that each predicts: fingerprint and step."""
    members = {
        name: {"fingerprint": network_fingerprint(member), "step": member.step}
        for name, member in trained.named_members.items()
    }
    return {"joined_of": members} if members else {}


def sample(dataset: PreparedDataset, n_stars: int) -> str:
    """Which stars these are, in words; a mock sky says so."""
    archive = dataset.metadata.get("provenance", {}).get("archive", dataset.config)
    return f"{archive}, {dataset.name}/{dataset.config} {dataset.version}, {n_stars:,} stars"
