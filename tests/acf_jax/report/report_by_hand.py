"""Pieces of a report that no evaluation made: what the tests of the pages show."""

from pathlib import Path

from matplotlib.figure import Figure

SAMPLE = "mock sky, validation split, 1,211 stars"
DATASET = {"name": "smss_stamps", "config": "mock", "version": "2.0.0", "fingerprint": "0123456789abcdef" * 4}
GATHERED = {
    "command": "python evaluate.py --checkpoint 'runs/a & b' --suite paper",
    "date": "2026-11-23 16:20 UTC",
    "code_version": "0.1.0",
    "git": {"commit": "0123456789" * 4, "changed": True},
    "options": {"n_samples": 100, "seed": 0},
    "networks": {
        "ACF": {
            "step": 1500,
            "num_steps": 2000,
            "n_parameters": 519_000,
            "code_version": "0.1.0",
            "jax_version": "0.10.2",
            "dataset": DATASET,
            "config": {"model": {"depths": [1, 2], "embed_dim": 16}, "comment": "first line\nsecond <line>"},
        }
    },
    "datasets": {
        "evaluated": {
            **DATASET,
            "splits": {"train": 22400, "validation": 1211},
            "provenance": {"archive": "mock sky", "recipe": {"stars": 32000}},
            "selection": [{"cut": "snr", "removed": 25}],
        }
    },
    "software": {"python": "3.11.9", "jax": "0.10.2"},
    "machine": {"system": "Linux x86_64", "n_cpus": 2, "devices": ["cpu"]},
}


def write_figure(out_dir: Path, name: str, width_in: float = 3.5) -> None:
    """`figures/<name>.png` and `.pdf` of a line."""
    (out_dir / "figures").mkdir(exist_ok=True)
    figure = Figure(figsize=(width_in, 2.5))
    figure.subplots().plot([0, 1, 2], [0, 1, 4])
    for kind in ("png", "pdf"):
        figure.savefig(out_dir / f"figures/{name}.{kind}", dpi=160)
