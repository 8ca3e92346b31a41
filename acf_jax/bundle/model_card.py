"""The README.md of a bundle: what the network is, what it was trained on, how well it does and where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from acf_jax.inference.parts import model_from_config
from acf_jax.report import quick_markdown as report
from acf_jax.report.markdown import markdown_table

TEMPLATES = Path(__file__).with_name("templates")
LABEL_COLUMNS = {"min": "least", "max": "greatest", "error_limit": "large error"}  # of a training domain's summary
DECIMALS = {"K": 0, "dex": 2}


def markdown(described: Mapping, metrics: Mapping | None) -> str:
    """The card.

    Args:
        described: what `bundle.json` holds.
        metrics: what `metrics.json` holds; None if the network was not evaluated.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # what is filled in is this project's own text, not HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md").render(_facts(described, metrics))


def _facts(described: Mapping, metrics: Mapping | None) -> dict:
    checkpoint, exported, calibration = (described[name] for name in ("checkpoint", "exported", "error_calibration"))
    configs = list(checkpoint["config"].values()) if "members" in described else [checkpoint["config"]]
    config = model_from_config(configs[0]).config
    domain = described["training_domain"]
    names = [f"{report.NAMES[target]} ({described['units'][target]})" for target in checkpoint["targets"]]
    return {
        **{name: described[name] for name in ("fingerprint", "format_version", "code_version")},
        **{name: exported[name] for name in ("n_samples", "jax_version")},
        "network": ("ACF" if config.use_parallax else "ACPF") + ("-growth" if config.growth_curve else ""),
        "targets": ", ".join(names),
        "use_parallax": config.use_parallax,
        "bands": ", ".join(checkpoint["bands"]),
        "n_bands": len(checkpoint["bands"]),
        "size_px": exported["stamp_size_px"],
        "platforms": " or ".join({"cpu": "CPU", "cuda": "NVIDIA GPU"}[name] for name in exported["platforms"]),
        "n_parameters": f"{described['n_parameters']:,}",
        "step": f"{described['step']:,}",
        "trained_by": checkpoint["code_version"],
        "is_mock": is_mock(checkpoint),
        "dataset_name": checkpoint["dataset"]["name"],
        "dataset": checkpoint["dataset"],
        "num_steps": f"{checkpoint['num_steps']:,}",
        "n_networks": len(configs),
        **{name: ", ".join(dict.fromkeys(str(config[name]) for config in configs)) for name in ("batch_size", "seed")},
        "domain": domain,
        "label_table": "" if domain is None else _label_table(domain["labels"], described["units"]),
        "report": None if metrics is None else _deeper(report.markdown(metrics)),
        "calibrated_on": None if calibration is None else f"{min(p['n_stars'] for p in calibration['parameters']):,}",
    }


def is_mock(checkpoint: Mapping) -> bool:
    """Whether a checkpoint's stars were a mock sky's: the truth is known for no others."""
    return bool(checkpoint["validation"].get("truth"))


def _label_table(labels: Mapping, units: Mapping) -> str:
    """A row per label: its range in training, and the limit of its error."""
    rows = [
        (
            f"{report.NAMES[target]} ({units[target]})",
            *(f"{summary[n]:.{DECIMALS[units[target]]}f}" for n in LABEL_COLUMNS),
        )
        for target, summary in labels.items()
    ]
    return "\n".join(markdown_table(("", *LABEL_COLUMNS.values()), rows, n_text=1))


def _deeper(markdown: str) -> str:
    """With every heading two levels down."""
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in markdown.splitlines())
