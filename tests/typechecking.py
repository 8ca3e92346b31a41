"""While tests run, what the annotations of these modules say is checked at every call: types, and shapes of arrays.

A pytest plugin: the hook has to be there before the modules are imported. `JAXTYPING_DISABLE=1` switches it off.
"""

import jaxtyping
import pytest

CHECKED = (
    "acf_jax.shapes",
    "acf_jax.models",
    "acf_jax.keys",
    "acf_jax.data.scaling",
    "acf_jax.data.augment",
    "acf_jax.data.batches",
    "acf_jax.calibration",
    "acf_jax.baselines.stamp_photometry",
)
# An int where a float is asked for is fine, as PEP 484 has it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

jaxtyping.install_import_hook(CHECKED, CHECKER)


@pytest.fixture
def unchecked(monkeypatch):
    """For tests that give what the annotations forbid, to see it refused as users would."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
